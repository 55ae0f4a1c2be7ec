"""The Train tab on the running application: from the click to a checkpoint, from rows alone."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.serving import Studio

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
TRAINED_MS = 120_000


def train_tab(page: Page) -> Page:
    page.get_by_role("tab", name="Train", exact=True).click()
    expect(page.locator("#train-headline h2")).to_be_visible()
    return page


def test_a_click_trains_and_the_page_shows_the_checkpoint_beside_its_baseline(
    open_page: OpenPage,
) -> None:
    page = train_tab(open_page("/?project=1"))
    expect(page.locator("#train-headline")).to_contain_text("no checkpoint yet")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.locator("#train-run")).to_contain_text("Training · run", timeout=30_000)
    expect(page.locator("#train-run")).to_contain_text("started by the Train button")
    results = page.locator("#train-results")
    expect(results).to_contain_text("Checkpoint 1", timeout=TRAINED_MS)
    expect(results).to_contain_text("accuracy")
    expect(results).to_contain_text("95 %")
    expect(results).to_contain_text("Length alone")
    expect(results.locator(".rs-lean")).to_contain_text("length")
    expect(results.get_by_role("row", name="succeeded").first).to_contain_text("checkpoint 1")
    expect(page.locator("#train-headline")).to_contain_text("Checkpoint 1 has seen")
    expect(page.locator(".rs-plots svg.marks").first).to_be_visible()


def test_the_curves_have_whole_steps_and_say_their_ends(open_page: OpenPage) -> None:
    page = train_tab(open_page("/?project=1"))
    chart = page.get_by_role("img", name="Loss: loss from 0.693 to")
    expect(chart).to_be_visible()
    labels = chart.locator('text[text-anchor="middle"]').all_text_contents()
    assert labels.pop() == "solver step"
    assert labels[0] == "0"
    assert all(label.isdigit() for label in labels)
    for name in ("gap", "chosen", "rejected"):
        expect(page.locator(".rs-plots .rs-name", has_text=name)).to_be_visible()


def test_a_reload_shows_the_same_and_new_votes_are_counted(open_page: OpenPage) -> None:
    page = open_page("/?project=1")
    expect(page.locator(".rs-card")).to_have_attribute("data-state", "pair")
    page.keyboard.press("2")
    expect(page.locator('[data-part="save"]')).to_have_attribute("data-save", "saved")
    train_tab(page)
    expect(page.locator("#train-headline")).to_contain_text("1 judged pair is new since checkpoint")
    expect(page.locator("#train-results")).to_contain_text("Checkpoint 1")
    expect(page.locator(".rs-plots svg.marks").first).to_be_visible()


def test_unchanged_curves_are_not_drawn_again(open_page: OpenPage) -> None:
    page = train_tab(open_page("/?project=1"))
    chart = page.locator(".rs-plots svg.marks").first
    expect(chart).to_be_visible()
    page.wait_for_timeout(1500)
    chart.evaluate("node => { node.dataset.mark = 'same'; }")
    page.wait_for_timeout(5000)  # two ticks and more
    assert chart.get_attribute("data-mark") == "same"


def test_the_database_is_asked_only_while_the_tab_is_open(open_page: OpenPage) -> None:
    page = train_tab(open_page("/?project=1"))
    page.wait_for_timeout(2500)
    page.get_by_role("tab", name="Label", exact=True).click()
    page.wait_for_timeout(1000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(5000)
    assert [url for url in asked if "/gradio_api/run" in url or "/queue/join" in url] == []


def test_a_project_without_judgements_says_why_it_cannot_train(open_page: OpenPage) -> None:
    page = open_page("/?project=1")
    page.get_by_role("tab", name="Projects", exact=True).click()
    page.locator("#new-name textarea, #new-name input").first.fill("nothing judged")
    page.get_by_role("button", name="Create project").click()
    expect(page.locator("#create-result")).to_contain_text("is made and chosen")
    train_tab(page)
    expect(page.locator("#train-headline")).to_contain_text("no pair is judged")
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_disabled()


def test_a_failed_run_is_told_with_the_end_of_its_log(open_page: OpenPage, studio: Studio) -> None:
    log = studio.data_dir / "logs" / "run-99.log"
    log.write_text("10:00:00 loading\n<b>MemoryError</b>: no room\n")
    with contextlib.closing(sqlite3.connect(studio.data_dir / "studio.db")) as connection:
        connection.execute(
            "INSERT INTO training_run (id, project_id, kind, config, status, trigger, created_at, "
            "started_at, finished_at, error) VALUES (99, 1, 'train', '{}', 'failed', 'click', "
            "'2026-01-01 10:00:00', '2026-01-01 10:00:00', '2026-01-01 10:01:00', 'out of memory')"
        )
        connection.commit()
    page = train_tab(open_page("/?project=1"))
    told = page.locator("#train-run").get_by_role("alert")
    expect(told).to_contain_text("Training failed (run 99")
    expect(told).to_contain_text("Out of memory.")
    told.get_by_text("The end of the log of run 99").click()
    expect(told.locator("pre")).to_contain_text("<b>MemoryError</b>: no room")
    page.wait_for_timeout(5000)  # two ticks: what was opened stays open
    expect(told.locator("pre")).to_be_visible()
    expect(page.locator("#train-results")).to_contain_text("see above")
    # Every run's log can be opened, an older one's too, and stays open.
    (studio.data_dir / "logs" / "run-1.log").write_text("run 1: an encoding\n")
    results = page.locator("#train-results")
    results.get_by_role("button", name="Log of run 1", exact=True).click()
    expect(results.locator(".rs-logrow pre")).to_contain_text("run 1: an encoding")
    results.get_by_role("button", name="Log of run 1", exact=True).click()
    expect(results.locator(".rs-logrow")).to_have_count(0)
    expect(page.locator(".rs-plots svg.marks").first).to_be_visible()


def test_the_run_shown_is_cancelled_from_its_box(open_page: OpenPage, studio: Studio) -> None:
    database = studio.data_dir / "studio.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute(  # of a process on another machine, as the row has it
            "INSERT INTO training_run (id, project_id, kind, config, status, trigger, created_at, "
            "started_at, heartbeat_at, pid, pid_started) VALUES (120, 1, 'encode', '{}', "
            "'running', 'playground', datetime(), datetime(), datetime(), 1, '1@elsewhere/x')"
        )
        connection.commit()
    page = train_tab(open_page("/?project=1"))
    box = page.locator("#train-run")
    expect(box).to_contain_text("Encoding ahead · run 120")
    expect(box).to_contain_text("started by the playground")
    button = box.get_by_role("button", name="Cancel run")
    button.focus()
    page.wait_for_timeout(2500)  # two looks: the button stays the same one
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(button).to_be_disabled()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        query = "SELECT status FROM training_run WHERE id = 120"
        assert connection.execute(query).fetchone() == ("cancelling",)
        connection.execute(
            "UPDATE training_run SET status = 'cancelled', finished_at = datetime() WHERE id = 120"
        )
        connection.commit()
