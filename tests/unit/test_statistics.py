import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.statistics import bootstrap_means, holm, max_t, paired_difference, randomisation_p


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
