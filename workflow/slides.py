"""Slides of a study in ``runs/<study>/slides/`` (``make slides``): a Marp deck; HTML and PDF where Marp is at hand."""

import os
import shutil
import subprocess

from lib.figures.deck import deck
from lib.study import ROOT
from lib.study.tables import write_folder_atomically

MARP = "@marp-team/marp-cli@4.5.1"  # MIT; it drives the Chromium that is there and brings none
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 300  # for fetching Marp once and rendering


def write(study):
    """Write ``slides.md`` and the pictures beside it, in place of what was there.

    Parameters
    ----------
    study : Study

    Returns
    -------
    Path
        The Markdown.
    """
    made = deck(study, (ROOT / "docs" / "slides" / "deck.css").read_text())
    with write_folder_atomically(study.path("slides")) as folder:
        folder.mkdir()
        for name, path in made.pictures.items():
            shutil.copy(path, folder / name)
        (folder / "slides.md").write_text(made.markdown)
    return study.path("slides", "slides.md")


def marp():
    """How Marp is called here: as a program, or through npx, which fetches it once; None where there is neither."""
    if shutil.which("marp"):
        return ["marp"]
    return ["npx", "--yes", MARP] if shutil.which("npx") else None


def render(source):
    """HTML and PDF of a deck, with Marp and a Chromium that are there.

    Parameters
    ----------
    source : Path

    Returns
    -------
    str
        What was made, or what is missing for it; the Markdown is there in any case.

    Raises
    ------
    RuntimeError
        Where Marp fails.
    """
    command = marp()
    browser = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if command is None:
        return f"for HTML and PDF of it: install Node 18 or later, then make slides again (it fetches {MARP})"
    run(command, source, "slides.html")
    if browser is None:
        return "with slides.html beside it; for a PDF too: install Chromium, then make slides again"
    run([*command, "--pdf", "--browser", "chrome", "--browser-path", browser], source, "slides.pdf")
    return "with slides.html and slides.pdf beside it"


def run(command, source, made):
    """Call Marp; its words are shown where it fails."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    sandbox = {"CHROME_NO_SANDBOX": "1"} if root else {}  # Chromium refuses to start as root with it
    words = [*command, "--allow-local-files", "--no-stdin", "--output", made, source.name]
    try:
        found = subprocess.run(
            words, cwd=source.parent, env=os.environ | sandbox, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"Expected {made} within {SECONDS} s, found Marp still at work; {source.name} is there."
        ) from None
    if found.returncode:
        last = (found.stderr.strip() or found.stdout.strip() or "nothing said").splitlines()[-1]
        raise RuntimeError(f"Expected {made} from Marp, found: {last}; {source.name} is there.")
