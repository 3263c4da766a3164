"""RQ3: which points count, q over what could be decided, and an answer that never says more than n allows."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.answers import mir, published_mir, rq3
from lib.evaluation import results
from lib.evaluation.results import Run
from lib.figures import rq3 as rq3_figures
from lib.study import Study, load_parameters
from lib.study.answers import save_answer

BACKENDS = ["mfcc", "musicnn_msd", "musicnn_mtt", "vgg_msd", "vgg_mtt", "mule", "muq"]


def study(tmp_path, **overrides):
    return Study(load_parameters("toy", {"runs_dir": str(tmp_path), **overrides}))


def real_study(tmp_path):
    return study(tmp_path, listening_source="music4all_onion")


def tasks_of(values, label=mir.MEAN_Z, untrained=()):
    rows = pd.DataFrame({"backend": list(values), "value": list(values.values())})
    rows = rows.assign(label=label, model="linear", task="z", ci_low=rows["value"] - 0.1, ci_high=rows["value"] + 0.1)
    return rows.assign(untrained=rows["backend"].isin(untrained))


def scores_of(values, recommender="knn", split="cold_test", untrained=()):
    rows = pd.DataFrame({"backend": list(values), "value": list(values.values())})
    rows = rows.assign(recommender=recommender, split=split, k=6, untrained=rows["backend"].isin(untrained))
    return rows.assign(ci_low=rows["value"] - 0.05, ci_high=rows["value"] + 0.05)


def rising(n):
    return {name: float(number) for number, name in enumerate(BACKENDS[:n])}


def points(n, order=None):
    right = scores_of(dict(zip(BACKENDS[:n], order if order is not None else range(n), strict=True)))
    return rq3.primary(tasks_of(rising(n)), right)


def test_untrained_twins_are_no_further_points():
    """Canary: with two twins that reverse the order, n would be 7 and rho far from 1."""
    twins = ["musicnn_untrained", "vgg_untrained"]
    left = tasks_of(rising(5) | dict.fromkeys(twins, 99.0), untrained=twins)
    right = scores_of(rising(5) | dict.fromkeys(twins, -99.0), untrained=twins)
    row = rq3.correlations(left, right).iloc[0]
    assert (row["n"], row["rho"], row["tau"]) == (5, 1, 1)
    assert row["rho_p"] == pytest.approx(2 / 120)
    assert len(rq3.primary(left, right)[0]) == 7  # they are drawn


def test_correlations_are_of_the_backends_that_both_have():
    left, right = tasks_of(rising(7)), scores_of({name: -number for name, number in rising(5).items()})
    row = rq3.correlations(left, right).iloc[0]
    assert (row["n"], row["rho"]) == (5, -1)


def test_q_is_over_the_pairs_that_could_be_decided():
    rng = np.random.default_rng(0)
    left = pd.concat([tasks_of(dict(zip(BACKENDS, rng.random(7), strict=True)), label) for label in "abc"])
    right = pd.concat(
        [
            scores_of(dict(zip(BACKENDS, rng.random(7), strict=True)), "knn"),
            scores_of(dict(zip(BACKENDS, rng.random(7), strict=True)), "knn", "hot_test"),
            scores_of(rising(3), "bert4rec"),
        ]
    )
    found = rq3.correlations(left, right)
    asked = found["cannot"] == ""
    assert len(found) == 9
    assert asked.sum() == 6
    assert found.loc[asked, "rho_q"].to_numpy() == pytest.approx(
        stats.false_discovery_control(found.loc[asked, "rho_p"])
    )
    assert found.loc[~asked, "rho_q"].isna().all()
    assert found.loc[~asked, "cannot"].str.startswith("cannot be decided at n = 3").all()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_few_backends_cannot_decide_and_nothing_fails(tmp_path, n):
    own, split = points(n)
    answer = rq3.answer_rq3(study(tmp_path), own, split, 0.05)
    assert (answer["status"], answer["verdict"], answer["p"], answer["n"]) == ("undecided", None, None, n)
    assert f"cannot be decided at n = {n}" in answer["statement"]
    assert answer["statement"].startswith("In a simulated world where 100% of taste follows what is heard,")
    save_answer(study(tmp_path), "rq3", answer)


def test_a_mock_world_is_about_the_instrument(tmp_path):
    own, split = points(7)
    answer = rq3.answer_rq3(study(tmp_path), own, split, 0.05)
    assert (answer["status"], answer["verdict"]) == ("decided", "instrument_works")
    assert answer["statement"].startswith("In a simulated world where 100% of taste")
    assert "says nothing of real listeners" in answer["statement"]
    assert answer["p"] == pytest.approx(2 / 5040, abs=1e-4)
    opposed = rq3.answer_rq3(study(tmp_path), *points(7, range(7)[::-1]), 0.05)
    assert opposed["verdict"] == "instrument_fails"


def test_a_null_world_must_find_nothing(tmp_path):
    null = study(tmp_path, content_strength=0.0)
    nothing = rq3.answer_rq3(null, *points(7, [3, 0, 5, 1, 6, 2, 4]), 0.05)
    assert (nothing["status"], nothing["verdict"]) == ("decided", "instrument_works")
    assert nothing["statement"].startswith("In a simulated world where taste has nothing to do with what is heard,")
    assert rq3.answer_rq3(null, *points(7), 0.05)["verdict"] == "instrument_fails"


def test_only_real_listeners_answer(tmp_path):
    real = real_study(tmp_path)
    answer = rq3.answer_rq3(real, *points(7), 0.05)
    assert (answer["status"], answer["verdict"]) == ("decided", "corresponds")
    assert answer["statement"].startswith("Among real listeners")
    assert "simulated" not in answer["statement"]
    assert rq3.answer_rq3(real, *points(7, range(7)[::-1]), 0.05)["verdict"] == "opposed"


def test_six_tenths_over_seven_backends_is_undecided_and_says_what_that_is_worth(tmp_path):
    answer = rq3.answer_rq3(real_study(tmp_path), *points(7, [2, 3, 0, 1, 5, 6, 4]), 0.05)
    assert (answer["status"], answer["verdict"]) == ("undecided", None)
    assert answer["ci"][0] < 0 < answer["ci"][1]
    assert re.search("0.8 in (49|50|51)%", answer["statement"])
    assert "almost no evidence" in answer["statement"]


def test_the_answer_quotes_the_power_of_the_table_whatever_else_the_table_asks(tmp_path):
    """Canary: one stream of draws for several n gives another figure for the same n, .13 here and 14 % there."""
    real = real_study(tmp_path)
    shown = rq3.power(real, [3, 5, 7, 12], 0.01).set_index(["n", "rho"])["power"]
    assert shown[3].eq(0).all()
    alone = rq3.power(real, [7], 0.01).set_index("rho")["power"]
    assert alone.to_dict() == shown[7].to_dict()
    said = rq3.answer_rq3(real, *points(7, [2, 3, 0, 1, 5, 6, 4]), 0.01)["statement"]
    assert f"0.6 in {shown[7, 0.6]:.0%} and 0.8 in {shown[7, 0.8]:.0%} of cases by pairing alone, at most" in said


def test_probes_that_tell_nothing_apart_decide_nothing(tmp_path):
    told = pd.DataFrame({"label": ["tempo"], "model": "linear", "n": 5, "ratio": [1.2], "informative": [False]})
    opened = study(tmp_path)
    reason = rq3.no_primary(opened, told)
    assert "None of 1 linear probes tells the backends apart" in reason
    answer = rq3.answer_rq3(opened, points(0)[0], "cold_test", 0.05, reason)
    assert "cannot be decided: none of 1 linear probes" in answer["statement"]
    assert answer["n"] == 5
    assert rq3.no_primary(opened, told.assign(informative=True)) == ""
    assert "No probe could be asked" in rq3.no_primary(opened, told.iloc[:0])
    assert "nothing apart with 1 backend" in rq3.no_primary(opened, told.assign(n=1, ratio=np.nan))


def test_the_primary_pair_is_on_hot_tracks_where_there_are_no_cold():
    hot = scores_of(rising(5), split="hot_test")
    assert rq3.primary(tasks_of(rising(5)), hot)[1] == "hot_test"
    both = pd.concat([hot, scores_of(rising(5))])
    assert rq3.primary(tasks_of(rising(5)), both)[1] == "cold_test"


def test_published_scores_leave_out_what_is_from_memory_and_keep_the_columns():
    found = published_mir.scores()
    assert list(found.columns[: len(published_mir.COLUMNS)]) == published_mir.COLUMNS
    assert len(found) == 108
    assert not found["confidence"].str.contains("memory").any()


def test_checkpoints_that_were_never_released_are_none_of_ours():
    found = published_mir.scores()
    unreleased = found["checkpoint"].str.contains("in-house|NOT the released|FMA|K-means", regex=True)
    assert unreleased.any()
    assert (found.loc[unreleased, "id"] == "").all()
    of = found.set_index("checkpoint")["id"]
    assert set(of["MTT_musicnn"]) == {"musicnn_mtt"}
    assert set(found.loc[found["id"] == "mert_330m", "backend"]) == {"MERT"}


def test_published_scores_are_compared_within_a_protocol_only():
    found = rq3.published_correlations(published_mir.scores(), published_mir.recommender_scores())
    assert found["n"].max() == 5
    assert set(found.loc[found["cannot"] == "", "protocol"]) == {published_mir.MIXED}
    known = published_mir.scores()
    key = known[(known["probe protocol"] == published_mir.MIXED) & (known["task"] == "key")].set_index("id")["value"]
    theirs = published_mir.recommender_scores()
    theirs = theirs[(theirs["recommender"] == "hybrid") & (theirs["split"] == "hot_test")].set_index("backend")["value"]
    row = found[(found["label"].str.startswith("key, GiantSteps, accuracy (w")) & (found["recommender"] == "hybrid")]
    row = row[(row["split"] == "hot_test") & (row["protocol"] == published_mir.MIXED)].iloc[0]
    assert row["rho"] == pytest.approx(stats.spearmanr(key, theirs[key.index]).statistic)


def test_every_probe_panel_has_its_chance_line():
    rows = [tasks_of(rising(3), label).assign(task="classification", chance=0.2) for label in ("mode", "key")]
    figure = rq3_figures.probe_panels(pd.concat(rows), 6.3)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == 2
    for axes in panels:
        assert any(len(line.get_xdata()) == 2 and np.allclose(line.get_xdata(), 0.2) for line in axes.lines)


def test_a_scatter_says_what_cannot_be_decided_and_draws_twins_hollow():
    own = rq3.paired(
        tasks_of(rising(3) | {"vgg_untrained": 1.0}, untrained=["vgg_untrained"]),
        scores_of(rising(3) | {"vgg_untrained": 1.0}, untrained=["vgg_untrained"]),
        label=mir.MEAN_Z, model="linear", recommender="knn", split="cold_test",
    )  # fmt: skip
    figure = rq3_figures.scatter(own.assign(panel="mean z"), ["mean z"], 6.3, ylabel="NDCG")
    assert "cannot be decided at n = 3" in figure.axes[0].get_title()
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 1


def test_a_map_shows_what_could_be_decided():
    left = pd.concat([tasks_of(rising(5), "mode"), tasks_of(rising(5), "key_mirex")])
    right = pd.concat([scores_of(rising(5)), scores_of(rising(3), "bert4rec")])
    figure = rq3_figures.heat_map(rq3.correlations(left, right), 6.3)
    assert figure.axes[0].get_title() == "cold tracks (n = 5)"
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["KNN"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["mode", "key, MIREX"]
    assert figure.axes[0].texts[0].get_text() == "+1.0*"


def test_the_declared_pair_must_stand_out_among_arrangements_too(tmp_path):
    opened, (own, split) = study(tmp_path), points(7)
    alone = rq3.answer_rq3(opened, own, split, 0.05)
    lucky = rq3.answer_rq3(opened, own, split, 0.05, "", 0.3)
    both = rq3.answer_rq3(opened, own, split, 0.05, "", 0.01)
    assert (alone["status"], lucky["status"], both["status"]) == ("decided", "undecided", "decided")
    assert (lucky["p"], both["p"]) == (0.3, 0.01)
    assert lucky["test"] == rq3.BOTH_TESTS
    assert "p = 0.0004 and 0.3" in lucky["statement"]


def test_arrangements_are_those_of_rq1_for_the_same_backends(tmp_path):
    opened, (own, split) = study(tmp_path), points(7)
    rng, names = np.random.default_rng(0), own["backend"].tolist()
    for name in names[::-1]:  # in any order
        values = pd.DataFrame({"permutation": range(99), "value": rng.random(99)})
        values = values.assign(split=split, metric="NDCG", k=6)
        results.save_permutations(opened, Run("knn", name, "shuffled"), values)
    p = rq3.arrangement_p(opened, own, split, 6)
    wide = results.read_permutations(opened).pivot(index="permutation", columns="backend", values="value")[names]
    rho = [stats.spearmanr(own["x"], row).statistic for row in wide.to_numpy()]
    true = stats.spearmanr(own["x"], own["y"]).statistic
    deviates = np.abs([true, *rho])
    assert p == pytest.approx((deviates >= abs(true) - 1e-9).mean())
    assert np.isnan(rq3.arrangement_p(opened, own.head(2), split, 6))
    assert np.isnan(rq3.arrangement_p(opened, own, "hot_test", 6))
