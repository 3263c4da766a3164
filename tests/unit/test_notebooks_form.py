"""Every notebook's cells are short and say what they are for; the table of notebooks in docs is up to date."""

import nbformat
import pytest

from lib.study import ROOT
from workflow import maps
from workflow.maps import INDEX, LONGEST, PAGE, README, measured, on_page, page

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
HERE = "run python workflow/maps.py"


def faults(notebook):
    """What is wrong with the form of a notebook's code cells.

    A code cell's purpose is said by prose in the markdown cell right above it (a heading alone is none), or by a
    comment as its first line. The opening (up to the cell that opens the study) has its own in the first markdown cell.
    """
    cells = notebook.cells
    opening = next((n for n, cell in enumerate(cells) if _is_code(cell) and "open_study(" in cell.source), -1)
    found = []
    for number, cell in enumerate(cells):
        if not _is_code(cell):
            continue
        lines = cell.source.splitlines()
        name = f"cell {number} ({lines[0][:40]})"
        if len(lines) > LONGEST:
            found.append(f"{name}: {len(lines)} lines, at most {LONGEST}")
        above = cells[0 if number <= opening else number - 1] if number else None
        if not (_says_something(above) or lines[0].startswith("# ")):
            found.append(f"{name}: no line above it says what it is for")
    return found


def _is_code(cell):
    return cell.cell_type == "code" and cell.source.strip()


def _says_something(cell):
    """Whether a cell holds a line of prose."""
    if cell is None or cell.cell_type != "markdown":
        return False
    return any(line.strip() and not line.startswith("#") for line in cell.source.splitlines())


def book(*cells):
    """A notebook of cells given as ('markdown' | 'code', source)."""
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    return nbformat.v4.new_notebook(cells=[make[kind](source) for kind, source in cells])


OPENING = (
    ("markdown", "# 99 Example\n\n**Answers:** nothing."),
    ("code", "import numpy as np"),
    ("code", "seed: int = 42"),
    ("code", "study = open_study(globals())"),
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_short_and_say_what_they_are_for(path):
    assert faults(nbformat.read(path, as_version=4)) == []


def test_a_well_kept_notebook_has_no_fault():
    prose = ("markdown", "## 1 A question\n\nWhat is seen first.")
    full = "\n".join(["x = 1"] * LONGEST)
    assert faults(book(*OPENING, prose, ("code", full), ("code", "# a table of it\nx"), ("code", ""))) == []


def test_a_cell_of_one_line_too_many_is_found():
    long = "\n".join(["x = 1"] * (LONGEST + 1))
    assert faults(book(*OPENING, ("markdown", "Prose."), ("code", long))) == ["cell 5 (x = 1): 26 lines, at most 25"]


@pytest.mark.parametrize(
    "cells",
    [
        [("code", "y = 2")],
        [("markdown", "## 1 A heading alone"), ("code", "y = 2")],
        [("markdown", "Prose."), ("code", "x = 1"), ("code", "y = 2")],
        [("markdown", "Prose."), ("code", "# why\nx = 1"), ("code", "y = 2  # a comment at the end of a line")],
    ],
)
def test_a_cell_that_nothing_introduces_is_found(cells):
    found = faults(book(*OPENING, *cells))
    assert len(found) == 1
    assert "y = 2" in found[0]
    assert found[0].endswith("no line above it says what it is for")


def test_the_opening_counts_only_up_to_the_study():
    found = faults(book(("markdown", "# 99 Example"), *OPENING[1:]))
    assert len(found) == 3


def test_the_table_in_docs_is_that_of_the_notebooks():
    text = PAGE.read_text()
    assert text == page(on_page(text)), HERE
    assert [f"[{path.stem}]" in text for path in NOTEBOOKS] == [True] * len(NOTEBOOKS)


def test_the_table_in_readme_is_that_of_the_graph():
    text = README.read_text()
    assert maps.readme_table() in text, HERE
    assert text == maps.readme(text)


def test_the_map_in_the_index_is_that_of_the_graph():
    text = INDEX.read_text()
    assert text == maps.index(text), HERE


def test_seconds_are_summed_over_the_jobs_of_a_notebook():
    manifest = {"seconds": {"30_knn.mfcc": 1.2, "30_knn.artist": 2.4, "00_index": 3.0}}
    assert measured(manifest) == {"30_knn": ("2", "4"), "00_index": ("1", "3")}
    row = "| [30_knn](../notebooks/30_knn.ipynb) | 10 20 | 9 | 15 | 2 | 4 | 1 A · 2 B |\n"
    assert on_page(row) == {"30_knn": ("2", "4")}
