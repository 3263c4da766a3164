"""Learning curves, flips and the smallest history, on planted differences and by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lib.answers import learning_curves
from lib.evaluation import statistics
from lib.figures import scarcity as scarcity_figures
from lib.study import Study, load_parameters

SHARES = (1.0, 0.5, 0.1)
SIZES = pd.DataFrame({"axis": "history", "share": SHARES, "history": [30.0, 15.0, 3.0]})


def planted(means, rng, *, n_users=300, n_draws=2, noise=0.1, split="hot_test", axis="history"):
    """Scores of runs whose means at each share are given; listeners differ, and share that between runs."""
    own = rng.normal(0, 0.2, n_users)
    users = [f"u{user:03d}" for user in range(n_users)]
    rows = [
        pd.DataFrame({"user_id": users, "value": mean + own + rng.normal(0, noise, n_users)}).assign(
            recommender=run[0], backend=run[1], share=share, draw=draw
        )
        for run, of_share in means.items()
        for share, mean in zip(SHARES, of_share, strict=True)
        for draw in range(n_draws)
    ]
    return pd.concat(rows, ignore_index=True).assign(split=split, axis=axis, k=10)


FALLS, STAYS = ("knn", "mfcc"), ("mostpop", "none")


def one_rng(*_):
    return np.random.default_rng(1)


def test_a_curve_averages_draws_within_listeners(rng):
    scores = pd.DataFrame({"user_id": ["u", "u", "v", "v"], "draw": [0, 1, 0, 1], "value": [0.0, 1.0, 0.4, 0.6]})
    scores = scores.assign(axis="history", share=0.5, recommender="knn", backend="mfcc", split="hot_test", k=5)
    row = learning_curves.curve(scores, one_rng, n_resamples=100).iloc[0]
    assert row["value"] == pytest.approx(0.5)
    assert (row["ci_low"], row["ci_high"]) == (0.5, 0.5)  # both listeners' means are .5: draws are no listeners
    assert (row["lowest"], row["highest"]) == pytest.approx((0.2, 0.8))
    assert (row["n_draws"], row["n_users"]) == (2, 2)


def test_a_planted_flip_is_found_and_where(rng):
    means = {FALLS: (0.5, 0.45, 0.2), STAYS: (0.3, 0.3, 0.3)}
    found = learning_curves.differences(planted(means, rng), rng)
    row = learning_curves.flips(found).iloc[0]
    assert (row["verdict"], row["share"], row["turns_at"]) == ("flips", 0.1, 0.1)
    assert (row["largest"], row["smallest"]) == pytest.approx((0.2, -0.1), abs=0.03)


def test_a_planted_order_holds_and_a_tie_is_undecided(rng):
    means = {("ease", "none"): (0.5, 0.5, 0.5), FALLS: (0.3, 0.3, 0.3), STAYS: (0.3, 0.3, 0.3)}
    found = learning_curves.flips(learning_curves.differences(planted(means, rng), rng))
    found = found.set_index(["a", "b"])["verdict"]
    assert found["ease", "knn (mfcc)"] == found["ease", "mostpop"] == "holds"
    assert found["knn (mfcc)", "mostpop"] == "undecided"


def test_a_flip_between_smaller_shares_counts_too():
    decided = pd.DataFrame({"a": "x", "b": "y", "share": [1.0, 0.5, 0.1], "decided": [0, 1, -1], "n_users": 9})
    row = learning_curves.flips(decided.assign(diff=[0.01, 0.2, -0.2])).iloc[0]
    assert (row["verdict"], row["share"], row["turns_at"]) == ("flips", 0.1, 0.1)
    gap = learning_curves.flips(decided.assign(diff=[0.2, 0.01, -0.2], decided=[1, 0, -1])).iloc[0]
    assert (gap["verdict"], gap["share"]) == ("flips", 0.1)


def tied(rng):
    """Twelve runs that do not differ, at three shares."""
    return planted({(f"r{run}", "none"): (0.3, 0.3, 0.3) for run in range(12)}, rng, n_users=120, n_draws=1)


@pytest.mark.slow
def test_among_runs_that_do_not_differ_no_more_than_nominal_is_decided():
    """198 differences a world: simultaneous limits at .05 decide anything in some 15 of 300 worlds."""
    wrong = sum(
        learning_curves.differences(tied(np.random.default_rng(seed)), one_rng(), n_resamples=400)["decided"].any()
        for seed in range(300)
    )
    assert wrong <= 27  # P(more | .05) < .002


def test_canary_limits_one_at_a_time_decide_where_nothing_differs():
    values = tied(np.random.default_rng(0)).pivot(index="user_id", columns=["recommender", "share"], values="value")
    pairs = itertools.combinations([f"r{run}" for run in range(6)], 2)
    differences = np.column_stack([values[a] - values[b] for a, b in pairs])
    low, high = statistics.bootstrap_means(differences, one_rng(), n_resamples=400)
    assert ((low > 0) | (high < 0)).any()


def test_simultaneous_limits_are_those_of_one_column_where_there_is_one(rng):
    """Against the normal quantile: with one difference nothing is paid for the others."""
    scores = planted({FALLS: (0.3,) * 3, STAYS: (0.3,) * 3}, rng)
    row = learning_curves.differences(scores[scores["share"] == 1], rng, n_resamples=4000).iloc[0]
    values = scores[scores["share"] == 1].groupby(["recommender", "user_id"])["value"].mean().unstack(0)
    error = (values["knn"] - values["mostpop"]).std(ddof=1) / np.sqrt(len(values))
    assert (row["ci_high"] - row["ci_low"]) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_a_pair_that_few_listeners_tell_apart_does_not_widen_the_limits_of_others(rng):
    scores = planted({("ease", "none"): (0.5,) * 3, FALLS: (0.3,) * 3, STAYS: (0.3,) * 3}, rng, n_users=60)
    twin = scores[scores["recommender"] == "ease"].assign(recommender="twin")
    twin.loc[twin["user_id"] == "u001", "value"] += 0.3
    found = learning_curves.differences(pd.concat([scores, twin]), rng).set_index(["a", "b", "share"])["decided"]
    assert found["ease", "twin", 1.0] == 0
    assert found["ease", "mostpop", 1.0] == 1


@pytest.mark.parametrize("n_users", [2, 3, 9])
def test_canary_of_a_handful_of_listeners_nothing_is_decided(rng, n_users):
    scores = planted({FALLS: (0.9,) * 3, STAYS: (0.1,) * 3}, rng, n_users=n_users)
    assert not learning_curves.differences(scores, rng)["decided"].any()


def test_runs_are_compared_over_the_draws_that_both_have(rng):
    scores = planted({FALLS: (0.3,) * 3, STAYS: (0.3,) * 3}, rng)
    scores.loc[(scores["recommender"] == "knn") & (scores["draw"] == 1), "value"] = 9.0
    single = scores[~((scores["recommender"] == "mostpop") & (scores["draw"] == 1))]
    found = learning_curves.differences(single, rng)
    assert found["n_draws"].eq(1).all()
    assert found["diff"].abs().max() < 0.1


def test_the_smallest_history_by_a_fixed_sequence(rng):
    means = {FALLS: (0.5, 0.4, 0.29), ("knn", "vgg"): (0.31, 0.5, 0.5), STAYS: (0.31, 0.31, 0.31)}
    scores = planted(means, rng)
    found = learning_curves.against(scores, "mostpop", one_rng)
    assert found["verdict"].tolist() == ["better", "better", "worse", "undecided", "better", "better"]
    assert found["still"].tolist() == [True, True, False, False, False, False]  # an end is not jumped over
    rows = learning_curves.smallest(found, SIZES).set_index("backend")
    assert rows.loc["mfcc", ["share", "history", "next_share", "next"]].tolist() == [0.5, 15.0, 0.1, "worse"]
    assert np.isnan(rows.loc["vgg", "share"])
    assert rows.loc["vgg", ["next_share", "next"]].tolist() == [1.0, "undecided"]


@pytest.mark.slow
def test_a_fixed_sequence_keeps_its_error_where_nothing_is_better():
    """Any share claimed in a world without a difference: at most one tail of 95 % limits, 2.5 %."""
    claimed = 0
    for seed in range(600):
        scores = planted({FALLS: (0.3,) * 3, STAYS: (0.3,) * 3}, np.random.default_rng(seed), n_users=200, n_draws=1)
        claimed += learning_curves.against(scores, "mostpop", one_rng, n_resamples=300)["still"].any()
    assert claimed <= 28  # P(more | .025) < .002


def test_sentences_name_their_world_and_say_what_is_undecided(rng):
    study = Study(load_parameters("toy"))
    means = {FALLS: (0.5, 0.4, 0.3), ("knn", "vgg"): (0.3, 0.3, 0.3), ("knn", "bad"): (0.1,) * 3, STAYS: (0.3,) * 3}
    rows = learning_curves.smallest(learning_curves.against(planted(means, rng), "mostpop", one_rng), SIZES)
    said = {
        row["backend"]: learning_curves.sentence(row, study, "hot_test", 10, "mostpop")
        for row in rows.to_dict("records")
    }
    for text in said.values():
        assert text.startswith("In a simulated world where 100% of taste follows what is heard, ")
        assert text.endswith("this tests the instrument and says nothing of real listeners.")
    assert "still beats MostPop on these hot tracks with a history of 15 tracks a listener" in said["mfcc"]
    assert "(50% of each history; NDCG@10 +0." in said["mfcc"]
    assert "at 10% it is undecided" in said["mfcc"]
    assert "is not shown to beat MostPop on these hot tracks" in said["vgg"]
    assert "undecided" in said["vgg"]
    assert "does not beat MostPop" in said["bad"]
    real = Study(load_parameters("onion_sample"))
    text = learning_curves.sentence(rows.iloc[0], real, "cold_test", 10, "chance")
    assert text.startswith("Of the listeners of study onion_sample, content (knn, mfcc) still beats chance on ")
    assert "beats chance on these cold tracks with" in text  # other tracks may fare otherwise, and no interval sees it
    assert "simulated" not in text


@pytest.mark.parametrize("n_users", [1, 2, 5])
def test_few_listeners_are_undecided_and_said_to_be_few(rng, n_users):
    scores = planted({FALLS: (0.3,) * 3, STAYS: (0.3,) * 3}, rng, n_users=n_users, n_draws=1)
    scores["value"] = np.where(scores["recommender"] == "knn", scores["user_id"].str[1:].astype(int) % 2, 0.5)
    found = learning_curves.differences(scores, rng)
    assert learning_curves.flips(found)["verdict"].tolist() == ["undecided"]
    assert learning_curves.against(scores, "mostpop", one_rng)["verdict"].tolist() == ["undecided"] * 3
    learning_curves.curve(scores, one_rng)
    row = learning_curves.smallest(learning_curves.against(scores, "mostpop", one_rng), SIZES).iloc[0]
    assert "nan" not in learning_curves.sentence(row, Study(load_parameters("toy")), "hot_test", 10, "mostpop")
    said = " ".join(learning_curves.limits(scores, Study(load_parameters("toy"))))
    assert (
        f"Only {n_users // 2} of {n_users} listeners have scores that differ from 0 on hot tracks under knn (mfcc)"
        in said
    )
    assert "One draw and one training of knn, mostpop" in said
    assert "Vectors of mfcc:" in said


def test_without_content_or_pairs_there_is_nothing_to_compare_and_nothing_fails(rng):
    scores = planted({STAYS: (0.3,) * 3}, rng)
    versus = learning_curves.by_panel(scores, lambda own, *_: learning_curves.against(own, "mostpop", one_rng))
    rows = learning_curves.by_panel(versus, lambda own, *_: learning_curves.smallest(own, SIZES))
    assert versus.empty
    assert rows.empty
    assert list(rows.columns[:4]) == ["split", "axis", "recommender", "backend"]
    assert scarcity_figures.verdict_table(versus).empty
    assert scarcity_figures.smallest_table(rows).empty
    pairs = learning_curves.by_panel(scores, lambda own, *_: learning_curves.differences(own, rng))
    assert learning_curves.by_panel(pairs, lambda own, *_: learning_curves.flips(own)).empty


def test_without_the_reference_it_says_what_to_do(rng):
    with pytest.raises(ValueError, match="name it in scarcity_recommenders"):
        learning_curves.against(planted({FALLS: (0.3,) * 3}, rng), "mostpop", one_rng)


def test_a_missing_score_is_a_sentence(rng):
    scores = planted({FALLS: (0.3,) * 3, STAYS: (0.3,) * 3}, rng).iloc[1:]
    with pytest.raises(ValueError, match="Expected a score of each of 300 listeners in every draw of knn"):
        learning_curves.differences(scores, rng)


def test_tables_and_curves_show_every_run(rng):
    scores = planted({FALLS: (0.5, 0.4, 0.2), STAYS: (0.3,) * 3, ("chance", "none"): (0.1,) * 3}, rng)
    curves = learning_curves.curve(scores, one_rng, n_resamples=100)
    table = scarcity_figures.table(curves)
    assert table.columns.tolist() == ["100%", "50%", "10%"]
    assert len(table) == 3
    styles = scarcity_figures.styles(curves)
    assert {name: style[2] for name, style in styles.items()} == {"KNN": "-", "MostPop": "--", "chance": ":"}
    figure = scarcity_figures.drawn(curves, 6.3, styles)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["KNN", "MostPop", "chance"]
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["10%", "50%", "100%"]
