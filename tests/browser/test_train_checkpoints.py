"""Checkpoints and rules on the running application: compare, roll back, reproduce, ask for more."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.serving import Studio

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
TRAINED_MS = 200_000


def tab(page: Page, name: str) -> Page:
    page.get_by_role("tab", name=name, exact=True).click()
    return page


def train(page: Page, number: int) -> None:
    tab(page, "Train")
    page.get_by_role("button", name="Train", exact=True).click()
    heading = page.locator("#train-results").get_by_role("heading", name=f"Checkpoint {number}")
    expect(heading).to_be_visible(timeout=TRAINED_MS)


def test_without_a_checkpoint_the_tab_leads_to_train(open_page: OpenPage) -> None:
    page = open_page("/?project=1")
    panel = page.locator("#checkpoints-panel")
    tab(page, "Checkpoints")
    expect(panel).to_contain_text("No checkpoint yet")
    panel.get_by_role("button", name="Go to Train").click()
    train(page, 1)


def test_checkpoints_are_compared_rolled_back_and_traced(open_page: OpenPage) -> None:
    page = open_page("/?project=1")
    panel = page.locator("#checkpoints-panel")
    train(page, 2)
    expect(page.locator("#train-results")).to_contain_text("it is right as often as checkpoint 1")
    page.get_by_role("button", name="All checkpoints and details").click()
    rows = panel.locator("tr[data-id]")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("in use")
    expect(panel.get_by_role("region", name="Against checkpoint 1")).to_contain_text(
        re.compile(r"The two give the same verdict on all \d+ pairs compared")
    )
    for title in ("How good is it?", "Can its probabilities be trusted?", "Where it is right"):
        expect(panel.get_by_role("region", name=title)).to_be_visible()
    expect(panel.get_by_role("img", name=re.compile("Reliability: said"))).to_be_visible()
    good = panel.get_by_role("region", name="How good is it?")
    expect(good.locator(".rs-lean")).to_contain_text(re.compile("correlation of reward and length"))
    lineage = panel.get_by_role("region", name="Where it comes from")
    expect(lineage).to_contain_text("imported: oasst")
    lineage.get_by_label("Pair number").fill("1")
    lineage.get_by_role("button", name="Look up").click()
    expect(lineage.get_by_role("status")).to_contain_text("pair 1")
    # A row opens its checkpoint; the older one can be put back to use.
    rows.nth(1).click()
    expect(panel.get_by_role("heading", name="Checkpoint 1")).to_be_visible()
    panel.get_by_role("button", name="Roll back to this one").click()
    expect(rows.nth(1)).to_contain_text("in use")
    expect(panel).to_contain_text("Rolled back to by local.")
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    tab(page, "Checkpoints")
    expect(rows.nth(1)).to_contain_text("in use")
    panel.get_by_text("Model card", exact=True).click()
    expect(panel.locator("pre").last).to_contain_text("# Reward head")
    page.wait_for_timeout(3500)  # a look: what was opened stays open
    expect(panel.locator("pre").last).to_be_visible()


def test_reproducing_and_the_learning_curve_are_told_on_the_page(open_page: OpenPage) -> None:
    page = tab(open_page("/?project=1"), "Checkpoints")
    panel = page.locator("#checkpoints-panel")
    panel.get_by_role("button", name="Reproduce").click()
    expect(panel).to_contain_text("gave the same head to the bit", timeout=TRAINED_MS)
    panel.get_by_role("button", name="Work it out").click()
    more = panel.get_by_role("region", name="What would more votes bring?")
    expect(more).to_contain_text("200 more judged pairs would bring about", timeout=TRAINED_MS)
    more.get_by_label("How many more judged pairs").select_option("500")
    expect(more).to_contain_text("500 more judged pairs would bring about")
    expect(more.get_by_role("img", name=re.compile("Accuracy by judged pairs"))).to_be_visible()


def test_rules_are_saved_told_and_refused_in_words(open_page: OpenPage) -> None:
    page = tab(open_page("/?project=1"), "Train")
    page.get_by_text("Rules: when it trains by itself").click()
    page.get_by_label("When this many judged pairs are new").check()
    page.locator("#rule-count input").fill("25")
    page.get_by_label("At these times, if anything is new").check()
    page.locator("#rule-cron").locator("input, textarea").fill("0 99 * * *")
    page.get_by_role("button", name="Save rules").click()
    result = page.locator("#rules-result")
    expect(result).to_contain_text("The schedule '0 99 * * *' is none")
    page.locator("#rule-cron").locator("input, textarea").fill("30 3 * * 1-5")
    page.get_by_role("button", name="Save rules").click()
    expect(result).to_contain_text("as soon as 25 judged pairs are new; on ")
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    tab(page, "Train")
    page.get_by_text("Rules: when it trains by itself").click()
    expect(page.locator("#rule-count input")).to_have_value("25")
    expect(page.get_by_label("At these times, if anything is new")).to_be_checked()


def test_heads_that_cannot_be_compared_are_said_to_agree_on_nothing(
    open_page: OpenPage, studio: Studio
) -> None:
    page = tab(open_page("/?project=1"), "Checkpoints")
    panel = page.locator("#checkpoints-panel")
    in_use = panel.locator("tr[data-id]").filter(has_text="in use")
    number = in_use.get_attribute("data-id")
    in_use.click()
    heading = panel.get_by_role("heading", name=f"Checkpoint {number}", exact=True)
    expect(heading).to_be_visible()
    lineage = panel.get_by_role("region", name="Where it comes from").text_content() or ""
    (directory,) = re.findall(r"run-\d+-[0-9a-f]{6}", lineage)
    manifest = studio.data_dir / "checkpoints" / directory / "manifest.json"
    kept = manifest.read_text()
    manifest.write_text("{")
    # A look into it fails, and says so where it was asked for.
    panel.get_by_role("button", name="Reproduce").click()
    expect(panel).to_contain_text("Reproducing it failed", timeout=TRAINED_MS)
    expect(panel).to_contain_text("No checkpoint can be read from")
    panel.get_by_text("The end of the log of run").click()
    expect(panel.locator(".rs-failed pre")).to_contain_text("failed")
    page.wait_for_timeout(3500)  # a look: what was opened stays open
    expect(panel.locator(".rs-failed pre")).to_be_visible()
    train(page, 3)
    manifest.write_text(kept)
    page.get_by_role("button", name="All checkpoints and details").click()
    panel.locator("tr[data-id='3']").click()
    against = panel.get_by_role("region", name=f"Against checkpoint {number}")
    expect(against).to_contain_text("They could not be compared: its files cannot be read.")
    expect(against).not_to_contain_text("same verdict")


def test_a_row_of_a_long_list_is_opened_where_it_stands(
    open_page: OpenPage, page: Page, studio: Studio
) -> None:
    with contextlib.closing(sqlite3.connect(studio.data_dir / "studio.db")) as connection:
        columns = "run_id, project_id, directory, sha256, metrics, created_at, promotion"
        connection.executemany(
            f"INSERT INTO checkpoint (id, {columns}) SELECT ?, {columns} FROM checkpoint "
            "WHERE id = 1",
            [(number,) for number in range(100, 160)],
        )
        connection.commit()
    page.set_viewport_size({"width": 1366, "height": 768})
    page = tab(open_page("/?project=1"), "Checkpoints")
    panel = page.locator("#checkpoints-panel")
    table = panel.get_by_role("region", name="Checkpoints", exact=True)
    expect(table.locator("tr[data-id='159']")).to_be_visible()
    panel.get_by_role("button", name="older ones").click()
    expect(table.locator("tr[data-id='1']")).to_be_attached()
    table.locator("tr[data-id='110'] button").scroll_into_view_if_needed()
    before = table.evaluate("node => node.scrollTop")
    assert before > 300
    table.locator("tr[data-id='110'] button").click()
    expect(panel.get_by_role("heading", name="Checkpoint 110", exact=True)).to_be_visible()
    assert table.evaluate("node => node.scrollTop") == before
    expect(table.locator("tr[data-id='110'] button")).to_be_focused()
    height = table.locator("tr[data-id='110']").evaluate("node => node.offsetHeight")
    assert table.evaluate("node => node.clientHeight") > 9 * height  # what a laptop shows at once


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(open_page: OpenPage, page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page = open_page("/?project=1")
    tab(page, "Checkpoints")
    expect(page.locator("#checkpoints-panel h2").first).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
