"""A real browser, as Debian packages it; where it could be installed, a missing one fails these tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# It has no sandbox for root. The rest keeps it from looking for its maker's hosts.
_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A page that is open, what its console said, and what it asked for beside itself."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Open = Callable[..., AbstractContextManager[Opened]]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None and os.geteuid() == 0:
        pytest.fail("these tests drive Chromium, and there is none: apt-get install --no-install-recommends chromium")
    if found is None:
        pytest.skip("there is no Chromium, and only root could install it")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=list(_FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def opened(browser: Browser) -> Open:
    """Opens a file in a window of its own."""
    return lambda path, **how: _opened(browser, path, **how)


@contextmanager
def _opened(
    browser: Browser, path: Path, *, width: int = 1280, dark: bool = False, script: bool = True
) -> Iterator[Opened]:
    context = browser.new_context(
        viewport={"width": width, "height": 844},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
        offline=True,
    )
    opened = Opened(page=context.new_page())
    opened.page.on("console", lambda said: opened.complaints.append(said.text))
    opened.page.on("pageerror", lambda error: opened.complaints.append(error.message))
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    opened.page.goto(path.as_uri())
    opened.requests.remove(path.as_uri())
    yield opened
    context.close()
