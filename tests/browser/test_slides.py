"""Slides of the toy study, rendered by Marp: whole, and no slide runs over its edge."""

import shutil

import pytest

from lib.study import ROOT, Study, load_parameters
from workflow import slides

pytestmark = pytest.mark.slow
OVERFLOWING = """sections => sections
  .filter(one => one.scrollHeight > one.clientHeight + 1 || one.scrollWidth > one.clientWidth + 1)
  .map(one => one.querySelector('h1').textContent)"""


@pytest.fixture(scope="module")
def source(tmp_path_factory, needed):
    """Markdown of the deck of what the workflow left of the toy study, rendered beside it."""
    toy = ROOT / "runs" / "toy"
    needed((toy / "manifest.json").is_file(), "needs runs/toy: make workbook STUDY=toy")
    needed(shutil.which("chromium"), "needs Chromium (Debian: apt-get install chromium)")
    if not shutil.which("marp"):  # the tests fetch nothing
        pytest.skip(f"needs marp on the path: npm install --global {slides.MARP}")
    study = Study(load_parameters("toy", {"runs_dir": str(tmp_path_factory.mktemp("runs"))}))
    shutil.copytree(
        toy, study.path(), ignore=shutil.ignore_patterns("checkpoints", "*.lance", ".snakemake", "slides", "book")
    )
    made = slides.write(study)
    slides.render(made)
    return made


def test_no_slide_runs_over_its_edge(page, source):
    page.goto(source.with_name("slides.html").as_uri())
    assert page.eval_on_selector_all("section", OVERFLOWING) == []
    assert page.seen.outside == []
    widths = page.eval_on_selector_all("section img", "pictures => pictures.map(one => one.naturalWidth)")
    assert widths
    assert all(widths)


def test_the_check_of_edges_finds_a_slide_that_is_too_full(page, source, tmp_path):
    copy = shutil.copytree(source.parent, tmp_path / "slides")
    text = (copy / "slides.md").read_text()
    (copy / "slides.md").write_text(text + "\n---\n\n# Too full\n\n" + "- a point\n" * 30)
    slides.run(slides.marp(), copy / "slides.md", "slides.html")
    page.goto((copy / "slides.html").as_uri())
    assert page.eval_on_selector_all("section", OVERFLOWING) == ["Too full"]


def test_every_slide_is_in_both_forms(page, source):
    page.goto(source.with_name("slides.html").as_uri())
    separators = source.read_text().count("\n---\n") - 1  # the first ends the front matter
    assert page.locator("section[data-marpit-pagination]").count() == separators + 1
    assert source.with_name("slides.pdf").read_bytes().startswith(b"%PDF")
