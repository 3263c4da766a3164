import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.evaluation.statistics import (
    benjamini_hochberg,
    bootstrap_means,
    holm,
    max_t,
    paired_difference,
    paired_difference_of_seeds,
    randomisation_p,
    trained_test,
)


def frame(values, order=None):
    users = [f"u{i:03d}" for i in range(len(values))]
    made = pd.DataFrame({"user_id": users, "NDCG@10": values})
    return made if order is None else made.iloc[order]


def test_bca_agrees_with_scipy_on_skewed_scores():
    values = np.random.default_rng(0).exponential(size=(60, 1)) ** 2
    low, high = bootstrap_means(values, np.random.default_rng(1), n_resamples=20_000)
    theirs = stats.bootstrap((values[:, 0],), np.mean, rng=2, n_resamples=20_000).confidence_interval
    assert [low[0], high[0]] == pytest.approx(list(theirs), rel=0.02)


def test_intervals_cover():
    """95 % intervals of a zero-heavy metric over 200 users hold the truth in 95 % of 400 data sets, within noise."""
    rng = np.random.default_rng(3)
    values = rng.beta(1, 3, (200, 400)) * (rng.random((200, 400)) < 0.3)
    low, high = bootstrap_means(values, rng, n_resamples=600)
    assert 0.92 < np.mean((low <= 0.075) & (high >= 0.075)) < 0.98


def test_paired_difference_aligns_users():
    rng = np.random.default_rng(0)
    a = rng.random(50)
    b = a - 0.1 + 0.01 * rng.standard_normal(50)
    row = paired_difference(frame(a), frame(b, rng.permutation(50)), rng).iloc[0]
    assert (row["metric"], row["k"], row["n_users"]) == ("NDCG", 10, 50)
    assert row["diff"] == pytest.approx((a - b).mean())
    assert 0.09 < row["ci_low"] < row["diff"] < row["ci_high"] < 0.11


def test_users_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="same users on both sides, found 3 and 2"):
        paired_difference(frame([1, 2, 3]), frame([1, 2]), np.random.default_rng(0))
    with pytest.raises(ValueError, match="repeated users"):
        paired_difference(frame([1, 2], [0, 0]), frame([1, 2]), np.random.default_rng(0))
    other = frame([1, 2]).rename(columns={"NDCG@10": "NDCG@5"})
    with pytest.raises(ValueError, match="lacks NDCG@10"):
        paired_difference(frame([1, 2]), other, np.random.default_rng(0))


def test_randomisation_agrees_with_scipy():
    rng = np.random.default_rng(4)
    a, b = rng.random(40), rng.random(40) + 0.12
    ours = randomisation_p(frame(a), frame(b), rng, n=9999)["NDCG@10"]
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", n_resamples=9999, rng=5
    ).pvalue
    assert ours == pytest.approx(theirs, abs=0.012)
    assert randomisation_p(frame(a), frame(a), rng, n=99)["NDCG@10"] == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_holm_equals_statsmodels_bit_by_bit():
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 11):
        p = rng.integers(1, 20, n) / 100  # with ties
        assert holm(p).tolist() == multipletests(p, method="holm")[1].tolist()
    assert holm([0.7, 0.9]).tolist() == [1, 1]


def test_max_t_by_hand():
    permuted = [[1, 5], [2, 1], [3, 2], [4, 3]]
    result = max_t([5, 4], permuted)
    assert result["p"].tolist() == [1 / 5, 2 / 5]
    assert result["p_adjusted"].tolist() == [2 / 5, 2 / 5]  # 5 of the second backend ties with the first's t


def test_max_t_ignores_scale_and_constant_columns():
    rng = np.random.default_rng(0)
    real, permuted = np.array([3.0, 0.1, 0.0]), rng.standard_normal((99, 3))
    scaled = max_t(real * [1, 1e4, 1] + 7, permuted * [1, 1e4, 1] + 7)
    pd.testing.assert_frame_equal(max_t(real, permuted), scaled)
    constant = max_t([1.0, 2.0], np.column_stack([permuted[:, 0], np.full(99, 2.0)]))
    assert constant["p"][1] == constant["p_adjusted"][1] == 1


def test_max_t_rejects_more_than_the_single_step_after_a_clear_winner():
    rng = np.random.default_rng(1)
    permuted = rng.standard_normal((999, 2))
    result = max_t([20.0, 1.8], permuted)
    single = (1 + (permuted.max(axis=1) >= 1.8).sum()) / 1000
    assert result["p_adjusted"][1] < single


def test_canary_max_t_fires_at_the_nominal_rate_in_null_worlds():
    """400 worlds, 5 dependent backends of different scale, P = 19: any p_adjusted <= .05 in 5 % of them, exactly."""
    rng = np.random.default_rng(8)
    fired = 0
    for _ in range(400):
        shared = rng.standard_normal((20, 1))
        values = (shared + rng.exponential(size=(20, 5))) * [1, 2, 3, 10, 0.1]
        fired += (max_t(values[0], values[1:])["p_adjusted"] <= 0.05).any()
    assert stats.binomtest(fired, 400, 0.05).pvalue > 0.01


@pytest.mark.parametrize(
    ("real", "permuted", "sentence"),
    [
        ([1.0, 2.0], np.zeros((9, 3)), r"shape \(permutations, 2\)"),
        ([1.0], np.zeros((0, 1)), "one row a permutation"),
        ([np.nan], np.zeros((9, 1)), "finite statistics"),
    ],
)
def test_errors_are_sentences(real, permuted, sentence):
    with pytest.raises(ValueError, match=sentence):
        max_t(real, permuted)


def test_trained_test_by_hand():
    """Deviations 0, 1, -1, 1, -1 about means 2 and 7: both variances 4/4, so s = 1 with 8 degrees of freedom."""
    permuted = np.array([[2, 7], [3, 8], [1, 6], [3, 8], [1, 6]])
    result = trained_test([5.0, 7.0], permuted)
    assert result["t"].tolist() == pytest.approx([3 / np.sqrt(1.2), 0])
    p = stats.t.sf(3 / np.sqrt(1.2), 8)
    assert result["p"].tolist() == pytest.approx([p, 0.5])
    assert result["p_adjusted"].tolist() == pytest.approx([2 * p, 0.5])


def test_for_one_backend_the_trained_test_is_students_prediction_of_one_more_run():
    """Student's two-sample test with one run on one side: its pooled variance comes from the other side alone."""
    rng = np.random.default_rng(2)
    permuted = rng.normal(size=(7, 1))
    theirs = stats.ttest_ind([1.3], permuted[:, 0], equal_var=True, alternative="greater")
    result = trained_test([1.3], permuted)
    assert result["t"][0] == pytest.approx(theirs.statistic)
    assert result["p"][0] == pytest.approx(theirs.pvalue)


def null_world(rng, n_seeds, n_permutations=5, n_backends=5):
    """Real and permuted values where nothing distinguishes the real arrangement; seeds matter as much as it does."""
    arrangement = rng.normal(size=(1 + n_permutations, 1)) + rng.normal(size=(1 + n_permutations, n_backends))
    seeds = np.sqrt(2) * rng.normal(size=(n_seeds, n_backends))
    permuted = arrangement[1:] + np.sqrt(2) * rng.normal(size=(n_permutations, n_backends))
    return arrangement[0] + seeds.mean(axis=0), permuted


def test_canary_the_trained_test_fires_at_the_nominal_rate_in_null_worlds():
    """2,000 worlds of one seed a run: any of 5 dependent backends at p_adjusted <= .05 in 5 % of them, within noise."""
    rng = np.random.default_rng(5)
    fired = sum((trained_test(*null_world(rng, 1))["p_adjusted"] <= 0.05).any() for _ in range(2000))
    assert stats.binomtest(fired, 2000, 0.05).pvalue > 0.01


def test_real_values_averaged_over_seeds_make_the_trained_test_conservative():
    """With 3 real seeds against 1 a permutation, p <= .05 in about 3 % of null worlds, as its docstring says."""
    rng = np.random.default_rng(6)
    rate = np.mean([(trained_test(*null_world(rng, 3))["p"] <= 0.05).mean() for _ in range(2000)])
    assert 0.02 < rate < 0.04


def test_canary_ignoring_the_luck_of_the_real_arrangement_fires_too_often():
    """Welch's test over 3 real seeds takes their spread for that of arrangements."""
    rng = np.random.default_rng(7)
    fired = 0
    for _ in range(2000):
        arrangement = rng.normal(size=6)
        real = arrangement[0] + 0.5 * rng.normal(size=3)
        permuted = arrangement[1:] + 0.5 * rng.normal(size=5)
        fired += stats.ttest_ind(real, permuted, equal_var=False, alternative="greater").pvalue <= 0.05
    assert fired / 2000 > 0.1


def test_permuted_runs_that_never_vary_decide_nothing():
    result = trained_test([1.0, 0.0], np.zeros((5, 2)))
    assert result.to_numpy().tolist() == [[0, 1, 1], [0, 1, 1]]


@pytest.mark.parametrize(
    ("real", "permuted", "sentence"),
    [
        ([1.0], np.zeros((4, 1)), "at least 5 permuted runs a backend to judge their spread by, found 4"),
        ([1.0, 2.0], np.zeros((9, 3)), r"shape \(permutations, 2\)"),
        ([np.nan], np.zeros((9, 1)), "finite statistics"),
        ([1.0], np.full((9, 1), np.inf), "finite statistics"),
    ],
)
def test_errors_of_the_trained_test_are_sentences(real, permuted, sentence):
    with pytest.raises(ValueError, match=sentence):
        trained_test(real, permuted)


def test_benjamini_hochberg_equals_statsmodels_bit_by_bit():
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 11, 60):
        p = rng.integers(1, 20, n) / 100  # with ties
        assert benjamini_hochberg(p).tolist() == multipletests(p, method="fdr_bh")[1].tolist()
    assert benjamini_hochberg([]).tolist() == []
    with pytest.raises(ValueError, match="leave out what could not be tested"):
        benjamini_hochberg([0.1, np.nan])


def by_seed(scores):
    """Scores of shape (seeds, users) as a frame."""
    return pd.concat([frame(one).assign(seed=seed) for seed, one in enumerate(scores)], ignore_index=True)


def test_one_seed_a_side_is_the_paired_difference():
    a, b = np.random.default_rng(0).random((2, 60))
    ours = paired_difference_of_seeds(by_seed([a]), by_seed([b]), np.random.default_rng(1))
    theirs = paired_difference(frame(a), frame(b), np.random.default_rng(1))
    pd.testing.assert_frame_equal(ours[theirs.columns], theirs)
    assert ours[["n_seeds_a", "n_seeds_b"]].values.tolist() == [[1, 1]]


def test_seeds_add_their_variance():
    """Users differ by nothing: the interval is that of the mean of 12 seeds, normal with their standard error."""
    seeds = np.random.default_rng(0).normal(0.5, 0.1, 12)
    a, b = by_seed(seeds[:, None] + np.zeros(40)), frame(np.zeros(40)).assign(seed=0)
    row = paired_difference_of_seeds(a, b, np.random.default_rng(1), n_resamples=8000).iloc[0]
    error = seeds.std(ddof=1) / np.sqrt(12)
    assert (row["ci_high"] - row["ci_low"]) / (2 * 1.96 * error) == pytest.approx(1, abs=0.06)
    mirrored = paired_difference_of_seeds(b, a, np.random.default_rng(1), n_resamples=8000).iloc[0]
    assert [-mirrored["ci_high"], -mirrored["ci_low"]] == pytest.approx([row["ci_low"], row["ci_high"]], abs=0.004)


def test_a_user_without_a_seed_is_refused():
    a = by_seed(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="every user once under every seed, found 5 rows under one and 4"):
        paired_difference_of_seeds(a.iloc[:-1], a, np.random.default_rng(0))
