"""What a job depends on: the code behind a notebook, resolved name by name through packages."""

import shutil

import nbformat
import pytest

from lib.study import provenance
from lib.study.provenance import TREE, code_digest, reached_files

FILES = {
    "__init__.py": "",
    "data/__init__.py": "from lib.data.splits import split as divide\nfrom .logs import read\n",
    "data/splits.py": "from . import logs\nfrom ..ground import say\n\ndef split():\n    from lib.data import habits\n",
    "data/logs.py": "def read(): ...\n",
    "data/habits.py": "",
    "data/realism.py": "MONTH = 'profiles'\n",
    "data/profiles/month.json": "{}",
    "ground.py": "",
    "networks/__init__.py": "KINDS = {'x': 'lib.networks.x'}\n\ndef create(): ...\n",
    "networks/x.py": "",
    "networks/y.py": "",
    "figures/__init__.py": "",
    "figures/style.py": "from lib import ground\n",
}


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def reached(tree, *sources, **options):
    return {path.relative_to(tree / "lib").as_posix() for path in reached_files(sources, tree=tree, **options)}


SPLITS = {"data/splits.py", "data/logs.py", "data/habits.py", "ground.py"}


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("from lib.data.splits import split", SPLITS),
        ("from lib.data import splits", SPLITS),
        ("from lib.data import divide", SPLITS),  # handed on by __init__ under another name
        ("from lib.data import read", {"data/logs.py"}),  # by a relative import
        ("from lib import data\ndata.read()", {"data/logs.py"}),  # as an attribute of the package
        ("from lib import data as d\nd.logs.read()", {"data/logs.py"}),
        ("import lib.data.logs", {"data/logs.py"}),
        ("from lib.networks import create", {"networks/__init__.py", "networks/x.py"}),  # a registry names x
        ("from lib.networks import y", {"networks/y.py"}),
        ("from lib.data import realism", {"data/realism.py", "data/profiles/month.json"}),
        ("import numpy as np\nfrom os import path", set()),
    ],
)
def test_names_are_resolved_to_the_files_that_define_them(tree, source, files):
    assert reached(tree, source) == files


def test_a_package_used_as_such_counts_whole(tree):
    whole = {name for name in FILES if name.startswith("data/")} | {"ground.py"}
    assert reached(tree, "from lib import data\nsome(data)") == whole
    assert reached(tree, "from lib.data import *") == whole


def test_cells_of_a_notebook_share_their_names(tree):
    assert reached(tree, "from lib import data", "data.read()") == {"data/logs.py"}


def test_modules_loaded_by_name_are_added_and_packages_left_out(tree):
    assert reached(tree, also=["lib.networks.y"]) == {"networks/y.py"}
    assert reached(tree, "from lib.figures import style\nfrom lib import ground", without=["lib.figures"]) == {
        "ground.py"
    }
    with pytest.raises(ModuleNotFoundError, match=r"lib\.networks\.z"):
        reached(tree, also=["lib.networks.z"])


@pytest.mark.parametrize("name", ["data/logs.py", "data/habits.py", "ground.py"])
def test_an_edit_of_a_reached_file_changes_the_digest_and_no_other_does(tree, name):
    sources = ["from lib.data import divide"]
    before = code_digest(sources, tree=tree)
    (tree / "lib" / "networks" / "x.py").write_text("changed = 1\n")
    assert code_digest(sources, tree=tree) == before
    (tree / "lib" / name).write_text("changed = 1\n")
    assert code_digest(sources, tree=tree) != before


def test_a_notebook_of_this_workbook_reaches_its_code():
    """The digest must not go blind when modules move: what a notebook surely uses is among its files."""
    cells = nbformat.read(TREE / "notebooks" / "40_shallow_net.ipynb", as_version=4).cells
    files = reached_files([cell.source for cell in cells if cell.cell_type == "code"])
    names = {path.stem for path in files}
    assert {"shallow_net", "training", "tables", "statistics", "scaling"} <= names
    assert "mert" not in names  # networks are added for the jobs that extract with them


def test_trainings_depend_on_their_own_recommender_and_not_on_drawing(tmp_path, monkeypatch):
    from lib.recommenders import training

    shutil.copytree(TREE / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    monkeypatch.setattr(training, "code_digest", lambda *args, **given: code_digest(*args, **given, tree=tmp_path))

    def digest():
        training._code.cache_clear()
        return training._code("lib.recommenders.shallow_net")

    def edit(stem):
        path = next((tmp_path / "lib").rglob(f"{stem}.py"))
        path.write_text(path.read_text() + "\n# changed\n")

    before = digest()
    for drawing in ("figures", "looks") if (TREE / "lib" / "figures.py").is_file() else ("style", "looks"):
        edit(drawing)
    edit("bert4rec")
    assert digest() == before
    edit("scaling")
    assert digest() != before
    training._code.cache_clear()


def test_versions_line_names_the_library():
    assert provenance.versions_line().startswith("lib ")
