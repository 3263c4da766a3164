"""Intervals over users and tests that decide.

The unit is the test user and comparisons are paired. Intervals over users describe; whether content beats shuffled
vectors is decided over permutations of tracks: by `max_t` where there are many, by `trained_test` where models are
trained under a few.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

__all__ = ["holm", "randomisation_p"]


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
    deviation = values - mean
    squares = np.square(deviation).sum(axis=0)
    constant = squares <= 1e-24 * np.maximum(np.square(mean), 1e-300) * n
    low, high = bca_limits(mean, resampled_means(values, rng, n_resamples), deviation, level)
    return np.where(constant, mean, low), np.where(constant, mean, high)


def bca_limits(
    estimate: np.ndarray, resampled: np.ndarray, influence: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bias-corrected and accelerated limits from what a bootstrap drew.

    Parameters
    ----------
    estimate : array, shape (m,)
    resampled : array, shape (n_resamples, m)
        The same statistics of resampled rows.
    influence : array, shape (n, m)
        Of each unit that was drawn on the estimate, up to a factor: its skewness is the acceleration.
    level : float

    Returns
    -------
    low, high : ndarray, shape (m,)

    Examples
    --------
    >>> low, high = bca_limits(np.array([2.0]), np.arange(5.0)[:, None], np.array([[-1.0], [1.0]]), 0.5)
    >>> low.round(1).tolist(), high.round(1).tolist()
    ([1.0], [3.0])
    """
    n, m = resampled.shape
    squares = np.square(influence).sum(axis=0)
    varies = squares > 1e-200
    acceleration = np.where(varies, (influence**3).sum(axis=0) / (6 * np.where(varies, squares, 1.0) ** 1.5), 0.0)
    below = ((resampled < estimate).mean(axis=0) + (resampled <= estimate).mean(axis=0)) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / (2 * n), 1 - 1 / (2 * n)))
    limits = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + stats.norm.ppf(tail)
        share = stats.norm.cdf(bias + z / (1 - acceleration * z))
        limits.append([np.quantile(resampled[:, column], share[column]) for column in range(m)])
    low, high = np.array(limits)
    return low, high


def resampled_means(values: np.ndarray, rng: np.random.Generator, n_resamples: int) -> np.ndarray:
    """Means of columns over rows drawn whole, with replacement.

    Parameters
    ----------
    values : array, shape (n, m)
    rng : numpy.random.Generator
    n_resamples : int

    Returns
    -------
    ndarray, shape (n_resamples, m)

    Examples
    --------
    >>> resampled_means(np.array([[1.0, 5.0], [1.0, 5.0]]), np.random.default_rng(0), 2).tolist()
    [[1.0, 5.0], [1.0, 5.0]]
    """
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


def paired_difference_of_seeds(
    a: pd.DataFrame, b: pd.DataFrame, rng: np.random.Generator, *, n_resamples: int = RESAMPLES, level: float = 0.95
) -> pd.DataFrame:
    """Mean difference a - b over the same users, with bootstrap intervals over users and over seeds.

    `paired_difference` of means over seeds says how much other users would change the difference; this one says how
    much other users and other trainings would.

    Parameters
    ----------
    a, b : DataFrame
        ``user_id, seed`` and columns like ``NDCG@50``: every user once under every seed of its side. Seeds of the two
        sides have nothing to do with each other; a side with one seed, or a deterministic one, has its users drawn
        alone.
    rng : numpy.random.Generator
    n_resamples : int
    level : float

    Returns
    -------
    DataFrame
        As `paired_difference`, with ``n_seeds_a, n_seeds_b``.

    Raises
    ------
    ValueError
        Where a user lacks a seed, or the sides do not pair as in `align`.

    Notes
    -----
    BCa over users x seeds (crossed: Owen 2007, the pigeonhole bootstrap). Of S seeds S - 1 are drawn, since S drawn
    would show (S - 1)/S of their variance (McCarthy and Snowden 1985): a third too little at S = 3. With so few seeds
    the interval is still too short where seeds matter much; benchmarks/intervals_and_tests.md says by how much.

    Examples
    --------
    >>> a = pd.DataFrame({"user_id": ["x", "y"] * 2, "seed": [0, 0, 1, 1], "NDCG@5": [0.5, 1.0, 0.7, 0.8]})
    >>> float(paired_difference_of_seeds(a, a, np.random.default_rng(0))["diff"][0])
    0.0
    """
    (seeds_a, mean_a), (seeds_b, mean_b) = _by_seed(a), _by_seed(b)
    mean_a, mean_b = align(mean_a, mean_b)
    order, columns = mean_a.index, mean_a.columns
    scores = [side[name].loc[order, columns].to_numpy(float) for side in (seeds_a, seeds_b) for name in side]
    n, m, n_a, n_b = len(order), len(columns), len(seeds_a), len(seeds_b)
    per_user = mean_a.to_numpy(float) - mean_b.to_numpy(float)
    diff = per_user.mean(axis=0)
    if n < 2:
        low = high = np.full(m, np.nan)
    else:
        drawn = resampled_means(np.hstack(scores), rng, n_resamples).reshape(n_resamples, n_a + n_b, m)
        weights = np.hstack([_seed_weights(n_a, rng, n_resamples), -_seed_weights(n_b, rng, n_resamples)])
        of_seeds = np.array([one.mean(axis=0) for one in scores])
        influence = np.vstack(
            [(per_user - diff) / n]
            + [(one - one.mean(axis=0)) / len(one) for one in (of_seeds[:n_a], -of_seeds[n_a:]) if len(one) > 1]
        )
        low, high = bca_limits(diff, np.einsum("rsm,rs->rm", drawn, weights), influence, level)
    return labelled(columns, diff=diff, ci_low=low, ci_high=high, n_users=n, n_seeds_a=n_a, n_seeds_b=n_b)


def _by_seed(frame: pd.DataFrame) -> tuple[dict, pd.DataFrame]:
    """Scores of every seed, indexed by user, and their mean with ``user_id`` as a column."""
    seeds = {seed: rows.drop(columns="seed").set_index("user_id") for seed, rows in frame.groupby("seed")}
    first = next(iter(seeds.values()), pd.DataFrame())
    for seed, rows in seeds.items():
        if not rows.index.is_unique or len(rows) != len(first) or not rows.index.isin(first.index).all():
            raise ValueError(
                f"Expected every user once under every seed, found {len(first)} rows under one and {len(rows)} under "
                f"seed {seed}; score all seeds on the same task."
            )
    return seeds, frame.drop(columns="seed").groupby("user_id", as_index=False, sort=False).mean()


def _seed_weights(n_seeds: int, rng: np.random.Generator, n_resamples: int) -> np.ndarray:
    """Weights of seeds in resamples, shape (n_resamples, n_seeds): of S seeds S - 1 are drawn, the only one always."""
    size = max(1, n_seeds - 1)
    return rng.multinomial(size, np.full(n_seeds, 1 / n_seeds), size=n_resamples) / size


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
    permutations they range over 1.05 to 1.26). Permutations shared by all backends do no harm (.048). Means of few
    listeners with hits are not normal: with 80 % zeros among 200 listeners the rate is .058 (any of 5: .065), with 95 %
    .065 (any of 5: .088), with 80 % among 1,000 .052 (benchmarks/intervals_and_tests.md).

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


def benjamini_hochberg(p) -> np.ndarray:
    """Adjust p values to q values by Benjamini and Hochberg's step-up procedure (1995).

    For exploration: among all with q <= .05 at most 5 % are false in the mean, where tests are independent or
    positively dependent. The numbers of statsmodels' ``multipletests(method="fdr_bh")``.

    Parameters
    ----------
    p : array, shape (n,)
        In [0, 1].

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError
        Where a p value is missing or outside [0, 1].

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    p = np.asarray(p, float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("Expected p values between 0 and 1, found others; leave out what could not be tested.")
    order = np.argsort(p)
    scaled = p[order] / (np.arange(1, len(p) + 1) / len(p))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return adjusted
