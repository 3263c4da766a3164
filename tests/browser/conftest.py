"""Debian's Chromium, driven by Playwright, for what is read and heard in a browser. Nothing leaves the machine."""

import os
import shutil
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

FLAGS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-quic",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # nothing is answered from outside, on any machine
    "--autoplay-policy=no-user-gesture-required",
)
HERE = {"", "127.0.0.1"}  # data: and blob: have no host


def leave_out(reason):
    """Skip on a reader's machine; on the machine that proves everything, fail."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="session")
def needed():
    """Skip with a reason, or fail where CI is set: ``needed(what_is_there, 'needs ...')``."""
    return lambda there, reason: None if there else leave_out(reason)


# A module at a time: Playwright keeps an event loop running in this thread, which others may not start inside.
@pytest.fixture(scope="module")
def browser():
    """Chromium of the distribution, never one that Playwright downloads."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        leave_out("needs Chromium (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, headless=True, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def page(browser):
    """Page of 1280 x 800 in a fresh profile, with what went wrong on it as ``page.seen``.

    ``page.seen.errors`` (messages and exceptions of the console), ``page.seen.failed`` (requests without an answer, or
    with one of 400 and more) and ``page.seen.outside`` (requests for another machine) are lists of sentences.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    sheet = context.new_page()
    sheet.seen = seen = SimpleNamespace(errors=[], failed=[], outside=[])
    sheet.on("console", lambda message: message.type == "error" and seen.errors.append(message.text))
    sheet.on("pageerror", lambda error: seen.errors.append(str(error)))
    sheet.on("requestfailed", lambda asked: seen.failed.append(f"{asked.url}: {asked.failure}"))
    sheet.on("response", lambda answer: answer.status >= 400 and seen.failed.append(f"{answer.url}: {answer.status}"))
    sheet.on(
        "request", lambda asked: urlsplit(asked.url).hostname not in HERE | {None} and seen.outside.append(asked.url)
    )
    sheet.on("websocket", lambda asked: urlsplit(asked.url).hostname not in HERE and seen.outside.append(asked.url))
    yield sheet
    context.close()
