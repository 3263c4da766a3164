"""A folder of recordings and a table of events become a study by one short file in params/, as README shows."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from lib.study import ROOT

pytestmark = pytest.mark.slow  # a whole study
RATE = 16000
PARAMS = re.search(r"```yaml\n# params/mine.yaml.*?\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[1]
FEWER = ["backend_ids=[mfcc, musicnn_mtt]", "n_permutations=19"]  # time


def tone(seconds, rng):
    """A melody of random pitches a second each, with overtones and a little noise."""
    n = int(seconds * RATE)
    pitch = np.repeat(220 * 2 ** (rng.integers(0, 24, int(seconds) + 1) / 12), RATE)[:n]
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    wave = sum(np.sin(k * phase) / k for k in (1, 2, 3))
    return (0.2 * wave + 0.01 * rng.standard_normal(n)).astype(np.float32)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A copy of the workbook beside a small collection, run to its end: (process, folder of results)."""
    home = tmp_path_factory.mktemp("home")
    for part in ("lib", "workflow", "notebooks", "params"):
        shutil.copytree(ROOT / part, home / "workbook" / part, ignore=shutil.ignore_patterns("__pycache__"))
    rng = np.random.default_rng(7)
    folder = home / "festival"
    folder.mkdir()
    for name in ("encore", "overture", "sonata"):
        soundfile.write(folder / f"{name}.wav", tone(30, rng), RATE)
    soundfile.write(folder / "gala concert.flac", tone(1200, rng), RATE)
    files = ["encore.wav", "overture.wav", "sonata.wav", "gala concert.flac", "gala concert.flac"]
    days = pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.uniform(0, 121, 200), unit="D")
    events = pd.DataFrame(
        {
            "listener": [f"guest {n}" for n in rng.integers(1, 21, 200)],
            "file": rng.choice(files, 200),
            "when": days.strftime("%Y-%m-%d %H:%M:%S"),
            "heard": rng.uniform(20, 600, 200).round(1),
        }
    )
    events.to_csv(folder / "plays.csv", index=False)
    assert len(PARAMS.splitlines()) <= 10
    (home / "workbook" / "params" / "mine.yaml").write_text(PARAMS)
    command = [sys.executable, "workflow/workbook.py", "mine", "--cores", "2", "--set", *FEWER]
    environment = os.environ | {
        "PYTHONPATH": str(home / "workbook"),
        "HOME": str(home),
    }  # README's folder is ~/festival
    process = subprocess.run(
        command, cwd=home / "workbook", env=environment, capture_output=True, text=True, timeout=900
    )
    return process, home / "workbook" / "runs" / "mine"


def test_it_runs_to_its_end(study):
    process, _ = study
    assert process.returncode == 0, process.stdout + process.stderr


def test_the_concert_is_cut_and_the_short_ones_are_whole(study):
    tracks = pd.read_parquet(study[1] / "data" / "tracks.parquet")
    assert len(tracks) == 3 + 40
    concert = tracks[tracks["recording_id"] == "gala concert"]
    assert concert["start"].tolist() == list(range(0, 1200, 30))


def test_local_times_become_utc(study):
    events = pd.read_parquet(study[1] / "data" / "events.parquet")
    log = pd.read_csv(study[1].parents[2] / "festival" / "plays.csv")
    first = log[(log["file"] == "encore.wav")].sort_values("when")["when"].iloc[0]
    local = pd.Timestamp(first).tz_localize("Europe/Berlin").tz_convert("UTC")
    assert events.loc[events["track_id"] == "encore", "timestamp"].min() == local


def test_there_are_answers_and_lists(study):
    metrics = pd.read_parquet(study[1] / "metrics.parquet")
    assert {"knn", "mostpop", "itemknn", "chance"} <= set(metrics["recommender"])
    assert (study[1] / "answers.json").is_file()
