"""JupyterLab as a student meets it: workflow/lab.py on a copy of the workbook, driven by mouse and keyboard."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile

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
    """Open a notebook and wait for its kernel."""
    page.goto(f"{lab}/lab/tree/notebooks/{name}.ipynb")
    wait_for_kernel(page, lab, name)


def wait_for_kernel(page, lab, name):
    """Wait for a notebook's tab and kernel, as the server says: JupyterLab shows one idle too early."""
    page.wait_for_selector(f"{TAB}:text-is('{name}.ipynb')", timeout=SECONDS)
    for _ in range(SECONDS // 500):
        sessions = {session["path"]: session["kernel"] for session in page.request.get(f"{lab}/api/sessions").json()}
        kernel = sessions.get(f"notebooks/{name}.ipynb", {})
        if kernel.get("connections") and kernel["execution_state"] == "idle":
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"no kernel for {name}: {sessions}")


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
    wait_for_kernel(page, lab, "00_index")  # a page that goes while it connects leaves the server's count wrong
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


@pytest.fixture
def room(page, lab):
    """The listening room, run from the menu in its notebook; the second time in a kernel that has shown one before."""
    show(page, lab, "80_listen")
    assert run_all(page) == []
    assert [line[0] for line in headings(page)[1:]] == list("12345")
    listening = page.locator(".workbook-room")
    listening.locator(".workbook-column-b .workbook-row").first.wait_for(state="attached", timeout=SECONDS)
    listening.evaluate("room => room.scrollIntoView()")
    return listening


def proposals(workbook, recommender, backend):
    """First ten of each listener's list, as they were written."""
    name = f"{recommender}.{backend}.real.seed*.hot_test.parquet"
    first_seed = min((workbook / "runs/toy/recommendations").glob(name))
    lists = pd.read_parquet(first_seed).query("rank <= 10").sort_values("rank")
    return lists.groupby("user_id")["track_id"].agg(list)


def shown(column):
    """Track ids of the rows of a list."""
    return column.locator(".workbook-row").evaluate_all("rows => rows.map(row => row.dataset.track)")


def select(room, control, text, says):
    """Choose from a drop-down, and wait for what it changes."""
    room.get_by_label(control, exact=True).locator("visible=true").select_option(label=text)
    room.locator(".workbook-list-heading", has_text=says).wait_for()


def heard(room, workbook, track):
    """The player plays, and what it plays is that track's clip: loudness runs alike in both, twenty times a second."""
    player = room.locator("audio")
    playing = "audio => audio.readyState >= 2 && audio.duration > 0 && audio.currentTime > 0.2 && !audio.error"
    room.page.wait_for_function(f"() => ({playing})(document.querySelector('.workbook-room audio'))")
    samples = player.evaluate(
        """async audio => {
            const data = await (await fetch(audio.src)).arrayBuffer();
            const sound = await new OfflineAudioContext(1, 1, 44100).decodeAudioData(data);
            return Array.from(sound.getChannelData(0).filter((_, place) => place % 4 == 0));
        }"""
    )
    tracks = pd.read_parquet(workbook / "runs/toy/data/tracks.parquet").set_index("track_id")
    clip, rate = soundfile.read(workbook / tracks.at[track, "path"], always_2d=True)
    runs = [loudness(np.asarray(samples), 44100 / 4), loudness(clip.mean(axis=1), rate)]
    shorter = min(map(len, runs))
    assert shorter > 100  # 5 s
    assert np.corrcoef([run[:shorter] for run in runs])[0, 1] > 0.9


def loudness(samples, rate):
    length = int(rate / 20)
    whole = samples[: len(samples) // length * length]
    return np.sqrt(np.square(whole.reshape(-1, length)).mean(axis=1))


def test_what_bert4rec_proposes_with_musicnn_vectors_is_heard(page, room, workbook):
    written = proposals(workbook, "bert4rec", "musicnn_msd")
    user = written.index[len(written) // 2]
    listener = room.get_by_label("Listener", exact=True)
    options = listener.locator("option").all_inner_texts()
    listener.select_option(index=next(place for place, text in enumerate(options) if text.startswith(f"{user}:")))
    room.locator(".workbook-list-heading", has_text=f"{user} heard").wait_for()
    select(room, "Recommender B", "BERT4Rec", "BERT4Rec")
    select(room, "Vectors B", "MusiCNN (MSD)", "BERT4Rec · MusiCNN (MSD)")
    column = room.locator(".workbook-column-b")
    expected = written[user]
    column.locator(f".workbook-row:first-child[data-track='{expected[0]}']").wait_for()
    assert shown(column) == expected
    column.locator(".workbook-row").nth(1).click()
    room.locator(".workbook-now", has_text="Now playing").wait_for()
    heard(room, workbook, expected[1])
    keep(page, "lab_80_listen")
    assert page.seen.outside == page.seen.errors == []


LONELIEST = """map => {
    const points = [...map.querySelectorAll('.scatterlayer .point')].map(point => point.getBoundingClientRect());
    const ids = map.data.flatMap(trace => Array.from(trace.customdata));
    const apart = (a, b) => Math.hypot(a.x + a.width / 2 - b.x - b.width / 2, a.y + a.height / 2 - b.y - b.height / 2);
    const found = points.map((point, place) => ({
        x: point.x + point.width / 2, y: point.y + point.height / 2, track: ids[place],
        room: Math.min(...points.filter((_, other) => other !== place).map(other => apart(point, other))),
    }));
    return found.sort((a, b) => b.room - a.room)[0];
}"""


FITS = """() => {
    const map = document.querySelector('.workbook-map');
    return map.querySelector('.main-svg').getBoundingClientRect().width <= map.getBoundingClientRect().width;
}"""


def test_a_click_on_the_map_plays_the_track_that_lies_there(page, room, workbook):
    drawn = room.locator(".workbook-map .js-plotly-plot")
    drawn.locator(".scatterlayer .point").first.wait_for()
    drawn.scroll_into_view_if_needed()
    page.wait_for_function(FITS)
    point = drawn.evaluate(LONELIEST)
    page.mouse.move(point["x"], point["y"])
    page.mouse.click(point["x"], point["y"])
    now = room.locator(".workbook-now", has_text="from the map")
    now.wait_for()
    heard(room, workbook, point["track"])
    tracks = pd.read_parquet(workbook / "runs/toy/data/tracks.parquet").set_index("track_id")
    assert now.inner_text().startswith(f"Now playing: {tracks.at[point['track'], 'title']}")
    keep(page, "lab_80_map")


def test_the_keyboard_alone_reaches_and_works_the_room(page, room, workbook):
    def tab_to(what):
        for _ in range(100):
            page.keyboard.press("Tab")
            if page.evaluate(f"(element => {what})(document.activeElement)"):
                return
        raise AssertionError(f"Tab does not reach {what}")

    before = shown(room.locator(".workbook-history"))
    tab_to("element.labels?.[0]?.textContent === 'Listener'")
    page.keyboard.press("ArrowDown")
    room.locator(f".workbook-history .workbook-row:first-child:not([data-track='{before[0]}'])").wait_for()
    page.keyboard.press("ArrowUp")  # the next listener may have no list
    room.locator(f".workbook-history .workbook-row:first-child[data-track='{before[0]}']").wait_for()
    tab_to("element.matches('.workbook-column-a .workbook-list-rows')")
    page.keyboard.press("ArrowDown")
    room.locator(".workbook-now", has_text="Now playing").wait_for()
    heard(room, workbook, shown(room.locator(".workbook-column-a"))[1])
    page.keyboard.press("Space")
    assert room.locator("audio").evaluate("audio => audio.paused")
    keep(page, "lab_80_keyboard")
