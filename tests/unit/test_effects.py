import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.effects import effect_sizes, equivalence, minimum_detectable_difference, power


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


def test_equivalence_agrees_with_statsmodels():
    from statsmodels.stats.weightstats import ttost_paired

    rng = np.random.default_rng(0)
    for shift in (0.0, 0.1, -0.15, 0.4):
        differences = rng.normal(shift, 0.5, 120)
        found = equivalence(differences, delta=0.2)
        assert found["p"] == pytest.approx(ttost_paired(differences, np.zeros(120), -0.2, 0.2)[0])
        inside = found["ci_low"] > -0.2 and found["ci_high"] < 0.2
        assert found["equivalent"] == inside == (found["p"] < 0.05)


def test_equivalence_is_not_shown_by_what_is_only_not_significant():
    """Canary: 5 users without a significant difference show nothing, nor does one user, nor a difference of delta."""
    assert not equivalence([0.3, -0.3, 0.2, -0.25, 0.0], delta=0.05)["equivalent"]
    assert equivalence([0.0], delta=0.05)["p"] == equivalence([], delta=0.05)["p"] == 1
    assert not equivalence([0.05, 0.05, 0.05], delta=0.05)["equivalent"]
    assert equivalence([0.0, 0.0, 0.0], delta=0.05)["equivalent"]


def test_power_agrees_with_statsmodels():
    from statsmodels.stats.power import TTestPower

    for effect, sd, n, alpha, n_tests in [(0.5, 1, 34, 0.05, 1), (0.02, 0.1, 200, 0.05, 10), (0.3, 1, 5, 0.01, 1)]:
        theirs = TTestPower().power(effect / sd, n, alpha / n_tests, alternative="two-sided")
        assert power(effect, sd, n, alpha, n_tests) == pytest.approx(theirs)
        assert power(-effect, sd, n, alpha, n_tests) == pytest.approx(theirs)


def test_power_where_scipy_has_no_numbers_continues_what_it_has():
    assert np.isnan(stats.nct.cdf(-4.3, 2, 15.6))  # without which the branch would have no use
    near, far = power(5.5, 1.0, 3), power(9.0, 1.0, 3)
    assert 0.99 < near < far <= 1
    rng = np.random.default_rng(0)
    t = stats.ttest_1samp(rng.normal(8, 1, (100_000, 2)), 0, axis=1)
    assert power(8.0, 1.0, 2) == pytest.approx((t.pvalue < 0.05).mean(), abs=0.005)


def test_the_detectable_difference_has_the_power_it_names():
    for n, n_tests, wanted in [(200, 1, 0.8), (5, 10, 0.8), (2, 1, 0.8), (11_000, 55, 0.9)]:
        detectable = minimum_detectable_difference(0.3, n, power=wanted, n_tests=n_tests)
        assert power(detectable, 0.3, n, n_tests=n_tests) == pytest.approx(wanted, abs=1e-6)
    assert minimum_detectable_difference(0.3, 1) == math.inf
    assert power(0.1, 0.3, 1) == 0


def test_detectable_difference_of_cohens_table():
    """Cohen (1988): d = .5, two-sided .05, power .8 needs 34 pairs (33.4 before rounding up)."""
    assert minimum_detectable_difference(1.0, 34) < 0.5 < minimum_detectable_difference(1.0, 33)


def test_errors_are_sentences():
    with pytest.raises(ValueError, match="difference of interest above 0, found delta = 0"):
        equivalence([0.1, 0.2], delta=0)
    with pytest.raises(ValueError, match="nothing varies to test"):
        power(0.1, 0.0, 20)
