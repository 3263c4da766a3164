"""Intervals over users and tests that decide.

The unit is the test user and comparisons are paired. Intervals over users describe; whether content beats shuffled
vectors is decided over permutations of tracks: by `max_t` where there are many, by `trained_test` where models are
trained under a few.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

RESAMPLES = 2000
DRAWS_AT_A_TIME = 2**22
FEWEST_PERMUTATIONS = 5  # of a trained model


def bootstrap_means(
    values: np.ndarray, rng: np.random.Generator, *, n_resamples: int = RESAMPLES, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of the means of columns by a BCa bootstrap over rows.

    Parameters
    ----------
    values : array, shape (n, m)
        One row a user, one column a metric; rows are drawn whole.
    rng : numpy.random.Generator
    n_resamples : int
    level : float
        Coverage wanted, in (0, 1).

    Returns
    -------
    low, high : ndarray, shape (m,)
        NaN where n < 2; equal to the mean where a column is constant.

    Notes
    -----
    Efron (1987), bias-corrected and accelerated; the jackknife acceleration of a mean is skewness / (6 sqrt(n)).
    Agrees with ``scipy.stats.bootstrap(method="BCa")``, which needs n^2 numbers a column.

    Examples
    --------
    >>> low, high = bootstrap_means(np.array([[0.0], [1.0], [1.0]]), np.random.default_rng(0))
    """
    values = np.asarray(values, dtype=np.float64)
    n, m = values.shape
    if n < 2:
        return np.full(m, np.nan), np.full(m, np.nan)
    mean = values.mean(axis=0)
    means = resampled_means(values, rng, n_resamples)
    below = ((means < mean).mean(axis=0) + (means <= mean).mean(axis=0)) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / (2 * n_resamples), 1 - 1 / (2 * n_resamples)))
    deviation = values - mean
    squares = np.square(deviation).sum(axis=0)
    constant = squares <= 1e-24 * np.maximum(np.square(mean), 1e-300) * n
    acceleration = (deviation**3).sum(axis=0) / (6 * np.where(constant, 1.0, squares) ** 1.5)
    limits = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + stats.norm.ppf(tail)
        share = stats.norm.cdf(bias + z / (1 - acceleration * z))
        limits.append([np.quantile(means[:, column], share[column]) for column in range(m)])
    low, high = np.array(limits)
    return np.where(constant, mean, low), np.where(constant, mean, high)


def resampled_means(values: np.ndarray, rng: np.random.Generator, n_resamples: int) -> np.ndarray:
    """Column means of rows drawn with replacement, shape (n_resamples, m)."""
    n = len(values)
    step = max(1, DRAWS_AT_A_TIME // n)
    means = []
    for start in range(0, n_resamples, step):
        size = min(step, n_resamples - start)
        drawn = rng.integers(0, n, size=(size, n)) + np.arange(size)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        means.append(times @ values / n)
    return np.concatenate(means)


def align(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two per-user frames, indexed by the same users in the same order, with the metrics of the first.

    Raises
    ------
    ValueError
        Where users repeat, the two sets of users differ, or the second lacks a metric.
    """
    a, b = a.set_index("user_id"), b.set_index("user_id")
    if not (a.index.is_unique and b.index.is_unique):
        raise ValueError("Expected one row a user, found repeated users; average seeds per user first.")
    if len(a) != len(b) or not a.index.isin(b.index).all():
        raise ValueError(
            f"Paired comparisons need the same users on both sides, found {len(a)} and {len(b)} users, "
            f"{int(a.index.isin(b.index).sum())} of them in both; score both on the same task."
        )
    missing = [name for name in a.columns if name not in b.columns]
    if missing:
        raise ValueError(f"Expected the same metrics on both sides, the second lacks {', '.join(missing)}.")
    return a, b.loc[a.index, a.columns]


def paired_difference(
    a: pd.DataFrame, b: pd.DataFrame, rng: np.random.Generator, *, n_resamples: int = RESAMPLES, level: float = 0.95
) -> pd.DataFrame:
    """Mean difference a - b over the same users, with bootstrap intervals over users.

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
        ``metric, k, diff, ci_low, ci_high, n_users``, one row a column.

    Examples
    --------
    >>> a = pd.DataFrame({"user_id": ["x", "y"], "NDCG@5": [0.5, 1.0]})
    >>> float(paired_difference(a, a, np.random.default_rng(0))["diff"][0])
    0.0
    """
    a, b = align(a, b)
    differences = a.to_numpy(float) - b.to_numpy(float)
    low, high = bootstrap_means(differences, rng, n_resamples=n_resamples, level=level)
    return labelled(a.columns, diff=differences.mean(axis=0), ci_low=low, ci_high=high, n_users=len(a))


def labelled(columns, **values) -> pd.DataFrame:
    """A long frame ``metric, k, ...`` from columns like ``NDCG@50``."""
    names = [str(column).rsplit("@", 1) for column in columns]
    return pd.DataFrame({"metric": [n for n, _ in names], "k": [int(k) for _, k in names], **values})


def randomisation_p(a: pd.DataFrame, b: pd.DataFrame, rng: np.random.Generator, n: int = 9999) -> pd.Series:
    """Two-sided paired randomisation test: a and b are exchanged within users at random.

    Parameters
    ----------
    a, b : DataFrame
        As in `paired_difference`.
    rng : numpy.random.Generator
    n : int
        Random exchanges.

    Returns
    -------
    Series
        p = (1 + draws at least as extreme) / (1 + n), indexed by column. The test of
        ``scipy.stats.permutation_test(permutation_type="samples")`` on the mean difference.

    Examples
    --------
    >>> a = pd.DataFrame({"user_id": ["x", "y"], "NDCG@5": [0.5, 1.0]})
    >>> float(randomisation_p(a, a, np.random.default_rng(0), n=9)["NDCG@5"])
    1.0
    """
    a, b = align(a, b)
    differences = a.to_numpy(float) - b.to_numpy(float)
    observed = np.abs(differences.sum(axis=0))
    reached = np.zeros(differences.shape[1], dtype=np.int64)
    step = max(1, DRAWS_AT_A_TIME // len(differences))
    for start in range(0, n, step):
        signs = rng.integers(0, 2, size=(min(step, n - start), len(differences))) * 2.0 - 1.0
        reached += (np.abs(signs @ differences) >= observed * (1 - 1e-9) - 1e-12).sum(axis=0)
    return pd.Series((1 + reached) / (1 + n), index=a.columns)


def max_t(real, permuted) -> pd.DataFrame:
    """Test by max-T, one-sided, whether each statistic exceeds its values under permutation.

    Parameters
    ----------
    real : array, shape (B,)
        Statistic of each backend with its real vectors.
    permuted : array, shape (P, B)
        The same under P permutations of tracks; one row is *one* permutation, the same for all backends.

    Returns
    -------
    DataFrame
        ``t, p, p_adjusted``, one row a backend in the order given. ``p_adjusted`` holds family-wise over the backends
        (step-down).

    Notes
    -----
    Each column is standardised by mean and standard deviation of all 1 + P values, the real one *included*: the real
    arrangement is then one of 1 + P exchangeable ones and p = (1 + count) / (1 + P) is exact at any P. A column that
    never varies has t = 0 and p = 1. Step-down (Westfall and Young 1993, algorithm 4.1): the k-th largest t is
    compared with the maxima over itself and the smaller ones; adjusted p never fall along that order.

    Examples
    --------
    >>> max_t([3.0], [[1.0], [2.0], [0.0]])["p"].tolist()
    [0.25]
    """
    real, permuted = _real_and_permuted(real, permuted)
    everything = np.vstack([real, permuted])
    deviation = everything.std(axis=0)
    varies = deviation > 1e-12
    t = np.where(varies, (everything - everything.mean(axis=0)) / np.where(varies, deviation, 1.0), 0.0)
    t_real, t_permuted = t[0], t[1:]
    count = (t_permuted >= t_real - 1e-9).sum(axis=0)
    order = np.argsort(-t_real, kind="stable")
    maxima = np.maximum.accumulate(t_permuted[:, order[::-1]], axis=1)[:, ::-1]
    stepped = (1 + (maxima >= t_real[order] - 1e-9).sum(axis=0)) / (1 + len(permuted))
    adjusted = np.empty(len(real))
    adjusted[order] = np.maximum.accumulate(stepped)
    return pd.DataFrame({"t": t_real, "p": (1 + count) / (1 + len(permuted)), "p_adjusted": adjusted})


def trained_test(real, permuted) -> pd.DataFrame:
    """Test by t, one-sided, whether each statistic of a trained model exceeds its values under few permutations.

    For models too slow to train under the many permutations that `max_t` needs.

    Parameters
    ----------
    real : array, shape (B,)
        Statistic of each backend with its real vectors, averaged over seeds where there are several.
    permuted : array, shape (P, B)
        The same under P >= 5 permutations of tracks, each trained once, with a seed of its own.

    Returns
    -------
    DataFrame
        ``t, p, p_adjusted``, one row a backend in the order given. ``p_adjusted`` holds family-wise over the backends
        (Holm).

    Raises
    ------
    ValueError
        Where there are fewer than 5 permutations, shapes differ, or a statistic is not finite.

    Notes
    -----
    ``t = (real - mean permuted) / (s sqrt(1 + 1/P))`` with B(P - 1) degrees of freedom, s^2 being the variance of
    permuted runs about the mean of their backend, pooled over backends. Real runs are kept out of s: their seeds share
    one arrangement of tracks, whose luck they cannot show. Where no permuted run varies, t = 0 and p = 1.

    A permuted run has the luck of an arrangement, variance a, and of a seed, variance e. With one real seed the
    denominator above is right. The mean of S real seeds has variance a + e/S alone, and the right squared denominator
    is (a + e)(1 + 1/P) - e(1 - 1/S): the test is then conservative. Rates of ``p <= .05`` at P = 5, B = 5, a = e in
    20,000 null worlds: .050 with S = 1, .029 with S = 3 (any of 5 by Holm: .049 and .020). Subtracting an estimate of
    e(1 - 1/S) from s^2 overshoots (.063; any of 5: .086). What restores .05 is as many seeds a permutation as there
    are real ones, averaged. Pooling judges the backend of widest spread by the spread of all: where spreads range over
    a factor of 1.3 the family-wise rate at S = 1 rises from .049 to .052, over a factor of 2 to .066 (of KNN under
    permutations they range over 1.05 to 1.26). Permutations shared by all backends do no harm (.048).

    Examples
    --------
    >>> trained_test([4.0], [[1.0], [2.0], [3.0], [2.0], [2.0]]).round(3).values.tolist()
    [[2.582, 0.031, 0.031]]
    """
    real, permuted = _real_and_permuted(real, permuted)
    n = len(permuted)
    if n < FEWEST_PERMUTATIONS:
        raise ValueError(
            f"Expected at least {FEWEST_PERMUTATIONS} permuted runs a backend to judge their spread by, found {n}; "
            "train under more permutations."
        )
    spread = np.sqrt(permuted.var(axis=0, ddof=1).mean())
    t = np.zeros(len(real))
    p = np.ones(len(real))
    if spread > 1e-12:
        t = (real - permuted.mean(axis=0)) / (spread * np.sqrt(1 + 1 / n))
        p = stats.t.sf(t, len(real) * (n - 1))
    return pd.DataFrame({"t": t, "p": p, "p_adjusted": holm(p)})


def _real_and_permuted(real, permuted) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of B backends, shape (B,), and of their permuted runs, shape (P, B)."""
    real, permuted = np.atleast_1d(np.asarray(real, float)), np.asarray(permuted, float)
    if permuted.ndim != 2 or permuted.shape[1] != len(real) or not len(permuted):
        raise ValueError(
            f"Expected permuted statistics of shape (permutations, {len(real)}), found {permuted.shape}; "
            "give one column a backend and one row a permutation."
        )
    if not (np.isfinite(real).all() and np.isfinite(permuted).all()):
        raise ValueError("Expected finite statistics, found NaN or infinity; leave out what has not run.")
    return real, permuted


def holm(p) -> np.ndarray:
    """Adjust p values by Holm's step-down procedure.

    The numbers of statsmodels' ``multipletests``, which collects garbage at every call and so takes up to .1 s.

    Examples
    --------
    >>> holm([0.01, 0.04]).tolist()
    [0.02, 0.04]
    """
    p = np.asarray(p, float)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted
