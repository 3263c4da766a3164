"""What ``make`` runs after a study, as a command."""

import sys

import pytest

from lib.figures import export
from workflow import finish


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["finish.py", *words])
    return finish.main()


def test_the_thesis_of_a_study_that_has_not_run_is_a_sentence_and_a_code(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(finish, "ROOT", tmp_path)
    assert run(monkeypatch, "thesis", "toy", "--set", f"runs_dir={tmp_path}") == 1
    assert capsys.readouterr().err == (
        "make: Expected figures and answers of study toy, found none: run 'make workbook STUDY=toy' first.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def exported(monkeypatch, tmp_path):
    """What was asked of the export, which writes nothing here."""
    asked = []
    monkeypatch.setattr(finish, "ROOT", tmp_path)
    monkeypatch.setattr(export, "to_thesis", lambda study, folder: asked.append((study.name, folder)) or ["a", "b"])
    return asked


def test_the_thesis_goes_into_the_repositorys_figures(exported, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(finish.shutil, "which", lambda program: None)
    assert run(monkeypatch, "thesis", "toy") == 0
    assert exported == [("toy", tmp_path / "figures")]
    assert capsys.readouterr().out == (
        "2 files of study toy -> figures/, listed in figures/README.md\n"
        "no preview: there is no pdflatex here (docs/thesis.md)\n"
    )


@pytest.mark.parametrize(("complaints", "code"), [([], 0), (["Overfull"], 1)])
def test_what_latex_complains_of_in_the_preview_is_an_error(exported, monkeypatch, capsys, complaints, code):
    monkeypatch.setattr(finish.shutil, "which", lambda program: program)
    monkeypatch.setattr(finish.thesis_preview, "build", lambda folder, pdf: complaints)
    assert run(monkeypatch, "thesis", "toy") == code
    said = capsys.readouterr()
    assert ("thesis_preview.pdf" in said.out) if not code else ("found 1, the first: Overfull" in said.err)


def test_answers_of_a_study_that_has_not_run_say_so(monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, "answers", "toy", "--set", f"runs_dir={tmp_path}") == 0
    assert "RQ1 [not_run] Not run yet." in capsys.readouterr().out


def test_an_unknown_study_is_a_sentence(monkeypatch, capsys):
    assert run(monkeypatch, "thesis", "nowhere") == 1
    assert "Expected params/nowhere.yaml" in capsys.readouterr().err


def test_an_unknown_step_is_refused(monkeypatch):
    with pytest.raises(SystemExit):
        run(monkeypatch, "publish", "toy")
