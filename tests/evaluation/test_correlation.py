import itertools

import numpy as np
import pytest
from scipy import stats

from lib.evaluation import correlation


@pytest.mark.parametrize("method", correlation.METHODS)
def test_estimate_and_p_are_those_of_scipy_over_all_pairings(method):
    rng = np.random.default_rng(1)
    of = {"spearman": stats.spearmanr, "kendall": stats.kendalltau}[method]
    for n in (4, 6):
        x, y = rng.random((2, n))
        found = correlation.exact_correlation(x, y, method)
        expected = stats.permutation_test(
            (x,), lambda side, y=y: of(side, y).statistic, permutation_type="pairings", n_resamples=np.inf
        )
        assert found["estimate"] == pytest.approx(expected.statistic)
        assert found["p"] == pytest.approx(expected.pvalue)
        assert found["exact"]


def test_kendall_agrees_with_scipys_exact_method_at_any_n():
    rng = np.random.default_rng(2)
    for n in (7, 12, 24):
        x, y = rng.random((2, n))
        found = correlation.exact_correlation(x, x + 0.5 * y, "kendall")
        expected = stats.kendalltau(x, x + 0.5 * y, method="exact")
        assert (found["estimate"], found["p"]) == pytest.approx((expected.statistic, expected.pvalue))


@pytest.mark.parametrize("method", correlation.METHODS)
def test_ties_are_counted_over_all_pairings(method):
    of = {"spearman": stats.spearmanr, "kendall": stats.kendalltau}[method]
    x, y = np.array([1.0, 2.0, 2.0, 3.0, 5.0, 5.0]), np.array([2.0, 1.0, 2.0, 4.0, 3.0, 4.0])
    seen = abs(of(x, y).statistic)
    everywhere = [abs(of(x, y[list(order)]).statistic) >= seen - 1e-9 for order in itertools.permutations(range(6))]
    found = correlation.exact_correlation(x, y, method)
    assert found["estimate"] == pytest.approx(of(x, y).statistic)
    assert found["p"] == pytest.approx(np.mean(everywhere))


@pytest.mark.parametrize(
    ("n", "spearman", "kendall"),
    [(6, 0.886, 0.867), (7, 0.786, 0.714), (8, 0.738, 0.643), (9, 0.700, 0.556), (10, 0.648, 0.511)],
)
def test_thresholds_are_those_of_the_published_tables(n, spearman, kendall):
    found = correlation.thresholds(n)
    assert round(found["spearman"], 3) == spearman
    assert round(found["kendall"], 3) == kendall


def test_few_points_cannot_decide():
    assert [round(correlation.smallest_p(n), 3) for n in (1, 2, 3, 4, 5)] == [1, 1, 0.333, 0.083, 0.017]
    assert np.isnan(correlation.thresholds(4)["spearman"])
    assert correlation.thresholds(5)["spearman"] == 1
    assert all("cannot be decided" in correlation.cannot_decide(n) for n in (0, 1, 2, 3, 4))
    assert not correlation.cannot_decide(5)
    assert "cannot be decided" in correlation.cannot_decide(5, alpha=0.01)


def test_nine_tenths_over_five_points_is_not_significant():
    x, y = [1, 2, 3, 4, 5], [1, 2, 3, 5, 4]
    assert stats.spearmanr(x, y).pvalue < 0.05  # the usual p, wrong by a factor at five points
    assert correlation.exact_correlation(x, y)["p"] == pytest.approx(10 / 120)


def test_power_is_that_of_the_enumeration():
    table = correlation.power_table([7, 8, 10], [0.6, 0.8], np.random.default_rng(0), n_worlds=20_000)
    assert table["power"].to_numpy() == pytest.approx([0.24, 0.50, 0.28, 0.59, 0.39, 0.76], abs=0.012)
    null = correlation.power_table([7, 12], [0.0], np.random.default_rng(0), n_worlds=20_000)["power"]
    assert (null <= 0.055).all()


def test_interval_of_six_tenths_over_seven_points_says_almost_nothing():
    ranks = next(
        order
        for order in itertools.permutations(range(7))
        if correlation.exact_correlation(range(7), order)["estimate"] == pytest.approx(0.607, abs=0.01)
    )
    found = correlation.exact_correlation(range(7), ranks)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((-0.35, 0.94), abs=0.01)


def test_kendalls_interval_by_hand():
    found = correlation.exact_correlation(range(8), [1, 0, 2, 3, 4, 5, 7, 6], "kendall")
    z, half = np.arctanh(24 / 28), 1.959964 * np.sqrt(0.437 / 4)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((np.tanh(z - half), np.tanh(z + half)))


def test_full_agreement_has_an_interval_that_is_not_a_point():
    found = correlation.exact_correlation(range(6), range(6))
    assert found["estimate"] == 1
    assert found["ci_low"] < 0.7
    assert found["ci_high"] == 1


def test_spearmans_interval_covers_what_it_says():
    rng, rho, n = np.random.default_rng(3), 0.6, 12
    true = 6 / np.pi * np.arcsin(rho / 2)
    covered = []
    for x, noise in rng.standard_normal((2000, 2, n)):
        found = correlation.exact_correlation(x, rho * x + np.sqrt(1 - rho**2) * noise)
        covered.append(found["ci_low"] <= true <= found["ci_high"])
    assert 0.93 <= np.mean(covered) <= 0.975


@pytest.mark.parametrize("n", [5, 12, 24])
def test_null_worlds_fire_at_no_more_than_nominal(n):
    rng = np.random.default_rng(4)
    for method in correlation.METHODS:
        p = [correlation.exact_correlation(*sides, method)["p"] for sides in rng.random((1500, 2, n))]
        assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)


def test_random_pairings_come_near_what_is_counted_out(monkeypatch):
    x = np.arange(10.0)
    y = np.array([3, 0, 1, 5, 2, 4, 9, 6, 8, 7])
    counted = correlation.exact_correlation(x, y)
    monkeypatch.setattr(correlation, "MOST_EXACT", 8)
    drawn = correlation.exact_correlation(x, y, seed=11)
    assert counted["exact"]
    assert not drawn["exact"]
    assert drawn["p"] == pytest.approx(counted["p"], abs=0.003)
    assert drawn["p"] >= 1 / (1 + correlation.RANDOM_PAIRINGS)


def test_what_cannot_be_correlated_is_missing_and_does_not_fail():
    for x, y in (([], []), ([1.0], [2.0]), ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])):
        found = correlation.exact_correlation(x, y)
        assert np.isnan([found["estimate"], found["p"], found["ci_low"]]).all()
    two = correlation.exact_correlation([1, 2], [4, 3])
    assert (two["estimate"], two["p"]) == (-1, 1)


def test_one_point_that_carries_all_is_seen():
    x, y = [0, 1, 2, 3, 10], [1.3, 1.1, 1.2, 1.0, 9]
    left = correlation.leave_one_out(x, y, list("abcde")).set_index("left_out")["estimate"]
    assert correlation.exact_correlation(x, y)["estimate"] == pytest.approx(0.1)
    assert left["e"] < -0.7


def test_errors_are_sentences():
    with pytest.raises(ValueError, match="Expected a method among spearman, kendall"):
        correlation.exact_correlation([1, 2], [1, 2], "pearson")
    with pytest.raises(ValueError, match="equal length"):
        correlation.exact_correlation([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="finite"):
        correlation.exact_correlation([1, np.nan], [1, 2])
