"""The Playground on the running application: typed answers and pairs of the project, scored."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.serving import Studio

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
NOTICE = "#playground-notice"


def playground(page: Page) -> Page:
    page.get_by_role("tab", name="Playground", exact=True).click()
    expect(page.locator("#score")).to_be_visible()
    return page


def score(page: Page) -> None:
    page.get_by_role("button", name="Score", exact=True).click()


def test_without_a_checkpoint_the_page_says_what_to_do(open_page: OpenPage) -> None:
    page = playground(open_page("/?project=1"))
    expect(page.locator("#playground-unready")).to_contain_text("has no checkpoint yet")
    page.get_by_label("Prompt", exact=True).fill("Hello?")
    page.get_by_label("Answer A").fill("Hi")
    score(page)
    expect(page.locator(NOTICE)).to_contain_text("has no checkpoint yet: train it first")
    expect(page.locator(".rs-heat")).to_be_hidden()
    page.get_by_role("button", name="Go to Train").click()
    expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute(
        "aria-selected", "true"
    )


def test_answers_typed_by_hand_are_scored_and_read_back_exactly(
    open_page: OpenPage, studio: Studio
) -> None:
    trained = studio.console("train", "--project", "demo", "--json")
    assert trained.returncode == 0, trained.stderr
    page = playground(open_page("/?project=1"))
    answer = "你好 👩‍🚀!\n\n  code()  <b>"
    page.get_by_label("Prompt", exact=True).fill("Say hello.")
    page.get_by_label("Answer A").fill(answer)
    page.get_by_label("Answer B").fill("")
    score(page)
    heat = page.locator(".rs-heat")
    expect(heat).to_contain_text("P(A better than B)", timeout=60_000)
    assert page.locator(".rs-tokens").first.evaluate("node => node.textContent") == answer
    expect(page.locator(".rs-reward")).to_have_count(2)
    expect(heat).to_contain_text("Scored by checkpoint 1")
    expect(page.locator(".rs-end")).not_to_have_count(0)


def test_a_pair_of_the_project_is_opened_with_all_its_turns_and_its_verdict(
    open_page: OpenPage,
) -> None:
    page = playground(open_page("/?project=1"))
    page.get_by_role("button", name="Random pair").click()
    expect(page.locator(NOTICE)).to_contain_text("Pair ")
    number = page.locator("#pair-number input, #pair-number textarea").first
    assert number.input_value().isdigit()
    assert page.get_by_label("Prompt", exact=True).input_value()
    score(page)
    expect(page.locator(".rs-heat")).to_be_visible(timeout=60_000)
    number.fill("twelve")
    page.get_by_role("button", name="Open pair").click()
    expect(page.locator(NOTICE)).to_contain_text("'twelve' is not a pair's number")


def test_an_empty_prompt_is_one_clear_sentence(open_page: OpenPage) -> None:
    page = playground(open_page("/?project=1"))
    score(page)
    expect(page.locator(NOTICE)).to_contain_text("The prompt is empty")


def test_the_result_is_in_view_however_long_the_answers_are(open_page: OpenPage) -> None:
    page = playground(open_page("/?project=1"))
    expect(page.locator("#playground-unready")).to_be_hidden()
    page.set_viewport_size({"width": 1366, "height": 768})
    page.get_by_label("Prompt", exact=True).fill("Why?\n" * 30)
    page.get_by_label("Answer A").fill("Because of this and that.\n" * 60)
    page.get_by_label("Answer B").fill("No.")
    score(page)
    expect(page.locator(".rs-prob")).to_be_in_viewport(timeout=60_000)
    expect(page.locator(".rs-reward").first).to_be_in_viewport()
    box = page.locator("#answer-a textarea")
    assert box.evaluate("node => node.offsetHeight") < 260


def test_what_was_said_of_a_pair_goes_when_the_pair_is_edited(open_page: OpenPage) -> None:
    page = playground(open_page("/?project=1"))
    page.get_by_role("button", name="Random pair").click()
    expect(page.locator(NOTICE)).to_contain_text("Pair ")
    page.get_by_label("Answer A").press_sequentially("x")
    expect(page.locator(NOTICE)).not_to_contain_text("Pair ")


def test_events_are_streamed_and_not_held_back_by_a_compressor(studio: Studio) -> None:
    headers = {"accept-encoding": "gzip, br"}
    with httpx.stream("GET", f"{studio.url}/gradio_api/heartbeat/x", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        assert next(answer.iter_text())
