"""The Queue tab on the running application: settings kept and felt, arms told about."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.serving import Studio

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]


def queue_tab(page: Page) -> Page:
    page.get_by_role("tab", name="Queue", exact=True).click()
    expect(page.locator("#queue-save")).to_be_visible()
    return page


def test_a_lead_sets_the_queue_and_the_label_page_offers_it(
    open_page: OpenPage, studio: Studio
) -> None:
    page = queue_tab(open_page("/?project=1"))
    expect(page.get_by_label("Random", exact=True)).to_be_checked()
    page.get_by_label("Information: what would teach").check()
    page.locator("#queue-gold input[type=number]").fill("40")
    page.locator("#queue-repeat input[type=number]").fill("30")
    page.locator("#queue-reasons textarea").fill("More truthful\n\n  Kinder ")
    page.locator("#queue-save").click()
    expect(page.locator("#queue-saved")).to_contain_text("would be 70% of all pairs")
    page.locator("#queue-gold input[type=number]").fill("10")
    page.locator("#queue-repeat input[type=number]").fill("0")
    page.locator("#queue-save").click()
    expect(page.locator("#queue-saved")).to_contain_text("Saved. It holds from the next pair on.")
    expect(page.locator("#queue-state")).to_contain_text("at random")
    expect(page.locator("#queue-state")).to_contain_text("no gold pairs to show")
    page = queue_tab(open_page("/?project=1"))
    expect(page.locator("#queue-reasons textarea")).to_have_value("More truthful\nKinder")
    expect(page.get_by_label("Information: what would teach")).to_be_checked()
    page.locator("#queue-compare").click()
    expect(page.locator("#queue-arms")).to_contain_text("nothing to compare yet")
    with sqlite3.connect(studio.data_dir / "studio.db") as database:
        row = database.execute("SELECT queue_strategy, gold_rate, reasons FROM project").fetchone()
    database.close()
    assert row == ("information", 0.1, '["More truthful","Kinder"]')


def test_the_arms_are_drawn_by_their_names_over_numbers_of_labels(open_page: OpenPage) -> None:
    """The plot's own drawing; that the figures are right is tested beside the service."""
    from studio.services.selection_curves import ArmCurves
    from studio.tabs.queue import chart_of

    points = {"random": [(20, 0.6, 0.5, 0.7), (80, 0.7, 0.6, 0.8)],
              "in_order": [(20, 0.55, 0.45, 0.66), (80, 0.65, 0.55, 0.75)]}  # fmt: skip
    value = chart_of(ArmCurves(arms=points))  # type: ignore[arg-type]
    assert '"unit": "labels"' in value
    assert '"name": "in order"' in value
    page = queue_tab(open_page("/?project=1"))
    for width in (1366, 390):
        page.set_viewport_size({"width": width, "height": 768})
        overflow = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 0
