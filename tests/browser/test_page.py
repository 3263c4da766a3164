"""The page fixture sees what goes wrong: otherwise 'no errors' would say nothing."""

import http.server
import threading
from functools import partial

import pytest

pytestmark = pytest.mark.slow

BROKEN = """<!doctype html><link rel="icon" href="data:,"><title>Broken</title>
<img src="missing.png"><img src="http://example.org/outside.png">
<script>console.error("said"); throw new Error("thrown")</script>"""


@pytest.fixture
def address(tmp_path):
    (tmp_path / "broken.html").write_text(BROKEN)
    (tmp_path / "whole.html").write_text('<!doctype html><link rel="icon" href="data:,"><title>Whole</title>')
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_errors_failures_and_requests_to_other_machines_are_seen(page, address):
    page.goto(f"{address}/broken.html", wait_until="networkidle")
    assert any("said" in text for text in page.seen.errors)
    assert any("thrown" in text for text in page.seen.errors)
    assert any("missing.png: 404" in text for text in page.seen.failed)
    assert page.seen.outside == ["http://example.org/outside.png"]
    assert any("outside.png" in text for text in page.seen.failed)  # and it was not answered


def test_a_sound_page_is_silent(page, address):
    page.goto(f"{address}/whole.html", wait_until="networkidle")
    assert page.title() == "Whole"
    assert page.seen.errors == page.seen.failed == page.seen.outside == []
