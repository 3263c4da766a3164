"""Scores of listeners whose truth is known, and how often intervals and tests are right about it.

Every rate is measured over data sets drawn anew. Zero-heavy scores are those of recommendation: most listeners have no
hit in their list, the others a share of the best score.
"""

import numpy as np
import pandas as pd
from scipy import stats

from lib.evaluation import effects, statistics

BLOCK = 100  # data sets that share resamples of listeners
HIT_MEAN = 0.25  # of beta(1, 3)


def zero_heavy(rng, shape, zeros):
    """NDCG-like: 0 for a share of listeners, else beta(1, 3)."""
    return rng.beta(1, 3, shape) * (rng.random(shape) >= zeros)


def hit_rate(rng, shape, zeros):
    """0 or 1."""
    return (rng.random(shape) >= zeros).astype(float)


def difference(rng, shape, zeros, wins=0.5):
    """Differences of two recommenders: ties for a share of listeners, else beta(1, 3) won or lost."""
    return zero_heavy(rng, shape, zeros) * np.where(rng.random(shape) < wins, 1, -1)


def skewed(rng, shape, zeros=0.0):
    """Differences without ties that are skewed, skewness 2: exponential less its own half."""
    return rng.exponential(size=shape) - 0.5


# name: (draw, share of zeros, options, true mean)
SCORES = {
    "NDCG, 60 % zeros": (zero_heavy, 0.6, {}, 0.4 * HIT_MEAN),
    "NDCG, 80 % zeros": (zero_heavy, 0.8, {}, 0.2 * HIT_MEAN),
    "NDCG, 95 % zeros": (zero_heavy, 0.95, {}, 0.05 * HIT_MEAN),
    "HitRate .4": (hit_rate, 0.6, {}, 0.4),
    "HitRate .05": (hit_rate, 0.95, {}, 0.05),
    "difference, 50 % ties": (difference, 0.5, {}, 0.0),
    "difference, 85 % ties": (difference, 0.85, {}, 0.0),
    "difference, 85 % ties, 3 of 4 won": (difference, 0.85, {"wins": 0.75}, 0.15 * 0.5 * HIT_MEAN),
    "difference, skewness 2": (skewed, 0.0, {}, 0.5),
}


def coverage(name, n, sets, rng, *, n_resamples=2000):
    """How often 95 % intervals of a mean over n listeners hold the truth: BCa, and Student's t for comparison.

    Returns
    -------
    dict
        ``scores, n, bca, too_high, too_low, t``: shares of data sets; `too_high`: the whole interval above the truth.
    """
    draw, zeros, options, truth = SCORES[name]
    lows, highs, student = [], [], []
    for _ in range(sets // BLOCK):
        values = draw(rng, (n, BLOCK), zeros, **options)
        low, high = statistics.bootstrap_means(values, rng, n_resamples=n_resamples)
        lows.append(low)
        highs.append(high)
        half = stats.t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
        student.append(np.abs(values.mean(axis=0) - truth) <= half)
    above, below = (np.concatenate(lows) > truth + 1e-12).mean(), (np.concatenate(highs) < truth - 1e-12).mean()
    return {
        "scores": name,
        "n": n,
        "bca": 1 - above - below,
        "too_high": above,
        "too_low": below,
        "t": np.concatenate(student).mean(),
    }


def effect_coverage(n, sets, rng, *, n_resamples=2000):
    """How often 95 % intervals of d_z and of superiority hold the truth, at half ties and 3 of 4 others won."""
    held = []
    wins, ties = 0.75, 0.5
    mean, square = (1 - ties) * (2 * wins - 1) * HIT_MEAN, (1 - ties) * 0.1  # E beta(1, 3)^2 = 1/10
    d_z, superiority = mean / np.sqrt(square - mean**2), wins * (1 - ties) + ties / 2
    for _ in range(sets // BLOCK):
        found = effects.effect_sizes(*frames(difference(rng, (n, BLOCK), ties, wins)), rng, n_resamples=n_resamples)
        held.append(
            [
                (found["d_z_low"] <= d_z) & (d_z <= found["d_z_high"]),
                (found["superiority_low"] <= superiority) & (superiority <= found["superiority_high"]),
            ]
        )
    return dict(zip(("d_z", "superiority"), np.concatenate(held, axis=1).mean(axis=1), strict=True))


def seeds_coverage(n_seeds, seed_share, sets, rng, *, n=200, n_resamples=2000):
    """How often intervals over users and seeds, and those over users alone, hold a true difference of 0.

    `seed_share` is the share of the variance of the difference of means that trainings make, the rest being listeners'.
    """
    held = []
    error = np.sqrt(0.05 / n * seed_share / (1 - seed_share) * n_seeds / 2)  # of a seed; listeners' variance is .05
    for _ in range(sets // BLOCK):
        sides = frames(difference(rng, (n, BLOCK), 0.5))
        trained = [
            pd.concat(
                [one.set_index("user_id") + rng.normal(0, error, BLOCK) for _ in range(n_seeds)], keys=range(n_seeds)
            )
            .rename_axis(index=["seed", "user_id"])
            .reset_index()
            for one in sides
        ]
        both = statistics.paired_difference_of_seeds(*trained, rng, n_resamples=n_resamples)
        means = [side.drop(columns="seed").groupby("user_id", as_index=False).mean() for side in trained]
        alone = statistics.paired_difference(*means, rng, n_resamples=n_resamples)
        held.append([(found["ci_low"] <= 0) & (found["ci_high"] >= 0) for found in (both, alone)])
    return dict(zip(("users x seeds", "users alone"), np.concatenate(held, axis=1).mean(axis=1), strict=True))


def frames(differences):
    """Two frames of scores of the same listeners whose differences are given, one column a data set."""
    n, m = differences.shape
    users = pd.DataFrame({"user_id": [f"u{i}" for i in range(n)]})
    columns = [f"NDCG@{i + 1}" for i in range(m)]
    a, b = np.maximum(differences, 0), np.maximum(-differences, 0)
    return tuple(pd.concat([users, pd.DataFrame(side, columns=columns)], axis=1) for side in (a, b))


def randomisation_rate(zeros, n, sets, rng, *, draws=999):
    """How often `randomisation_p` finds a difference at .05 where there is none."""
    p = [
        statistics.randomisation_p(*frames(difference(rng, (n, BLOCK), zeros)), rng, n=draws)
        for _ in range(sets // BLOCK)
    ]
    return (np.concatenate(p) <= 0.05).mean()


def null_statistics(rng, zeros, n, runs, backends):
    """Mean scores of null runs under as many arrangements of tracks: (runs, backends), zero-heavy over n listeners.

    Backends of one arrangement share half of each listener's luck, as vectors of the same tracks do.
    """
    shared = zero_heavy(rng, (runs, 1, n), zeros)
    own = zero_heavy(rng, (runs, backends, n), zeros)
    return (np.where(rng.random((runs, backends, n)) < 0.5, shared, own)).mean(axis=2)


def max_t_rate(zeros, n, sets, rng, *, permutations=99, backends=5):
    """How often `max_t` finds any of the backends at .05 in null worlds, after a step-down over all of them."""
    fired = 0
    for _ in range(sets):
        values = null_statistics(rng, zeros, n, 1 + permutations, backends)
        fired += (statistics.max_t(values[0], values[1:])["p_adjusted"] <= 0.05).any()
    return fired / sets


def trained_rate(zeros, n, sets, rng, *, permutations=5, backends=5):
    """How often `trained_test` finds one backend, and any of them by Holm, at .05 in null worlds: (one, any)."""
    found = []
    for _ in range(sets):
        values = null_statistics(rng, zeros, n, 1 + permutations, backends)
        tested = statistics.trained_test(values[0], values[1:])
        found.append([(tested["p"] <= 0.05).mean(), (tested["p_adjusted"] <= 0.05).any()])
    return np.mean(found, axis=0)


def multiple_rates(correlation, sets, rng, *, null=15, real=5):
    """Family-wise rate of Holm, false discovery rate of Benjamini-Hochberg: 20 z tests, 5 of a true effect."""
    family, discovery = [], []
    for _ in range(sets):
        z = np.sqrt(correlation) * rng.normal() + np.sqrt(1 - correlation) * rng.normal(size=null + real)
        z[null:] += 3
        p = stats.norm.sf(z)
        family.append((statistics.holm(p)[:null] <= 0.05).any())
        rejected = statistics.benjamini_hochberg(p) <= 0.05
        discovery.append(rejected[:null].sum() / max(1, rejected.sum()))
    return {"holm": np.mean(family), "benjamini_hochberg": np.mean(discovery)}


def power_found(zeros, n, sets, rng, *, wanted=0.8):
    """How often a paired t test finds a true difference as large as the detectable one for power .8.

    The difference is made by wins of zero-heavy differences; their standard deviation is the true one.
    """
    square = (1 - zeros) * 0.1
    wins = 0.5
    for _ in range(50):  # the standard deviation depends on the difference itself
        mean = (1 - zeros) * (2 * wins - 1) * HIT_MEAN
        detectable = effects.minimum_detectable_difference(np.sqrt(square - mean**2), n, power=wanted)
        wins = 0.5 + detectable / (1 - zeros) / HIT_MEAN / 2
    values = difference(rng, (n, sets), zeros, wins=wins)
    return (stats.ttest_1samp(values, 0).pvalue < 0.05).mean()
