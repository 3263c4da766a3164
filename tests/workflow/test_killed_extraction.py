"""Extraction killed at random moments, again and again, ends in the store of a run that nobody disturbed.

Each trial is a process of its own that goes on with the extraction of 40 clips. SIGKILL comes some milliseconds after a
random number of its progress lines, so in the midst of decoding, of a network's batch or of writing one; the last four
trials are killed while the study's table is written.
"""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import soundfile

from lib.backends.vectors import VectorStore

BACKEND, RATE = "musicnn_mtt", 16000
N_CLIPS, BATCH = 40, 2
KILLS, KILLS_WHILE_PUBLISHING, MOST_LINES = 20, 4, 14
BROKEN = "t07"  # its file is no audio

# Says what it does, a JSON list a line.
EXTRACT = """
import json, sys
from pathlib import Path
import pandas as pd
from lib import backends
from lib.backends import extraction
from lib.backends.vectors import VectorStore

name, batch_size, tracks, out = sys.argv[1], int(sys.argv[2]), pd.read_parquet(sys.argv[3]), Path(sys.argv[4])

def tell(*words):
    print(json.dumps(words), flush=True)

def progress(rows, **_):
    for row in rows:
        tell("decoded", row[0])
        yield row

backend = backends.create(name)
embed_features, replace = backend.embed_features, VectorStore.replace

def told_embed(features):
    tell("embedding", len(features))
    return embed_features(features)

def told_replace(*given):
    tell("publishing")
    replace(*given)

backend.embed_features, VectorStore.replace = told_embed, told_replace
store = VectorStore(out / "vectors.lance")
done = extraction.extract(tracks, backend, store, out / "cache", batch_size=batch_size, progress=progress)
tell("done", done.embedded, done.reused, done.failed["track_id"].tolist())
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder with ``tracks.parquet`` and its clips, of lengths that differ; one is no audio."""
    folder, rng, rows = tmp_path_factory.mktemp("clips"), np.random.default_rng(0), []
    for number in range(N_CLIPS):
        path = folder / f"t{number:02}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(rng.integers(RATE // 4, RATE)), RATE)
        rows.append((path.stem, str(path)))
    (folder / f"{BROKEN}.wav").write_text("This is not music.")
    pd.DataFrame(rows, columns=["track_id", "path"]).to_parquet(folder / "tracks.parquet")
    return folder


def start(clips, out):
    command = [sys.executable, "-c", EXTRACT, BACKEND, str(BATCH), str(clips / "tracks.parquet"), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def killed(process, n_lines, delay):
    """Kill after so many lines, or as soon as the table is being written; the lines, and whether there was a kill."""
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if len(lines) == n_lines or lines[-1][0] == "publishing":
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            break
    lines += [json.loads(line) for line in process.stdout if line.endswith("\n")]
    return lines, process.wait() == -signal.SIGKILL


def finished(process):
    """Lines of a run that is left alone."""
    lines = [json.loads(line) for line in process.stdout]
    assert process.wait() == 0
    return lines


@pytest.fixture(scope="module")
def trials(clips, tmp_path_factory):
    """Lines of every killed run and of the one that ended, an undisturbed run's, and the folders of both."""
    out, alone = tmp_path_factory.mktemp("killed"), tmp_path_factory.mktemp("undisturbed")
    undisturbed = finished(start(clips, alone))
    rng, runs = np.random.default_rng(0), []
    while len(runs) < KILLS:
        n_lines = rng.integers(1, MOST_LINES + 1) if len(runs) < KILLS - KILLS_WHILE_PUBLISHING else np.inf
        lines, was_killed = killed(start(clips, out), n_lines, rng.uniform(0, 0.02))
        if was_killed:  # it may have ended just before
            runs.append(lines)
    runs.append(finished(start(clips, out)))
    return {"runs": runs, "undisturbed": undisturbed, "out": out, "alone": alone}


def count(lines, what):
    return sum(line[0] == what for line in lines)


@pytest.mark.slow
def test_the_kills_came_in_the_midst(trials):
    *kills, last = trials["runs"]
    assert len(kills) == KILLS
    assert sum(count(lines, "publishing") for lines in kills) >= KILLS_WHILE_PUBLISHING
    assert sum(count(lines, "embedding") > 0 for lines in kills) >= 4
    assert sum(count(lines, "embedding") == 0 < count(lines, "decoded") for lines in kills) >= 4
    assert count(last, "done") == 1


@pytest.mark.slow
def test_the_store_equals_an_undisturbed_one(trials):
    stores = [VectorStore(trials[folder] / "vectors.lance") for folder in ("out", "alone")]
    assert stores[0].names() == stores[1].names() == [BACKEND]
    found, expected = (store.read(BACKEND) for store in stores)
    assert found.ids.tolist() == expected.ids.tolist() == [f"t{n:02}" for n in range(N_CLIPS) if f"t{n:02}" != BROKEN]
    np.testing.assert_array_equal(found.values, expected.values)
    assert stores[0].metadata(BACKEND) == stores[1].metadata(BACKEND)


@pytest.mark.slow
def test_the_shared_cache_equals_an_undisturbed_one(trials):
    caches = [VectorStore(trials[folder] / "cache" / "vectors.lance") for folder in ("out", "alone")]
    (key,) = caches[1].names()
    assert caches[0].names() == [key]
    found, expected = (cache.read(key) for cache in caches)  # repeated ids would be an error
    assert found.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(found.values, expected.values)
    features = [{path.name: path for path in (trials[f] / "cache").rglob("*.npy")} for f in ("out", "alone")]
    whole = [{name for name in found if not name.startswith(".")} for found in features]
    assert len(whole[1]) == N_CLIPS - 1
    assert whole[0] == whole[1]
    for name in whole[1]:
        np.testing.assert_array_equal(*(np.load(found[name], allow_pickle=False) for found in features))


@pytest.mark.slow
def test_a_kill_costs_at_most_the_batch_in_flight(trials):
    embedded = [sum(line[1] for line in lines if line[0] == "embedding") for lines in trials["runs"]]
    assert sum(line[1] for line in trials["undisturbed"] if line[0] == "embedding") == N_CLIPS - 1
    assert 0 <= sum(embedded) - (N_CLIPS - 1) <= BATCH * KILLS


@pytest.mark.slow
def test_the_last_run_reports_the_broken_clip_as_an_undisturbed_one_does(trials):
    _, embedded, reused, failed = trials["runs"][-1][-1]
    assert failed == trials["undisturbed"][-1][3] == [BROKEN]
    assert embedded + reused == N_CLIPS - 1
