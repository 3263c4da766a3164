"""The worked examples of docs/adding.md run as they stand there: one file each, and nothing else is edited."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from worlds import RNG, ndcg, pairs, small

from lib import backends, evaluation, recommenders
from lib.backends import extraction, networks
from lib.backends.registry import discover
from lib.backends.vectors import Vectors, VectorStore
from lib.evaluation import results, trainings
from lib.evaluation.results import Run
from lib.study import ROOT, Study, check_parameters, load_parameters
from lib.study.tables import write_parquet
from workflow import dag

PAGE = (ROOT / "docs" / "adding.md").read_text()
EXAMPLES = {re.match(r"# (\S+)\n", text)[1]: text for text in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)}
RATE = 22050


def add(package, register, registry, text, name, tmp_path, monkeypatch):
    """Put a file into a package, as far as Python can tell, and let it register itself."""
    for table in registry:
        for key, value in [(key, table.get(key)) for key in table]:
            monkeypatch.setitem(table, key, value)  # what is added goes with the test, too
    sys.modules.pop(f"{package.__name__}.{Path(name).stem}", None)
    (tmp_path / name).write_text(text)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    before = [set(table) for table in registry]
    register()
    for table, known in zip(registry, before, strict=True):
        for key in set(table) - known:
            monkeypatch.setitem(table, key, table.pop(key))


@pytest.fixture
def chroma(tmp_path, monkeypatch):
    text = EXAMPLES["lib/backends/networks/own_chroma.py"]
    add(networks, discover, [backends.REGISTRY, backends.LABELS], text, "own_chroma.py", tmp_path, monkeypatch)
    return backends.create("chroma")


@pytest.fixture
def nearest(tmp_path, monkeypatch):
    text = EXAMPLES["lib/recommenders/own_nearest_track.py"]
    add(
        recommenders,
        recommenders._register_own,
        [recommenders.KINDS],
        text,
        "own_nearest_track.py",
        tmp_path,
        monkeypatch,
    )
    return recommenders.create("nearest_track")


def tone(pitch_class, octave, seconds=3.0):
    """A tone with one overtone an octave above."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 261.626 * 2 ** (pitch_class / 12 + octave)
    return (0.3 * np.sin(2 * np.pi * pitch * time) + 0.1 * np.sin(4 * np.pi * pitch * time)).astype(np.float32)


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_an_example_has_at_most_thirty_lines(name):
    assert len(EXAMPLES[name].splitlines()) - 1 <= 30  # the first says where the file goes


def test_the_backend_hears_the_pitch_class_whatever_the_octave(chroma):
    vectors = chroma.embed([tone(pitch, octave) for pitch in range(12) for octave in (0, 1)], sample_rate=RATE)
    assert vectors[:, :12].argmax(axis=1).tolist() == [pitch for pitch in range(12) for _ in range(2)]
    assert chroma.metadata()["layer"] == "chroma"
    assert backends.LABELS["chroma"] == "Chroma"
    with pytest.raises(ValueError, match="Expected waveforms at 22050 Hz for chroma, found 16000 Hz"):
        chroma.embed([tone(0, 0)], sample_rate=16000)


def test_the_backend_goes_from_files_through_the_store_to_recommendations(chroma, tmp_path):
    pitch = {f"t{number:02d}": number % 4 * 3 for number in range(16)}  # four pitch classes, in two octaves
    for number, (track, pitch_class) in enumerate(pitch.items()):
        soundfile.write(tmp_path / f"{track}.wav", tone(pitch_class, number // 8), RATE)
    tracks = pd.DataFrame({"track_id": list(pitch), "path": [str(tmp_path / f"{track}.wav") for track in pitch]})
    store = VectorStore(tmp_path / "vectors.lance")
    done = extraction.extract(tracks, chroma, store, tmp_path / "cache", progress=lambda jobs, **_: jobs)
    assert (done.embedded, len(done.failed)) == (16, 0)
    again = extraction.extract(tracks, chroma, store, tmp_path / "cache", progress=lambda jobs, **_: jobs)
    assert (again.embedded, again.reused) == (0, 16)
    train = pairs(*((f"u{number % 4}", f"t{number:02d}") for number in range(8)))  # one pitch class each, an octave
    knn = recommenders.create("knn", scaling="standardise").fit(train, store.read("chroma"), RNG(0))
    lists = knn.recommend([f"u{number}" for number in range(4)], 2, list(pitch), train)
    found = lists.groupby("user_id")["track_id"].agg(set).to_dict()
    assert found == {f"u{number}": {f"t{number + 8:02d}", f"t{number + 12}"} for number in range(4)}


def test_the_recommender_lists_what_a_loop_over_listeners_and_tracks_would(nearest):
    train, vectors = small()
    lists = nearest.fit(train, vectors, RNG(0)).recommend(["u03", "nobody", "u00"], 5, vectors.ids, train)
    assert lists["user_id"].unique().tolist() == ["u03", "u00"]
    heard = {user: set(tracks) for user, tracks in train.groupby("user_id")["track_id"]}
    in_train = vectors.take(sorted(set(train["track_id"]))).astype(float)
    scaled = (vectors.values - in_train.mean(axis=0)) / in_train.std(axis=0)
    of = dict(zip(vectors.ids, scaled, strict=True))
    for user in ("u03", "u00"):
        worth = {
            track: max(of[track] @ of[own] / np.linalg.norm(of[track]) / np.linalg.norm(of[own]) for own in heard[user])
            for track in vectors.ids
            if track not in heard[user]
        }
        rows = lists[lists["user_id"] == user]
        assert rows["track_id"].tolist() == sorted(worth, key=worth.get, reverse=True)[:5]
        np.testing.assert_allclose(rows["score"], sorted(worth.values(), reverse=True)[:5], atol=1e-5)


def test_the_recommender_finds_planted_taste_and_shuffled_vectors_fall_to_chance(nearest, planted, rng):
    train, vectors, todo = planted
    shuffled = Vectors(vectors.ids, vectors.values[rng.permutation(len(vectors))])
    for split in ("hot_test", "cold_test"):
        k = todo[split].cutoffs[0]
        chance = evaluation.chance(todo[split], k)[f"NDCG@{k}"].mean()
        assert ndcg(nearest.fit(train, vectors, RNG(0)), todo[split]) > 1.8 * chance
        assert ndcg(nearest.fit(train, shuffled, RNG(0)), todo[split]) < 1.25 * chance


@pytest.fixture
def study(tmp_path, planted):
    """The planted world as a study on disk, with the recommender in its table."""
    train, _, todo = planted
    table = {"knn": {"kind": "knn", "scaling": "none"}, "nearest_track": {"kind": "nearest_track"}}
    changes = {"runs_dir": str(tmp_path), "recommender_table": table, "backend_ids": ["mfcc"], "n_bootstrap": 100}
    study = Study(load_parameters("toy", changes | {"label_columns": {}, "trained_backends": []}))
    write_parquet(train, study.path("data", "train.parquet"))
    for name, task in todo.items():
        truth = task.truth.assign(timestamp=train["timestamp"].iloc[0], count=1)
        write_parquet(truth, study.path("data", f"{name}.parquet"))
    return study


def test_the_recommender_runs_under_every_control_and_its_results_are_saved(nearest, study, planted):
    todo = results.tasks(study)
    spaces = trainings.spaces(study, "mfcc", planted[1], VectorStore(study.path("vectors.lance")))
    named = study.options("shallow_net", *recommenders.own(vectors=True))
    assert recommenders.own(vectors=False) == []
    rows, history = trainings.run_all(study, named, "mfcc", spaces, todo, progress=lambda jobs, **_: jobs)
    assert set(rows["control"]) == {"real", "shuffled", "random"}
    assert history.empty
    scores = {
        control: results.per_user(study, Run("nearest_track", "mfcc", control), "cold_test") for control in spaces
    }
    means = {control: frame.filter(like="NDCG").mean().iloc[0] for control, frame in scores.items()}
    assert means["real"] > 1.5 * max(means["shuffled"], means["random"])
    assert len(trainings.convergence(history)) == 0


def test_the_params_of_the_example_are_a_study(nearest):
    values = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)[1])
    base = yaml.safe_load((ROOT / "params" / "base.yaml").read_text())
    values["backend_ids"].remove("chroma")  # which the other example makes
    found = Study(check_parameters(base | values, "docs/adding.md"))
    assert found.named("nearest_track") == {"nearest_track": {}}
    jobs = [job.name for job in dag.jobs(found) if job.row.notebook in dag.TRAININGS]
    assert jobs == [f"40_shallow_net.{name}" for name in ("mfcc", "artist", "genre")]


BACKEND = (networks, discover, (backends.REGISTRY, backends.LABELS), "lib/backends/networks/own_chroma.py")
RECOMMENDER = (
    recommenders,
    recommenders._register_own,
    (recommenders.KINDS,),
    "lib/recommenders/own_nearest_track.py",
)


@pytest.mark.parametrize(
    ("package", "register", "tables", "path", "sentence"),
    [
        (*BACKEND, "new ids of backends in own_chroma.py, found 'mfcc'"),
        (*RECOMMENDER, "new kind of recommender in own_nearest_track.py, found 'knn'"),
    ],
)
def test_a_name_that_is_taken_is_refused(package, register, tables, path, sentence, tmp_path, monkeypatch):
    text = EXAMPLES[path].replace('"chroma": Entry', '"mfcc": Entry').replace('"nearest_track"', '"knn"')
    with pytest.raises(ValueError, match=sentence):
        add(package, register, tables, text, Path(path).name, tmp_path, monkeypatch)
