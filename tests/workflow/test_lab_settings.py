"""What `make lab` sets is something JupyterLab knows, and the session one left is not laid out anew."""

import json
import sys
from pathlib import Path

import pytest

from workflow import lab

OVERRIDES = json.loads((lab.SETTINGS / "overrides.json").read_text())
SCHEMAS = Path(sys.prefix) / "share" / "jupyter" / "lab" / "schemas"


@pytest.mark.parametrize("plugin", OVERRIDES)
def test_every_setting_is_in_the_schema_of_its_plugin(plugin):
    package, _, name = plugin.partition(":")
    known = json.loads((SCHEMAS / package / f"{name}.json").read_text())["properties"]
    assert set(OVERRIDES[plugin]) <= set(known)


def test_notebooks_are_not_saved_by_themselves():
    assert OVERRIDES["@jupyterlab/docmanager-extension:plugin"]["autosave"] is False


def test_a_session_is_laid_out_once_and_then_left_as_it_was(tmp_path):
    lab.prepare(tmp_path)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["data"]["layout-restorer:data"]["left"]["current"] == "@jupyterlab/toc:plugin"
    left = file.read_text().replace("00_index", "30_knn")
    file.write_text(left)
    lab.prepare(tmp_path)
    assert file.read_text() == left
