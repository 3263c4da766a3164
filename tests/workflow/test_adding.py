"""A study with the backend and the recommender of docs/adding.md runs to its end, both judged like all others."""

import json
import os
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from lib.study import ROOT

PAGE = (ROOT / "docs" / "adding.md").read_text()
SETTINGS = ["n_tracks=60", "n_users=60", "min_val_users=5", "n_permutations=19", "n_bootstrap=200", "n_seeds=1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A copy of the workbook with the files of the page, and what came of its study: (process, results)."""
    home = tmp_path_factory.mktemp("home")
    for part in ("lib", "workflow", "notebooks", "params", "docs"):
        shutil.copytree(ROOT / part, home / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in re.findall(r"```\w+\n# ((?:lib|params)/[\w/.]+).*?\n(.*?)```", PAGE, flags=re.DOTALL):
        (home / path).write_text(text)
    command = [sys.executable, "workflow/workbook.py", "nearest", "--cores", "2", "--set", *SETTINGS]
    environment = os.environ | {"PYTHONPATH": str(home)}
    process = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=900)
    return process, home / "runs" / "nearest"


@pytest.mark.slow
def test_the_examples_run_to_the_end_of_a_study_and_are_judged(finished):
    process, results = finished
    assert process.returncode == 0, process.stdout + process.stderr
    metrics = pd.read_parquet(results / "metrics.parquet")
    own = metrics[metrics["recommender"] == "nearest_track"]
    assert {"mfcc", "chroma", "artist"} <= set(own["backend"])
    assert {"real", "shuffled", "random"} <= set(own["control"])
    assert "chroma" in set(metrics.loc[metrics["recommender"] == "knn", "backend"])
    judged = pd.read_parquet(results / "comparisons.parquet").query("recommender == 'nearest_track'")
    assert {("chroma", "shuffled"), ("mfcc", "shuffled")} <= set(
        zip(judged["backend_a"], judged["control_b"], strict=True)
    )
    assert json.loads((results / "answers.json").read_text())["rq1"]["n"] > 0  # answered, whatever it is
