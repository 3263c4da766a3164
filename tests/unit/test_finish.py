"""What ``make`` runs after a study, as a command."""

import sys

import pytest

from lib import export
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


def test_the_thesis_goes_into_the_repositorys_figures(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(finish, "ROOT", tmp_path)
    monkeypatch.setattr(export, "to_thesis", lambda study, folder: asked.append((study.name, folder)) or ["a", "b"])
    assert run(monkeypatch, "thesis", "toy") == 0
    assert asked == [("toy", tmp_path / "figures")]
    assert capsys.readouterr().out == "2 files of study toy -> figures/, listed in figures/README.md\n"


def test_answers_of_a_study_that_has_not_run_say_so(monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, "answers", "toy", "--set", f"runs_dir={tmp_path}") == 0
    assert "RQ1 [not_run] Not run yet." in capsys.readouterr().out


def test_an_unknown_study_is_a_sentence(monkeypatch, capsys):
    assert run(monkeypatch, "thesis", "nowhere") == 1
    assert "Expected params/nowhere.yaml" in capsys.readouterr().err


def test_an_unknown_step_is_refused(monkeypatch):
    with pytest.raises(SystemExit):
        run(monkeypatch, "publish", "toy")
