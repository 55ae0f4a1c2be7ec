"""Every tab in both colour schemes: no serious finding by axe; and what a first visit costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import open_tab, tab_names

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
FIRST_LOAD_BYTES = 800_000


def faults(page: Page, where: str) -> list[str]:
    """Serious and critical findings, each with the element that it is about."""
    return [
        f"{where}: {each['id']}: {node['html'][:200]}"
        for each in Axe().run(page).response["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault(open_page: OpenPage, page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    open_page("/?project=1")
    expect(page.locator(".rs-card")).to_have_attribute("data-state", "pair")
    tabs = tab_names(page)
    assert {"Label", "History", "Train", "Playground", "Projects"} <= set(tabs)
    found = []
    for tab in tabs:
        open_tab(page, tab)
        page.wait_for_timeout(600)
        found += faults(page, tab)
    open_tab(page, "Label")
    for keys in (["d"], ["c"], ["Escape", "s"], ["Escape", "e", "1"], ["Escape", "?"]):
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_timeout(200)
        found += faults(page, f"Label after {' '.join(keys)}")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    open_tab(page, "History")
    page.locator(".rs-row").first.click()
    expect(page.locator(".rs-pair")).to_be_visible()
    found += faults(page, "History with an open pair")
    assert found == []


def test_the_first_load_is_light_and_stays_on_the_machine(open_page: OpenPage, page: Page) -> None:
    """Requests that leave the machine and console errors fail in the `page` fixture."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    open_page("/?project=1")
    expect(page.locator(".rs-card")).to_have_attribute("data-state", "pair")
    page.wait_for_load_state("networkidle")
    assert sum(sizes) < FIRST_LOAD_BYTES, f"{sum(sizes):,.0f} bytes"
