"""Pages in the Chromium of the system, as a reader has them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), "")
PHONE, DESKTOP = (390, 844), (1440, 900)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
#: It runs as root in containers, and must look for nothing on the network.
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextmanager
def opened(path: Path, size: tuple[int, int] = DESKTOP, *, script: bool = True) -> Iterator[Page]:
    """A page from a file; the test fails if it complains or asks for anything else."""
    complaints: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height}, java_script_enabled=script
        )
        page = context.new_page()
        page.on("console", lambda told: _keep(complaints, told.type, told.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: _foreign(complaints, asked.url, path))
        page.goto(path.resolve().as_uri())
        yield page
        browser.close()
    assert not complaints, complaints


def _keep(complaints: list[str], kind: str, text: str) -> None:
    # Without a graphics card WebGL is drawn in software, slowly, and says so.
    if kind in ("error", "warning") and "GPU stall" not in text:
        complaints.append(text)


def _foreign(complaints: list[str], url: str, path: Path) -> None:
    if url != path.resolve().as_uri() and not url.startswith(("data:", "blob:")):
        complaints.append(f"asked for {url}")
