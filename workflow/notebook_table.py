"""The table of all notebooks, ``docs/notebooks.md``, and the form that their cells keep.

``python workflow/notebook_table.py`` writes the page; seconds are those of the toy study's manifest, and where it has
none of a notebook, those that the page has already.
"""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nbformat

from lib.study import ROOT
from lib.study.tables import write_atomically

PAGE = ROOT / "docs" / "notebooks.md"
MANIFEST = ROOT / "runs" / "toy" / "manifest.json"
LONGEST = 25  # lines of a code cell
UNMEASURED = "–"
_TOP = f"""# Every notebook
Made by `python workflow/notebook_table.py`; a test compares all but the seconds, and that no code cell is longer than
{LONGEST} lines or without a line that says what it is for: prose right above it, or a comment as its first line
(imports, parameters and the opening of the study have the notebook's first lines for that).

*Seconds* are of `make workbook STUDY=toy`, and for what that leaves out of the same job alone: one run (n = 1) on two
cores of a shared Linux server without a GPU, two jobs at a time, start of the kernel included; for notebooks that run
once a backend the sum over *jobs*.

| notebook | code cells | longest, lines | jobs | seconds on toy | sections |
|---|---:|---:|---:|---:|---|
"""


def faults(notebook):
    """What is wrong with the form of a notebook's code cells.

    A code cell's purpose is said by prose in the markdown cell right above it (a heading alone is none), or by a
    comment as its first line. The opening (up to the cell that opens the study) has its own in the first markdown cell.

    Parameters
    ----------
    notebook : nbformat.NotebookNode

    Returns
    -------
    list of str
        A sentence a fault, which begins with the cell's number (from 0, markdown cells counted).

    Examples
    --------
    >>> cells = [nbformat.v4.new_markdown_cell("# 99 Example"), nbformat.v4.new_code_cell("print(1)")]
    >>> faults(nbformat.v4.new_notebook(cells=cells))
    ['cell 1 (print(1)): no line above it says what it is for']
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


def row(path, seconds):
    """A notebook's row of the table.

    Parameters
    ----------
    path : Path
        The notebook.
    seconds : tuple of str
        Number of jobs and their seconds, as the page shows them.

    Returns
    -------
    str
    """
    cells = nbformat.read(path, as_version=4).cells
    code = [len(cell.source.splitlines()) for cell in cells if _is_code(cell)]
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## (.+)$", prose, flags=re.MULTILINE)
    link = f"[{path.stem}](../notebooks/{path.name})"
    jobs, total = seconds
    return f"| {link} | {len(code)} | {max(code)} | {jobs} | {total} | {' · '.join(headings)} |\n"


def measured(manifest):
    """Jobs and seconds of each notebook, as {stem: (jobs, seconds)}, both as text."""
    found = {}
    for job, seconds in manifest.get("seconds", {}).items():
        found.setdefault(job.split(".")[0], []).append(seconds)
    return {stem: (str(len(values)), f"{sum(values):.0f}") for stem, values in found.items()}


def on_page(text):
    """Jobs and seconds that a page shows, as {stem: (jobs, seconds)}."""
    rows = re.findall(r"^\| \[(\w+)\]\S+ \| \d+ \| \d+ \| (\S+) \| (\S+) \|", text, flags=re.MULTILINE)
    return {stem: (jobs, seconds) for stem, jobs, seconds in rows}


def page(seconds):
    """The page, with the seconds given as {stem: (jobs, seconds)}."""
    paths = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    return _TOP + "".join(row(path, seconds.get(path.stem, (UNMEASURED, UNMEASURED))) for path in paths)


def main():
    """Write the page."""
    seconds = on_page(PAGE.read_text()) if PAGE.is_file() else {}
    if MANIFEST.is_file():
        seconds |= measured(json.loads(MANIFEST.read_text()))
    with write_atomically(PAGE) as beside:
        Path(beside).write_text(page(seconds))


if __name__ == "__main__":
    main()
