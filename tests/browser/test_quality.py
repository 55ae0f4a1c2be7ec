"""The Quality tab on the running application: figures, adjudication, flags, rules."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select, update

from db.engine import Database, open_database
from db.models import Pair, Project, Vote
from tests.browser.conftest import READY_MS
from tests.browser.test_accessibility import faults
from tests.judging import pair_ids
from tests.serving import Studio

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)> ${1+1} {{2}}"


@pytest.fixture(scope="module")
def judged(studio: Studio) -> Iterator[Database]:
    """The demo project, judged by three people, one of whom always takes the left."""
    database = open_database(f"sqlite:///{studio.data_dir}/studio.db")
    chance = random.Random(1)
    ids = pair_ids(database, 1)[:40]
    with database.write() as s:
        for place, pair_id in enumerate(ids):
            left, better = chance.choice("ab"), chance.choice("ab")
            said = {"ada": better, HOSTILE: better if place % 4 else "tie", "lefty": left}
            for name, choice in said.items():
                vote = Vote(
                    id=str(uuid.uuid4()), project_id=1, pair_id=pair_id, annotator=name,
                    choice=choice, left_side=left, comment=HOSTILE if place == 0 else "",
                    duration_ms=300 if name == "lefty" else 20_000,
                )  # fmt: skip
                s.add(vote)
        flag = Vote(
            id=str(uuid.uuid4()), project_id=1, pair_id=ids[5], annotator="shy", choice="flag",
            comment=HOSTILE,
        )  # fmt: skip
        s.add(flag)
        s.execute(update(Pair).where(Pair.id == ids[5]).values(status="paused"))
    yield database
    database.dispose()


def quality_tab(page: Page, studio: Studio) -> Page:
    page.goto(studio.url + "/?project=1")
    page.wait_for_selector("html[data-ready]", state="attached", timeout=READY_MS)
    page.get_by_role("tab", name="Quality", exact=True).click()
    expect(page.locator("#quality-figures table")).to_be_visible(timeout=READY_MS)
    return page


def test_the_figures_are_shown_sorted_and_coloured_where_they_say_something(
    page: Page, studio: Studio, judged: Database
) -> None:
    figures = quality_tab(page, studio).locator("#quality-figures")
    expect(figures.locator(".rs-tile").first).to_contain_text("Krippendorff")
    expect(figures.locator(".rs-tile strong").first).to_contain_text("to")
    lefty = figures.get_by_role("row", name="lefty")
    expect(lefty.locator("td.odd")).to_contain_text("100 %")
    expect(lefty.locator("td.worse").first).to_contain_text("100 %")  # too fast to read
    figures.get_by_role("button", name="Annotator", exact=True).click()
    expect(figures.locator("tbody th").first).to_have_text(HOSTILE)
    expect(figures.locator('th[aria-sort="ascending"]')).to_have_text("Annotator")
    figures.get_by_label("First annotator").select_option("ada")
    figures.get_by_label("Second annotator").select_option("lefty")
    figures.get_by_role("button", name="agree?").click()
    expect(figures.get_by_role("status").last).to_contain_text("over 40 pairs")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert faults(page, f"Quality, {scheme}") == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_lead_has_the_last_word_revises_it_and_reopens_a_flagged_pair(
    page: Page, studio: Studio, judged: Database
) -> None:
    pairs = quality_tab(page, studio).locator("#quality-pairs")
    disputed = pairs.get_by_role("button", name="Disputed")
    expect(disputed).to_have_attribute("aria-pressed", "true")
    pairs.locator(".rs-pair-row").first.click()
    expect(pairs.locator(".rs-answer")).to_have_count(2)
    expect(pairs.locator("tbody tr")).to_have_count(4)  # three people and the demo's own verdict
    first = pairs.locator(".rs-opened h3").inner_text()
    page.emulate_media(reduced_motion="reduce")
    assert faults(page, "an opened pair") == []
    pairs.get_by_label("Why").fill(HOSTILE)
    pairs.get_by_role("button", name="B clearly").click()
    expect(pairs.get_by_role("status")).to_contain_text("Saved: your verdict on pair")
    expect(pairs.locator(".rs-opened h3")).not_to_have_text(first)  # the next one is open
    pairs.get_by_role("button", name="Back to the list").click()
    pairs.get_by_role("button", name="Adjudicated (1)").click()
    expect(pairs.locator(".rs-pair-row")).to_have_count(1)
    pairs.locator(".rs-pair-row").click()
    expect(pairs.get_by_role("button", name="B clearly")).to_have_attribute("aria-pressed", "true")
    expect(pairs.get_by_label("Why")).to_have_value(HOSTILE)
    pairs.get_by_role("button", name="Tie").click()
    expect(pairs.get_by_role("status")).to_contain_text("Saved")
    pairs.get_by_role("button", name="Flagged (1)").click()
    expect(pairs.locator(".rs-said")).to_have_text(HOSTILE)
    pairs.locator(".rs-pair-row").click()
    pairs.get_by_role("button", name="Reopen the pair").click()
    expect(pairs.get_by_role("button", name="Pause the pair")).to_be_visible()
    with judged.read() as s:
        given = s.scalars(select(Vote).where(Vote.purpose == "adjudication")).all()
        assert s.scalars(select(Pair.id).where(Pair.status == "paused")).all() == []
    assert [vote.choice for vote in given if vote.retracted_at is None] == ["tie"]
    assert [(vote.choice, vote.strength) for vote in given if vote.retracted_at] == [("b", 2)]


def test_rules_are_tried_and_then_used(page: Page, studio: Studio, judged: Database) -> None:
    rules = quality_tab(page, studio).locator("#quality-rules")
    use = rules.get_by_role("button", name="Use these rules")
    expect(use).to_be_disabled()
    rules.get_by_label("A pair’s target is the").select_option("reliability")
    rules.get_by_label("Leave out the votes of").select_option("lefty")
    rules.get_by_role("button", name="See what would change").click()
    preview = rules.locator(".rs-preview")
    expect(preview).to_contain_text("would change")
    expect(preview.get_by_role("row", name="ada")).to_be_visible()
    expect(preview.get_by_role("row", name="lefty")).to_have_count(0)
    use.click()
    expect(rules.get_by_role("status").first).to_contain_text("from the next training on")
    with judged.read() as s:
        settings = s.get_one(Project, 1).aggregation
    assert (settings["method"], settings["exclude"]) == ("reliability", ["lefty"])
    expect(rules.get_by_role("button", name="Count the votes of lefty again")).to_be_visible()
