"""The History tab on the running application: one's own votes are found, read and revised."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Complaints

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
CARD = ".rs-card"


def judge(page: Page, *keys: str) -> None:
    for key in keys:
        expect(page.locator(CARD)).to_have_attribute("data-state", "pair")
        shown = page.locator(CARD).get_attribute("data-showing")
        page.keyboard.press(key)
        expect(page.locator(CARD)).not_to_have_attribute("data-showing", shown or "")
    expect(page.locator('[data-part="save"]')).to_have_attribute("data-save", "saved")


def test_past_votes_are_found_opened_as_judged_and_revised(
    open_page: OpenPage, complaints: Complaints
) -> None:
    page = open_page("/?project=1")
    expect(page.locator(CARD)).to_have_attribute("data-state", "pair")
    left = page.locator('[data-part="left-text"]').inner_text()
    page.keyboard.press("c")
    page.keyboard.type("a zebra crossing")
    page.keyboard.press("Enter")
    judge(page, "1", "4", "6", "x")
    page.get_by_role("tab", name="History", exact=True).click()
    rows = page.locator(".rs-vote")
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("Both bad")
    page.get_by_role("button", name="Tie", exact=True).click()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="All", exact=True).click()
    expect(rows).to_have_count(4)  # or what follows would be true of the ties that are listed
    page.get_by_label("Search").fill("ZEBRA")
    expect(rows).to_have_count(1)
    expect(page.locator('[data-part="found"]')).to_contain_text("1 vote found")
    rows.locator(".rs-row").click()
    answers = rows.locator(".rs-pair .rs-answer .rs-rich, .rs-pair .rs-answer .rs-text")
    assert answers.first.inner_text() == left

    # A server that fails: the revision waits, and is sent again with its id.
    ids: list[str] = []

    def fail_once(route: Route) -> None:
        ids.append(json.loads(route.request.post_data or "{}")["vote_id"])
        if len(ids) == 1:
            route.fulfill(status=503, json={"error": "the database is busy"})
        else:
            route.continue_()

    complaints.allow("503")
    page.route("**/label/revise", fail_once)
    rows.get_by_role("button", name="Right is slightly better").click()
    expect(rows).to_contain_text("Waiting to be saved")
    expect(rows).to_contain_text("Saved: your revised verdict counts.")
    assert len(ids) == 2
    assert ids[0] == ids[1]
    open_page("/?project=1")
    page.get_by_role("tab", name="History", exact=True).click()
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("Right is slightly better")
    expect(rows.first).to_contain_text("a zebra crossing")
    # One vote fewer after an undo elsewhere: the list is fetched anew whenever one comes to it.
    page.get_by_role("tab", name="Label", exact=True).click()
    page.keyboard.press("u")
    expect(page.locator('[data-part="save"]')).to_have_attribute("data-save", "note")
    page.get_by_role("tab", name="History", exact=True).click()
    expect(rows).to_have_count(3)
