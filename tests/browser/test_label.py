"""The Label tab on the running application: votes in the database, reload, projects, guidelines."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import open_tab
from tests.serving import Studio

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
CARD = ".rs-card"
SAVE = '[data-part="save"]'


def judged(page: Page) -> int:
    text = page.locator('[data-part="count"]').inner_text()
    match = re.match(r"(\d+) judged", text)
    assert match, text
    return int(match[1])


def ready(page: Page) -> Page:
    expect(page.locator(CARD)).to_have_attribute("data-state", "pair")
    expect(page.locator('[data-part="count"]')).to_contain_text("judged")
    return page


def test_votes_are_in_the_database_and_a_reload_goes_on_where_one_left_off(
    open_page: OpenPage, studio: Studio
) -> None:
    page = ready(open_page())
    before = judged(page)
    for key in ("2", "6", "4"):
        expect(page.locator(CARD)).to_have_attribute("data-state", "pair")
        shown = page.locator(CARD).get_attribute("data-showing")
        page.keyboard.press(key)
        expect(page.locator(CARD)).not_to_have_attribute("data-showing", shown or "")
    expect(page.locator(SAVE)).to_have_attribute("data-save", "saved")
    expect(page.locator('[data-part="count"]')).to_contain_text(f"{before + 3} judged")
    showing = page.locator(CARD).get_attribute("data-showing")
    left = page.locator('[data-part="left-text"]').inner_text()
    ready(open_page())
    assert judged(page) == before + 3
    assert page.locator(CARD).get_attribute("data-showing") == showing
    assert page.locator('[data-part="left-text"]').inner_text() == left


def test_undo_shows_the_earlier_pair_with_the_same_sides_even_after_a_reload(
    open_page: OpenPage,
) -> None:
    page = ready(open_page())
    pair = page.locator(CARD).get_attribute("data-pair")
    left = page.locator('[data-part="left-text"]').inner_text()
    page.keyboard.press("1")
    expect(page.locator(SAVE)).to_have_attribute("data-save", "saved")
    count = judged(page)
    ready(open_page())
    page.keyboard.press("u")
    expect(page.locator(CARD)).to_have_attribute("data-pair", pair or "")
    assert page.locator('[data-part="left-text"]').inner_text() == left
    expect(page.locator('[data-part="count"]')).to_contain_text(f"{count - 1} judged")


def test_the_empty_state_leads_to_the_tab_that_helps(open_page: OpenPage) -> None:
    page = open_page()
    name = "<img src=x onerror=alert(1)> ${alert(1)}"
    open_tab(page, "Projects")
    page.locator("#new-name textarea, #new-name input").first.fill(name)
    page.get_by_role("textbox", name="Guidelines").fill(
        "# Rules\n<img src=x onerror=alert(2)>\nBe *fair*."
    )
    page.get_by_role("button", name="Create project").click()
    expect(page.locator("#create-result")).to_contain_text(name)
    expect(page.locator("#project-list")).to_contain_text(name)
    page.get_by_role("tab", name="Label", exact=True).click()
    expect(page.locator(CARD)).to_contain_text("This project has no pairs yet")
    panel = page.locator('[data-part="guide-text"]')
    expect(panel).to_contain_text("<img src=x onerror=alert(2)> Be fair.", use_inner_text=True)
    expect(panel.locator("em")).to_have_text("fair")
    expect(panel.locator("img")).to_have_count(0)
    page.get_by_role("button", name="Go to Data").click()
    expect(page.locator(CARD)).to_be_hidden()
    expect(page.get_by_role("tab", name="Data", exact=True)).to_have_attribute(
        "aria-selected", "true"
    )
    ready_again = open_page()  # the choice of project is remembered
    expect(ready_again.locator(CARD)).to_contain_text("This project has no pairs yet")
    ready_again.locator("#project-picker input").click()
    ready_again.get_by_role("option", name="demo", exact=True).click()
    ready(ready_again)
