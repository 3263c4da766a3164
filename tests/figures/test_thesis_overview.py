"""What goes into a thesis, at a glance, and every kind of thing that would be missing."""

import json

import matplotlib
import pandas as pd
import pytest

matplotlib.use("Agg")

from lib import figures
from lib.figures import thesis_overview
from lib.study import Study, load_parameters
from lib.study.answers import save_answer


@pytest.fixture
def study(tmp_path):
    """A study with a figure that is known to be of 70, one that is too wide, and a table in two parts."""
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path / "runs")}))
    figures.use_style(9)
    for name, share in (("rq1", 0.5), ("wide", 1.2)):
        figure, _ = figures.panels(6.3, share=share)
        figures.save(figure, name, pd.DataFrame({"a": [1]}), study, f"What {name} shows, with 95 % intervals.")
    wide = pd.DataFrame(
        {f"backend {n}": ["0.1 [0.0, 0.2]"] * 3 for n in range(12)}, index=pd.Index(list("xyz"), name="r")
    )
    figures.save_table(wide, "rq1-table", study, "Scores (p <= .05).")
    cells = [
        {"cell_type": "markdown", "source": ["## 2 Claims"]},
        {
            "cell_type": "code",
            "source": ['figures.save(f, "rq1", d, study, c)\nfigures.save_table(t, "rq1-table", s, c)'],
        },
    ]
    study.path("executed").mkdir()
    study.path("executed", "70_rq1_viability.ipynb").write_text(json.dumps({"cells": cells}))
    return study


def test_figures_are_listed_with_where_they_come_from_and_their_size(study):
    found = thesis_overview.figures(study)
    assert found.index.tolist() == ["rq1", "wide"]
    row = found.loc["rq1"]
    assert (row["notebook"], row["section"], row["caption"]) == ("70_rq1_viability", "2 Claims", "What rq1 shows")
    assert row["width"] == pytest.approx(3.15)
    assert row["height"] < row["width"]


def test_tables_are_listed_with_their_lines_parts_and_size_of_letters(study):
    found = thesis_overview.tables(study)
    assert found.index.tolist() == ["rq1-table"]
    assert found.loc["rq1-table", ["caption", "rows"]].tolist() == ["Scores (p <= .05)", 3]
    assert found.loc["rq1-table", "parts"] >= 2
    assert 7 <= found.loc["rq1-table", "points"] <= 9


def test_every_figure_is_on_the_sheet(study):
    one = thesis_overview.sheet(study)
    for number in range(5):
        picture = study.path("figures", "rq1--toy-mock.png").read_bytes()
        study.path("figures", f"more{number}--toy-mock.png").write_bytes(picture)
    assert thesis_overview.sheet(study).size == (one.size[0], 2 * one.size[1])


def test_what_is_missing_is_said(study):
    found = "\n".join(thesis_overview.missing(study))
    assert "RQ1 has no answer: Not run yet." in found
    assert "wide--toy-mock is 7.6 x " in found
    assert "Of no notebook that ran, left by an older one or run by hand: wide." in found
    assert "rq1--toy-mock" not in found
    pdf = study.path("figures", "rq1--toy-mock.pdf")
    pdf.write_bytes(pdf.read_bytes().replace(b"/FontFile2", b"/FontFileX"))
    pdf.with_suffix(".tex").unlink()
    found = "\n".join(thesis_overview.missing(study))
    assert "rq1--toy-mock has a font that is not embedded" in found
    assert "rq1--toy-mock has no LaTeX" in found


def test_nothing_is_missing_where_all_is_there(study):
    for end in ("pdf", "png", "csv", "caption.txt", "tex"):
        study.path("figures", f"wide--toy-mock.{end}").unlink()
    answer = dict(status="decided", verdict="x", statement="Yes.", n=1, test="t", estimate=0.1, ci=None, p=0.1)
    for question in ("rq1", "rq2", "rq3"):
        save_answer(study, question, answer)
    assert thesis_overview.missing(study) == []
