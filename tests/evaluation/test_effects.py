import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.evaluation.effects import differing, effect_sizes, few_differ, minimum_detectable_difference


def frame(values):
    return pd.DataFrame({"user_id": [f"u{i:03d}" for i in range(len(values))], "NDCG@10": np.asarray(values, float)})


def sizes(differences, n_resamples=2000):
    zeros = np.zeros(len(differences))
    return effect_sizes(frame(differences), frame(zeros), np.random.default_rng(1), n_resamples=n_resamples).iloc[0]


def test_effect_sizes_by_hand():
    """Differences 1, 0, 0, -1, 2: mean .4, squares about it 5.2, so d_z = .4 / sqrt(1.3); 2 wins, 2 ties of 5."""
    row = sizes([1, 0, 0, -1, 2])
    assert row["d_z"] == pytest.approx(0.4 / np.sqrt(1.3))
    assert (row["superiority"], row["ties"], row["n_users"]) == (pytest.approx(0.6), pytest.approx(0.4), 5)


def test_intervals_of_effect_sizes_agree_with_scipy():
    rng = np.random.default_rng(0)
    differences = rng.exponential(size=80) * (rng.random(80) < 0.5) - 0.3 * (rng.random(80) < 0.4)
    row = sizes(differences, n_resamples=20_000)
    theirs = stats.bootstrap(
        (differences,), lambda x, axis: x.mean(axis=axis) / x.std(axis=axis, ddof=1), rng=2, n_resamples=20_000
    ).confidence_interval
    assert [row["d_z_low"], row["d_z_high"]] == pytest.approx(list(theirs), abs=0.01)
    wins = (np.sign(differences) + 1) / 2
    theirs = stats.bootstrap((wins,), np.mean, rng=2, n_resamples=20_000).confidence_interval
    assert [row["superiority_low"], row["superiority_high"]] == pytest.approx(list(theirs), abs=0.015)


def test_effect_sizes_without_spread_say_so():
    assert sizes([0, 0, 0])[["d_z", "d_z_low", "d_z_high", "superiority"]].tolist() == [0, 0, 0, 0.5]
    assert sizes([1, 1, 1])[["d_z", "d_z_low", "d_z_high"]].tolist() == [math.inf] * 3
    assert np.isnan(sizes([1])[["d_z", "superiority_low"]].astype(float)).all()


def test_canary_a_tie_left_by_rounding_is_a_tie():
    a, b = frame([0.1 + 0.2, 0.5, 0.5]), frame([0.3, 0.5, 0.0])
    row = effect_sizes(a, b, np.random.default_rng(0)).iloc[0]
    assert (row["superiority"], row["ties"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


@pytest.mark.parametrize(("n", "n_tests", "wanted"), [(200, 1, 0.8), (200, 10, 0.8), (11_000, 55, 0.9)])
def test_the_detectable_difference_has_the_power_it_names_by_statsmodels(n, n_tests, wanted):
    from statsmodels.stats.power import TTestPower

    detectable = minimum_detectable_difference(0.3, n, power=wanted, n_tests=n_tests)
    assert TTestPower().power(detectable / 0.3, n, 0.05 / n_tests) == pytest.approx(wanted, abs=1e-6)


def test_the_detectable_difference_of_very_few_users_is_what_simulation_finds():
    rng = np.random.default_rng(0)
    for n, n_tests in ((2, 1), (3, 1), (5, 10)):  # where statsmodels has no numbers
        detectable = minimum_detectable_difference(1.0, n, n_tests=n_tests)
        t = stats.ttest_1samp(rng.normal(detectable, 1, (100_000, n)), 0, axis=1)
        assert (t.pvalue < 0.05 / n_tests).mean() == pytest.approx(0.8, abs=0.005)
    assert minimum_detectable_difference(0.3, 1) == math.inf


def test_detectable_difference_of_cohens_table():
    """Cohen (1988): d = .5, two-sided .05, power .8 needs 34 pairs (33.4 before rounding up)."""
    assert minimum_detectable_difference(1.0, 34) < 0.5 < minimum_detectable_difference(1.0, 33)


def test_listeners_that_tie_are_not_counted_as_differing():
    scores = np.array([[0.0, 0.2], [0.1 + 0.2 - 0.3, -0.1], [0.0, 0.0]])  # what rounding left of a tie is a tie
    assert differing(scores).tolist() == [0, 2]


def test_what_counts_is_how_many_differ_and_not_how_many_there_are():
    """Canary: 1,000 listeners of whom 99 differ are few, 100 that all differ are enough."""
    compared = pd.DataFrame({"n_differ": [400, 99, 100], "n_users": [1000, 1000, 100]})
    assert "Only 99 of 1000 listeners" in few_differ(compared, "in a pair")[0]
    assert few_differ(compared.drop(1), "in a pair") == few_differ(compared.head(0), "in a pair") == []
