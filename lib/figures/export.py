r"""What a study made, in the form that a thesis takes in: figures, tables, quoted numbers, and where each comes from.

A thesis says ``\input{figures/numbers}`` once and then quotes by macro. Macros name study and world, so that no number
of simulated listeners can be taken for one of real ones, and several studies stand side by side.
"""

import ast
import json
import re

import pandas as pd

from lib.figures import quoted_numbers, thesis_preview
from lib.study import provenance
from lib.study.tables import write_atomically

__all__ = ["contents", "to_thesis"]


_ANY = r"\w+"  # what a notebook fills in of a name
CONTENT_COLUMNS = ["file", "notebook", "section", "study", "world", "data", "commit"]


def to_thesis(study, folder):
    """Copy a study's figures, tables and numbers into a thesis's folder; other studies' files stay.

    Parameters
    ----------
    study : Study
    folder : Path

    Returns
    -------
    list of str
        Names of the study's files there. Two exports of the same results write the same bytes; what an earlier export
        of the study left and this one does not have is removed.

    Raises
    ------
    FileNotFoundError
        Where the study has not run; nothing is written then.
    ValueError
        Where two numbers would have one macro, or a figure's data name listeners of a real study.
    """
    drawn = sorted(study.path("figures").glob("[!.]*"))
    if not drawn:
        raise FileNotFoundError(
            f"Expected figures and answers of study {study.name}, found none: "
            f"run 'make workbook STUDY={study.name}' first."
        )
    stamp = f"{study.name}-{study.world}"
    files = {path.name: path.read_bytes() for path in drawn}
    _refuse_listeners(study, files)
    found = quoted_numbers.numbers(study)
    listed = contents(study, list(files))
    files[f"numbers--{stamp}.tex"] = _macros(found, stamp).encode()
    files[f"numbers--{stamp}.csv"] = found.to_csv(index=False).encode()
    files[f"contents--{stamp}.csv"] = listed.to_csv(index=False).encode()
    for name, content in files.items():
        _write(folder / name, content)
    for old in folder.glob(f"*--{stamp}.*"):
        if old.name not in files:
            old.unlink()
    _write_overview(folder)
    return sorted(files)


def contents(study, names):
    """Where figures and tables come from: of each file the notebook and section that save it, data and commit.

    Parameters
    ----------
    study : Study
    names : list of str
        File names in the study's ``figures/``.

    Returns
    -------
    DataFrame
        ``file, notebook, section, study, world, data, commit``. Notebook and section are read from the notebooks that
        ran; '–' where none of them saves the file.
    """
    manifest = study.path("manifest.json")
    ran = json.loads(manifest.read_text()) if manifest.is_file() else {}
    data = ran.get("data") or provenance.data_fingerprint(study.path("data"))
    saved = [found for path in sorted(study.path("executed").glob("[!.]*.ipynb")) for found in _saved_by(path)]
    saved.sort(key=lambda found: _ANY in found[0])  # a name written out before one that is filled in
    rows = []
    for name in sorted(names):
        stem = name.rpartition("--")[0]
        at = next((where for pattern, *where in saved if re.fullmatch(pattern, stem)), ["–", "–"])
        rows.append([name, *at, study.name, study.world, data, ran.get("commit", "unknown")])
    return pd.DataFrame(rows, columns=CONTENT_COLUMNS)


def _macros(found, stamp):
    lines = [
        f"\\newcommand{{\\{macro}}}{{{value}}}" for macro, value in zip(found["macro"], found["value"], strict=True)
    ]
    return "\n".join([f"% numbers of {stamp}; numbers--{stamp}.csv says where each comes from", *lines, ""])


def _refuse_listeners(study, files):
    """Data behind a figure of real listeners name none of them."""
    for name, content in files.items():
        if study.world == "real" and name.endswith(".csv") and b"user_id" in content.split(b"\n", 1)[0]:
            raise ValueError(
                f"Expected no listener in the data behind figures of study {study.name}, found user_id in {name}; "
                "save a summary instead."
            )


def _saved_by(path):
    """Of each figure or table that a notebook saves: pattern of its name, the notebook, the section."""
    section, found = "–", []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^##+ +(.+)$", source, re.MULTILINE)
            section = headings[-1] if headings else section
        elif cell["cell_type"] == "code" and "save" in source:
            found += [(pattern, path.name.split(".")[0], section) for pattern in _names_saved(source)]
    return found


def _names_saved(source):
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and len(node.args) > 1]
    except SyntaxError:  # a cell of magics saves nothing
        return []
    names = [call.args[1] for call in calls if ast.unparse(call.func) in ("figures.save", "figures.save_table")]
    return [_pattern(name) for name in names if isinstance(name, ast.Constant | ast.JoinedStr)]


def _pattern(name):
    """Regular expression of a name given as a literal or an f-string."""
    parts = name.values if isinstance(name, ast.JoinedStr) else [name]
    return "".join(re.escape(part.value) if isinstance(part, ast.Constant) else _ANY for part in parts)


def _write_overview(folder):
    """``numbers.tex``, ``README.md`` and ``thesis_preview.tex`` of all studies that lie in the folder."""
    listed = _of_all(folder, "contents")
    lines = [
        "% all quoted numbers; every macro names its study and its world",
        "\\providecommand{\\figuresfolder}{figures}",
        *(f"\\input{{\\figuresfolder/{path.stem}}}" for path in sorted(folder.glob("numbers--*.tex"))),
    ]
    _write(folder / "numbers.tex", "\n".join([*lines, ""]).encode())
    _write(folder / "README.md", _readme(listed).encode())
    prefixes = [
        quoted_numbers.prefix(study, world) for study, world in zip(listed["study"], listed["world"], strict=True)
    ]
    preview = thesis_preview.document(listed.assign(prefix=prefixes), _of_all(folder, "numbers"))
    _write(folder / f"{thesis_preview.NAME}.tex", preview.encode())


def _of_all(folder, kind):
    """One list of every study that lies in a folder."""
    frames = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in sorted(folder.glob(f"{kind}--*.csv"))]
    return pd.concat(frames, ignore_index=True)


def _readme(listed):
    lines = [
        "# What lies here, and where it comes from",
        "",
        "Written by `make thesis STUDY=…`; nothing here is typed. A thesis says once",
        "",
        "    \\usepackage[T1]{fontenc}",
        "    \\usepackage{lmodern,graphicx,booktabs,longtable,array}",
        "    \\newcommand{\\figuresfolder}{figures} % where this folder lies",
        "    \\input{\\figuresfolder/numbers}",
        "",
        "and then a line for each figure or table of the list below, `\\input{\\figuresfolder/rq1--demo-mock}`, which",
        "brings its caption, long and short, and its label (`fig:…`, `tab:…`), and a word for each number, such as",
        "`\\demoMockClipSeconds`; `numbers--*.csv` says which row of which result each is. `thesis_preview.tex` shows",
        "all that lies here: `pdflatex thesis_preview.tex`, twice. Beside each figure lie the data behind it (CSV), a",
        "PNG, and its caption as plain text. More: docs/thesis.md.",
        "",
        "| figure or table | files | notebook | section | study | world | data | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    listed = listed.assign(stem=listed["file"].str.rpartition("--")[0])
    for key, rows in listed.groupby(["study", "world", "stem"], sort=True):
        kinds = ", ".join(sorted(name.rpartition("--")[2].split(".", 1)[1] for name in rows["file"]))
        first = rows.iloc[0]
        cells = [key[2], kinds, first["notebook"], first["section"], key[0], key[1], first["data"], first["commit"]]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _write(path, content):
    """Write bytes atomically; a file that has them already is left alone."""
    if path.is_file() and path.read_bytes() == content:
        return
    with write_atomically(path) as beside:
        beside.write_bytes(content)
