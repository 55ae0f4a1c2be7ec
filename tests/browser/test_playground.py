"""The Playground on the running application: typed, edited, generated and sent answers."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from http.server import ThreadingHTTPServer

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.services.test_generation import FakeOpenAI
from tests.serving import Studio

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
STATUS = '[data-part="status"]'


def playground(page: Page) -> Page:
    page.get_by_role("tab", name="Playground", exact=True).click()
    expect(page.get_by_role("button", name="Score", exact=True)).to_be_visible()
    return page


def score(page: Page) -> None:
    page.get_by_role("button", name="Score", exact=True).click()


def test_without_a_checkpoint_the_page_says_what_to_do(
    open_page: OpenPage, complaints: object
) -> None:
    complaints.allow("400 (Bad Request)")  # type: ignore[attr-defined]
    page = playground(open_page("/?project=1"))
    expect(page.locator('[data-part="unready"]')).to_contain_text("has no checkpoint yet")
    page.get_by_label("Prompt", exact=True).fill("Hello?")
    page.get_by_label("Answer A", exact=True).fill("Hi")
    score(page)
    expect(page.locator(STATUS)).to_contain_text("has no checkpoint yet: train it first")
    expect(page.locator(".rs-heat")).to_be_hidden()
    page.get_by_role("button", name="Go to Train").click()
    expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute(
        "aria-selected", "true"
    )


def test_typed_answers_are_scored_ranked_and_read_back_exactly_and_edits_are_followed(
    open_page: OpenPage, studio: Studio, complaints: object
) -> None:
    complaints.allow("400 (Bad Request)")  # type: ignore[attr-defined]
    trained = studio.console("train", "--project", "demo", "--json", timeout=400)
    assert trained.returncode == 0, trained.stderr
    page = playground(open_page("/?project=1"))
    score(page)
    expect(page.locator(STATUS)).to_contain_text("The prompt's last turn is empty")
    answers = ["你好 👩‍🚀!\n\n  code()  <b>", "", "A third one"]
    page.get_by_label("Prompt", exact=True).fill("Say hello.")
    page.get_by_role("button", name="+ System prompt").click()
    page.get_by_label("Turn 1", exact=True).fill("Be brief.")
    page.get_by_role("button", name="+ Answer").click()
    for name, text in zip("ABC", answers, strict=True):
        page.get_by_label(f"Answer {name}", exact=True).fill(text)
    score(page)
    heat = page.locator(".rs-heat")
    expect(heat).to_contain_text("scored lower than", timeout=60_000)
    expect(heat.locator(".rs-ranking tbody").first.locator("tr")).to_have_count(3)
    expect(heat.locator(".rs-matrix td.num")).to_have_count(6)
    texts = page.locator(".rs-tokens").evaluate_all("nodes => nodes.map((n) => n.textContent)")
    assert texts == answers
    expect(heat).to_contain_text("Scored by checkpoint 1")
    expect(heat.locator(".rs-chart path")).to_have_count(3)

    third = page.get_by_label("Answer C", exact=True)
    third.press("End")
    third.press_sequentially(" and more")
    expect(page.locator(".rs-tokens").nth(2)).to_have_text("A third one and more")
    expect(page.locator(".rs-live.stale")).to_have_count(0)
    shown = page.locator(".rs-map .rs-reward").nth(2).inner_text()
    assert shown == page.locator(".rs-live").nth(2).inner_text()
    line = {
        "prompt": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say hello."},
        ],
        "response": "A third one and more",
    }
    path = studio.data_dir.parent / "line.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    reward = json.loads(studio.console("score", str(path), "--json").stdout)["reward"]
    assert math.isclose(float(shown.replace("−", "-")), reward, abs_tol=6e-4)

    page.locator('[data-part="live"]').uncheck()
    third.press_sequentially("!")
    expect(page.locator(".rs-live.stale")).to_have_count(3)
    page.get_by_role("button", name="Remove answer C").click()
    score(page)
    expect(page.locator(".rs-map")).to_have_count(2)


def test_a_pair_is_opened_with_its_verdict_which_goes_when_it_is_edited(
    open_page: OpenPage, complaints: object
) -> None:
    complaints.allow("400 (Bad Request)")  # type: ignore[attr-defined]
    page = playground(open_page("/?project=1"))
    page.get_by_role("button", name="Random pair").click()
    expect(page.locator(STATUS)).to_contain_text("Pair ")
    number = page.get_by_label("Pair number")
    assert number.input_value().isdigit()
    assert page.get_by_label("Prompt", exact=True).input_value()
    expect(page.locator(".rs-heat").first).to_be_visible(timeout=60_000)  # nobody asked for it
    expect(page.locator(STATUS)).to_contain_text("Pair ")
    page.set_viewport_size({"width": 1366, "height": 768})
    score(page)
    expect(page.locator('[data-part="summary"]')).to_be_in_viewport(timeout=60_000)
    box = page.get_by_label("Answer A", exact=True)
    assert box.evaluate("node => node.offsetHeight") < 300
    number.fill(number.input_value())
    page.get_by_role("button", name="Open pair").click()
    expect(page.locator(STATUS)).to_contain_text("Pair ")
    page.get_by_label("Answer A", exact=True).press_sequentially("x")
    expect(page.locator(STATUS)).not_to_contain_text("Pair ")
    number.fill("twelve")
    page.get_by_role("button", name="Open pair").click()
    expect(page.locator(STATUS)).to_contain_text("'twelve' is not a pair's number")


def test_answers_are_generated_by_backbone_and_endpoint_and_two_of_them_sent_to_labelling(
    open_page: OpenPage, studio: Studio, complaints: object
) -> None:
    complaints.allow("400 (Bad Request)")  # type: ignore[attr-defined]
    FakeOpenAI.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeOpenAI)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = playground(open_page("/?project=1"))
    page.get_by_label("Prompt", exact=True).fill("Say hello to the playground.")
    page.get_by_role("button", name="Generate …").click()
    page.locator('[name="max_new_tokens"]').fill("12")
    page.locator('[name="temperature"]').fill("1")
    page.get_by_role("button", name="Write a new answer").click()
    first = page.get_by_label("Answer A", exact=True)
    expect(first).not_to_have_value("", timeout=60_000)
    expect(page.get_by_role("button", name="Write a new answer")).to_be_enabled()

    page.get_by_text("Set up an endpoint").click()
    page.locator('[name="endpoint-base_url"]').fill("file:///etc/passwd")
    page.locator('[name="endpoint-model"]').fill("good")
    page.get_by_role("button", name="Save endpoint").click()
    expect(page.locator(STATUS)).to_contain_text("an http or https address")
    page.locator('[name="endpoint-base_url"]').fill(f"http://127.0.0.1:{server.server_port}/v1")
    page.get_by_role("button", name="Save endpoint").click()
    expect(page.locator(STATUS)).to_contain_text("saved")
    page.locator('[name="source"]').select_option("endpoint")
    page.get_by_role("button", name="Write a new answer").click()
    expect(page.get_by_label("Answer B", exact=True)).to_have_value("Hello, wörld!")
    server.shutdown()
    server.server_close()

    score(page)
    expect(page.locator(".rs-heat")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Send to labelling …").click()
    page.get_by_role("button", name="Make them a pair").click()
    expect(page.locator(STATUS)).to_contain_text("waits to be labelled")
    page.get_by_role("button", name="Make them a pair").click()
    expect(page.locator(STATUS)).to_contain_text("nothing was added")
    with closing(sqlite3.connect(studio.data_dir / "studio.db")) as connection:
        rows = connection.execute(
            "SELECT meta FROM pair WHERE meta LIKE '%playground:%'"
        ).fetchall()
    assert len(rows) == 1
    page.get_by_role("button", name="open Label").click()
    expect(page.get_by_role("tab", name="Label", exact=True)).to_have_attribute(
        "aria-selected", "true"
    )


def test_events_are_streamed_and_not_held_back_by_a_compressor(studio: Studio) -> None:
    headers = {"accept-encoding": "gzip, br"}
    with httpx.stream("GET", f"{studio.url}/gradio_api/heartbeat/x", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        assert next(answer.iter_text())
