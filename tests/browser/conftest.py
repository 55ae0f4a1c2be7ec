"""A real Chromium on the real application: its own process, data directory and tiny backbone.

Fixtures: `studio` (one server a test module, demo project inside and encoded), `browser`, `page`
(opened on nothing; fails the test on a console error or a request that would leave the machine),
`open_page` (the page, loaded and ready), `show` (the heatmaps of made-up scores, alone in a page).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.components.harness import FakeServer, build, comparison_of, serve
from tests.serving import Studio, running_studio

CHROMIUM = os.environ.get("STUDIO_TEST_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
READY_MS = 60_000
LOCAL_SCHEMES = {"data", "blob", "about"}

expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Path:
    """A data directory with the demo project, imported and encoded; every server gets a copy."""
    data_dir = tmp_path_factory.mktemp("demo") / "data"
    with running_studio(data_dir, tiny_backbone, "--demo") as server:
        server.wait_for_run("encode")
    return data_dir


@pytest.fixture(scope="module")
def studio(
    tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path, demo_data: Path
) -> Iterator[Studio]:
    data_dir = tmp_path_factory.mktemp("studio") / "data"
    shutil.copytree(demo_data, data_dir)
    with running_studio(data_dir, tiny_backbone, "--demo") as server:
        yield server


# Of this package, not of the session: while Playwright runs, no other test could use asyncio.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


class Complaints:
    """What a page must not do; `allow` names console errors that a test provokes."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.allowed: list[str] = []

    def allow(self, part: str) -> None:
        self.allowed.append(part)

    def watch(self, page: Page) -> None:
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.found.append(f"uncaught: {error}"))
        page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.found.append(f"console: {message.text} ({message.location.get('url')})")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in LOCAL_SCHEMES and parts.hostname not in {"127.0.0.1", "localhost"}:
            self.found.append(f"left the machine: {request.url}")

    def standing(self) -> list[str]:
        return [text for text in self.found if not any(part in text for part in self.allowed)]


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def page(browser: Browser, complaints: Complaints) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    complaints.watch(page)
    yield page
    context.close()
    assert not complaints.standing(), "\n".join(complaints.standing())


@pytest.fixture
def open_page(page: Page, studio: Studio) -> Callable[..., Page]:
    """Load the application (or load it again) and wait until it is hydrated."""

    def load(path: str = "/") -> Page:
        page.goto(studio.url + path)
        page.wait_for_selector("html[data-ready]", state="attached", timeout=READY_MS)
        return page

    return load


@pytest.fixture
def show(page: Page) -> Iterator[Callable[..., Page]]:
    """Open the heatmap of made-up scores over the given answers, or of a given comparison."""
    with ExitStack() as stack:

        def load(*answers: str, comparison: dict | None = None) -> Page:
            app = build(FakeServer([]), comparison or comparison_of(*answers))
            page.goto(stack.enter_context(serve(app)))
            page.wait_for_selector("html[data-ready]", state="attached", timeout=READY_MS)
            page.get_by_role("tab", name="Heatmap", exact=True).click()
            return page

        yield load


def tab_names(page: Page) -> list[str]:
    """All tabs that there are for this person, also those for which the line has no room."""
    return page.locator("#rs-tabs .tab-container.visually-hidden button").all_text_contents()


def open_tab(page: Page, name: str) -> None:
    """Go to a tab, through the menu of further tabs where it is in there."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.is_visible():
        tab.click()
        return
    page.get_by_role("button", name="More tabs").click()
    page.locator("#rs-tabs .overflow-dropdown").get_by_role("button", name=name, exact=True).click()
