"""Lists of every named recommender: which are there, each with its own figures, against few lines of pandas."""

import numpy as np
import pandas as pd
import pytest
from worlds import numbered_vectors, write_parts

from lib import evaluation
from lib.evaluation import list_properties, results
from lib.evaluation.results import Run
from lib.figures.recommenders import list_panels
from lib.study import Study, load_parameters

N_USERS, N_HOT, N_COLD = 24, 20, 8
TABLE = {
    "net": {"kind": "shallow_net"},
    "top": {"kind": "mostpop"},
    "knn": {"kind": "knn"},
    "never_run": {"kind": "ease"},
}
LINES = [Run("net", "mfcc"), Run("net", "none", "id_only"), Run("top"), Run("knn", "mfcc")]
OTHERS = [Run("knn", "musicnn_msd"), Run("knn", "mfcc", "random"), Run("old", "mfcc")]


@pytest.fixture
def vectors(rng):
    return numbered_vectors(rng, N_HOT + N_COLD)


@pytest.fixture
def study(tmp_path, rng, vectors):
    """Random lists of four lines, and of runs that are no line: another backend, a control, a name no longer there."""
    changes = {"runs_dir": str(tmp_path), "n_bootstrap": 200, "recommender_table": TABLE}
    study = Study(load_parameters("toy", changes))
    write_parts(study, vectors, rng, n_users=N_USERS, n_hot=N_HOT)
    todo = results.tasks(study)
    for run in [*LINES, *OTHERS]:
        for split in ("hot_test", "cold_test"):
            if split == "hot_test" or run.backend != "none":
                frame = random_lists(todo[split], rng)
                scores = evaluation.per_user(frame, todo[split].truth, todo[split].cutoffs)
                results.save_run(study, run, split, {0: (frame, scores)})
    return study


def random_lists(task, rng):
    heard = task.history.groupby("user_id")["track_id"].agg(set)
    frames = []
    for user in task.users:
        free = [track for track in task.candidates if track not in heard.get(user, ())]
        listed = rng.choice(free, max(task.cutoffs), replace=False)
        frames.append(pd.DataFrame({"user_id": user, "rank": np.arange(1, len(listed) + 1), "track_id": listed}))
    return pd.concat(frames, ignore_index=True)


def tracks_of(vectors, artist):
    return pd.DataFrame({"track_id": vectors.ids, "artist": artist})


def stored(study, run, split, k):
    frame = pd.read_parquet(study.path("recommendations", run.file(0, split)))
    return frame[frame["rank"] <= k]


def test_lines_stand_as_in_the_table_and_only_those_of_the_backend(study):
    assert list_properties.runs(study, "mfcc", "hot_test") == LINES
    assert list_properties.runs(study, "mfcc", "cold_test") == [LINES[0], LINES[3]]
    assert [list_properties.label(run) for run in LINES] == ["net", "net (ids alone)", "top", "knn"]


def test_a_line_whose_files_are_gone_is_none(study):
    study.path("recommendations", LINES[2].file(0, "hot_test")).unlink()
    assert LINES[2] not in list_properties.runs(study, "mfcc", "hot_test")


def test_the_overview_has_a_row_for_what_never_ran(study):
    found = list_properties.overview(study, "mfcc", ["hot_test", "cold_test"])
    assert found.index.tolist() == ["net", "net (ids alone)", "top", "knn", "never_run"]
    assert found["hot_test"].tolist() == [True] * 4 + [False]
    assert found["cold_test"].tolist() == [True, False, False, True, False]
    assert found["learns from"].tolist() == ["vectors", "ids alone", "listening alone", "vectors", "–"]


def test_every_line_has_the_figures_of_its_own_lists(study, vectors):
    todo = results.tasks(study)
    artist = [f"artist {number % 5}" for number in range(len(vectors.ids))]
    found = list_properties.beyond_accuracy(study, "mfcc", todo, vectors, tracks_of(vectors, artist))
    train = results.parts(study)["train"]
    by = dict(zip(vectors.ids, artist, strict=True))
    known = train.assign(artist=train["track_id"].map(by)).groupby("user_id")["artist"].agg(set)
    for split, runs in (("hot_test", LINES), ("cold_test", [LINES[0], LINES[3]])):
        task, k = todo[split], todo[split].cutoffs[0]
        for run in runs:
            own = found[(found["split"] == split) & (found["line"] == list_properties.label(run))].set_index("metric")[
                "value"
            ]
            listed = stored(study, run, split, k)
            familiar = [by[track] in known[user] for user, track in zip(listed.user_id, listed.track_id, strict=True)]
            assert own["Coverage"] == pytest.approx(listed["track_id"].nunique() / len(task.candidates))
            assert own["KnownArtist"] == pytest.approx(np.mean(familiar))
            assert own["NDCG"] == pytest.approx(results.per_user(study, run, split)[f"NDCG@{k}"].mean())
    hot, cold = (found[found["split"] == split]["metric"].unique().tolist() for split in ("hot_test", "cold_test"))
    assert hot == list(list_properties.MEASURES)
    assert cold == ["NDCG", "Coverage", "Gini", "Diversity", "KnownArtist"]


def test_accuracy_has_the_interval_of_the_metrics(study, vectors):
    todo = results.tasks(study)
    found = list_properties.beyond_accuracy(study, "mfcc", todo, vectors, tracks_of(vectors, "one"))
    columns = ["value", "ci_low", "ci_high"]
    ours = found[(found["line"] == "knn") & (found["split"] == "hot_test") & (found["metric"] == "NDCG")]
    rows = results.metrics(study).query("recommender == 'knn' and backend == 'mfcc' and control == 'real'")
    rows = rows.query("split == 'hot_test' and metric == 'NDCG' and seed == -1")
    rows = rows[rows["k"] == todo["hot_test"].cutoffs[0]]
    np.testing.assert_allclose(ours[columns], rows[columns])


def test_canary_tracks_without_artists_do_not_share_one(study, vectors):
    todo = results.tasks(study)
    none = list_properties.beyond_accuracy(study, "mfcc", todo, None, tracks_of(vectors, ""))
    assert not {"KnownArtist", "Diversity"} & set(none["metric"])
    one = list_properties.beyond_accuracy(
        study, "mfcc", todo, None, tracks_of(vectors, ["x", *[""] * (len(vectors.ids) - 1)])
    )
    assert (one[one["metric"] == "KnownArtist"]["value"] < 0.2).all()


def test_strata_are_of_the_line_that_they_stand_beside(study):
    """Quarters, weighted by their listeners, come back to the mean of the line; so no line has another's scores."""
    todo = results.tasks(study)
    found = list_properties.by_history(study, "mfcc", todo)
    for (split, line), own in found.groupby(["split", "line"]):
        run = next(run for run in LINES if list_properties.label(run) == line)
        mean = results.per_user(study, run, split)[f"NDCG@{todo[split].cutoffs[0]}"].mean()
        assert np.average(own["value"], weights=own["n_users"]) == pytest.approx(mean)
    assert found.drop_duplicates(["split", "line"])["line"].tolist() == [
        *("net", "net (ids alone)", "top", "knn"),
        *("net", "knn"),
    ]


def test_popularity_strata_of_a_list_with_the_most_played_alone(study):
    """A list that holds all relevant tracks of the head, and nothing else, is right there and wrong in the tail."""
    task = results.tasks(study)["hot_test"]
    from lib.evaluation import beyond

    of_track = beyond.popularity_strata(results.parts(study)["train"])
    head = task.truth[task.truth["track_id"].map(of_track) == "head"][["user_id", "track_id"]]
    head = head.assign(rank=head.groupby("user_id").cumcount() + 1)
    head.to_parquet(study.path("recommendations", LINES[1].file(0, "hot_test")))
    found = list_properties.by_popularity(study, "mfcc", results.tasks(study))
    own = found[found["line"] == "net (ids alone)"].set_index("stratum")["value"].to_dict()
    assert own == {"head": 1, "middle": 0, "tail": 0}
    assert found["split"].unique().tolist() == ["hot_test"]
    assert not (found[found["line"] == "net"]["value"] == 1).any()


def test_without_lists_it_says_what_to_run(study):
    for path in study.path("recommendations").iterdir():
        path.unlink()
    with pytest.raises(
        ValueError, match="lists of named recommenders on hot_test or cold_test, found none; run 30_knn"
    ):
        list_properties.by_history(study, "mfcc", results.tasks(study))


def test_a_table_keeps_the_order_and_shows_gaps():
    frame = pd.DataFrame(
        {
            "line": ["z", "z", "a"],
            "metric": ["NDCG", "Gini", "NDCG"],
            "value": [0.1, 0.5, 0.2],
            "ci_low": [0.0, np.nan, 0.1],
            "ci_high": [0.2, np.nan, 0.3],
        }
    )
    found = list_properties.table(frame, "metric")
    assert found.index.tolist() == ["z", "a"]
    assert found.columns.tolist() == ["NDCG", "Gini"]
    assert found.to_numpy().tolist() == [["0.100 [0.000, 0.200]", "0.500"], ["0.200 [0.100, 0.300]", "–"]]


def test_a_drawing_colours_lines_by_what_they_learn_from(study):
    figure = list_panels(
        list_properties.by_popularity(study, "mfcc", results.tasks(study)), "stratum", 6.3, scale="NDCG"
    )
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["vectors", "ids alone", "listening alone"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["net", "net (ids alone)", "top", "KNN"]
