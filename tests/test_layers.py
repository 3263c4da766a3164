"""What computes does not draw, and loads nothing heavy that it does not need; notebooks use names that exist."""

import ast
import importlib
import subprocess
import sys

import nbformat
import pytest

from lib.study import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
COMPUTE = "lib.evaluation.results, lib.evaluation.trainings, lib.evaluation.layers, lib.answers.rq1, lib.answers.rq3"


def loaded_by(statement, names):
    """Those of some packages that a statement loads, in a process of its own."""
    code = f"import sys\n{statement}\nprint(*[name for name in {names!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_what_computes_loads_no_drawing_library():
    assert loaded_by(f"import {COMPUTE}", ["matplotlib", "seaborn", "tueplots", "plotly"]) == []


def test_canary_what_draws_does():
    assert loaded_by("import lib.figures", ["matplotlib"]) == ["matplotlib"]


def test_checking_parameters_and_listing_backends_load_nothing_heavy():
    heavy = ["torch", "transformers", "recbole", "lancedb", "duckdb", "matplotlib", "librosa"]
    statement = "from lib import backends, study; study.load_parameters('toy'); backends.names()"
    assert loaded_by(statement, heavy) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_name_of_lib_in_a_notebook_exists(path):
    cells = nbformat.read(path, as_version=4).cells
    tree = ast.parse("\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "lib":
            for alias in node.names:
                try:
                    found = importlib.import_module(f"{node.module}.{alias.name}")
                except ModuleNotFoundError:
                    found = getattr(importlib.import_module(node.module), alias.name)
                bound[alias.asname or alias.name] = found
    assert "open_study" in bound
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound:
            assert hasattr(bound[node.value.id], node.attr), f"{node.value.id}.{node.attr}"
