"""Rank correlation over few points: exact p, intervals, power, and what n points cannot decide.

Public: `exact_correlation`, `leave_one_out`, `thresholds`, `smallest_p`, `cannot_decide`, `power_table`, `METHODS`.

Where a handful of backends are the points, the usual p values (t of Spearman's rho, normal of Kendall's tau) are wrong
by a factor: here p is the share of all n! pairings whose correlation is as far from 0 as the one found.
"""

import itertools
import math
from functools import lru_cache

import numpy as np
import pandas as pd

__all__ = ["cannot_decide", "leave_one_out", "smallest_p", "thresholds"]


METHODS = ("spearman", "kendall")
MOST_EXACT = 12  # points up to which Spearman's null distribution is counted out, ties or none
MOST_ENUMERATED = 9  # points up to which all pairings of tied Kendall are gone through: 362,880
RANDOM_PAIRINGS = 20_000
_SLACK = 1e-9


def exact_correlation(x, y, method="spearman", *, level=0.95, seed=0):
    """Rank correlation of paired values with its interval and the exact p of a permutation test over pairings.

    Parameters
    ----------
    x, y : sequence of float, shape (n,)
        The same points in the same order; ties get average ranks (Spearman) or tau-b (Kendall).
    method : {'spearman', 'kendall'}
    level : float
        Coverage of the interval.
    seed : int
        Of the random pairings that stand in for all of them where those are too many.

    Returns
    -------
    dict
        ``method, n, estimate, ci_low, ci_high, p, exact``. Two-sided p = share of the n! pairings with absolute
        correlation at least as large. It is counted out for Kendall without ties at any n, for Spearman up to 12
        points, for tied Kendall up to 9; beyond, p = (1 + count) / (1 + 20,000) over random pairings and `exact` is
        False. All are NaN where a side is constant or n < 2; the interval also where n < 4 (Kendall: < 5).

    Raises
    ------
    ValueError
        If the method is unknown, lengths differ or a value is not finite.

    Notes
    -----
    Intervals by Fisher's z with standard error sqrt((1 + rho²/2) / (n - 3)) for Spearman (Bonett and Wright,
    Psychometrika 65, 2000) and sqrt(.437 / (n - 4)) for Kendall (Fieller, Hartley and Pearson, Biometrika 44, 1957).
    Where all ranks agree z is infinite: the interval is then that of the next value below 1, stretched to 1.
    The null distribution of a pair of rank lists is kept, so that thousands of calls at one n cost little.

    Examples
    --------
    >>> found = exact_correlation([1, 2, 3, 4, 5], [10, 20, 30, 50, 40])
    >>> round(found["estimate"], 3), round(found["p"], 3)
    (0.9, 0.083)
    """
    x, y = _checked(x, y, method)
    n = len(x)
    nothing = {"method": method, "n": n, "estimate": np.nan, "ci_low": np.nan, "ci_high": np.nan, "p": np.nan}
    if n < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return nothing | {"exact": True}
    first, second = _ranks(x), _ranks(y)
    estimate = _statistic(first, second, method)
    values, tails, exact = _null(tuple(np.sort(first)), tuple(np.sort(second)), method, seed)
    place = np.searchsorted(values, abs(estimate) - _SLACK)
    low, high = _interval(estimate, n, method, level)
    found = {"estimate": estimate, "ci_low": low, "ci_high": high, "p": float(tails[place]), "exact": exact}
    return nothing | found


def leave_one_out(x, y, names, method="spearman"):
    """The correlation without each point in turn, which shows whether one of them carries it.

    Parameters
    ----------
    x, y : sequence of float, shape (n,)
    names : sequence of str, shape (n,)
    method : {'spearman', 'kendall'}

    Returns
    -------
    DataFrame
        ``left_out, n, estimate, ci_low, ci_high, p``, one row a point.

    Examples
    --------
    >>> leave_one_out([1, 2, 3], [1, 2, 0], list("abc"))["estimate"].tolist()
    [-1.0, -1.0, 1.0]
    """
    x, y = _checked(x, y, method)
    rows = []
    for number, name in enumerate(names):
        found = exact_correlation(np.delete(x, number), np.delete(y, number), method)
        rows.append({"left_out": name} | found)
    return pd.DataFrame(rows, columns=["left_out", "n", "estimate", "ci_low", "ci_high", "p"])


def smallest_p(n):
    """Smallest two-sided p that n points without ties can give: 2 / n!, of full agreement or full disagreement.

    Examples
    --------
    >>> round(smallest_p(4), 3)
    0.083
    """
    return min(1.0, 2 / math.factorial(n))


def thresholds(n, alpha=0.05):
    """Smallest correlations that are significant over n points without ties.

    Parameters
    ----------
    n : int
        At least 2; beyond 12 that of Spearman is of random pairings.
    alpha : float
        Two-sided.

    Returns
    -------
    dict of {str: float}
        By method; NaN where even full agreement is not significant.

    Examples
    --------
    >>> {name: round(value, 3) for name, value in thresholds(7).items()}
    {'spearman': 0.786, 'kendall': 0.714}
    """
    found = {}
    for method in METHODS:
        values, tails, _ = _null(*[tuple(np.arange(1.0, n + 1))] * 2, method, 0)
        low_enough = values[tails <= alpha * (1 + _SLACK)]
        found[method] = float(low_enough[0]) if len(low_enough) else np.nan
    return found


def cannot_decide(n, alpha=0.05):
    """Why n points cannot show a rank correlation whatever they are; an empty text where they could.

    Parameters
    ----------
    n : int
    alpha : float
        Two-sided.

    Returns
    -------
    str

    Examples
    --------
    >>> cannot_decide(4)
    'cannot be decided at n = 4: even full agreement has p = 0.083 in an exact test'
    >>> cannot_decide(5)
    ''
    """
    if n < 2:
        return f"cannot be decided at n = {n}: a correlation needs at least two points, and five to be significant"
    if smallest_p(n) <= alpha:
        return ""
    return f"cannot be decided at n = {n}: even full agreement has p = {smallest_p(n):.3f} in an exact test"


def power_table(ns, rhos, rng, *, method="spearman", alpha=0.05, n_worlds=10_000):
    """How often a true correlation is found over n points.

    Parameters
    ----------
    ns : sequence of int
        Numbers of points, as for `thresholds`.
    rhos : sequence of float
        Correlations of the bivariate normal that points are drawn from, -1 to 1.
    rng : numpy Generator
    method : {'spearman', 'kendall'}
    alpha : float
        Two-sided.
    n_worlds : int
        Draws behind each number; its Monte-Carlo standard error is at most .5 / sqrt(n_worlds).

    Returns
    -------
    DataFrame
        ``n, rho, power, threshold, smallest_p``.

    Examples
    --------
    >>> power_table([4], [0.8], np.random.default_rng(0), n_worlds=100)["power"].tolist()
    [0.0]
    """
    rows = []
    for n, rho in itertools.product(ns, rhos):
        least = thresholds(n, alpha)[method]
        x = rng.standard_normal((n_worlds, n))
        y = rho * x + np.sqrt(1 - rho**2) * rng.standard_normal((n_worlds, n))
        ranks = [np.argsort(np.argsort(side, axis=1), axis=1) + 1.0 for side in (x, y)]
        found = np.abs(_statistic(*ranks, method))
        rows.append((n, rho, float((found >= least - _SLACK).mean()), least, smallest_p(n)))
    return pd.DataFrame(rows, columns=["n", "rho", "power", "threshold", "smallest_p"])


def _checked(x, y, method):
    if method not in METHODS:
        raise ValueError(f"Expected a method among {', '.join(METHODS)}, found {method!r}; choose one of them.")
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"Expected two lists of equal length, found shapes {x.shape} and {y.shape}; pair them first.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("Expected finite values, found NaN or infinity; leave out points that lack a value.")
    return x, y


def _ranks(values):
    """Average ranks from 1."""
    below = (values[None] < values[:, None]).sum(axis=1)
    return below + ((values[None] == values[:, None]).sum(axis=1) + 1) / 2


def _statistic(first, second, method):
    """Rho or tau-b of ranks along the last axis; float for one pair of lists, else an array."""
    if method == "spearman":
        first, second = (side - side.mean(axis=-1, keepdims=True) for side in (first, second))
    else:
        upper = np.triu_indices(first.shape[-1], 1)
        first, second = (np.sign(side[..., upper[0]] - side[..., upper[1]]) for side in (first, second))
    size = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    found = np.clip((first * second).sum(axis=-1) / size, -1, 1)
    return float(found) if found.ndim == 0 else found


@lru_cache(maxsize=512)
def _null(first, second, method, seed):
    """Distribution of |correlation| over all pairings of two sorted lists of ranks.

    Returns ascending values, the share of pairings at or above each, and whether all pairings were counted.
    """
    n = len(first)
    tied = len(set(first)) < n or len(set(second)) < n
    a, b = np.array(first), np.array(second)
    if method == "spearman" and n <= MOST_EXACT:
        values, counts = _counted_spearman(a, b)
    elif method == "kendall" and not tied:
        values, counts = _counted_kendall(n)
    else:
        exact = n <= MOST_ENUMERATED
        values = _statistic(a, b[_pairings(n, None if exact else seed)], method)
        counts = np.ones(len(values))
        if not exact:  # the arrangement found is one more among the random ones
            values, counts = np.abs(values), counts / (1 + len(values))
            order = np.argsort(values)
            tails = np.append(np.cumsum(counts[order][::-1])[::-1], 0.0) + counts[0]
            return np.append(values[order], np.inf), tails, False
    values, inverse = np.unique(np.round(np.abs(values), 12), return_inverse=True)
    counts = np.bincount(inverse, weights=counts)
    return values, np.cumsum(counts[::-1])[::-1] / counts.sum(), True


def _pairings(n, seed):
    """All orders of n, or random ones."""
    if seed is None:
        return np.array(list(itertools.permutations(range(n))), dtype=np.int8)
    rng = np.random.default_rng([seed, n])
    return rng.permuted(np.tile(np.arange(n), (RANDOM_PAIRINGS, 1)), axis=1)


def _counted_spearman(a, b):
    """Values of rho and how many pairings give each, by dynamic programming over the sets of ranks used so far."""
    n = len(a)
    units = [np.round(2 * (side - side[0])).astype(int) for side in (a, b)]  # average ranks are halves
    units = [side // max(1, np.gcd.reduce(side)) for side in units]
    length = int((units[0] * units[1]).sum()) + 1  # sorted with sorted is the largest sum
    ways = np.zeros((2**n, length))
    ways[0, 0] = 1
    for used in range(2**n - 1):
        here, weight = ways[used], units[0][used.bit_count()]
        for j in range(n):
            if not used >> j & 1:
                shift = weight * units[1][j]
                ways[used | 1 << j, shift:] += here[: length - shift]
    sums = np.arange(length)
    centred = [side - side.mean() for side in units]
    size = np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())
    rho = (sums - n * units[0].mean() * units[1].mean()) / size
    possible = ways[-1] > 0
    return rho[possible], ways[-1][possible]


def _counted_kendall(n):
    """Values of tau without ties and how many orders have so many inversions (Mahonian numbers)."""
    shares = np.ones(1)
    for size in range(2, n + 1):
        shares = np.convolve(shares, np.full(size, 1 / size))
    pairs = n * (n - 1) / 2
    return 1 - 2 * np.arange(len(shares)) / pairs, shares


def _interval(estimate, n, method, level):
    from scipy import special

    free = n - (3 if method == "spearman" else 4)
    if free < 1:
        return np.nan, np.nan
    at_most = 1 - (12 / (n * (n**2 - 1)) if method == "spearman" else 4 / (n * (n - 1)))  # all agree but one swap
    held = np.clip(estimate, -at_most, at_most)
    se = np.sqrt((1 + held**2 / 2 if method == "spearman" else 0.437) / free)
    half = special.ndtri((1 + level) / 2) * se
    low, high = np.tanh(np.arctanh(held) - half), np.tanh(np.arctanh(held) + half)
    return float(min(low, estimate)), float(max(high, estimate))
