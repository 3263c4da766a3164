"""Pairs of backends: against scipy, in null worlds, in worlds with known differences, and where too little has run."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.answers import backend_pairs as comparison
from lib.answers import rq2
from lib.evaluation import results
from lib.evaluation.results import Run
from lib.study import Study, load_parameters
from lib.study.answers import save_answer

RNG = np.random.default_rng
LABEL = "NDCG@22"


def world(rng, n=80, means=(0.1, 0.1, 0.1, 0.1)):
    """Scores that are mostly 0, of listeners who are easy or hard for all backends alike."""
    easy = rng.beta(1, 4, n)[:, None]
    hits = rng.random((n, len(means))) < 0.5
    values = hits * (easy + rng.normal(0, 0.15, (n, len(means)))) + np.asarray(means)
    return pd.DataFrame(values, columns=list("abcdefgh")[: len(means)], index=[f"u{i}" for i in range(n)])


def pair(**values):
    row = {"backend_a": "a", "backend_b": "b", "diff": 0.1, "sd": 0.1, "n_users": 50, "p_adjusted": 0.01}
    return pd.DataFrame([row | values])


def test_one_pair_has_the_p_of_scipys_randomisation():
    table = world(RNG(1), n=12, means=(0.1, 0.25))
    found = comparison.compare_pairs(table, RNG(2))
    true = stats.permutation_test(
        (table["a"], table["b"]), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert found["p"][0] == pytest.approx(true.pvalue, abs=0.015)
    assert found["p_adjusted"][0] == found["p"][0]
    assert found["t"][0] == pytest.approx(stats.ttest_rel(table["a"], table["b"]).statistic)


def test_pairs_are_of_the_same_listeners_in_any_order(study):
    table = world(RNG(3), means=(0.1, 0.3))
    save(study, "mfcc", table["a"])
    save(study, "musicnn_msd", table["b"].sample(frac=1, random_state=0))
    found = comparison.compare_pairs(comparison.scores(study, "knn", "hot_test", LABEL), RNG(0))
    assert found["sd"][0] == pytest.approx((table["a"] - table["b"]).std())


def test_null_worlds_seldom_differ():
    any_found, any_unadjusted, n_worlds = 0, 0, 400
    for number in range(n_worlds):
        found = comparison.compare_pairs(world(RNG(number)), RNG(number), n_resamples=100, n_flips=399)
        any_found += (found["p_adjusted"] <= 0.05).any()
        any_unadjusted += (found["p"] <= 0.05).any()
    assert any_found / n_worlds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_worlds)
    assert any_unadjusted / n_worlds > 0.12  # the canary: six tests that know nothing of each other


def test_simultaneous_intervals_cover_all_true_differences():
    means = np.array([0.1, 0.15, 0.15, 0.3])
    all_covered, pairs_alone, n_worlds = 0, 0, 400
    for number in range(n_worlds):
        found = comparison.compare_pairs(world(RNG(number), 120, means), RNG(number), n_resamples=100, n_flips=399)
        true = means[found["backend_a"].map("abcd".index)] - means[found["backend_b"].map("abcd".index)]
        all_covered += ((found["low"] <= true) & (true <= found["high"])).all()
        pairs_alone += ((found["ci_low"] <= true) & (true <= found["ci_high"])).all()
    assert all_covered / n_worlds == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / n_worlds))
    assert pairs_alone / n_worlds < 0.9  # the canary: intervals of one pair alone do not cover all


def test_true_nulls_stay_controlled_beside_large_differences():
    wrong, n_worlds = 0, 300
    for number in range(n_worlds):
        table = world(RNG(number), means=(0.1, 0.1, 0.6, 0.9))
        found = comparison.compare_pairs(table, RNG(number), n_resamples=100, n_flips=399)
        assert (found["p_adjusted"][1:] <= 0.05).all()
        wrong += found["p_adjusted"][0] <= 0.05
    assert wrong / n_worlds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_worlds)


def test_so_few_listeners_that_no_p_is_small_have_no_limits():
    few = comparison.compare_pairs(world(RNG(0), n=5, means=(0.1, 0.9)), RNG(0)).iloc[0]
    assert few["p"] > 0.05
    assert (few["low"], few["high"]) == (-np.inf, np.inf)


def test_equal_backends_do_not_differ():
    table = world(RNG(0)).assign(b=lambda frame: frame["a"])
    found = comparison.compare_pairs(table, RNG(0)).iloc[0]
    assert (found["diff"], found["low"], found["high"], found["p_adjusted"]) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.02, 0.2, "better"),
        (-0.2, -0.02, "worse"),
        (-0.04, 0.04, "equivalent within δ"),
        (0.01, 0.04, "equivalent within δ"),  # not 0, and too small to matter
        (-0.04, 0.06, "undecided"),
        (0.0, 0.06, "undecided"),
    ],
)
def test_the_rule(low, high, verdict):
    assert comparison.verdicts(pair(low=low, high=high), 0.05).tolist() == [verdict]


@pytest.mark.parametrize("delta", [np.nan, 0.0, -0.1])
def test_without_a_smallest_effect_nothing_is_equivalent(delta):
    assert comparison.verdicts(pair(low=-1e-9, high=1e-9), delta).tolist() == ["undecided"]


@pytest.mark.parametrize(
    ("seeds", "verdict"),
    [
        ((0, np.nan, np.nan), "better"),
        ((1, 0.1, 0.1), "undecided"),
        ((3, 0.05, 0.2), "better"),
        ((3, -0.01, 0.2), "undecided"),
    ],
)
def test_a_trained_model_needs_its_seeds_to_agree(seeds, verdict):
    trained = pair(low=0.02, high=0.2, n_seeds=seeds[0], seed_low=seeds[1], seed_high=seeds[2])
    assert comparison.verdicts(trained, 0.01).tolist() == [verdict]


def permuted(study, by_backend, recommender="knn"):
    """Save means under permutations; as every run does, with other cut-offs and splits beside them."""
    for backend, values in by_backend.items():
        frame = pd.DataFrame({"permutation": range(len(values)), "metric": "NDCG", "k": 22, "value": values})
        others = [frame.assign(split="hot_test"), frame.assign(split="hot_test", k=5, value=9.0)]
        others += [frame.assign(split="cold_test", value=9.0)]
        results.save_permutations(study, Run(recommender, backend), pd.concat(others))


def test_the_p_of_arrangements_is_worked_by_hand(study):
    save(study, "mfcc", pd.Series([0.4, 0.6], index=["u0", "u1"]))  # mean 0.5
    save(study, "musicnn_msd", pd.Series([0.2, 0.2], index=["u0", "u1"]))  # mean 0.2: a difference of 0.3
    others = np.linspace(0, 0.2, 19)
    others[[3, 8]] = [0.35, -0.35]  # two of 19 are as far apart, one each way
    permuted(study, {"musicnn_msd": np.full(19, 0.1), "mfcc": 0.1 + others})
    found = comparison.arranged(study, "knn", "hot_test", LABEL, pair(backend_a="musicnn_msd", backend_b="mfcc"))
    assert found["p_arranged"].tolist() == [3 / 20]
    assert found["n_permutations"].tolist() == [19]


def test_fewer_than_19_permutations_say_nothing(study):
    save(study, "mfcc", pd.Series([0.4, 0.6]))
    save(study, "musicnn_msd", pd.Series([0.2, 0.2]))
    two = pair(backend_a="mfcc", backend_b="musicnn_msd")
    permuted(study, {"mfcc": np.zeros(30), "musicnn_msd": np.zeros(18)})  # 18 in common
    found = comparison.arranged(study, "knn", "hot_test", LABEL, two)
    assert found["p_arranged"].isna().all()
    assert found["n_permutations"].tolist() == [0]
    assert comparison.arranged(study, "hybrid", "hot_test", LABEL, two)["p_arranged"].isna().all()
    assert comparison.arranged(study, "knn", "hot_test", LABEL, two.head(0)).empty


def test_what_listeners_share_is_the_luck_of_tracks(study):
    """Every arrangement sets all listeners apart alike: flipping their signs fires, permutations do not."""
    rng = RNG(4)
    save(study, "mfcc", pd.Series(0.3 + rng.normal(0, 0.1, 300)))
    save(study, "musicnn_msd", pd.Series(0.25 + rng.normal(0, 0.1, 300)))
    permuted(study, {"mfcc": 0.25 + rng.normal(0, 0.05, 99), "musicnn_msd": 0.25 + rng.normal(0, 0.05, 99)})
    pairs = comparison.compare_pairs(comparison.scores(study, "knn", "hot_test", LABEL), RNG(0))
    assert comparison.verdicts(pairs, 0.001).tolist() == ["better"]  # the canary: listeners alone
    pairs = pairs.join(comparison.arranged(study, "knn", "hot_test", LABEL, pairs))
    assert pairs["p_adjusted"][0] < 0.001 < 0.05 < pairs["p_arranged"][0]
    assert comparison.verdicts(pairs, 0.001).tolist() == ["undecided"]
    assert comparison.groups(["mfcc", "musicnn_msd"], pairs) == [["mfcc", "musicnn_msd"]]
    assert comparison.verdicts(pairs, 0.001, alpha=0.9).tolist() == ["better"]
    assert comparison.verdicts(pairs, 0.5).tolist() == ["equivalent within δ"]


def test_detectable_differences_are_those_of_statsmodels():
    from statsmodels.stats.power import TTestPower

    pairs = pd.concat([pair(), pair(), pair()], ignore_index=True)
    found = comparison.detectable(pairs, 0.02)
    true = 0.1 * TTestPower().solve_power(nobs=50, alpha=0.05 / 3, power=0.8)
    assert found["detectable"].tolist() == pytest.approx([true] * 3, rel=1e-4)
    assert found["users_needed"][0] == np.ceil(50 * (true / 0.02) ** 2)


def test_families_without_pairs_stand_together_with_others():
    none = comparison.compare_pairs(world(RNG(0), means=(0.1,)), RNG(0))
    found = comparison.together({("knn", "hot_test"): pair(), ("hybrid", "hot_test"): none})
    assert found[["recommender", "split", "backend_a"]].to_numpy().tolist() == [["knn", "hot_test", "a"]]
    assert not len(comparison.together({("hybrid", "hot_test"): none}))


def test_ranks_and_their_intervals():
    table = world(RNG(0), means=(0.1, 0.9, 0.5, 0.5))
    found = comparison.ranks(table.assign(d=table["c"]), RNG(0), n_resamples=200).set_index("backend")
    assert found["rank"].to_dict() == {"b": 1, "c": 2.5, "d": 2.5, "a": 4}
    assert found.loc["b", ["ci_low", "ci_high", "share_first"]].tolist() == [1, 1, 1]


def test_groups_join_neighbours_that_do_not_differ():
    def grouped(*different):
        p = {frozenset(two): 0.01 for two in different}
        couples = [(a, b) for a in "abcd" for b in "abcd" if a < b]
        rows = [(a, b, p.get(frozenset((a, b)), 0.5)) for a, b in couples]
        return comparison.groups("abcd", pd.DataFrame(rows, columns=["backend_a", "backend_b", "p_adjusted"]))

    assert grouped() == [list("abcd")]
    assert grouped("ad") == [list("abc"), list("bcd")]
    assert grouped("ab", "ac", "ad") == [list("bcd")]  # a stands alone
    assert grouped("ab", "ac", "ad", "bc", "bd", "cd") == []


def test_agreement_says_what_few_backends_cannot_decide():
    five = pd.Series(range(5), index=list("abcde"), dtype=float)
    found = comparison.agreement({"hot": five, "cold": -five, "ours": five[["a", "b"]]}).set_index(["first", "second"])
    assert found.loc[("hot", "cold"), "rho"] == -1
    assert found.loc[("hot", "cold"), "p_rho"] == pytest.approx(2 / 120)
    assert found.loc[("hot", "cold"), "note"] == ""
    assert "cannot be decided at n = 2" in found.loc[("hot", "ours"), "note"]
    assert np.isnan(found.loc[("hot", "ours"), "rho"])


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"n_backends": 0, "counts": None}, "no backend"),
        ({"n_backends": 1, "counts": None}, "one backend"),
        ({"n_backends": 2, "counts": (150, 200)}, "n = 2"),
        ({"n_backends": 6, "counts": (5, 5)}, r"no p lies below 0\.062"),
        ({"n_backends": 6, "counts": (60, 400)}, "Only 60 of 400 listeners"),
        ({"n_backends": 6, "counts": (150, 200), "n_seeds": 1}, "one training"),
        ({"n_backends": 6, "counts": (150, 200), "n_worlds": 1}, "fewer than two worlds"),
    ],
)
def test_what_a_small_study_cannot_say(sizes, said):
    def asked(counts, **others):
        pairs = pd.DataFrame([counts] if counts else [], columns=["n_differ", "n_users"])
        return rq2.cannot_say(pairs=pairs, alpha=0.05, **others)

    found = asked(**sizes)
    assert len(found) == 1
    assert re.search(said, found[0])
    assert asked(n_backends=6, counts=(150, 200), n_seeds=3, n_worlds=20) == []


@pytest.fixture
def study(tmp_path):
    overrides = {"runs_dir": str(tmp_path), "backend_ids": ["mfcc", "musicnn_msd"], "n_bootstrap": 200}
    return Study(load_parameters("toy", overrides))


def save(study, backend, column, seed=0):
    frame = pd.DataFrame({"user_id": column.index, LABEL: column.to_numpy()})
    results.save_run(study, Run("knn", backend), "hot_test", {seed: (None, frame)})


def test_different_listeners_are_refused(study):
    table = world(RNG(0))
    save(study, "mfcc", table["a"])
    save(study, "musicnn_msd", table["b"].iloc[1:])
    with pytest.raises(ValueError, match="same listeners, found 80 of mfcc and 79 of musicnn_msd"):
        comparison.scores(study, "knn", "hot_test", LABEL)


def answered(study, table, delta=0.01, oracle=None, worlds=None, **columns):
    pairs = comparison.compare_pairs(table, RNG(0), n_flips=999).assign(**columns)
    places = comparison.ranks(table, RNG(0), n_resamples=200)
    known = None if oracle is None else rq2.compare_with_oracle(oracle, table, RNG(1), alpha=0.05)
    return rq2.answer_rq2(study, "knn", LABEL, pairs, places, delta, known, worlds)


def changed(study, **options):
    return Study(study.parameters.model_copy(update=options))


def test_an_answer_in_a_mock_world_is_about_the_instrument(study):
    table = world(RNG(0), means=(0.1, 0.3))
    best = answered(study, table, oracle=table.max(axis=1) + 0.2)
    assert (best["status"], best["verdict"]) == ("decided", "instrument_works")
    assert best["statement"].startswith("In a simulated world where 100% of taste follows what is heard")
    assert "found above 2 of 2 backends" in best["statement"]
    end = "truth above backends; about the backends themselves: 1 of 1 pairs differ. Decided: the instrument works."
    assert best["statement"].endswith(end)
    worst = answered(study, table, oracle=table.min(axis=1) - 0.2)
    assert worst["verdict"] == "instrument_fails"
    assert worst["estimate"] < 0
    alike = answered(study, world(RNG(0), means=(0.1, 0.1)), oracle=table.max(axis=1) + 0.2)
    assert "about the backends themselves: undecided. Decided:" in alike["statement"]
    assert answered(study, table, oracle=table["b"])["status"] == "undecided"


def test_in_a_mock_world_the_numbers_are_those_of_what_decides(study):
    table = world(RNG(0), means=(0.1, 0.2, 0.3, 0.4, 0.9))
    oracle = table[["a", "b", "c", "d"]].max(axis=1) + 0.1
    found = answered(study, table, oracle=oracle)
    assert (found["verdict"], found["test"]) == ("instrument_works", rq2.ORACLE_TEST)
    known = rq2.compare_with_oracle(oracle, table, RNG(1), alpha=0.05).set_index("backend_b").loc["d"]
    assert known["t"] == sorted(rq2.compare_with_oracle(oracle, table, RNG(1), alpha=0.05)["t"])[1]
    assert found["estimate"] == pytest.approx((oracle - table["d"]).mean(), abs=1e-4)  # fourth of five, e the fifth
    assert [*found["ci"], found["p"]] == pytest.approx([known["low"], known["high"], known["p_adjusted"]], abs=1e-4)


@pytest.mark.parametrize(
    ("shares", "said"),
    [((0.25, 0.75), "b is best in 75%, as in this one."), ((0.75, 0.25), "a is best in 75%, and b, first")],
)
def test_an_answer_says_who_is_best_in_other_worlds(study, shares, said):
    worlds = pd.DataFrame({"backend": ["a", "b"], "share_best": shares, "n_worlds": 20})
    found = answered(study, world(RNG(0), means=(0.1, 0.3)), worlds=worlds)
    assert f"Over 20 worlds with other tastes {said}" in found["statement"]


def test_where_taste_ignores_sound_any_difference_is_a_failure(study):
    null = changed(study, content_strength=0.0)
    assert answered(null, world(RNG(0), means=(0.1, 0.6)))["verdict"] == "instrument_fails"
    assert answered(null, world(RNG(0), means=(0.1, 0.1)))["verdict"] == "instrument_works"


def test_an_answer_among_real_listeners(study):
    real = changed(study, listening_source="music4all_onion")
    found = answered(real, world(RNG(0), means=(0.1, 0.6)))
    assert (found["status"], found["verdict"]) == ("decided", "differences_shown")
    assert found["statement"].startswith("Among real listeners under knn 1 of 1 pairs of backends differ")
    assert found["ci"][0] < found["estimate"] < found["ci"][1]
    assert found["statement"].endswith("Decided: differences shown (1 of 1 pairs).")
    assert answered(real, world(RNG(0), means=(0.1, 0.12)))["status"] == "undecided"
    assert answered(real, world(RNG(0), means=(0.1, 0.1)), delta=5.0)["verdict"] == "all_equivalent"


def test_an_answer_gives_the_larger_of_two_p(study):
    real, table = changed(study, listening_source="music4all_onion"), world(RNG(0), means=(0.1, 0.6))
    found = answered(real, table, p_arranged=0.03)
    assert "family-wise p = 0.001 over listeners, 0.030 over arrangements of tracks" in found["statement"]
    assert (found["verdict"], found["test"], found["p"]) == ("differences_shown", comparison.TEST_BOTH, 0.03)
    assert answered(real, table, p_arranged=0.3)["status"] == "undecided"
    assert answered(real, table, p_arranged=np.nan)["test"] == comparison.TEST


def test_the_largest_difference_is_one_that_was_shown(study):
    real = changed(study, listening_source="music4all_onion")
    found = answered(real, world(RNG(0), means=(0.1, 0.6, 0.9)), p_arranged=[0.02, 0.2, 0.3])
    assert found["statement"].startswith("Among real listeners under knn 1 of 3 pairs of backends differ")
    assert "the largest difference shown is a − b" in found["statement"]
    assert found["p"] == 0.02


@pytest.mark.parametrize(
    "table", [world(RNG(0), means=(0.1,)), world(RNG(0), n=5, means=(0.1, 0.9)), world(RNG(0), n=1)]
)
def test_too_little_is_said_and_does_not_fail(study, table):
    found = answered(changed(study, listening_source="music4all_onion"), table)
    assert found["status"] == "undecided"
    assert found["verdict"] is None
    assert "no pair to compare" in found["statement"] or "no difference can be shown" in found["statement"]
    assert found["ci"] is None  # no number of JSON is infinite
    save_answer(study, "rq2", found)


def test_pairs_are_kept_beside_the_comparisons_with_controls(study):
    table = world(RNG(3), means=(0.1, 0.3))
    for backend, column in (("mfcc", "a"), ("musicnn_msd", "b")):
        save(study, backend, table[column])
    pairs = comparison.compare_pairs(comparison.scores(study, "knn", "hot_test", LABEL), RNG(0))
    pairs = pairs.assign(p_arranged=0.4, n_permutations=99)
    verdicts = comparison.together({("knn", "hot_test"): pairs})
    results.save_comparisons(study, comparison.as_comparisons(study, verdicts, {"hot_test": LABEL}))
    saved = pd.read_parquet(study.path("comparisons.parquet")).iloc[0]
    assert (saved["metric"], saved["k"], saved["control_a"], saved["control_b"]) == ("NDCG", 22, "real", "real")
    assert (saved["backend_a"], saved["backend_b"], saved["n_seeds"]) == ("mfcc", "musicnn_msd", 1)
    assert saved["diff"] == pytest.approx(pairs["diff"][0])
    assert (saved["p_adjusted"], saved["test"], saved["n_permutations"]) == (0.4, comparison.TEST_BOTH, 99)
    alone = pairs.assign(p_arranged=np.nan, n_permutations=0)
    alone = comparison.as_comparisons(study, comparison.together({("knn", "hot_test"): alone}), {"hot_test": LABEL})
    assert (alone["p_adjusted"][0], alone["test"][0]) == (pairs["p_adjusted"][0], comparison.TEST)
