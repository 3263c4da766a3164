"""Trained recommenders under every control: which vectors, which draws, what is saved, and how trainings are told."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from worlds import numbered_vectors, write_parts

from lib import evaluation, recommenders
from lib.backends.vectors import Vectors
from lib.evaluation import permutations, results
from lib.evaluation import trainings as trained
from lib.evaluation.results import NO_BACKEND, Run
from lib.figures.recommenders import training_curves
from lib.study import Study, load_parameters

N_USERS, N_HOT, N_COLD, N_SEEDS = 20, 20, 8, 2
HYBRID = {"kind": "hybrid", "scaling": "none", "width": 4, "max_epochs": 3}
BIMODAL = {"kind": "bimodal", "scaling": "none", "width": 4, "collaborative_epochs": 2, "max_epochs": 2}
NET = {"kind": "shallow_net", "scaling": "none", "width": 4, "max_epochs": 2}
BERT = {"kind": "bert4rec", "scaling": "none", "layers": 1, "width": 8, "max_epochs": 1}


class Store:
    """A vector store that has the untrained twin of MusiCNN, and nothing else."""

    def __init__(self, twin):
        self.twin = twin

    def read(self, backend):
        assert backend == "musicnn_untrained"
        return self.twin


def silent(jobs, **_):
    return jobs


def train_all(study, options, by_control, todo, *, name="hybrid", backend="mfcc"):
    return trained.run(study, name, options, backend, by_control, todo, progress=silent)


def lists_of(study, run, seed=0, split="hot_test"):
    return pd.read_parquet(study.path("recommendations", run.file(seed, split)))


def files(study, folder):
    return sorted(path.name for path in study.path(folder).glob("*.parquet"))


@pytest.fixture
def vectors(rng):
    return numbered_vectors(rng, N_HOT + N_COLD)


@pytest.fixture
def study(tmp_path, rng, vectors):
    """Listeners with six train tracks each, two of validation and of test, and cold ones."""
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path), "n_seeds": N_SEEDS, "n_bootstrap": 100}))
    write_parts(study, vectors, rng, n_users=N_USERS, n_hot=N_HOT)
    return study


@pytest.fixture
def todo(study):
    return results.tasks(study)


def test_each_control_has_as_many_spaces_as_it_has_trainings(study, vectors, rng):
    twin = Vectors(vectors.ids, rng.standard_normal((len(vectors), 3)).astype(np.float32))
    found = trained.spaces(study, "musicnn_msd", vectors, Store(twin))
    assert {c: len(runs) for c, runs in found.items()} == {"real": 2, "untrained": 2, "shuffled": 5, "random": 1}
    assert all(space is vectors for space in found["real"])
    assert all(space is twin for space in found["untrained"])
    assert list(trained.spaces(study, "mfcc", vectors, Store(None))) == ["real", "shuffled", "random"]  # has no twin
    assert list(trained.spaces(study, "artist", vectors, Store(None))) == ["real"]


def test_shuffled_spaces_move_vectors_between_tracks_alike_for_every_backend(study, vectors):
    other = Vectors(vectors.ids, vectors.values[:, :2] + 1)
    shuffled, of_other = (trained.spaces(study, "mfcc", v, Store(None))["shuffled"] for v in (vectors, other))
    for number, (space, same) in enumerate(zip(shuffled, of_other, strict=True)):
        order = permutations.permutation(study.parameters.seed, number, len(vectors))
        assert sorted(order) == list(range(len(vectors)))
        assert (order != np.arange(len(vectors))).any()
        assert (space.ids == vectors.ids).all()
        assert (space.values == vectors.values[order]).all()
        assert (same.values == other.values[order]).all()
    assert len({space.values.tobytes() for space in shuffled}) == 5


def test_random_spaces_are_of_the_same_size_and_a_backends_own(study, vectors):
    first, again, other = (trained.spaces(study, b, vectors, Store(None))["random"][0] for b in ("mfcc", "mfcc", "x"))
    assert first.values.shape == vectors.values.shape
    assert (first.values == again.values).all()
    assert (first.values != other.values).any()


def test_what_a_run_saves(study, vectors, todo):
    by_control = trained.spaces(study, "mfcc", vectors, Store(None))
    rows, history = train_all(study, HYBRID, by_control, todo)
    seeds = rows.groupby("control")["seed"].unique().map(sorted).to_dict()
    assert seeds == {"real": [-1, 0, 1], "random": [-1, 0], "shuffled": [-1, 0]}
    assert set(rows["split"]) == {"val", "cold_val", "hot_test", "cold_test"}
    assert history.groupby("control")["seed"].nunique().to_dict() == {"real": 2, "random": 1, "shuffled": 5}
    assert list(history.columns) == trained.HISTORY_COLUMNS
    assert sorted(trained.histories(study)["loss"]) == sorted(history["loss"])
    assert not [name for name in files(study, "recommendations") if "shuffled" in name]  # as those of KNN
    assert len(files(study, "recommendations")) == (2 + 1) * 4


def test_shuffled_rows_are_means_of_the_permutations_kept_one_by_one(study, vectors, todo):
    by_control = trained.spaces(study, "mfcc", vectors, Store(None))
    rows, _ = train_all(study, HYBRID, {"shuffled": by_control["shuffled"]}, todo)
    kept = results.read_permutations(study).query("split == 'cold_test' and metric == 'NDCG'")
    assert list(kept["permutation"]) == [0, 1, 2, 3, 4]
    assert kept["value"].nunique() > 1
    told = rows.query("split == 'cold_test' and metric == 'NDCG' and seed == -1")["value"]
    assert told.item() == pytest.approx(kept["value"].mean())


def test_seeds_are_averaged_within_each_user(study, vectors, todo):
    rows, _ = train_all(study, HYBRID, {"real": [vectors] * N_SEEDS}, todo)
    own = rows.query("split == 'hot_test' and metric == 'NDCG'").set_index("seed")
    assert own.loc[0, "value"] != own.loc[1, "value"]
    assert own.loc[-1, "value"] == pytest.approx(own.loc[[0, 1], "value"].mean())
    assert own.loc[-1, "n_users"] == N_USERS  # seeds never count as users


def test_backends_differ_by_their_vectors_alone(study, vectors, todo):
    train_all(study, HYBRID, {"real": [vectors]}, todo, backend="a")
    train_all(study, HYBRID, {"real": [vectors]}, todo, backend="b")
    a, b = (lists_of(study, Run("hybrid", backend)) for backend in "ab")
    pd.testing.assert_frame_equal(a, b)


def test_a_shuffled_training_has_the_draws_of_the_real_one(study, vectors, todo):
    """Canary: with vectors left in place, both must be the same training."""
    same = {"real": [vectors], "shuffled": [vectors], "random": [vectors]}
    rows, _ = train_all(study, HYBRID, same, todo)
    own = rows.query("seed == -1 and split == 'hot_test' and metric == 'NDCG'").set_index("control")["value"]
    assert own["real"] == own["shuffled"] != own["random"]


def test_what_is_done_is_kept(study, vectors, todo):
    first, second = (train_all(study, HYBRID, {"real": [vectors] * N_SEEDS}, todo) for _ in range(2))
    pd.testing.assert_frame_equal(first[0], second[0])
    pd.testing.assert_frame_equal(first[1], second[1])  # seconds too: nothing was trained again


@pytest.mark.parametrize("options", [HYBRID, NET, BERT], ids=lambda options: options["kind"])
def test_id_only_is_told_once_of_hot_tracks_and_never_hears(study, vectors, todo, options):
    rows, history = trained.run_id_only(study, "x", options, todo, progress=silent)
    assert set(rows["backend"]) == {NO_BACKEND}
    assert set(rows["control"]) == {trained.ID_ONLY}
    assert set(rows["split"]) == {"val", "hot_test"}
    assert set(rows["seed"]) == {-1, 0, 1}
    assert set(history["seed"]) == {0, 1}
    assert options.get("item_vectors") is None  # the table's options stay as they were
    listed = lists_of(study, Run("x", NO_BACKEND, trained.ID_ONLY))
    assert set(listed["user_id"]) == {f"u{user:02d}" for user in range(N_USERS)}
    assert set(listed["track_id"]) <= set(vectors.ids[:N_HOT])


def test_id_only_of_the_hybrid_is_elsa(study, todo):
    trained.run_id_only(study, "x", HYBRID, todo, progress=silent)
    options = {name: value for name, value in HYBRID.items() if name != "kind"} | {"item_vectors": "none"}
    elsa = recommenders.create("hybrid", **options)
    train, task = results.parts(study)["train"], todo["hot_test"]
    elsa.fit(train, None, study.rng("x", "id_only", "1"), validate=evaluation.validator(todo["val"]))
    expected = elsa.recommend(task.users, max(task.cutoffs), task.candidates, task.history)
    pd.testing.assert_frame_equal(lists_of(study, Run("x", NO_BACKEND, "id_only"), seed=1), expected)


def test_options_that_need_audio_are_refused_without_it(study, todo):
    with pytest.raises(ValueError, match="targets 'train' where"):
        trained.run_id_only(study, "x", HYBRID | {"targets": "all"}, todo, progress=silent)


@pytest.mark.parametrize(("reading", "lists_cold"), [("content", True), ("averaged", True), ("collaborative", False)])
def test_cold_tracks_are_scored_only_where_they_can_be_listed(study, vectors, todo, reading, lists_cold):
    rows, _ = train_all(study, BIMODAL | {"reading": reading}, {"real": [vectors]}, todo, name="b")
    assert ("cold_test" in set(rows["split"])) == lists_cold
    assert Run("b", "mfcc").file(0, "hot_test") in files(study, "recommendations")
    assert (Run("b", "mfcc").file(0, "cold_test") in files(study, "per_user")) == lists_cold


def test_what_needs_no_training_has_no_history(study, vectors, todo):
    rows, history = train_all(study, {"kind": "knn", "scaling": "none"}, {"real": [vectors]}, todo, name="knn")
    assert len(rows)
    assert not len(history)
    assert list(history.columns) == trained.HISTORY_COLUMNS
    assert not study.path("training.parquet").exists()


def trainings(*ended, seconds=1.0):
    """Histories of made-up trainings: (epochs, the one kept, why it stopped, scaling)."""
    frames = []
    for number, (epochs, best, stopped, scaling) in enumerate(ended):
        epoch = np.arange(1, epochs + 1)
        said = {"seed": number, "stopped": stopped, "best_epoch": best, "scaling": scaling, "seconds": seconds}
        told = pd.DataFrame({"epoch": epoch, "loss": 1 / epoch, "validation": np.where(epoch == best, 0.5, 0.1)})
        frames.append(told.assign(recommender="net", backend="mfcc", control="real", **said))
    return pd.concat(frames, ignore_index=True)


def test_convergence_of_trainings_that_all_ceased_to_improve():
    history = trainings((4, 2, "early", "none"), (8, 6, "early", "whiten"), (9, 7, "early", "none"), seconds=0.5)
    row = trained.convergence(history).loc[("net", "mfcc", "real")]
    assert row.to_dict() == {
        "trainings": 3,
        "kept": 6,
        "epochs": 8,
        "seconds": 10.5,
        "validation": 0.5,
        "scaling": "none, whiten",
        "stopped": "validation ceased to improve",
    }


def test_convergence_tells_how_many_wanted_epochs():
    history = trainings((5, 5, "max_epochs", "none"), (4, 2, "early", "none"), (5, 4, "max_epochs", "none"))
    told = trained.convergence(pd.concat([history, history.assign(control="random")]))
    assert list(told.index.get_level_values("control")) == ["real", "random"]
    assert set(told["stopped"]) == {"2 of 3 for want of epochs"}


def test_every_training_is_a_line_and_what_was_kept_a_dot():
    history = trainings((4, 2, "early", "none"), (6, 6, "max_epochs", "none"))
    left, right = training_curves(history, 6.3).axes
    lengths = sorted(len(line.get_xdata()) for line in left.lines if len(line.get_xdata()))
    dots = sorted(line.get_xdata()[0] for line in right.lines if line.get_marker() == "o")
    assert (lengths, dots) == ([4, 6], [2, 6])


def test_joining_leaves_out_what_is_empty():
    full = pd.DataFrame({"a": [1, 2]})
    fitted = [(full, full.iloc[:0]), (full.iloc[:0], full)]
    assert [list(frame["a"]) for frame in trained.joined(fitted)] == [[1, 2], [1, 2]]


def test_a_study_without_such_a_recommender_trains_nothing(study, todo):
    rows, history = trained.run_all(study, {}, "mfcc", {"real": []}, todo)
    assert rows is None
    assert history.empty
    assert list(history.columns) == trained.HISTORY_COLUMNS


def test_what_will_be_trained_is_told(capsys, vectors):
    named = {"hybrid": {"kind": "hybrid", "width": 8}, "bimodal": {"kind": "bimodal", "reading": "content"}}
    shown = trained.describe("mfcc", {"real": [vectors], "shuffled": [vectors] * 5}, named)
    assert shown.loc["hybrid", "width"] == 8
    assert shown.loc["hybrid", "reading"] == "–"
    assert "trainings of each: real 1, shuffled 5" in capsys.readouterr().out


@pytest.mark.parametrize("k", [1, 2])
def test_a_training_judged_at_another_cut_off_is_another(study, vectors, todo, k):
    judged = {name: dataclasses.replace(task, cutoffs=(k,)) for name, task in todo.items()}
    train_all(study, HYBRID, {"real": [vectors]}, judged)
    assert [path.name for path in study.path("checkpoints").glob("*")] == [f"hybrid.mfcc.real.0.NDCG@{k}"]
