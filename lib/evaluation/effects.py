"""How large a difference is, on how many users it rests, and what could have been found at all.

Everything here is about paired scores of the same users. Distributions are scipy's.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lib.evaluation.statistics import RESAMPLES, align, bca_limits, bootstrap_means, labelled, resampled_means

# It is not listeners that count but those who differ: of so many or more, 95 % intervals hold the truth in .94 to .96
# of cases, of 30 to 60 among ties in .92 to .94 (benchmarks/intervals_and_tests.md).
FEW_DIFFER = 100
_ENDLESS = 1e50  # stands for infinity where quantiles interpolate and influences are cubed


def effect_sizes(
    a: pd.DataFrame, b: pd.DataFrame, rng: np.random.Generator, *, n_resamples: int = RESAMPLES, level: float = 0.95
) -> pd.DataFrame:
    """Effect sizes of a over b over the same users, with BCa bootstrap intervals over users.

    Parameters
    ----------
    a, b : DataFrame
        ``user_id`` and columns like ``NDCG@50``, the same users in any order.
    rng : numpy.random.Generator
    n_resamples : int
    level : float

    Returns
    -------
    DataFrame
        ``metric, k, d_z, d_z_low, d_z_high, superiority, superiority_low, superiority_high, ties, n_users``, one row a
        column. ``d_z`` is the mean of differences over their standard deviation (0 where all are 0, infinite where all
        are the same otherwise). ``superiority`` is the share of users for whom a is better, a tie counting half, in
        [0, 1]; ``ties`` the share of ties. Limits are NaN with one user, infinite where resamples have no spread.

    Notes
    -----
    d_z: Cohen (1988). Superiority: the common-language effect size of McGraw and Wong (1992), paired, with ties as in
    Vargha and Delaney (2000).

    Examples
    --------
    >>> a = pd.DataFrame({"user_id": ["x", "y", "z"], "NDCG@5": [0.5, 1.0, 0.0]})
    >>> b = pd.DataFrame({"user_id": ["x", "y", "z"], "NDCG@5": [0.5, 0.0, 0.0]})
    >>> sizes = effect_sizes(a, b, np.random.default_rng(0)).iloc[0]
    >>> sizes[["d_z", "superiority", "ties"]].astype(float).round(3).tolist()
    [0.577, 0.667, 0.667]
    """
    a, b = align(a, b)
    differences = np.round(a.to_numpy(float) - b.to_numpy(float), 12)  # what rounding left of a tie is one
    wins = (np.sign(differences) + 1) / 2
    low, high = bootstrap_means(wins, rng, n_resamples=n_resamples, level=level)
    d_z, d_low, d_high = _standardised(differences, rng, n_resamples, level)
    return labelled(
        a.columns,
        d_z=d_z,
        d_z_low=d_low,
        d_z_high=d_high,
        superiority=wins.mean(axis=0),
        superiority_low=low,
        superiority_high=high,
        ties=(differences == 0).mean(axis=0),
        n_users=len(a),
    )


def _standardised(differences, rng, n_resamples, level):
    """d_z of columns with its BCa limits, the acceleration from leaving out one user at a time."""
    n, m = differences.shape
    if n < 2:
        return np.full((3, m), np.nan)
    moments = np.hstack([differences, differences**2])
    of_all = moments.mean(axis=0)
    d_z = _ratio(of_all[None], n)[0]
    left_out = _ratio((n * of_all - moments) / (n - 1), n - 1) if n > 2 else np.zeros((n, m))
    influence = left_out.mean(axis=0) - left_out
    low, high = bca_limits(d_z, _ratio(resampled_means(moments, rng, n_resamples), n), influence, level)
    found = np.array([d_z, low, high])
    return np.where(np.abs(found) > _ENDLESS / 1e9, np.copysign(np.inf, found), found)


def _ratio(moments, n):
    """Mean over standard deviation from rows of first and second moments; signed 'infinity' without spread."""
    mean, square = np.hsplit(moments, 2)
    variance = (square - mean**2) * n / (n - 1)
    spread = variance > 1e-12 * square
    ratio = mean / np.sqrt(np.where(spread, variance, 1.0))
    return np.where(spread, ratio, np.sign(mean) * _ENDLESS)


def differing(values: np.ndarray) -> np.ndarray:
    """How many users have a score, or a difference of two, other than 0: those an interval over users learns from.

    Parameters
    ----------
    values : array, shape (n,) or (n, m)

    Returns
    -------
    ndarray of int, shape () or (m,)

    Examples
    --------
    >>> int(differing([0.0, 0.5, -0.5, 0.1 + 0.2 - 0.3]))
    2
    """
    return (np.abs(np.asarray(values, float)) > 1e-12).sum(axis=0)  # what rounding left of a tie is one


def few_differ(compared: pd.DataFrame, where: str) -> list[str]:
    """A sentence on intervals over users where fewer than `FEW_DIFFER` of them differ; none where more do.

    Parameters
    ----------
    compared : DataFrame
        ``n_differ, n_users``, one row a comparison: how many of how many users `differing` found.
    where : str
        What these differ in, after 'scores that differ'.

    Returns
    -------
    list of str
        Of the comparison in which the fewest differ.

    Examples
    --------
    >>> few_differ(pd.DataFrame({"n_differ": [100, 300], "n_users": 400}), "in a pair of backends")
    []
    """
    if compared.empty or compared["n_differ"].min() >= FEW_DIFFER:
        return []
    n_differ, n_users = compared.iloc[compared["n_differ"].argmin()][["n_differ", "n_users"]]
    return [
        f"Only {n_differ} of {n_users} listeners have scores that differ {where}: below {FEW_DIFFER}, intervals miss "
        "the truth more often than they say, and a verdict that rests on an interval alone is not to be relied on."
    ]


def minimum_detectable_difference(
    sd: float, n: int, alpha: float = 0.05, power: float = 0.8, n_tests: int = 1
) -> float:
    """Smallest true mean difference that a two-sided paired t test finds with the given power.

    Parameters
    ----------
    sd : float
        Standard deviation of differences over users, > 0.
    n : int
        Users.
    alpha : float
        Family-wise over `n_tests` (Bonferroni).
    power : float
        Probability of finding it, in (alpha, 1).
    n_tests : int

    Returns
    -------
    float
        In the metric's unit, > 0; infinite with fewer than two users.

    Examples
    --------
    >>> round(minimum_detectable_difference(sd=0.1, n=200), 4)
    0.0199
    """
    from scipy import optimize

    if n < 2:
        return math.inf
    alpha, widest = alpha / n_tests, 1.0
    while _power(widest, n, alpha) < power:
        widest *= 2
    share = optimize.brentq(lambda d: _power(d, n, alpha) - power, 0.0, widest, xtol=1e-12)
    return float(share * sd)


def _power(standardised, n, alpha):
    """Power of a two-sided t test of `n` differences whose mean is `standardised` standard deviations."""
    from scipy import stats

    beyond, shift = stats.t.isf(alpha / 2, n - 1), standardised * math.sqrt(n)
    found = stats.nct.sf(beyond, n - 1, shift) + stats.nct.cdf(-beyond, n - 1, shift)
    if np.isfinite(found):
        return float(found)
    places, weights = np.polynomial.legendre.leggauss(400)  # far out scipy has no numbers: the mean over what sd may be
    spread = beyond * np.sqrt(stats.chi2.ppf((places + 1) / 2, n - 1) / (n - 1))
    return float(weights @ (stats.norm.sf(spread - shift) + stats.norm.cdf(-spread - shift)) / 2)
