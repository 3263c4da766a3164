"""Slides as a command: what is made without Marp, what is said where something is missing, what Marp is asked for."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from lib.figures.deck import Deck
from workflow import finish, slides


@pytest.fixture
def there(monkeypatch):
    """Programs that are on the path: ``there('npx')``."""

    def only(*programs):
        monkeypatch.setattr(slides.shutil, "which", lambda name: f"/bin/{name}" if name in programs else None)

    return only


@pytest.fixture
def asked(monkeypatch):
    """What Marp was asked for, as lists of words; it always succeeds."""
    found = []
    done = SimpleNamespace(returncode=0, stderr="", stdout="")
    monkeypatch.setattr(slides.subprocess, "run", lambda words, **options: found.append((words, options)) or done)
    return found


def test_without_node_the_markdown_stays_and_a_sentence_says_what_to_install(there, asked, tmp_path):
    there("chromium")
    assert slides.render(tmp_path / "slides.md").startswith("for HTML and PDF of it: install Node 18 or later")
    assert asked == []


def test_without_chromium_there_is_html_and_a_sentence(there, asked, tmp_path):
    there("npx")
    assert "install Chromium" in slides.render(tmp_path / "slides.md")
    assert [words[-2] for words, _ in asked] == ["slides.html"]
    assert asked[0][0][:3] == ["npx", "--yes", slides.MARP]


def test_marp_takes_the_chromium_that_is_there(there, asked, tmp_path):
    there("marp", "chromium")
    assert slides.render(tmp_path / "slides.md") == "with slides.html and slides.pdf beside it"
    words, options = asked[1]
    assert words[:6] == ["marp", "--pdf", "--browser", "chrome", "--browser-path", "/bin/chromium"]
    assert options["cwd"] == tmp_path


def test_what_marp_says_when_it_fails_is_shown(there, monkeypatch, tmp_path):
    there("marp")
    failed = SimpleNamespace(returncode=1, stderr="[ INFO ] at it\n[ ERROR ] no network\n", stdout="")
    monkeypatch.setattr(slides.subprocess, "run", lambda *words, **options: failed)
    with pytest.raises(RuntimeError, match=r"found: \[ ERROR \] no network; slides.md is there."):
        slides.render(tmp_path / "slides.md")


def test_a_marp_that_does_not_end_is_a_sentence(there, monkeypatch, tmp_path):
    there("marp")

    def late(*words, **options):
        raise subprocess.TimeoutExpired(words, slides.SECONDS)

    monkeypatch.setattr(slides.subprocess, "run", late)
    with pytest.raises(RuntimeError, match=r"Expected slides.html within \d+ s, found Marp still at work"):
        slides.render(tmp_path / "slides.md")


def test_the_deck_and_its_pictures_replace_what_was_there(monkeypatch, tmp_path):
    picture = tmp_path / "rq1--toy-mock.png"
    picture.write_bytes(b"picture")
    monkeypatch.setattr(slides, "deck", lambda study, style: Deck(f"{len(style) > 100}", {picture.name: picture}))
    folder = tmp_path / "toy" / "slides"
    folder.mkdir(parents=True)
    (folder / "old.png").write_bytes(b"old")
    study = SimpleNamespace(path=(tmp_path / "toy").joinpath)
    assert slides.write(study).read_text() == "True"
    assert sorted(path.name for path in folder.iterdir()) == [picture.name, "slides.md"]


def test_a_deck_that_cannot_be_written_leaves_the_one_before(monkeypatch, tmp_path):
    monkeypatch.setattr(slides, "deck", lambda study, style: Deck("new", {"gone.png": tmp_path / "gone.png"}))
    folder = tmp_path / "toy" / "slides"
    folder.mkdir(parents=True)
    (folder / "slides.md").write_text("before")
    with pytest.raises(FileNotFoundError):
        slides.write(SimpleNamespace(path=(tmp_path / "toy").joinpath))
    assert [path.name for path in (tmp_path / "toy").iterdir()] == ["slides"]
    assert (folder / "slides.md").read_text() == "before"


def test_slides_of_a_study_that_has_not_run_are_a_sentence_and_a_code(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["finish.py", "slides", "toy", "--set", f"runs_dir={tmp_path}"])
    assert finish.main() == 1
    assert capsys.readouterr().err == (
        "make: Expected answers of study toy, found none: run 'make workbook STUDY=toy' first.\n"
    )
