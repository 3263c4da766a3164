"""The workflow stops at once for a wrong parameter, survives being killed, and runs only what a change touches."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from lib.backends.vectors import VectorStore
from lib.study import ROOT, Study, load_parameters

WORKBOOK = [sys.executable, str(ROOT / "workflow" / "workbook.py")]
N_TRACKS = 60
TINY = {
    "n_tracks": N_TRACKS,
    "clip_seconds": 8.0,
    "n_users": 40,
    "min_val_users": 1,
    "n_permutations": 19,
    "batch_size": 4,
    "backend_ids": ["mfcc", "musicnn_mtt"],
    "layers_backend": "",
    "trained_backends": ["mfcc"],
    "recommender_table": {
        "knn": {"kind": "knn", "scaling": "auto"},
        "mostpop": {"kind": "mostpop"},
        "itemknn": {"kind": "itemknn"},
        "shallow_net": {"kind": "shallow_net", "max_epochs": 1},
        "bert4rec": {"kind": "bert4rec", "width": 8, "layers": 1, "max_epochs": 1},
    },
}


def words(overrides):
    return [f"{name}={json.dumps(value)}" for name, value in overrides.items()]


def start(runs, *flags, **overrides):
    command = [*WORKBOOK, "toy", "--cores", "2", *flags, "--set", *words(TINY | {"runs_dir": str(runs)} | overrides)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, text=True, **pipes)


def study_at(runs):
    return Study(load_parameters("toy", TINY | {"runs_dir": str(runs)}))


@pytest.fixture(scope="module")
def killed_and_finished(tmp_path_factory):
    """A study whose whole process group was killed in the middle of extraction, then run again to the end."""
    for _ in range(5):  # on a busy machine the kill may come when a backend has just ended: then from the start
        runs = tmp_path_factory.mktemp("runs")
        study = study_at(runs)
        cache = VectorStore(study.cache("vectors.lance"))
        process = start(runs)
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not any(len(cache.ids(name)) for name in cache.names()):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        at_kill = {name: len(cache.ids(name)) for name in cache.names()}
        if any(0 < count < N_TRACKS for count in at_kill.values()):
            break
    done_at_kill = {path.name for path in study.path("done").glob("*")}
    again = start(runs)
    output, _ = again.communicate(timeout=600)
    return {
        "study": study,
        "at_kill": at_kill,
        "done_at_kill": done_at_kill,
        "code": again.returncode,
        "output": output,
    }


@pytest.mark.slow
def test_the_kill_came_in_the_middle_of_extraction(killed_and_finished):
    assert any(0 < count < N_TRACKS for count in killed_and_finished["at_kill"].values())


@pytest.mark.slow
def test_a_killed_study_finishes_when_run_again(killed_and_finished):
    assert killed_and_finished["code"] == 0, killed_and_finished["output"]
    assert "00_index.done.json" not in killed_and_finished["done_at_kill"]
    assert killed_and_finished["study"].path("answers.json").is_file()


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_by_the_kill(killed_and_finished):
    study = killed_and_finished["study"]
    tracks = pd.read_parquet(study.path("data", "tracks.parquet"))["track_id"].sort_values().tolist()
    store = VectorStore(study.path("vectors.lance"))
    assert store.names() == ["mfcc", "musicnn_mtt", "musicnn_untrained"]
    for name in store.names():
        assert store.ids(name).tolist() == tracks, name
    cache = VectorStore(study.cache("vectors.lance"))
    for name in cache.names():
        ids = cache.ids(name)
        assert len(ids) == len(set(ids)) == N_TRACKS, name


@pytest.mark.slow
def test_at_most_the_batch_in_flight_is_computed_again(killed_and_finished):
    # what was in the cache at the kill is said to be reused by the second run's executed copy
    import nbformat

    study = killed_and_finished["study"]
    for key, before in killed_and_finished["at_kill"].items():
        backend = key.rsplit("-", 1)[0]
        if f"20_extract_embeddings.{backend}.done.json" in killed_and_finished["done_at_kill"]:
            continue  # it was through
        cells = nbformat.read(study.path("executed", f"20_extract_embeddings.{backend}.ipynb"), as_version=4).cells
        said = next(o.text for c in cells for o in c.get("outputs", []) if "were there already" in o.get("text", ""))
        embedded, reused = (int(said.split()[i]) for i in (0, 4))
        assert reused >= before
        assert embedded + reused == N_TRACKS


@pytest.mark.slow
def test_no_half_written_file_is_left(killed_and_finished):
    study = killed_and_finished["study"]
    assert not [path for path in study.path().rglob("*.part*") if ".snakemake" not in path.parts]


@pytest.mark.slow
def test_a_second_run_does_nothing(killed_and_finished):
    study = killed_and_finished["study"]
    before = {path: path.stat().st_mtime_ns for path in study.path("done").glob("*.json")}
    again = start(study.runs)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert before == {path: path.stat().st_mtime_ns for path in study.path("done").glob("*.json")}


@pytest.mark.slow
def test_a_changed_parameter_runs_only_what_it_touches(killed_and_finished):
    study = killed_and_finished["study"]
    before = {path.name: path.stat().st_mtime_ns for path in study.path("done").glob("*.json")}
    process = start(study.runs, alpha=0.1)
    output, _ = process.communicate(timeout=300)
    after = {path.name: path.stat().st_mtime_ns for path in study.path("done").glob("*.json")}
    changed = {name for name in after if after[name] != before[name]}
    assert process.returncode == 0, output
    assert "70_rq1_viability.done.json" in changed
    assert not {name for name in changed if name.startswith(("10_", "20_", "30_", "60_"))}


def test_the_plan_says_what_would_run_and_runs_nothing(tmp_path):
    process = start(tmp_path, "--plan")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "extract_embeddings" in output
    assert "disk when complete" in output
    assert not (tmp_path / "toy" / "data").exists()


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("n_user=3", "did you mean 'n_users'"),
        ("n_users=many", "'n_users'"),
        ("n_users", "name=value"),
        ("cutoffs_hot=[10", "YAML"),
        ("backend_ids=[mfc]", "mfc"),
    ],
)
def test_a_wrong_parameter_stops_everything_at_once(word, sentence, tmp_path):
    found = subprocess.run([*WORKBOOK, "toy", "--set", word], capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 2
    assert sentence in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_a_misspelt_name_in_a_params_file_stops_make_workbook(tmp_path):
    odd = ROOT / "params" / "misspelt_for_a_test.yaml"
    odd.write_text("study_name: misspelt_for_a_test\ncontent_strenght: 0.5\n")
    try:
        found = subprocess.run([*WORKBOOK, odd.stem], capture_output=True, text=True, cwd=tmp_path)
    finally:
        odd.unlink()
    assert found.returncode == 2
    assert "'content_strenght' in params/misspelt_for_a_test.yaml; did you mean 'content_strength'?" in found.stderr


def test_two_runs_of_one_study_do_not_mix(tmp_path):
    first = start(tmp_path)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "toy" / ".workflow.lock").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        second = start(tmp_path)
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "already running" in output
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


@pytest.mark.slow
def test_the_killed_store_equals_an_undisturbed_one(killed_and_finished, tmp_path):
    from lib import backends
    from lib.backends import extraction

    study = killed_and_finished["study"]
    tracks = pd.read_parquet(study.path("data", "tracks.parquet"))
    undisturbed = VectorStore(tmp_path / "vectors.lance")
    extraction.extract(tracks, backends.create("musicnn_mtt"), undisturbed, tmp_path / "cache")
    killed = VectorStore(study.path("vectors.lance")).read("musicnn_mtt")
    assert np.array_equal(killed.values, undisturbed.read("musicnn_mtt").values)


@pytest.mark.slow
def test_a_study_killed_again_and_again_ends_as_if_undisturbed(tmp_path, killed_and_finished):
    study, rng = study_at(tmp_path), np.random.default_rng(0)
    for seconds in rng.uniform(4, 25, size=6):
        process = start(tmp_path)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    last = start(tmp_path)
    output, _ = last.communicate(timeout=600)
    assert last.returncode == 0, output
    once = killed_and_finished["study"]
    for name in ("mfcc", "musicnn_mtt", "musicnn_untrained"):
        found, expected = (VectorStore(s.path("vectors.lance")).read(name) for s in (study, once))
        assert found.ids.tolist() == expected.ids.tolist()
        assert np.array_equal(found.values, expected.values), name
    for name in ("metrics.parquet", "comparisons.parquet", "permutations.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(study.path(name)), pd.read_parquet(once.path(name)))
