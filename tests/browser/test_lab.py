"""JupyterLab as a student meets it: workflow/lab.py on a copy of the workbook, driven by mouse and keyboard."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest

from lib.study import ROOT

pytestmark = pytest.mark.slow

SCREENSHOTS = ROOT / "runs" / "toy" / "screenshots"
SECONDS = 120_000  # milliseconds a notebook may take on a busy machine
TAB = ".lm-DockPanel .lm-TabBar-tab.lm-mod-current .lm-TabBar-tabLabel"
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"


@pytest.fixture(scope="module")
def workbook(tmp_path_factory, needed):
    """Copy of the workbook with its toy study: what JupyterLab writes stays out of the tree."""
    needed((ROOT / "runs/toy/executed/00_index.ipynb").exists(), "needs the toy study (make workbook STUDY=toy)")
    copy = tmp_path_factory.mktemp("workbook")
    for part in ("notebooks", "lib", "params", "workflow", "runs/toy", "runs/cache"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", ".snakemake", "*.lock"))
    yield copy
    shutil.rmtree(copy)


@pytest.fixture(scope="module")
def lab(workbook, tmp_path_factory):
    """Address of a JupyterLab with no settings but the workbook's."""
    own = tmp_path_factory.mktemp("own")
    folders = {f"JUPYTER_{name}_DIR": str(own / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | folders | {"IPYTHONDIR": str(own / "ipython"), "PYTHONPATH": str(workbook)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--port-retries=0"]
    command = [sys.executable, workbook / "workflow" / "lab.py", *options, "--IdentityProvider.token="]
    with (own / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, cwd=workbook, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(server, f"http://127.0.0.1:{port}/api/status", own / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def wait_for(server, address, log, patience=120):
    """Wait until a server answers; with its log where it has ended instead."""
    started = time.monotonic()
    while time.monotonic() - started < patience:
        assert server.poll() is None, log.read_text()
        try:
            return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address)
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"no answer from {address}:\n{log.read_text()}")


def show(page, lab, name):
    """Open a notebook and wait for its kernel; what was open before is opened again behind it."""
    page.goto(f"{lab}/lab/tree/notebooks/{name}.ipynb")
    page.wait_for_selector(f"{TAB}:text-is('{name}.ipynb')", timeout=SECONDS)
    page.wait_for_selector(f'{PANEL} .jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=SECONDS)


def choose(page, menu, entry):
    """Click an entry of JupyterLab's menu."""
    page.locator("#jp-MainMenu").get_by_role("menuitem", name=menu, exact=True).click()
    page.locator(".lm-Menu").get_by_role("menuitem", name=entry, exact=True).click()


def run_all(page):
    """Run all cells from the menu, stored outputs cleared, and wait for the last; return errors and warnings shown."""
    prompts = "[...document.querySelectorAll('%s .jp-CodeCell .jp-InputPrompt')].map(cell => cell.textContent.trim())"
    prompts %= PANEL
    choose(page, "Edit", "Clear Outputs of All Cells")
    page.wait_for_function(f"{prompts}.every(text => text === '[ ]:')")
    choose(page, "Run", "Run All Cells")
    ended = rf"{prompts}.some(text => /\d/.test(text)) && !{prompts}.includes('[*]:')"  # a failure leaves blanks
    page.wait_for_function(ended, timeout=SECONDS)
    shown = page.locator(f'{PANEL} [data-mime-type="application/vnd.jupyter.stderr"]').all_inner_texts()
    assert shown or "[ ]:" not in page.evaluate(prompts)
    return shown


def keep(page, name):
    """Keep a picture of what is seen."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def headings(page):
    """Lines of the table of contents."""
    page.wait_for_selector(".jp-TableOfContents-tree .jp-tocItem-content", timeout=SECONDS)
    return page.locator(".jp-TableOfContents-tree .jp-tocItem-content").all_inner_texts()


def test_it_opens_on_the_index_beside_the_table_of_contents(page, lab):
    page.goto(lab)
    page.wait_for_selector(f"{TAB}:text-is('00_index.ipynb')", timeout=SECONDS)
    found = headings(page)
    assert found[0].startswith("00 Are pretrained audio representations")
    assert [line[0] for line in found[1:]] == [str(number) for number in range(1, len(found))]
    assert not page.locator(".Toastify__toast, .jp-Dialog").count()  # no news, no questions
    keep(page, "lab_first_view")
    assert page.seen.outside == []


@pytest.mark.parametrize("name", ["00_index", "30_knn"])
def test_a_notebook_runs_top_to_bottom_from_the_menu(page, lab, workbook, name):
    stored = (workbook / "notebooks" / f"{name}.ipynb").read_bytes()
    show(page, lab, name)
    assert run_all(page) == []
    numbered = [line for line in headings(page)[1:] if line[0].isdigit()]
    assert numbered == headings(page)[1:]
    keep(page, f"lab_{name}")
    assert (workbook / "notebooks" / f"{name}.ipynb").read_bytes() == stored  # nothing is saved by itself
    assert page.seen.outside == []


def test_a_cell_that_fails_is_seen(page, lab, workbook):
    cells = [nbformat.v4.new_code_cell(source) for source in ("found = {}", "found['listener']", "found")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), workbook / "notebooks" / "fails.ipynb")
    show(page, lab, "fails")
    assert "KeyError: 'listener'" in run_all(page)[0]
