"""Comparisons hold every pair with the right test; what is saved anew replaces all there was."""

import numpy as np
import pandas as pd
import pytest

from lib.answers import claims
from lib.evaluation import results, statistics
from lib.evaluation.results import Run
from lib.study import Study, load_parameters
from lib.study.answers import read_answers, save_answer
from lib.study.folder import save_data
from tests.worlds import finish, permuted, save_scores


@pytest.fixture
def study(tmp_path):
    overrides = {"runs_dir": str(tmp_path), "backend_ids": ["mfcc", "musicnn_msd"], "n_bootstrap": 200}
    return Study(load_parameters("toy", overrides))


@pytest.fixture
def finished(study):
    return finish(study)


def test_comparisons_hold_every_pair_with_the_right_test(finished):
    frame = claims.comparisons(finished, "knn", "hot_test")
    ndcg = frame[frame["metric"] == "NDCG"].set_index(["backend_a", "against"])
    assert ndcg.loc[("mfcc", "shuffled"), "test"] == claims.PERMUTATION_TEST
    assert ndcg.loc[("mfcc", "shuffled"), "p_adjusted"] == pytest.approx(0.01)  # (1 + 0) / (1 + 99)
    assert ndcg.loc[("musicnn_msd", "untrained"), "diff"] == pytest.approx(0.2, abs=0.02)
    assert ("mfcc", "untrained") not in ndcg.index  # a formula has no weights to leave untrained
    assert ndcg.loc[("mfcc", "mostpop"), "backend_b"] == "mostpop"
    saved = results.save_comparisons(finished, frame)
    assert not saved.duplicated(list(saved.columns[:9])).any()
    assert list(saved.columns) == [
        "study",
        "split",
        "recommender",
        "metric",
        "k",
        "backend_a",
        "control_a",
        "backend_b",
        "control_b",
        "diff",
        "ci_low",
        "ci_high",
        "p",
        "p_adjusted",
        "test",
        "n_users",
        "n_seeds",
        "n_permutations",
    ]


def test_without_anything_to_gain_there_is_no_smallest_effect(finished):
    save_scores(finished, Run("knn", "artist"), "cold_test", 0.01)  # worse than chance
    assert np.isnan(claims.smallest_effect(finished, "knn", "cold_test", "NDCG@22"))


def test_comparisons_of_one_kind_leave_those_of_the_other(finished):
    frame = claims.comparisons(finished, "knn", "hot_test")
    pair = frame.head(1).assign(backend_a="mfcc", backend_b="musicnn_msd", control_b="real", test="of pairs")
    results.save_comparisons(finished, pair)
    results.save_comparisons(finished, frame)
    results.save_comparisons(finished, pair.assign(diff=0.5))
    saved = pd.read_parquet(finished.path("comparisons.parquet"))
    assert len(saved) == len(frame) + 1
    assert saved.loc[saved["test"] == "of pairs", "diff"].tolist() == [0.5]


def test_delta_is_a_share_of_what_there_is_to_gain(finished):
    hot = claims.smallest_effect(finished, "knn", "hot_test", "NDCG@22")
    cold = claims.smallest_effect(finished, "knn", "cold_test", "NDCG@22")
    assert hot == pytest.approx(0.05 * (0.4 - 0.1), abs=0.001)
    assert cold == pytest.approx(0.05 * (0.2 - 0.05), abs=0.001)


def test_an_answer_with_missing_keys_is_refused(study):
    with pytest.raises(ValueError, match="Expected an answer with"):
        save_answer(study, "rq1", {"status": "decided"})


def test_a_run_saved_anew_leaves_nothing_of_the_old_one(study, rng):
    for k in (7, 6):  # the number of candidates, and with it the cut-off, has changed
        scores = pd.DataFrame({"user_id": ["u", "v"], f"NDCG@{k}": [0.0, 1.0]})
        results.save_run(study, Run("knn", "mfcc"), "cold_test", {0: (None, scores)})
    assert results.metrics(study)["k"].unique().tolist() == [6]


def test_what_ran_on_permuted_vectors_is_judged_where_it_ran(finished):
    results.save_permutations(
        finished,
        Run("bimodal_collaborative", "mfcc", "shuffled"),
        pd.DataFrame([{"split": "hot_test", "permutation": 0, "metric": "NDCG", "k": 22, "value": 0.1}]),
    )
    results.save_permutations(
        finished,
        Run("of_another_table", "mfcc", "shuffled"),
        pd.DataFrame([{"split": "hot_test", "permutation": 0, "metric": "NDCG", "k": 22, "value": 0.1}]),
    )
    assert claims.judged(finished) == {"knn": ["hot_test", "cold_test"], "bimodal_collaborative": ["hot_test"]}


def test_the_overview_has_a_line_a_recommender_and_a_column_a_backend(finished):
    frame = pd.concat([claims.comparisons(finished, "knn", split) for split in results.TEST_SPLITS])
    found = claims.overview(frame[frame["metric"] == "NDCG"], "shuffled")
    assert found.index.tolist() == [("hot", 22, "knn"), ("cold", 22, "knn")]
    assert found.columns.tolist() == ["mfcc", "musicnn_msd"]
    diff, p = found.loc[("hot", 22, "knn"), "mfcc"].split()
    assert float(diff) == pytest.approx(0.4, abs=0.02)
    assert p == "(0.010)"


def test_audio_beside_ids_is_held_against_the_ids_of_the_same_recommender(trained):
    study = trained
    for backend in ("mfcc", "musicnn_msd"):
        save_scores(study, Run("bert4rec_ids", backend), "hot_test", 0.5)
        save_scores(study, Run("bert4rec", backend), "hot_test", 0.2)
    save_scores(study, Run("bert4rec", control="id_only"), "hot_test", 0.3)
    for recommender, diff in (("bert4rec_ids", 0.2), ("bert4rec", -0.1)):
        frame = claims.comparisons(study, recommender, "hot_test").query("metric == 'NDCG' and against == 'id_only'")
        assert frame["diff"].tolist() == pytest.approx([diff, diff], abs=0.02)
        assert set(frame["control_b"]) == {"id_only"}


def test_trained_recommenders_are_judged_on_the_backends_they_are_trained_on(trained):
    for name in ("mfcc", "musicnn_msd"):
        permuted(trained, Run("shallow_net", name), "hot_test", 5)
    both = Study(trained.parameters.model_copy(update={"trained_backends": []}))
    assert set(claims.comparisons(both, "shallow_net", "hot_test")["backend_a"]) == {"mfcc", "musicnn_msd"}
    alone = Study(trained.parameters.model_copy(update={"trained_backends": ["mfcc", "artist"]}))
    assert set(claims.comparisons(alone, "shallow_net", "hot_test")["backend_a"]) == {"mfcc"}


def test_what_an_earlier_table_left_is_passed_over(finished):
    alone = Study(finished.parameters.model_copy(update={"trained_backends": ["mfcc"]}))
    for run in (Run("gone", "mfcc"), Run("shallow_net", "mfcc"), Run("shallow_net", "musicnn_msd"), Run("knn", "vgg")):
        save_scores(finished, run, "hot_test", 0.1)
    found = {(row.recommender, row.backend) for row in results.current(alone).itertuples()}
    assert ("shallow_net", "mfcc") in found
    assert {("knn", "musicnn_msd"), ("knn", "artist"), ("mostpop", "none"), ("chance", "none")} <= found
    assert not found & {("gone", "mfcc"), ("shallow_net", "musicnn_msd"), ("knn", "vgg")}


def test_fewer_seeds_than_before_leave_none_of_the_old_ones(study):
    frames = {
        seed: (None, pd.DataFrame({"user_id": ["u"], "NDCG@22": [value]})) for seed, value in ((0, 0.1), (1, 0.9))
    }
    results.save_run(study, Run("shallow_net", "mfcc"), "hot_test", frames)
    results.save_run(study, Run("shallow_net", "mfcc"), "hot_test", {0: frames[0]})
    assert results.per_user(study, Run("shallow_net", "mfcc"), "hot_test")["NDCG@22"].item() == 0.1


def test_what_can_no_longer_be_made_is_forgotten(finished):
    results.forget(finished, Run("itemknn"))
    assert results.per_user(finished, Run("itemknn"), "hot_test") is None
    assert "itemknn" not in set(results.metrics(finished)["recommender"])
    assert results.per_user(finished, Run("knn", "mfcc"), "hot_test") is not None
    results.forget(finished, Run("itemknn"))  # nothing there


def test_the_same_users_are_resampled_in_all_runs(study):
    scores = pd.DataFrame({"user_id": [f"u{n}" for n in range(50)], "NDCG@22": np.linspace(0, 1, 50)})
    saved = [results.save_run(study, Run(name), "hot_test", {0: (None, scores)}) for name in ("mostpop", "itemknn")]
    assert saved[0]["ci_low"].tolist() == saved[1]["ci_low"].tolist()


def test_without_any_run_the_notebook_to_run_is_named(study):
    with pytest.raises(FileNotFoundError, match="run its notebook for a backend first"):
        claims.comparisons(study, "knn", "hot_test")


def test_seeds_are_averaged_within_users_and_never_counted_as_users(study, rng):
    frames = {seed: (None, pd.DataFrame({"user_id": ["u", "v"], "NDCG@5": [float(seed), 1.0]})) for seed in (0, 1)}
    saved = results.save_run(study, Run("knn", "mfcc"), "hot_test", frames).set_index("seed")
    assert saved.loc[-1, "n_users"] == 2
    assert saved.loc[-1, "value"] == pytest.approx(0.75)
    assert results.per_user(study, Run("knn", "mfcc"), "hot_test")["NDCG@5"].tolist() == [0.5, 1.0]


def test_new_data_remove_results_of_the_old_and_the_answers_name_the_new_world(study, rng):
    scores = pd.DataFrame({"user_id": ["u", "v"], "NDCG@5": [0.0, 1.0]})
    assert save_data(study, {"tracks": pd.DataFrame({"track_id": ["a"]})})
    results.save_run(study, Run("knn", "mfcc"), "hot_test", {0: (None, scores)})
    assert not save_data(study, {"tracks": pd.DataFrame({"track_id": ["a"]})})
    assert study.path("metrics.parquet").is_file()
    other = Study(study.parameters.model_copy(update={"content_strength": 0.5}))
    assert save_data(other, {"tracks": pd.DataFrame({"track_id": ["b"]})})
    assert not study.path("metrics.parquet").exists()
    assert results.per_user(study, Run("knn", "mfcc"), "hot_test") is None
    assert read_answers(other)["content_strength"] == 0.5


@pytest.fixture
def trained(study):
    """A model of three seeds, better than its five permuted runs on mfcc and no better on musicnn_msd."""
    for backend, mean in (("mfcc", 0.2), ("musicnn_msd", 0.1)):
        for control, level in (("real", mean), ("shuffled", 0.1)):
            rng = np.random.default_rng(len(backend + control))
            frames = {}
            for seed in range(3):
                scores = np.clip(rng.normal(level, 0.02, 60), 0, 1)
                columns = dict.fromkeys(("HitRate@22", "Recall@22", "NDCG@22"), scores)
                frames[seed] = (None, pd.DataFrame({"user_id": [f"u{i}" for i in range(60)], **columns}))
            results.save_run(study, Run("shallow_net", backend, control), "hot_test", frames)
    return study


def test_few_permuted_runs_of_a_trained_model_are_judged_by_t(trained):
    runs = {name: permuted(trained, Run("shallow_net", name), "hot_test", 5) for name in ("mfcc", "musicnn_msd")}
    frame = claims.comparisons(trained, "shallow_net", "hot_test")
    ndcg = frame[(frame["metric"] == "NDCG") & (frame["against"] == "shuffled")].set_index("backend_a")
    real = [results.per_user(trained, Run("shallow_net", name), "hot_test")["NDCG@22"].mean() for name in runs]
    expected = statistics.trained_test(real, np.column_stack(list(runs.values())))
    assert ndcg.loc[list(runs), "p"].tolist() == expected["p"].tolist()
    assert ndcg.loc[list(runs), "p_adjusted"].tolist() == expected["p_adjusted"].tolist()
    assert ndcg.loc["mfcc", "p_adjusted"] < 0.001 < 0.05 < ndcg.loc["musicnn_msd", "p_adjusted"]
    assert (ndcg["test"] == claims.TRAINED_TEST).all()
    assert set(ndcg["n_permutations"]) == {5}
    assert set(ndcg["n_seeds"]) == {3}
    assert set(ndcg["n_users"]) == {60}  # seeds never count as users


@pytest.mark.parametrize(("n", "test"), [(98, "TRAINED_TEST"), (99, "PERMUTATION_TEST")])
def test_many_permutations_of_a_trained_model_are_judged_by_max_t(trained, n, test):
    for name in ("mfcc", "musicnn_msd"):
        permuted(trained, Run("shallow_net", name), "hot_test", n)
    frame = claims.comparisons(trained, "shallow_net", "hot_test")
    assert set(frame["test"]) == {getattr(claims, test)}


def test_knn_is_judged_by_max_t_however_few_its_permutations(finished):
    for name in ("mfcc", "musicnn_msd"):
        permuted(finished, Run("knn", name), "hot_test", 19)
    frame = claims.comparisons(finished, "knn", "hot_test")
    shuffled = frame[frame["against"] == "shuffled"]
    assert set(shuffled["test"]) == {claims.PERMUTATION_TEST}
    assert set(shuffled["p_adjusted"]) == {0.05}
    assert set(frame["n_seeds"]) == {1}


def test_fewer_than_five_permuted_runs_are_refused(trained):
    for name in ("mfcc", "musicnn_msd"):
        permuted(trained, Run("shallow_net", name), "hot_test", 4)
    with pytest.raises(ValueError, match="at least 5 permuted runs a backend to judge their spread by, found 4"):
        claims.comparisons(trained, "shallow_net", "hot_test")


@pytest.mark.parametrize("n_second", [0, 5])
def test_a_backend_that_lacks_permuted_runs_is_refused(trained, n_second):
    permuted(trained, Run("shallow_net", "mfcc"), "hot_test", 6)
    if n_second:
        permuted(trained, Run("shallow_net", "musicnn_msd"), "hot_test", n_second)
    with pytest.raises(ValueError, match="leave out what has not run"):
        claims.comparisons(trained, "shallow_net", "hot_test")


def test_intervals_of_trained_models_see_other_trainings_too(study):
    """Canary: seeds that differ by .1 and listeners that hardly do; averaging seeds first would hide it."""
    rng = np.random.default_rng(0)
    by_seed = {
        seed: (None, pd.DataFrame({"user_id": [f"u{i}" for i in range(60)], "NDCG@22": rng.normal(mean, 0.01, 60)}))
        for seed, mean in enumerate((0.3, 0.4, 0.5))
    }
    results.save_run(study, Run("shallow_net", "mfcc"), "hot_test", by_seed)
    save_scores(study, Run("mostpop"), "hot_test", 0.2)
    row = claims.mean_differences(study, "shallow_net", "hot_test", "NDCG@22").set_index("against").loc["mostpop"]
    assert row["diff"] == pytest.approx(0.2, abs=0.01)
    assert row["ci_high"] - row["ci_low"] > 0.1
    compared = (
        claims._compare(study, "shallow_net", "hot_test", "mfcc", Run("mostpop")).query("metric == 'NDCG'").iloc[0]
    )
    assert compared["ci_high"] - compared["ci_low"] > 0.1
    assert row["superiority"] == 1
