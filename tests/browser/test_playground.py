"""The Playground on the running application: typed, edited, generated and sent answers."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import ThreadingHTTPServer

import httpx
import pytest
from playwright.sync_api import Page, Response, Route, expect

from tests.services.test_generation import FakeOpenAI
from tests.serving import Studio

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
STATUS = '[data-part="status"]'
VERDICT = '[data-part="verdict"]'
ANSWERS = '[data-part="answers"] > section'


def playground(page: Page) -> Page:
    page.get_by_role("tab", name="Playground", exact=True).click()
    expect(page.get_by_role("button", name="Score", exact=True)).to_be_visible()
    return page


def score(page: Page) -> None:
    page.get_by_role("button", name="Score", exact=True).click()


def wait_until_loaded(studio: Studio) -> None:
    """Until the server has the checkpoint in use and its backbone in memory."""
    for _ in range(300):
        state = httpx.get(f"{studio.url}/api/projects/1/playground/loading").json()
        if state["loaded"]:
            return
        time.sleep(0.1)
    raise AssertionError("the first checkpoint was not loaded ahead of the first score")


def open_short_pair(page: Page, studio: Studio) -> None:
    """Open a pair that fits the tiny backbone's context, and wait for its scores."""
    with closing(sqlite3.connect(studio.data_dir / "studio.db")) as connection:
        ((number,),) = connection.execute(
            "SELECT pair.id FROM pair JOIN response a ON a.id = pair.response_a_id "
            "JOIN response b ON b.id = pair.response_b_id "
            "ORDER BY length(a.text) + length(b.text) LIMIT 1"
        ).fetchall()
    page.get_by_label("Pair number").fill(str(number))
    page.get_by_role("button", name="Open pair", exact=True).click()
    expect(page.locator(".rs-heat")).to_be_visible(timeout=60_000)


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
    wait_until_loaded(studio)  # by itself: nobody has scored anything yet
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
    open_page: OpenPage, studio: Studio, complaints: object
) -> None:
    complaints.allow("400 (Bad Request)")  # type: ignore[attr-defined]
    page = playground(open_page("/?project=1"))
    page.get_by_role("button", name="Random pair", exact=True).click()
    verdict = page.locator(VERDICT)
    expect(verdict).to_contain_text("Pair ")
    number = page.get_by_label("Pair number")
    assert number.input_value().isdigit()
    assert page.get_by_label("Prompt", exact=True).input_value()
    open_short_pair(page, studio)  # scored though nobody asked for it
    page.set_viewport_size({"width": 1366, "height": 768})
    score(page)
    expect(page.locator('[data-part="summary"]')).to_be_in_viewport(timeout=60_000)
    expect(page.locator(STATUS)).to_have_text("")
    expect(verdict).to_contain_text("Pair ")  # to be compared with the scores
    box = page.get_by_label("Answer A", exact=True)
    assert box.evaluate("node => node.offsetHeight") < 300
    page.get_by_role("button", name="+ Answer").click()
    expect(verdict).to_be_visible()  # still the pair's two answers
    box.press("End")
    box.press_sequentially("x")
    expect(verdict).to_be_hidden()
    box.press("Backspace")
    expect(verdict).to_contain_text("Pair ")
    number.fill(number.input_value())
    page.get_by_role("button", name="Open pair", exact=True).click()
    expect(page.locator(ANSWERS)).to_have_count(2)
    expect(verdict).to_contain_text("Pair ")
    number.fill("twelve")
    page.get_by_role("button", name="Open pair").click()
    expect(page.locator(STATUS)).to_contain_text("'twelve' is not a pair's number")


@pytest.fixture
def endpoint_url() -> Iterator[str]:
    FakeOpenAI.seen = []
    FakeOpenAI.go_on.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeOpenAI)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    FakeOpenAI.go_on.set()
    server.shutdown()
    server.server_close()


def set_up_endpoint(page: Page, url: str, model: str) -> None:
    """Save the endpoint in the panel, which is open, and choose it."""
    if not page.locator('[name="endpoint-base_url"]').is_visible():
        page.locator('[data-part="writing"] summary').click()
    page.locator('[name="endpoint-base_url"]').fill(url)
    page.locator('[name="endpoint-model"]').fill(model)
    page.get_by_role("button", name="Save endpoint").click()
    expect(page.locator(STATUS)).to_contain_text("saved")
    expect(page.locator('[name="source"] option').nth(1)).to_contain_text(model)
    page.locator('[name="source"]').select_option("endpoint")


def test_answers_are_generated_by_backbone_and_endpoint_and_two_of_them_sent_to_labelling(
    open_page: OpenPage, studio: Studio, complaints: object, endpoint_url: str
) -> None:
    complaints.allow("400 (Bad Request)")  # type: ignore[attr-defined]
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
    set_up_endpoint(page, endpoint_url, "good")
    page.get_by_role("button", name="Write a new answer").click()
    expect(page.get_by_label("Answer B", exact=True)).to_have_value("Hello, wörld!")

    first.fill("Hello.")  # a random backbone may write what no database keeps
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


def test_what_a_writing_says_stays_and_a_failed_one_leaves_no_empty_answer(
    open_page: OpenPage, endpoint_url: str
) -> None:
    page = playground(open_page("/?project=1"))
    page.get_by_label("Prompt", exact=True).fill("Say hello.")
    page.get_by_label("Answer A", exact=True).fill("One answer")
    page.get_by_label("Answer B", exact=True).fill("Another answer")
    score(page)
    expect(page.locator(".rs-heat")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Generate …").click()
    set_up_endpoint(page, endpoint_url, "slow")
    write = page.get_by_role("button", name="Write a new answer")
    write.click()
    expect(page.get_by_label("Answer C", exact=True)).to_have_value("A beginning")
    expect(page.locator(STATUS)).to_contain_text("is writing …")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator(STATUS)).to_have_text("Stopped; what was written stays.")
    expect(page.locator(".rs-map")).to_have_count(3)  # scored as it is
    expect(page.locator(STATUS)).to_have_text("Stopped; what was written stays.")

    set_up_endpoint(page, endpoint_url, "refuses")
    write.click()
    expect(page.locator(STATUS)).to_contain_text("answered 401")
    expect(page.locator(ANSWERS)).to_have_count(3)
    expect(page.locator(".rs-live.stale")).to_have_count(0)
    expect(page.locator(STATUS)).to_contain_text("answered 401")
    set_up_endpoint(page, endpoint_url, "renamed")
    write.click()
    expect(page.get_by_label("Answer D", exact=True)).to_have_value("Hello, wörld!")
    expect(page.locator(STATUS)).to_contain_text("asked a second time with max_completion_tokens")


def test_an_answer_that_comes_later_can_be_sent_to_labelling(
    open_page: OpenPage, studio: Studio
) -> None:
    page = playground(open_page("/?project=1"))
    open_short_pair(page, studio)
    page.get_by_role("button", name="Send to labelling …").click()
    first, second = (page.locator('[data-part="sending"] select').nth(n) for n in (0, 1))
    expect(second.locator("option")).to_have_count(2)
    page.get_by_role("button", name="+ Answer").click()
    page.get_by_label("Answer C", exact=True).fill("A third answer that nobody has given before.")
    expect(second.locator("option")).to_have_count(3)
    second.select_option(label="Answer C")
    page.get_by_role("button", name="Remove answer A").click()
    expect(second.locator("option:checked")).to_have_text("Answer B")  # the same text as before
    expect(first.locator("option:checked")).to_have_text("Answer A")
    page.get_by_role("button", name="Make them a pair").click()
    expect(page.locator(STATUS)).to_contain_text("waits to be labelled")


def test_without_following_the_result_is_marked_as_of_the_texts_before_the_edit(
    open_page: OpenPage, studio: Studio
) -> None:
    page = playground(open_page("/?project=1"))
    open_short_pair(page, studio)
    page.locator('[data-part="live"]').uncheck()
    page.get_by_label("Answer B", exact=True).press_sequentially("Edited. ")
    stale = page.locator('[data-part="stale"]')
    expect(stale).to_contain_text("are of the texts before your edits")
    assert float(page.locator(".rs-maps").evaluate("node => getComputedStyle(node).opacity")) < 1
    stale.get_by_role("button", name="Score again").click()
    expect(stale).to_be_hidden()
    assert page.locator(".rs-maps").evaluate("node => getComputedStyle(node).opacity") == "1"
    page.get_by_label("Answer B", exact=True).press_sequentially("Again. ")
    expect(stale).to_be_visible()
    page.locator('[data-part="live"]').check()  # follows at once
    expect(stale).to_be_hidden()


def test_a_blank_page_invites_to_open_a_pair(open_page: OpenPage, complaints: object) -> None:
    complaints.allow("400 (Bad Request)")  # type: ignore[attr-defined]  # a pair may be too long
    page = playground(open_page("/?project=1"))
    invitation = page.locator('[data-part="empty"]')
    expect(invitation).to_contain_text("Which answer does the reward model prefer")
    assert page.get_by_label("Prompt", exact=True).get_attribute("placeholder")
    box = page.get_by_label("Answer A", exact=True)
    box.press_sequentially("x")
    expect(invitation).to_be_hidden()
    box.press("Backspace")
    expect(invitation).to_be_visible()
    invitation.get_by_role("button", name="Open a random pair").click()
    expect(page.locator(VERDICT)).to_contain_text("Pair ")
    expect(invitation).to_be_hidden()


def test_a_pair_opened_before_the_checkpoints_are_known_is_scored_all_the_same(
    page: Page, open_page: OpenPage, studio: Studio
) -> None:
    held: list[Route] = []  # what asks for the checkpoints, until the pair is there

    def let_go(answer: Response) -> None:
        while "/pair?" in answer.url and held:
            held.pop().continue_()

    page.route("**/playground/options", lambda route: held.append(route))
    playground(open_page("/?project=1"))
    page.on("response", let_go)
    open_short_pair(page, studio)


def test_while_the_backbone_is_loaded_the_page_says_so(open_page: OpenPage) -> None:
    page = playground(open_page("/?project=1"))
    held: list[Route] = []
    page.route("**/playground/score", lambda route: held.append(route))
    page.route("**/playground/loading", lambda route: route.fulfill(json={"loading": True}))
    page.get_by_label("Prompt", exact=True).fill("Say hello.")
    score(page)
    expect(page.locator(STATUS)).to_have_text("loading the backbone …")
    held[0].continue_()
    expect(page.locator(".rs-heat")).to_be_visible(timeout=60_000)
    expect(page.locator(STATUS)).to_have_text("")


def test_beside_a_second_checkpoint_every_figure_names_its_own(
    open_page: OpenPage, studio: Studio
) -> None:
    page = playground(open_page("/?project=1"))
    open_short_pair(page, studio)
    for name in ("checkpoint", "against"):
        choice = page.locator(f'[data-part="{name}"]')
        assert choice.evaluate("node => getComputedStyle(node).appearance") == "auto"
    page.locator('[data-part="against"]').select_option("1")
    live = page.locator(".rs-live").first
    expect(live).to_contain_text("by 1 · ")
    expect(page.locator('[data-part="summary"]')).to_contain_text("By checkpoint 1")


def test_events_are_streamed_and_not_held_back_by_a_compressor(studio: Studio) -> None:
    headers = {"accept-encoding": "gzip, br"}
    with httpx.stream("GET", f"{studio.url}/gradio_api/heartbeat/x", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        assert next(answer.iter_text())
