"""What a study puts into a thesis, at a glance: its figures, its tables, and what is missing."""

import re

import pandas as pd

from lib.figures import export
from lib.study.answers import QUESTIONS, read_answers

__all__ = ["figures", "missing", "sheet", "tables"]


_THUMB, _LABEL, _A_ROW = (230, 140), 14, 5  # pixels: width and height, of a line of text; thumbnails a row
_SHADES = 32
_PAGE = 7.6  # inches: what TALL leaves of a page of A4


def figures(study):
    """Figures of a study.

    Parameters
    ----------
    study : Study

    Returns
    -------
    DataFrame
        Indexed by ``figure``: ``notebook, section, caption`` (the short one) and its ``width`` and ``height`` in
        inches.
    """
    rows = []
    for row in _sources(study, ".pdf"):
        width, height = _box(study.path("figures", row.pop("file")))
        rows.append(row | {"width": round(width, 2), "height": round(height, 2)})
    return pd.DataFrame(rows, columns=["figure", "notebook", "section", "caption", "width", "height"]).set_index(
        "figure"
    )


def tables(study):
    """Tables of a study.

    Parameters
    ----------
    study : Study

    Returns
    -------
    DataFrame
        Indexed by ``table``: ``notebook, section, caption``, how many ``rows`` and ``parts`` it has, and ``points``,
        the size of its letters.
    """
    rows = []
    for row in _sources(study, ".tex"):
        text = study.path("figures", row.pop("file")).read_text()
        if "\\includegraphics" in text:
            continue
        sizes = re.findall(r"\\fontsize\{([\d.]+)\}", text)
        lines = len(pd.read_csv(study.path("figures", f"{row['stem']}.csv"), dtype=str))
        rows.append(row | {"rows": lines, "parts": len(sizes), "points": float(sizes[0]) if sizes else None})
    columns = ["table", "notebook", "section", "caption", "rows", "parts", "points"]
    return pd.DataFrame(rows, columns=columns).set_index("table")


def sheet(study):
    """All figures as one picture of thumbnails with their names.

    Parameters
    ----------
    study : Study

    Returns
    -------
    PIL.Image.Image
    """
    from PIL import Image, ImageDraw

    paths = sorted(study.path("figures").glob("[!.]*.png"))
    width, height = _THUMB
    whole = Image.new("RGB", (width * _A_ROW, (height + _LABEL) * -(-len(paths) // _A_ROW)), "white")
    write = ImageDraw.Draw(whole)
    for place, path in enumerate(paths):
        left, top = place % _A_ROW * width, place // _A_ROW * (height + _LABEL)
        with Image.open(path) as picture:
            small = picture.convert("RGB")
        small.thumbnail((width - 10, height - 6), Image.Resampling.LANCZOS)
        write.text((left + 4, top + 1), path.name.rpartition("--")[0], fill="black")
        whole.paste(small, (left + 4, top + _LABEL))
    return whole.quantize(_SHADES)


def missing(study):
    """What a thesis would miss, or stumble over.

    Parameters
    ----------
    study : Study

    Returns
    -------
    list of str
        A sentence each: questions without an answer, figures too large for a page, fonts that are not embedded, what no
        notebook that ran is known to have made.
    """
    answers = read_answers(study)
    found = [
        f"{question.upper()} has no answer: {answers[question]['statement']}"
        for question in QUESTIONS
        if answers[question]["status"] == "not_run"
    ]
    for path in sorted(study.path("figures").glob("[!.]*.pdf")):
        width, height = _box(path)
        if width > study.parameters.text_width + 0.01 or height > _PAGE:
            size = f"{width:.1f} x {height:.1f} inches"
            found.append(
                f"{path.stem} is {size}: what is wider than the text or longer than a page is printed smaller."
            )
        if not fonts_embedded(path.read_bytes()):
            found.append(f"{path.stem} has a font that is not embedded as TrueType, which printers refuse.")
        if not path.with_suffix(".tex").is_file():
            found.append(f"{path.stem} has no LaTeX: run 'make workbook STUDY={study.name}' again.")
    lost = {row["file"].rpartition("--")[0] for row in _listed(study).to_dict("records") if row["notebook"] == "–"}
    if lost:
        found.append(f"Of no notebook that ran, left by an older one or run by hand: {', '.join(sorted(lost))}.")
    return found


def fonts_embedded(pdf):
    """Whether all fonts of a PDF by matplotlib are embedded, as TrueType.

    Parameters
    ----------
    pdf : bytes

    Returns
    -------
    bool
    """
    return b"/Type3" not in pdf and pdf.count(b"/Type /FontDescriptor") == pdf.count(b"/FontFile2") > 0


def _listed(study):
    return export.contents(study, [path.name for path in study.path("figures").glob("[!.]*")])


def _sources(study, suffix):
    """Name, notebook, section and short caption of each file with a suffix."""
    for row in _listed(study).to_dict("records"):
        if row["file"].endswith(suffix):
            stem = row["file"].removesuffix(suffix)
            latex = study.path("figures", f"{stem}.tex")
            first = latex.read_text().partition("\n")[0] if latex.is_file() else ""
            name = stem.rpartition("--")[0]
            yield {**row, "stem": stem, "figure": name, "table": name, "caption": first.partition("} ")[2]}


def _box(path):
    """Width and height of a PDF's first page, inches."""
    box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+) ([\d.]+)", path.read_bytes())
    return float(box[1]) / 72, float(box[2]) / 72
