"""The reading copy of the toy study, opened in Chromium: nothing is missing, nothing comes from outside."""

import functools
import http.server
import os
import re
import shutil
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from lib.study import ROOT, Study, load_parameters
from workflow import book

pytestmark = pytest.mark.slow
LARGEST_PAGE = 5e6  # bytes of HTML
LOOKED_AT = [
    "index",
    "notebooks/00_index",
    "notebooks/10_prepare_data",
    "notebooks/30_knn",
    "notebooks/70_rq1_viability",
]
LOOKED_AT += ["figures", "references", "docs/contracts"]


@pytest.fixture(scope="module")
def study(tmp_path_factory, needed):
    """The toy study as the workflow left it, copied, so that its own book stays as it is."""
    source = ROOT / "runs" / "toy"
    needed((source / "executed" / "00_index.ipynb").is_file(), "needs runs/toy: make workbook STUDY=toy")
    copy = Study(load_parameters("toy", {"runs_dir": str(tmp_path_factory.mktemp("runs"))}))
    copy.path().mkdir(parents=True)
    for name in ("executed", "figures"):
        shutil.copytree(source / name, copy.path(name))
    for name in ("answers.json", "manifest.json"):
        shutil.copy(source / name, copy.path(name))
    return copy


@pytest.fixture(scope="module")
def site(study):
    """Folder of the built book."""
    start, left_out = book.build(study)
    assert not left_out
    return start.parent


@pytest.fixture(scope="module")
def address(site):
    """Where the book is served, on this machine alone."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def pages_of(site):
    """Pages of the book; below ``_static`` lie templates of the theme."""
    return [path for path in site.rglob("*.html") if "_static" not in path.parts]


def references(path):
    """What a page names: (tag, attribute's value), and the anchors that it has."""
    import lxml.html

    tree = lxml.html.parse(path).getroot()
    named = [(element.tag, value) for element, name, value, _ in tree.iterlinks() if name in ("href", "src", "data")]
    return named, {value for name in ("id", "name") for value in tree.xpath(f"//@{name}")}


def broken_links(site):
    """Links of all pages, to files and to anchors, that lead nowhere."""
    pages = {path.resolve(): references(path) for path in pages_of(site)}
    broken = []
    for path, (named, _) in pages.items():
        for _, value in named:
            link = urlsplit(value)
            if link.scheme or link.netloc:
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            anchor = unquote(link.fragment)
            missing = anchor and target in pages and anchor not in pages[target][1] and anchor != "top"
            if not target.is_file() or missing:
                broken.append(f"{path.relative_to(site.resolve())}: {value}")
    return broken


def looked_at(page):
    """Hold a page to what every page must be."""
    assert (page.seen.errors, page.seen.failed, page.seen.outside) == ([], [], [])
    widths = page.eval_on_selector_all(
        "img", "pictures => pictures.map(one => [one.src, one.complete, one.naturalWidth])"
    )
    assert [src for src, complete, width in widths if not complete or not width] == []


@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_page_opens_whole(page, address, name):
    page.goto(f"{address}/{name}.html", wait_until="networkidle")
    looked_at(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_telephone_by_day_and_by_night(browser, address, scheme):
    context = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    for name in LOOKED_AT:
        page.goto(f"{address}/{name}.html")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, name
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
    context.close()


def test_the_start_page_says_where_the_answers_stand(page, address, study):
    page.goto(f"{address}/index.html")
    words = page.inner_text("article")
    for sentence in ("RQ1", "RQ2", "RQ3", "In a simulated world where 100% of taste follows what is heard"):
        assert sentence in words
    assert f"Study {study.name}" in page.title()


def test_stages_lead_the_navigation_and_backends_stand_below_their_notebook(page, address):
    page.goto(f"{address}/notebooks/30_knn.vgg_mtt.html")
    captions = page.eval_on_selector_all("nav .caption-text", "found => found.map(one => one.textContent)")
    assert captions[:4] == ["Data", "Spaces", "Recommenders", "Answers"]
    below = page.eval_on_selector_all(
        "nav li.toctree-l1.current li a", "found => found.map(one => one.textContent.trim())"
    )
    assert "VGG (MTT)" in below
    assert page.inner_text("h1").startswith("30 KNN: VGG (MTT)")


def test_search_finds_a_word(page, address):
    page.goto(f"{address}/search.html?q=permutation", wait_until="networkidle")
    page.wait_for_selector("#search-results li a")
    found = page.eval_on_selector_all("#search-results li a", "found => found.map(one => one.getAttribute('href'))")
    assert any("70_rq1_viability" in link for link in found)
    looked_at(page)


def test_search_works_from_the_file_itself(page, site):
    page.goto(f"{(site / 'search.html').as_uri()}?q=permutation")
    page.wait_for_selector("#search-results li a")
    assert page.seen.outside == []


def test_code_is_folded_and_opens(page, address):
    page.goto(f"{address}/notebooks/70_rq1_viability.html")
    code = page.locator("details.hide .highlight").nth(1)
    assert not code.is_visible()
    page.locator("details.hide > summary").nth(1).click()
    assert code.is_visible()
    assert 'study_name: str = "toy"' in code.inner_text()


def test_sounds_play_from_files_beside_the_pages(page, address, site):
    page.goto(f"{address}/notebooks/10_prepare_data.html")
    assert page.locator("audio").count()
    play = "async one => { one.load(); await new Promise(done => one.oncanplaythrough = done); return one.duration }"
    assert page.locator("audio").first.evaluate(play) > 5  # seconds; toy's clips have 6
    assert "base64" not in (site / "notebooks" / "10_prepare_data.html").read_text()


def test_no_page_is_heavy(site):
    assert {path.name: path.stat().st_size for path in site.rglob("*.html") if path.stat().st_size > LARGEST_PAGE} == {}


def test_every_link_within_the_book_resolves(site):
    assert broken_links(site) == []


def test_the_check_of_links_finds_a_broken_one(site, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    page = copy / "references.html"
    page.write_text(
        page.read_text().replace("<article", '<a href="gone.html">x</a><a href="index.html#no">y</a><article', 1)
    )
    assert broken_links(copy) == ["references.html: gone.html", "references.html: index.html#no"]


def test_pages_load_nothing_from_outside_and_links_to_it_are_well_formed(site):
    for path in pages_of(site):
        for tag, value in references(path)[0]:
            link = urlsplit(value)
            if link.netloc:
                assert tag == "a", f"{path.name} loads {value}"
                assert re.fullmatch(r"https?://[\w.-]+\.[a-z]{2,}", f"{link.scheme}://{link.netloc}"), value
    for path in [*site.rglob("*.css"), *site.rglob("*.js")]:
        assert not re.search(r"url\(['\"]?https?:|@import ['\"]https?:", path.read_text(errors="ignore")), path.name


def test_nothing_in_the_book_names_a_folder_of_this_machine(site):
    home = (str(Path.home()), str(ROOT), str(site))
    texts = {
        path: path.read_text(errors="ignore") for path in site.rglob("*") if path.suffix in (".html", ".js", ".ipynb")
    }
    assert [path.name for path, text in texts.items() if any(f"{folder}{os.sep}" in text for folder in home)] == []


def test_building_again_gives_the_same_bytes(study, site):
    def content():
        return {path.relative_to(site): path.read_bytes() for path in sorted(site.rglob("*")) if path.is_file()}

    first = content()
    book.build(study)
    second = content()
    assert [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)] == []


def test_a_link_that_leads_nowhere_stops_the_build_and_keeps_the_former_book(study, site, monkeypatch):
    write = book.write_source

    def with_a_broken_link(study, executed, failed, folder):
        write(study, executed, failed, folder)
        with open(folder / "docs" / "full_size.md", "a") as page:
            page.write("\n[gone](/docs/gone.md)\n")

    monkeypatch.setattr(book, "write_source", with_a_broken_link)
    with pytest.raises(RuntimeError, match=r"without warnings, found 1: docs/full_size.md:\d+: WARNING: .*gone"):
        book.build(study)
    assert (site / "index.html").is_file()
    assert [path.name for path in study.path().glob(".book.*")] == []
