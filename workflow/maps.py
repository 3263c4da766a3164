"""Pages that follow from the graph of jobs: README's table of notebooks, docs/notebooks.md and the map in 00_index.

``python workflow/maps.py`` writes all three. Seconds in docs/notebooks.md are those of the toy study's manifest, and
where it has none of a notebook, those that the page has already.
"""

import json
import re
import sys
import textwrap
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nbformat

from lib.study import ROOT
from lib.study.tables import write_atomically
from workflow import dag

PAGE, README, INDEX = ROOT / "docs" / "notebooks.md", ROOT / "README.md", dag.NOTEBOOKS / "00_index.ipynb"
MANIFEST = ROOT / "runs" / "toy" / "manifest.json"
LONGEST = 25  # lines of a code cell
WIDTH = 110  # of the map
UNMEASURED = "–"
_TABLE = re.compile(r"(?<=^\| notebooks \| \|\n\|---\|---\|\n)(?:\|.*\n)+", re.MULTILINE)
_MAP = "## 1 The map"
_TOP = f"""# Every notebook
Made by `python workflow/maps.py`; a test compares all but the seconds, and that no code cell is longer than
{LONGEST} lines or without a line that says what it is for: prose right above it, or a comment as its first line
(imports, parameters and the opening of the study have the notebook's first lines for that).

*Seconds* are of `make workbook STUDY=toy`, and for what that leaves out of the same job alone: one run (n = 1) on two
cores of a shared Linux server without a GPU, two jobs at a time, start of the kernel included; for notebooks that run
once per backend the sum over *jobs*. *After* names the notebooks whose results it reads.

| notebook | after | code cells | longest, lines | jobs | seconds on toy | sections |
|---|---|---:|---:|---:|---:|---|
"""


def readme_table():
    """README's table: one line per ten of notebooks, an asterisk at those of ``make extended``."""
    lines = []
    for _, rows in groupby(sorted(dag.ROWS, key=lambda row: row.notebook), key=lambda row: row.notebook[0]):
        rows = list(rows)
        names = " ".join(f"`{row.notebook}`" + "*" * row.extended for row in rows)
        lines.append(f"| {names} | {'; '.join(row.title for row in rows)} |\n")
    return "".join(lines)


def index_map():
    """The map in 00_index: notebooks below those whose results they read, and the order in which to read them."""
    drawn = ["audio, labels, listeners"]
    for _, rows in groupby(sorted(dag.ROWS, key=dag.level), key=dag.level):
        names = [f"{row.notebook}{'_per_backend' * bool(row.over)}{'*' * row.extended}" for row in rows]
        lines = textwrap.wrap("_· ".join(names), WIDTH, break_on_hyphens=False)
        drawn += [
            "   ▼",
            *(re.sub(r"_(?=·|per_backend)", " ", line).replace("per_backend", "per backend") for line in lines),
        ]
    order = sorted(dag.ROWS[:-1], key=lambda row: row.notebook)
    reading = [f"[{row.notebook[:2]}]({row.notebook}.ipynb) {row.title}" for row in order]
    return "\n".join(
        [
            _MAP,
            "",
            "A notebook reads only what those above it wrote; there is no way back. With an asterisk: `make extended`.",
            "",
            "```",
            *drawn,
            "```",
            "",
            "Read in this order:",
            *(f"- {line}" for line in reading),
            "",
            "Words are explained in the [glossary](../docs/glossary.md).",
        ]
    )


def page_row(row, seconds):
    """A notebook's row of docs/notebooks.md; `seconds` are jobs and seconds as the page shows them."""
    cells = nbformat.read(dag.NOTEBOOKS / f"{row.notebook}.ipynb", as_version=4).cells
    code = [len(cell.source.splitlines()) for cell in cells if cell.cell_type == "code" and cell.source.strip()]
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = " · ".join(re.findall(r"^## (.+)$", prose, flags=re.MULTILINE))
    after = "all" if row.notebook.startswith("90") else " ".join(sorted(name[:2] for name in row.needs)) or UNMEASURED
    link = f"[{row.notebook}](../notebooks/{row.notebook}.ipynb)"
    return f"| {link} | {after} | {len(code)} | {max(code)} | {seconds[0]} | {seconds[1]} | {headings} |\n"


def measured(manifest):
    """Jobs and seconds of each notebook, as {stem: (jobs, seconds)}, both as text."""
    found = {}
    for job, seconds in manifest.get("seconds", {}).items():
        found.setdefault(job.split(".")[0], []).append(seconds)
    return {stem: (str(len(values)), f"{sum(values):.0f}") for stem, values in found.items()}


def on_page(text):
    """Jobs and seconds that a page shows, as {stem: (jobs, seconds)}."""
    rows = re.findall(r"^\| \[(\w+)\]\S+ \| [^|]+ \| \d+ \| \d+ \| (\S+) \| (\S+) \|", text, flags=re.MULTILINE)
    return {stem: (jobs, seconds) for stem, jobs, seconds in rows}


def page(seconds):
    """docs/notebooks.md, with the seconds given as {stem: (jobs, seconds)}."""
    rows = sorted(dag.ROWS, key=lambda row: row.notebook)
    return _TOP + "".join(page_row(row, seconds.get(row.notebook, (UNMEASURED, UNMEASURED))) for row in rows)


def readme(text):
    """README with its table of notebooks as it follows from the graph."""
    return _TABLE.sub(lambda found: readme_table(), text)


def index(text):
    """The file of 00_index with its map as it follows from the graph."""
    notebook = json.loads(text)
    cell = next(cell for cell in notebook["cells"] if "".join(cell["source"]).startswith(_MAP))
    cell["source"] = index_map().splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def write():
    """Write all three."""
    seconds = on_page(PAGE.read_text()) if PAGE.is_file() else {}
    if MANIFEST.is_file():
        seconds |= measured(json.loads(MANIFEST.read_text()))
    for path, text in {
        PAGE: page(seconds),
        README: readme(README.read_text()),
        INDEX: index(INDEX.read_text()),
    }.items():
        with write_atomically(path) as beside:
            Path(beside).write_text(text)


if __name__ == "__main__":
    write()
