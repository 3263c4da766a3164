"""What was proposed, whether it was heard, and why: against lists made here, and cosines worked by hand."""

import shutil

import numpy as np
import pandas as pd
import pytest

from lib import recommenders
from lib.backends.vectors import Vectors, VectorStore
from lib.evaluation import results
from lib.evaluation.results import Run
from lib.listening import archives, reasons
from lib.study import Study, load_parameters
from lib.study.tables import write_parquet

HOT = [f"t{number:02d}" for number in range(24)]
COLD = [f"t{number:02d}" for number in range(24, 30)]
USERS = [f"u{number:02d}" for number in range(12)]
TABLE = {
    "knn": {"kind": "knn", "scaling": "auto"},
    "knn_raw": {"kind": "knn", "scaling": "none"},
    "mostpop": {"kind": "mostpop"},
    "itemknn": {"kind": "itemknn"},
    "bert4rec": {"kind": "bert4rec"},
}
CHANGES = {
    "n_bootstrap": 100,
    "recommender_table": TABLE,
    "variant_table": {},
    "tuning_grids": {},
    "label_columns": {"artist": "artist"},
}


def pairs(rng, tracks, n, day):
    """n tracks a listener, drawn without replacement; heard from `day` on."""
    rows = [(user, track) for user in USERS for track in rng.permutation(tracks)[:n]]
    when = pd.Timestamp(day, tz="UTC") + pd.to_timedelta(np.arange(len(rows)), unit="min")
    frame = pd.DataFrame(rows, columns=["user_id", "track_id"])
    return frame.assign(timestamp=when.astype("datetime64[us, UTC]"), count=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small study with lists of KNN under two scalings, of MostPop, of ItemKNN, and of controls nobody asked for."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("runs")
    study = Study(load_parameters("toy", {"runs_dir": str(folder)} | CHANGES))
    ids = [*HOT, *COLD]
    tracks = pd.DataFrame({"track_id": ids, "path": "", "duration": 6.0, "artist": "somebody", "title": ids})
    write_parquet(tracks.assign(artist=[f"artist {row % 5}" for row in range(30)]), study.path("data/tracks.parquet"))
    both = pairs(rng, HOT, 8, "2019-01-01")
    late = both.groupby("user_id").cumcount() >= 6  # what is heard later was not heard before
    parts = {"train": both[~late], "hot_test": both[late], "cold_test": pairs(rng, COLD, 2, "2019-02-01")}
    parts |= {"val": both[late].head(4), "cold_val": parts["cold_test"].head(4)}
    for name, frame in parts.items():
        write_parquet(frame, study.path("data", f"{name}.parquet"))
    store = VectorStore(study.path("vectors.lance"))
    for backend, dim in (("mfcc", 4), ("musicnn_msd", 6)):
        store.replace(backend, Vectors.of(ids, rng.standard_normal((30, dim)) + 3), {"checkpoint": "none"})
    todo = results.tasks(study)
    todo = {split: todo[split] for split in results.TEST_SPLITS}
    for backend in ("mfcc", "musicnn_msd"):
        for name, scaling in (("knn", "centre"), ("knn_raw", "none")):  # what auto chose, say
            model = recommenders.create("knn", scaling=scaling).fit(parts["train"], store.read(backend), rng)
            for control in ("real", "profile_swap"):
                results.run(study, Run(name, backend, control), model, todo)
    for name in ("mostpop", "itemknn"):
        model = recommenders.create(name).fit(parts["train"], None, rng)
        results.run(study, Run(name), model, {"hot_test": todo["hot_test"]})
    return folder


@pytest.fixture
def study(made, tmp_path):
    """The study in a folder of the test's own."""
    shutil.copytree(made, tmp_path / "runs")
    return Study(load_parameters("toy", {"runs_dir": str(tmp_path / "runs")} | CHANGES))


@pytest.fixture
def archive(study):
    return archives.read(study)


def stored(study, run, split, user):
    frame = pd.read_parquet(study.path("recommendations", run.file(0, split)))
    return frame[frame["user_id"] == user].sort_values("rank")


def test_what_has_lists_is_offered_and_controls_are_not(archive):
    assert archives.runs(archive) == [
        Run("knn", "mfcc"),
        Run("knn", "musicnn_msd"),
        Run("knn_raw", "mfcc"),
        Run("knn_raw", "musicnn_msd"),
        Run("mostpop"),
        Run("itemknn"),
    ]


def test_ids_alone_are_offered_and_called_so(study, archive):
    run = Run("bert4rec", "none", "id_only")
    write_parquet(pd.DataFrame({"user_id": []}), study.path("recommendations", run.file(0, "hot_test")))
    assert archives.runs(archive)[-1] == run
    assert archives.label(archive, run) == "BERT4Rec · ids alone"


@pytest.mark.parametrize("split", results.TEST_SPLITS)
def test_proposals_are_the_first_of_the_list_and_none_was_heard_before(study, archive, split):
    for run in archives.runs(archive)[:4]:
        for user in USERS:
            found = archives.proposals(archive, run, split, user, 4)
            expected = stored(study, run, split, user).head(4)
            assert found["track_id"].tolist() == expected["track_id"].tolist()
            assert found["rank"].tolist() == [1, 2, 3, 4][: len(found)]
            assert not set(found["track_id"]) & set(archives.history(archive, user)["track_id"])


@pytest.mark.parametrize("split", results.TEST_SPLITS)
def test_hits_are_what_was_heard_in_the_test_month(study, archive, split):
    """Recall of the whole list, from the hits that are shown, is the one that was measured."""
    run, user_recall = Run("knn", "mfcc"), None
    per_user = results.per_user(study, run, split).set_index("user_id")
    column = next(name for name in per_user if name.startswith("Recall"))
    k = int(column.split("@")[1])
    for user in USERS:
        found = archives.proposals(archive, run, split, user, k)
        user_recall = found["hit"].sum() / archives.listeners(archive).loc[user, split]
        assert user_recall == pytest.approx(per_user.loc[user, column])


def test_the_history_is_what_came_before_latest_first(study, archive):
    for user in USERS:
        found = archives.history(archive, user)
        train = pd.read_parquet(study.path("data/train.parquet"))
        own = train[train["user_id"] == user].sort_values("timestamp", ascending=False)
        assert found["track_id"].tolist() == own["track_id"].tolist()


def test_cosines_are_those_worked_by_hand(study, archive, monkeypatch):
    """Heard (1, 0) and (0, 2); proposed (3, 4): cosines .6 and .8 raw. What another listener heard is no reason."""
    values = Vectors.of(["a", "b", "c", "d"], [[1, 0], [0, 2], [3, 4], [3, 4]])
    train = pd.DataFrame({"user_id": ["u", "u", "v"], "track_id": ["a", "b", "d"], "count": 1})
    train["timestamp"] = pd.Timestamp("2019-01-01", tz="UTC")
    tracks = pd.DataFrame({"title": list("ABCD"), "artist": ""}, index=pd.Index(list("abcd"), name="track_id"))
    small = archives.Archive(study, tracks, train, {})
    small.kept(("vectors", "mfcc"), lambda: values)
    monkeypatch.setattr(reasons, "scaling_of", lambda *_: "none")
    found = reasons.reasons(small, Run("knn_raw", "mfcc"), "hot_test", "u", "c")
    assert found.tracks["title"].tolist() == ["B", "A"]
    assert found.tracks["similarity"].tolist() == pytest.approx([0.8, 0.6])
    assert "Nearest of 2 tracks heard, by cosine of MFCC vectors (raw)" in found.sentence


def test_reasons_are_of_the_history_and_never_of_the_future(archive):
    for run in archives.runs(archive):
        for user in USERS:
            before = set(archive.train.loc[archive.train["user_id"] == user, "track_id"])
            proposed = archives.proposals(archive, run, "hot_test", user, 1)["track_id"].iloc[0]
            found = reasons.reasons(archive, run, "hot_test", user, proposed, 50).tracks
            assert set(found["track_id"]) <= before
            assert len(found) == (0 if run.recommender == "mostpop" else len(before))
            assert found["similarity"].is_monotonic_decreasing


def test_the_scaling_is_the_one_the_list_was_ranked_by(archive):
    """Nothing on disk says what KNN chose; its scores do."""
    for user in USERS[:4]:
        assert reasons.scaling_of(archive, Run("knn", "mfcc"), "hot_test", user) == "centre"
        assert reasons.scaling_of(archive, Run("knn_raw", "musicnn_msd"), "hot_test", user) == "none"


def test_the_scaling_of_what_was_trained_is_read(study, archive):
    rows = pd.DataFrame({"recommender": ["bert4rec"], "backend": "mfcc", "control": "real", "seed": 0})
    write_parquet(rows.assign(scaling="whiten"), study.path("training.parquet"))
    assert reasons.scaling_of(archive, Run("bert4rec", "mfcc"), "hot_test", "u00") == "whiten"
    assert reasons.scaling_of(archive, Run("knn", "mfcc"), "hot_test", "u00") == "centre"


def test_what_reads_no_audio_gives_listening_as_its_reason(archive):
    user = "u00"
    track = archives.proposals(archive, Run("itemknn"), "hot_test", user, 1)["track_id"].iloc[0]
    found = reasons.reasons(archive, Run("itemknn"), "hot_test", user, track, 1)
    who = archive.train.groupby("track_id")["user_id"].agg(set)
    best = {
        other: len(who[track] & who[other]) / np.sqrt(len(who[track]) * len(who[other]))
        for other in archives.history(archive, user)["track_id"]
    }
    assert found.tracks["similarity"].iloc[0] == pytest.approx(max(best.values()))
    assert "reads no audio" in found.sentence


def test_the_most_heard_is_proposed_for_being_heard(archive):
    counts = archive.train.groupby("track_id")["user_id"].nunique()
    found = reasons.reasons(archive, Run("mostpop"), "hot_test", "u00", counts.idxmax())
    assert f"{counts.max()} of 12 listeners had heard this track, more than all but 0 of" in found.sentence


def test_a_track_without_a_vector_is_said_to_have_none(study, archive):
    archive.kept(("vectors", "mfcc"), lambda: VectorStore(study.path("vectors.lance")).read("mfcc").select(HOT[1:]))
    found = reasons.reasons(archive, Run("knn", "mfcc"), "hot_test", "u00", HOT[0])
    assert found.sentence == "This track has no vector of MFCC."
    assert not len(archives.nearest(archive, "mfcc", HOT[0]))


def test_neighbours_of_a_track_are_of_other_recordings(study, archive):
    tracks = archive.tracks.assign(score_id=[f"score {row // 2}" for row in range(30)])
    other = archives.Archive(study, tracks, archive.train, archive.truth)
    found = archives.nearest(other, "mfcc", "t06", 29)
    assert len(found) == 28
    assert not {"t06", "t07"} & set(found["track_id"])
    assert found["rank"].tolist() == list(range(1, 29))
    unknown = archives.Archive(study, tracks.assign(score_id=None), archive.train, archive.truth)
    assert len(archives.nearest(unknown, "mfcc", "t06", 30)) == 29  # of recordings of their own, for all one knows


def test_two_are_compared_as_named_or_the_first_two(archive):
    assert [run.backend for run in archives.compared(archive, "knn")] == ["musicnn_msd", "mfcc"]  # its `backend` first
    assert [run.backend for run in archives.compared(archive, "knn", ["mfcc", "musicnn_msd"])] == [
        "mfcc",
        "musicnn_msd",
    ]
    assert archives.compared(archive, "mostpop") == [Run("mostpop"), Run("knn", "mfcc")]
    with pytest.raises(ValueError, match="Expected backends to compare of which 'knn' has lists"):
        archives.compared(archive, "knn", ["vgg_msd"])
    with pytest.raises(ValueError, match=r"Expected a recommender to compare among knn, .*found 'bert4rek'"):
        archives.compared(archive, "bert4rek")


def test_the_telling_listener_is_the_one_of_whom_most_is_found(study, archive):
    pair = [Run("knn", "mfcc"), Run("knn", "musicnn_msd")]
    hits = {
        user: sum(archives.proposals(archive, run, "hot_test", user)["hit"].sum() for run in pair) for user in USERS
    }
    assert archives.telling(archive, pair, "hot_test") == max(sorted(hits), key=hits.get)
    assert archives.telling(archive, pair, "hot_test", "u07") == "u07"
    with pytest.raises(ValueError, match=r"Expected a listener of the test month \(u00, u01, u02, …\), found 'nobody'"):
        archives.telling(archive, pair, "hot_test", "nobody")


def test_a_study_without_listeners_has_neighbours_only(study):
    alone = Study(load_parameters("toy", CHANGES | {"runs_dir": str(study.runs), "listening_source": "none"}))
    archive = archives.read(alone)
    assert not len(archives.listeners(archive))
    assert not archive.truth
    assert len(archives.nearest(archive, "mfcc", "t00")) == archives.SHOWN


def test_the_table_to_read_says_what_is_proposed_and_why(archive):
    run, user = Run("knn", "mfcc"), "u01"
    found = reasons.table(archive, run, "hot_test", user, 3)
    proposed = archives.proposals(archive, run, "hot_test", user, 3)
    assert found["proposed"].tolist() == proposed["title"].tolist()
    assert (found["heard later"] == "yes").tolist() == proposed["hit"].tolist()
    why = reasons.reasons(archive, run, "hot_test", user, proposed["track_id"].iloc[0], 1).tracks
    assert found["nearest in the history"].iloc[0] == why["title"].iloc[0]
