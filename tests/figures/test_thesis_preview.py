"""A document with everything that was exported: LaTeX sets it without a complaint, and complains of what is wrong."""

import os
import shutil
import subprocess

import matplotlib
import pandas as pd
import pytest

matplotlib.use("Agg")

from lib import figures
from lib.figures import export, latex, thesis_overview, thesis_preview
from lib.study import Study, load_parameters
from lib.study.answers import save_answer

HARD = "Größe 5 % of #1 & $2_x {a} ~ ^ \\ | δ ≤ ρ − × – “q” <b> Dvořák Ḥāfiẓ Ελλάδα Москва 中国 🎵 [c]"


@pytest.fixture(scope="session")
def pdflatex():
    if shutil.which("pdflatex") is None:
        if os.environ.get("CI"):
            pytest.fail("needs pdflatex (Debian: texlive-latex-extra, lmodern)")
        pytest.skip("needs pdflatex (Debian: texlive-latex-extra, lmodern)")


@pytest.fixture
def study(tmp_path):
    """A study with a figure, a table of each layout and an answer, all with what LaTeX takes badly."""
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path / "runs")}))
    figures.use_style(9)
    figure, axes = figures.panels(6.3, share=0.6)
    axes.set_xlabel("NDCG@k")
    figures.save(figure, "rq1-x_y", pd.DataFrame({"a": [1]}), study, f"{HARD}, with 95 % intervals. {HARD}")
    index = pd.Index([f"[{row}] {HARD}"[:60] for row in range(60)], name=HARD)
    wide = pd.DataFrame({f"NDCG, own artist {n}": ["-0.123 [-0.145, -0.101]"] * 60 for n in range(7)}, index=index)
    figures.save_table(wide, "rq1-wide", study, HARD)
    figures.save_table(wide.iloc[:3, :2], "rq1-narrow", study, "Narrow.")
    prose = pd.DataFrame({"first": [HARD * 3], "second": ["beaten by listening alone: -0.2 [-0.3, -0.1] " * 4]})
    figures.save_table(prose, "rq1-prose", study, "Objections.")
    answer = dict(status="decided", verdict="x", statement=HARD * 5, n=4100, test="max-T", estimate=-0.03, ci=None, p=0)
    save_answer(study, "rq1", answer)
    return study


@pytest.fixture
def folder(study, tmp_path):
    export.to_thesis(study, tmp_path / "figures")
    return tmp_path / "figures"


def test_every_figure_table_and_number_is_taken_in(folder):
    text = (folder / "thesis_preview.tex").read_text()
    assert "\\input{numbers}" in text
    for stem in ("rq1-x_y", "rq1-wide", "rq1-narrow", "rq1-prose"):
        assert text.count(f"\\input{{\\figuresfolder/{stem}--toy-mock}}") == 1
    assert "\\toyMockRqOneStatement" in text
    assert "\\newgeometry{textwidth=\\toyMockTextWidth" in text


def test_two_studies_lie_side_by_side(folder, tmp_path):
    other = Study(load_parameters("demo", {"runs_dir": str(tmp_path / "runs")}))
    figures.save_table(pd.DataFrame({"a": ["1"]}), "rq1-wide", other, "Wide.")
    export.to_thesis(other, folder)
    text = (folder / "thesis_preview.tex").read_text()
    assert text.index("Study demo, mock") < text.index("rq1-wide--demo-mock") < text.index("Study toy, mock")
    assert "\\demoMockWorld \\\\" in text and "\\toyMockWorld \\\\" in text  # noqa: PT018


LOG = r"""
Overfull \hbox (9.9pt too wide) in paragraph at lines 1--2
Overfull \hbox (10.1pt too wide) in paragraph at lines 3--4
Overfull \vbox (30.0pt too high) has occurred while \output is active
LaTeX Warning: File `x--toy-mock.pdf' not found on input line 5.
! LaTeX Error: File `x--toy-mock.pdf' not found.
LaTeX Warning: Float too large for page by 3.0pt on input line 6.
LaTeX Font Warning: Font shape `T1/cmr/m/n' in size <9.5> not available
Package longtable Warning: Table widths have changed. Rerun LaTeX.
pdfTeX warning: pdflatex (file x.pdf): PDF inclusion: multiple pdfs
! Undefined control sequence.
Underfull \hbox (badness 10000) in paragraph at lines 7--8
"""


def test_complaints_are_errors_warnings_and_what_runs_over_by_ten_points():
    found = thesis_preview.complaints(LOG)
    assert len(found) == 9
    assert not [line for line in found if "9.9pt" in line or "Underfull" in line]


def test_without_latex_it_says_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(thesis_preview.shutil, "which", lambda program: None)
    with pytest.raises(FileNotFoundError, match=r"Expected pdflatex .* install TeX Live"):
        thesis_preview.build(folder, tmp_path / "p.pdf")


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("sleep 9", "within 0.5 s, found pdflatex still at work"),
        ("echo no format", "a log of pdflatex, found none: no f"),
    ],
)
def test_a_latex_that_hangs_or_is_not_whole_is_a_sentence(folder, tmp_path, monkeypatch, script, sentence):
    program = tmp_path / "pdflatex"
    program.write_text(f"#!/bin/sh\nexec {script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(thesis_preview.shutil, "which", lambda _: str(program))
    monkeypatch.setattr(thesis_preview, "_SECONDS", 0.5)
    with pytest.raises(RuntimeError, match=sentence):
        thesis_preview.build(folder, tmp_path / "p.pdf")


@pytest.mark.slow
def test_latex_sets_whatever_stands_in_captions_tables_and_answers(pdflatex, folder, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert thesis_preview.build(folder, tmp_path / "p.pdf") == []
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before  # nothing is left beside them


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("rq1-x_y--toy-mock.pdf", None, None, "not found"),
        ("numbers--toy-mock.tex", r"\toyMockSeed}", r"\toyMockSeat}", "Undefined control sequence"),
        ("rq1-narrow--toy-mock.tex", r"\label{tab:rq1-narrow--toy-mock}", "", "undefined"),
        ("rq1-narrow--toy-mock.tex", "Narrow.", "中", "Unicode character"),
        ("rq1-narrow--toy-mock.tex", "Narrow.", "_", "Missing $"),
        ("rq1-narrow--toy-mock.tex", "NDCG, own artist 0", r"\rule{70mm}{1pt}" * 2, "Overfull"),
        ("numbers--toy-mock.tex", r"{\toyMockSeed}{42}", r"{\toyMockSeed}{4_2}", "Missing $"),
    ],
)
def test_canary_what_is_wrong_in_an_export_is_complained_of(pdflatex, folder, tmp_path, file, old, new, complaint):
    if old is None:
        (folder / file).unlink()
    else:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
    assert [line for line in thesis_preview.build(folder, tmp_path / "p.pdf") if complaint in line]


@pytest.mark.slow
@pytest.mark.parametrize("fonts", [r"\usepackage[T1]{fontenc}\usepackage{lmodern}"])
def test_every_character_that_is_left_as_it_is_can_be_set(pdflatex, tmp_path, fonts):
    """The whole of Unicode's first planes to U+2FFF, in one document."""
    words = [latex.escape_tex(f"a{chr(code)}b") for code in range(33, 0x3000) if chr(code).isprintable()]
    text = "\n\n".join(" ".join(words[place : place + 50]) for place in range(0, len(words), 50))
    document = f"\\documentclass{{article}}{fonts}\\begin{{document}}\\sloppy\n{text}\n\\end{{document}}\n"
    (tmp_path / "all.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "all.tex"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert [line for line in log.splitlines() if line.startswith("!") or "Missing character" in line] == []


@pytest.mark.slow
def test_what_the_toy_study_made_is_set_without_a_complaint(pdflatex, tmp_path):
    """Every figure, table and number of runs/toy; its fonts are embedded."""
    toy = Study(load_parameters("toy"))
    if not toy.path("figures").is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs the toy study: make workbook STUDY=toy")
    export.to_thesis(toy, tmp_path / "figures")
    first = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert thesis_preview.build(tmp_path / "figures", tmp_path / "p.pdf") == []
    export.to_thesis(toy, tmp_path / "figures")
    assert {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()} == first
    pictures = sorted((tmp_path / "figures").glob("*.pdf"))
    assert [path.name for path in pictures if not thesis_overview.fonts_embedded(path.read_bytes())] == []
    assert [path.name for path in pictures if not path.with_suffix(".tex").is_file()] == []
