"""Chromium without window, and pages whose every complaint is kept."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where none is installed."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=QUIET)
        yield browser
        browser.close()


@contextmanager
def watched_pages(browser: Any, is_outward: Callable[[str], bool]) -> Iterator[Callable[..., Any]]:  # noqa: ANN401
    """Open pages by a function; what they complain about, and what they ask of others, fails the test at the end."""
    complaints: list[str] = []
    pages = []

    def new_page(**context: Any) -> Any:  # noqa: ANN401
        page = browser.new_page(**context)
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: complaints.append(request.url) if is_outward(request.url) else None)
        return page

    yield new_page
    for page in pages:
        page.close()
    assert not complaints
