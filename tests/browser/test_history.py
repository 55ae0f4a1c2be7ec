"""The History tab on the running application: one's own votes are found, read and revised."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from db.engine import Database, open_database
from studio.services import history, queue_settings
from tests.browser.conftest import Complaints
from tests.serving import Studio

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


def test_a_revision_changes_reasons_ratings_and_skips(studio: Studio, open_page: OpenPage) -> None:
    database = open_database(f"sqlite:///{studio.data_dir / 'studio.db'}")
    queue_settings.update(database, 1, "lea", reasons=["Truer", "Clearer"], aspects=["Tone"])
    page = open_page("/?project=1")
    judge(page, "2")
    vote = labelled(database)[0]
    page.get_by_role("tab", name="History", exact=True).click()
    row = page.locator(".rs-vote").first
    row.locator(".rs-row").click()
    keep = row.get_by_role("button", name="Save without changing the verdict")
    expect(keep).to_be_disabled()
    row.get_by_role("button", name="Clearer").click()
    row.get_by_label("Tone, right: 4 of 5").check(force=True)
    keep.click()
    expect(row).to_contain_text("Saved: your revised verdict counts.")
    revised = labelled(database)[0]
    assert (revised["choice"], revised["strength"]) == (vote["choice"], vote["strength"])
    assert (revised["reasons"], revised["aspects"]) == (["Clearer"], {"Tone": {"right": 4}})
    row.locator(".rs-row").click()
    expect(row.get_by_role("button", name="Clearer")).to_have_attribute("aria-pressed", "true")
    row.get_by_label("Why skip it?").select_option("Cannot be read or is broken")
    row.get_by_role("button", name="Skip: leave this pair to others").click()
    expect(row).to_contain_text("Saved: your revised verdict counts.")
    expect(row).to_contain_text("Skipped: Cannot be read or is broken")
    assert labelled(database)[0]["skip_reason"] == "Cannot be read or is broken"
    # The page does not know of the revisions: undo takes back what stands, and says so.
    page.get_by_role("tab", name="Label", exact=True).click()
    pair = labelled(database)[0]["pair_id"]
    page.keyboard.press("u")
    expect(page.locator('[data-part="save"]')).to_contain_text("the verdict that you had revised")
    expect(page.locator(CARD)).to_have_attribute("data-pair", str(pair))
    assert labelled(database) == []
    queue_settings.update(database, 1, "lea", reasons=[], aspects=[])
    database.dispose()


def labelled(database: Database) -> list[dict[str, Any]]:
    """The annotator's standing votes, newest first."""
    found: list[dict[str, Any]] = history.history(database, 1, "local")["votes"]
    return found


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
