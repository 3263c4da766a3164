"""The referee's questions on worlds worked by hand."""

import numpy as np
import pandas as pd
import pytest
from worlds import pairs

from lib import evaluation
from lib.answers import audit, duplicates
from lib.backends import names
from lib.backends.vectors import Vectors
from lib.evaluation import results
from lib.evaluation.metrics import Task
from lib.evaluation.results import Run
from lib.study import Study, load_parameters
from lib.study.tables import write_parquet

ARTISTS = pd.Series({"a1": "A", "a2": "A", "a3": "A", "b1": "B", "b2": "B", "c1": "C", "c2": "C"})
TRAIN = pairs(("u", "a1"), ("v", "b1"), ("v", "a2"), ("w", "x1"))
TRACKS = ["a1", "a2", "a3", "b1", "b2", "c1", "c2", "x1"]


def task(truth, candidates=TRACKS, train=TRAIN):
    history = train[train["user_id"].isin(truth["user_id"])][["user_id", "track_id"]]
    return Task("hot_test", truth[["user_id", "track_id"]], np.array(candidates, dtype=object), history, (2,))


def test_every_backend_has_a_word_on_its_training_data():
    found = audit.training_overlap([*names(), "onion_maest"])
    assert found.loc["musicnn_msd", "overlap"] == "likely"
    assert "Last.fm" in found.loc["vgg_msd", "why"]
    assert "Last.fm" not in found.loc["musicnn_mtt", "why"]
    assert found.loc["musicnn_untrained", "overlap"] == found.loc["mfcc", "overlap"] == "none"
    assert found.loc["onion_maest", "overlap"] == "unknown"
    assert (found["why"].str.len() > 10).all()


def test_the_sentence_on_training_data_knows_clips_made_here():
    assert "can have been heard in training, as all were made here" in audit.overlap_sentence(_study("toy"))
    text = audit.overlap_sentence(_study("music4all_onion"))
    assert "likely for 2" in text
    assert "made here" not in text


def _study(name, **changes):
    return Study(load_parameters(name, changes))


def test_artist_strata_by_hand():
    truth = pairs(("u", "a3"), ("u", "b2"), ("u", "c1"), ("v", "b2"), ("u", "x1"))
    found = audit.artist_strata(truth, TRAIN, ARTISTS)
    assert found.tolist() == [audit.OWN, audit.OTHER, audit.NEW, audit.OWN, audit.UNSTATED]


def test_canary_an_artist_that_is_not_stated_is_nobodys_own():
    """w played x1, which has no artist; another track without one must not count as the same."""
    found = audit.artist_strata(pairs(("w", "x2")), TRAIN, ARTISTS)
    assert found.tolist() == [audit.UNSTATED]


def test_chance_of_own_artists_by_hand_and_by_drawing(rng):
    own = task(pairs(("u", "a3"), ("v", "b2"), ("w", "c1")))
    found = audit.chance_of_own_artist(own, TRAIN, ARTISTS)
    # u: a2, a3 of the 7 left; v: a1, a3, b2 of 6; w knows no artist
    assert found.to_dict() == pytest.approx({"u": 2 / 7, "v": 3 / 6, "w": 0})
    left = [track for track in TRACKS if track not in ("b1", "a2")]
    drawn = [np.mean([ARTISTS.get(track) in ("A", "B") for track in rng.permutation(left)[:2]]) for _ in range(4000)]
    assert found["v"] == pytest.approx(np.mean(drawn), abs=0.03)


@pytest.fixture
def study(tmp_path):
    """Lists of one run: u is given its own artist first, v another's."""
    table = {"recommender_table": {"knn": {"kind": "knn", "scaling": "none"}}, "backend_ids": ["mfcc"]}
    found = _study("toy", runs_dir=str(tmp_path), n_bootstrap=100, label_columns={}, cutoffs_hot=[2], **table)
    parts = {"train": TRAIN, "hot_test": pairs(("u", "a3"), ("u", "b2"), ("v", "c1"))}
    for name in results.PARTS:
        write_parquet(parts.get(name, TRAIN.iloc[:0]), found.path("data", f"{name}.parquet"))
    lists = pd.DataFrame({"user_id": ["u", "u", "v", "v"], "rank": [1, 2, 1, 2], "track_id": ["a3", "b2", "c1", "c2"]})
    lists = lists.assign(score=1.0)
    truth = parts["hot_test"]
    results.save_run(found, Run("knn", "mfcc"), "hot_test", {0: (lists, evaluation.per_user(lists, truth, [2]))})
    return found


@pytest.fixture
def todo():
    return {"hot_test": task(pairs(("u", "a3"), ("u", "b2"), ("v", "c1")))}


@pytest.fixture
def tracks():
    artist = [ARTISTS.get(track, "") for track in TRACKS]
    return pd.DataFrame({"track_id": TRACKS, "artist": artist, "path": "", "score_id": ""})


def test_same_artist_recommendations_are_counted_against_chance(study, todo, tracks):
    row = audit.same_artist(study, todo, tracks).iloc[0]
    assert (row["share"], row["chance"]) == pytest.approx((1 / 4, (2 / 7 + 3 / 6) / 2))
    assert row["excess"] == pytest.approx(row["share"] - row["chance"])
    assert row["n_users"] == 2


def test_scores_without_same_artist_hits_by_hand(study, todo, tracks):
    found = audit.by_artist(study, todo, tracks).set_index("stratum")
    discount = 1 / np.log2(3)
    assert found.loc[audit.OWN, "value"] == pytest.approx(1)  # u: a3 first, all there is
    assert found.loc[audit.NOT_OWN, "value"] == pytest.approx((discount + 1) / 2)  # u: b2 second; v: c1 first
    assert found.loc[audit.NEW, "value"] == pytest.approx(1)
    assert found[["n_users", "n_pairs"]].to_numpy().tolist() == [[1, 1], [2, 2], [1, 1]]
    # chance of c1 for v, who has 6 candidates: 1/6 at rank 1, 1/6 at rank 2
    assert found.loc[audit.NEW, "chance"] == pytest.approx((1 + discount) / 6)
    assert np.isnan(found.loc[audit.NEW, "ci_low"])  # one listener has no interval


def test_the_sentence_and_table_on_artists(study, todo, tracks):
    shares, scores = audit.same_artist(study, todo, tracks), audit.by_artist(study, todo, tracks)
    text = audit.artist_sentence(shares, scores, "knn", "mfcc", "hot_test")
    assert text.startswith("knn (mfcc) on hot tracks: 25% of the first 2 are by artists whom the listener has played, ")
    assert "39% of a random list" in text
    assert "NDCG@2 on artist absent from train: 1.000, chance 0.272" in text  # one listener has no interval
    table = audit.artist_table(shares, scores)
    assert table.loc[("hot_test", "knn", "mfcc"), "own artists"] == "25%"
    assert audit.artist_sentence(shares, scores, "ease", "none", "hot_test").endswith("whose artists are stated.")


def test_without_artists_nothing_is_said_of_them(study, todo, tracks):
    unnamed = tracks.assign(artist="")
    shares, scores = audit.same_artist(study, todo, unnamed), audit.by_artist(study, todo, unnamed)
    assert shares.empty
    assert scores.empty
    assert audit.artist_table(shares, scores).empty


def test_recordings_by_label_file_and_vector(tmp_path, rng):
    ids = ["a", "b", "c", "d", "e"]
    for name, content in zip(ids, ("same", "same", "else", "longer", ""), strict=True):
        (tmp_path / name).write_text(content)
    tracks = pd.DataFrame({"track_id": ids, "path": [str(tmp_path / name) for name in ids]})
    tracks["score_id"] = ["x", "y", "", "", "x"]
    values = rng.standard_normal((5, 12))
    values[3] = values[2] + 1e-4
    found = duplicates.recordings(tracks, Vectors.of(ids, values), same_recording="score_id")

    def together(name):
        return sorted("".join(own) for _, own in found[name].index.to_series().groupby(found[name]) if len(own) > 1)

    assert {name: together(name) for name in found} == {"score_id": ["ae"], "file": ["ab"], "vectors": ["cd"]}


def test_canary_raw_vectors_with_a_common_direction_would_all_be_duplicates(rng):
    ids = [f"t{number:02d}" for number in range(20)]
    vectors = Vectors.of(ids, rng.standard_normal((20, 12)) + 200)
    raw = vectors.values / np.linalg.norm(vectors.values, axis=1, keepdims=True)
    assert (raw @ raw.T).min() > duplicates.SAME
    tracks = pd.DataFrame({"track_id": ids, "path": ""})
    assert duplicates.recordings(tracks, vectors)["vectors"].nunique() == 20


def test_near_duplicates_do_not_depend_on_blocks(rng, monkeypatch):
    ids = [f"t{number:02d}" for number in range(20)]
    values = rng.standard_normal((20, 6))
    values[[3, 11, 19]] = values[5]
    tracks = pd.DataFrame({"track_id": ids, "path": ""})
    whole = duplicates.recordings(tracks, Vectors.of(ids, values))["vectors"]
    monkeypatch.setattr(duplicates, "ROWS_AT_A_TIME", 4)
    assert duplicates.recordings(tracks, Vectors.of(ids, values))["vectors"].equals(whole)
    assert whole[["t03", "t05", "t11", "t19"]].nunique() == 1
    assert whole.nunique() == 17


def test_a_track_without_a_vector_is_alone():
    tracks = pd.DataFrame({"track_id": ["a", "b", "c", "d"], "path": ""})
    vectors = Vectors.of(["a", "b"], [[1.0, 2.0], [2.0, 1.0]])
    assert duplicates.recordings(tracks, vectors)["vectors"].nunique() == 4


def test_pairs_that_a_duplicate_gives_away_by_hand():
    groups = pd.Series({"a1": 0, "a2": 0, "b1": 1, "b2": 1, "c1": 2})
    train = pairs(("u", "a1"), ("v", "b1"), ("v", "c1"))
    own, anybody = duplicates.given_away(pairs(("u", "a2"), ("u", "b2"), ("u", "c1"), ("u", "b1")), train, groups)
    assert own.tolist() == [True, False, False, False]
    # c1 and b1 were heard by others under their own ids, which is no duplicate
    assert anybody.tolist() == [True, True, False, False]


def test_duplicates_and_scores_without_them(study, todo, tracks):
    labelled = tracks.assign(score_id=["x", "", "x", "", "", "", "", ""])  # a1, which u played, and a3, to be found
    groups = duplicates.recordings(labelled, same_recording="score_id")
    row = duplicates.duplicates(study, todo, groups).iloc[0]
    assert row.drop(["criterion", "split"]).tolist() == [2, 1, 2, 3, 1, 1]
    found = duplicates.without_duplicates(study, todo, groups).iloc[0]
    discount = 1 / np.log2(3)
    assert found["all"] == pytest.approx(1)  # u: a3, b2; v: c1 of one
    assert found["without"] == pytest.approx((discount + 1) / 2)
    assert (found["n_users"], found["n_pairs"]) == (2, 1)
    text = duplicates.duplicate_sentence(duplicates.duplicates(study, todo, groups))
    assert text == "Duplicate recordings: 2 tracks in 1 groups that share score_id, giving away 1 of 3 hot pairs."


def test_where_nothing_is_given_away_there_is_nothing_to_score(study, todo, tracks):
    groups = duplicates.recordings(tracks, same_recording="score_id")
    assert duplicates.without_duplicates(study, todo, groups).empty
    nothing = duplicates.recordings(tracks.drop(columns="score_id"))
    assert nothing == {}
    assert "nothing to look by" in duplicates.duplicate_sentence(duplicates.duplicates(study, todo, nothing))
