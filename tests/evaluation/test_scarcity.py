"""Less to learn from: nested subsets, what is judged stays the same, and cells that are kept."""

import itertools

import numpy as np
import pandas as pd
import pytest
from worlds import numbered_vectors, write_parts

from lib import evaluation
from lib.backends.vectors import VectorStore
from lib.evaluation import results, scarcity
from lib.evaluation.results import Run
from lib.study import ROOT, Study, load_parameters
from lib.study.tables import read_parquet, write_parquet

SHARES = (1.0, 0.5, 0.25, 0.1, 0.05)


def train_of(lengths):
    rows = [(f"u{user}", f"t{track:02d}") for user, n in enumerate(lengths) for track in range(n)]
    return pd.DataFrame(rows, columns=["user_id", "track_id"])


@pytest.fixture
def study(tmp_path):
    """A small prepared study: 30 listeners, 24 tracks of which 18 hot, vectors of one backend, KNN and MostPop."""
    table = {"knn": {"kind": "knn", "scaling": "none"}, "mostpop": {"kind": "mostpop"}}
    names = {"recommender_table": table, "scarcity_recommenders": ["knn", "mostpop"], "backend_ids": ["mfcc"]}
    more = {"label_columns": {}, "scarcity_shares": [0.5, 0.25], "n_bootstrap": 100}
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path), "backend": "mfcc"} | names | more))
    rng = np.random.default_rng(3)
    vectors = numbered_vectors(rng, 24)
    write_parts(study, vectors, rng, n_users=30, n_hot=18)
    tracks = pd.DataFrame({"track_id": vectors.ids, "path": "", "duration": 1.0, "artist": "", "title": ""})
    write_parquet(tracks, study.path("data", "tracks.parquet"))
    store = VectorStore(study.path("vectors.lance"))
    store.replace("mfcc", vectors, {})
    return study


@pytest.mark.parametrize("axis", scarcity.AXES)
def test_smaller_subsets_lie_within_larger_ones(axis):
    train = train_of([40, 17, 3, 1])
    kept = [set(scarcity.kept(train, axis, share, np.random.default_rng(5)).index) for share in SHARES]
    assert kept[0] == set(train.index)
    assert all(small <= large for large, small in itertools.pairwise(kept))
    assert len(kept[0]) > len(kept[1]) > len(kept[-1])


@pytest.mark.parametrize("axis", scarcity.AXES)
def test_the_subsets_of_a_study_are_nested_and_draws_differ(study, axis):
    train = results.parts(study)["train"]
    kept = [[set(scarcity.subset(study, train, axis, share, draw).index) for share in SHARES] for draw in (0, 1)]
    assert all(small <= large for own in kept for large, small in itertools.pairwise(own))
    assert kept[0][1] != kept[1][1]


def test_canary_a_draw_for_each_share_is_not_nested():
    train = train_of([40, 17, 3, 1])
    kept = [
        set(scarcity.kept(train, "history", share, np.random.default_rng(seed)).index)
        for seed, share in enumerate(SHARES)
    ]
    assert not all(small <= large for large, small in itertools.pairwise(kept))


def test_histories_keep_their_share_and_one_pair_at_least():
    train = train_of([40, 20, 10, 1])
    left = scarcity.kept(train, "history", 0.1, np.random.default_rng(0))["user_id"].value_counts()
    assert left.to_dict() == {"u0": 4, "u1": 2, "u2": 1, "u3": 1}


def test_history_is_a_random_part_of_it_not_the_oldest_or_newest():
    train = train_of([100])
    drawn = [
        scarcity.kept(train, "history", 0.1, np.random.default_rng(seed))["track_id"].str[1:].astype(int).mean()
        for seed in range(60)
    ]
    assert np.mean(drawn) == pytest.approx(49.5, abs=4)


def test_a_catalogue_keeps_whole_tracks_and_their_share():
    train = train_of([40] * 5)
    left = scarcity.kept(train, "catalogue", 0.25, np.random.default_rng(0))
    assert left["track_id"].nunique() == 10
    assert (left["track_id"].value_counts() == 5).all()


@pytest.mark.parametrize(
    ("axis", "share", "word"), [("years", 0.5, "axis"), ("history", 0.0, "share"), ("history", 1.1, "share")]
)
def test_what_cannot_be_kept_is_a_sentence(axis, share, word):
    with pytest.raises(ValueError, match=f"Expected an? {word}"):
        scarcity.kept(train_of([3]), axis, share, np.random.default_rng(0))


def test_every_cell_judges_the_same_listeners(study):
    scores, left_out = scarcity.collect(study)
    assert not left_out
    of_cell = scores.groupby([*scarcity.CELL, "split"])["user_id"].agg(frozenset)
    assert (of_cell.groupby("split").nunique() == 1).all()
    assert scores["share"].unique().tolist() == [1.0, 0.5, 0.25]
    assert scores.groupby("recommender")["draw"].nunique().to_dict() == {"chance": 3, "knn": 3, "mostpop": 3}
    assert set(scores.loc[scores["recommender"] == "mostpop", "split"]) == {"hot_test"}


def test_canary_every_cell_is_given_the_tasks_of_the_whole(study, monkeypatch):
    """Tasks made of what is left would rank fewer candidates and list what was withheld."""
    asked, original = [], evaluation.recommend_and_score
    monkeypatch.setattr(
        evaluation, "recommend_and_score", lambda model, task: asked.append(task) or original(model, task)
    )
    scarcity.collect(study)
    hot = results.tasks(study)["hot_test"]
    asked = [task for task in asked if task.name == "hot_test"]
    assert len(asked) == 2 * 2 * (
        2 * 3 + 3
    )  # runs x axes x (two smaller shares of three draws, and the whole three times)
    assert all(list(task.candidates) == list(hot.candidates) for task in asked)
    assert all(len(task.history) == len(hot.history) for task in asked)


def test_candidates_and_what_was_heard_are_those_of_the_whole(study):
    """A track that training does not know may be listed by its sound; what was heard may not, withheld or not."""
    train, todo = results.parts(study)["train"], results.tasks(study)
    left = scarcity.subset(study, train, "catalogue", 0.25, 0)
    vectors = VectorStore(study.path("vectors.lance")).read("mfcc")
    model = scarcity._fitted(study, Run("knn", "mfcc"), {"kind": "knn", "scaling": "none"}, 0, left, vectors, todo)
    lists, _ = evaluation.recommend_and_score(model, todo["hot_test"])
    assert set(lists["track_id"]) - set(left["track_id"])
    assert not lists.merge(train, on=["user_id", "track_id"]).shape[0]
    assert lists.groupby("user_id").size().eq(todo["hot_test"].cutoffs[0]).all()


def test_all_of_it_gives_the_scores_of_the_study(study):
    todo, train = results.tasks(study), results.parts(study)["train"]
    scores, _ = scarcity.collect(study)
    own = scores[(scores["share"] == 1) & (scores["recommender"] == "mostpop") & (scores["axis"] == "history")]
    from lib.recommenders import create

    expected = evaluation.recommend_and_score(create("mostpop").fit(train, None, None), todo["hot_test"])[1]
    assert own[own["draw"] == 0]["value"].tolist() == expected[f"NDCG@{todo['hot_test'].cutoffs[0]}"].tolist()
    saved = expected.assign(**{f"NDCG@{todo['hot_test'].cutoffs[0]}": 0.5})
    write_parquet(saved, study.path("per_user", Run("mostpop").file(0, "hot_test")))
    again, _ = scarcity.collect(study)
    read = again[(again["share"] == 1) & (again["recommender"] == "mostpop")]
    assert (read["value"] == 0.5).all()  # what the study has is taken, not computed again


def test_cells_are_read_where_nothing_changed_and_made_again_where_it_did(study, monkeypatch):
    first, _ = scarcity.collect(study)
    fitted = []
    original = scarcity._fitted
    monkeypatch.setattr(scarcity, "_fitted", lambda *args: fitted.append(args[1]) or original(*args))
    again, _ = scarcity.collect(study)
    assert not fitted
    pd.testing.assert_frame_equal(first, again)
    path = study.path("scarcity", "history.0.5.draw0", "knn.mfcc.parquet")
    path.unlink()
    scarcity.collect(study)
    assert fitted == [Run("knn", "mfcc")]
    train = read_parquet(study.path("data", "train.parquet"))
    write_parquet(train.iloc[1:], study.path("data", "train.parquet"))
    fitted.clear()
    scarcity.collect(study)
    assert {run.recommender for run in fitted} == {"knn", "mostpop"}


def test_sizes_by_hand(study):
    found = scarcity.sizes(study).set_index(["axis", "share"])
    assert found.loc[("history", 1.0), ["pairs", "tracks", "history", "emptied"]].tolist() == [180, 18, 6, 0]
    assert found.loc[("history", 0.5), ["pairs", "history", "emptied"]].tolist() == [90, 3, 0]
    assert found.loc[("catalogue", 0.5), "tracks"] == 9


def test_a_recommender_that_a_study_does_not_have_is_passed_over(study):
    other = Study(study.parameters.model_copy(update={"scarcity_recommenders": ["ease"]}))
    assert scarcity.runs(other) == {}


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_names_recommenders_of_its_table(path):
    p = load_parameters("toy" if path.stem == "base" else path.stem)
    assert set(p.scarcity_recommenders) <= set(p.recommender_table)


def test_what_learns_of_a_tracks_listeners_is_not_content_alone():
    table = load_parameters("demo").recommender_table
    alone = {name for name in table if scarcity.hears_alone(Study(load_parameters("demo")), name)}
    assert alone == {"knn", "knn_raw", "shallow_net", "bert4rec"}


def test_a_study_without_audio_has_its_baselines(study):
    other = Study(study.parameters.model_copy(update={"backend_ids": [], "backend": ""}))
    assert list(scarcity.runs(other)) == [Run("mostpop")]
    scores, _ = scarcity.collect(other)
    assert set(scores["recommender"]) == {"chance", "mostpop"}


def test_what_cannot_be_fitted_is_told_and_left_out(study, monkeypatch):
    def refuse(*args):
        raise scarcity.recommenders.CannotFitError("too few.")

    monkeypatch.setattr(scarcity, "_fitted", refuse)
    scores, left_out = scarcity.collect(study)
    assert set(scores["recommender"]) == {"chance"}
    assert left_out["mostpop at 25% of the history"] == "too few."
