"""The token heatmap in a real Chromium: text untouched, numbers by hover and by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, expect

from studio.components.colours import contrast
from tests.components.harness import FakeServer, build, comparison_of, serve

pytestmark = pytest.mark.browser

CODE = 'def f(x):\n\treturn "<b>" if x else `${x}`\n\n\n# end  '
MIXED = "你好，世界！👩‍🚀 naïve\r\nعربي مع English\n"
Show = Callable[..., Page]


@pytest.fixture
def show(page: Page) -> Iterator[Show]:
    """Open the heatmap of made-up scores over the given answers."""
    with ExitStack() as stack:

        def load(*answers: str, comparison: dict | None = None) -> Page:
            app = build(FakeServer([]), comparison or comparison_of(*answers))
            page.goto(stack.enter_context(serve(app)))
            page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
            page.get_by_role("tab", name="Heatmap", exact=True).click()
            return page

        yield load


@pytest.mark.parametrize("answer", [CODE, MIXED, " ", "\n", "x" * 3000])
def test_the_tokens_read_as_the_answer_character_for_character(show: Show, answer: str) -> None:
    page = show(answer, "other")
    text = page.locator(".rs-tokens").first
    assert text.evaluate("node => node.textContent") == answer
    assert page.locator(".rs-tokens script, .rs-tokens b").count() == 0
    kept = text.evaluate("node => getComputedStyle(node).whiteSpace")
    assert kept == "pre-wrap"


def test_copying_the_text_copies_the_answer_without_marks(show: Show) -> None:
    page = show("one\ntwo\n\nthree", "other")
    selected = page.evaluate(
        """() => {
          getSelection().selectAllChildren(document.querySelector(".rs-tokens"));
          return getSelection().toString();
        }"""
    )
    assert selected == "one\ntwo\n\nthree"
    mark = page.locator(".rs-tokens .nl").first
    assert "↵" in mark.evaluate("node => getComputedStyle(node, '::before').content")


def test_the_end_token_stands_apart_and_an_empty_answer_has_only_that(show: Show) -> None:
    page = show("", "other")
    expect(page.locator(".rs-map").first.locator(".rs-end")).to_have_text("end token +0.620")
    assert page.locator(".rs-tokens").first.evaluate("node => node.textContent") == ""


def test_arrow_keys_walk_the_tokens_and_the_readout_tells_their_numbers(show: Show) -> None:
    page = show("alpha beta gamma delta", "other")
    readout = page.locator('[data-part="readout"]')
    assert readout.get_attribute("aria-live") == "polite"
    page.locator(".rs-tokens .t").first.focus()
    expect(readout).to_contain_text("“alpha”")
    page.keyboard.press("ArrowRight")
    expect(readout).to_contain_text("“␣beta”")
    expect(readout).to_contain_text("contribution")
    expect(readout).to_contain_text("sum so far")
    assert page.locator(".rs-maps [tabindex='0']").count() == 2  # one stop an answer
    page.keyboard.press("End")
    expect(readout).to_contain_text("end token")
    page.keyboard.press("ArrowRight")
    expect(readout).to_contain_text("end token")
    page.keyboard.press("Home")
    expect(readout).to_contain_text("“alpha”")


def test_arrows_up_and_down_change_the_line(show: Show) -> None:
    page = show("a first line here\na second line here", "other")
    page.locator(".rs-tokens .t").first.focus()
    page.keyboard.press("ArrowDown")
    below = page.locator(".t:focus").bounding_box()
    page.keyboard.press("ArrowUp")
    above = page.locator(".t:focus").bounding_box()
    assert above is not None
    assert below is not None
    assert below["y"] > above["y"] + 10


def test_pointing_at_a_token_shows_its_numbers_beside_it(show: Show) -> None:
    page = show("alpha beta", "other")
    page.locator(".rs-tokens .t").nth(1).hover()
    expect(page.locator(".rs-tip")).to_contain_text("contribution")
    expect(page.locator('[data-part="readout"]')).to_contain_text("“␣beta”")
    page.mouse.move(5, 5)
    expect(page.locator(".rs-tip")).to_be_hidden()


def test_the_reading_changes_colours_legend_and_explanation(show: Show) -> None:
    page = show("alpha beta gamma", "other")
    painted = "() => [...document.querySelectorAll('.t')].map((node) => node.dataset.l)"
    before = page.evaluate(painted)
    low = page.locator('[data-part="legend-low"]').inner_text()
    page.get_by_role("radio", name="Value").check(force=True)
    assert page.evaluate(painted) != before
    assert page.locator('[data-part="legend-low"]').inner_text() != low
    expect(page.locator('[data-part="explains"]')).to_contain_text("do not add up")


def test_a_head_that_reads_the_end_token_alone_starts_with_values(show: Show) -> None:
    comparison = comparison_of("alpha beta", "other")
    for answer in comparison["answers"]:
        for token in answer["tokens"][:-1]:
            token["contribution"] = 0.0
    page = show(comparison=comparison)
    expect(page.get_by_role("radio", name="Value")).to_be_checked()
    page.get_by_role("radio", name="Contribution").check(force=True)
    expect(page.locator('[data-part="explains"]')).to_contain_text("reads the end token alone")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_token_is_readable_as_it_is_painted(show: Show, scheme: str) -> None:
    page = show("many words " * 60, "other")
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    page.get_by_role("tab", name="Heatmap", exact=True).click()
    painted = page.evaluate(
        """() => {
          const hex = (c) => "#" + c.match(/\\d+/g).slice(0, 3)
            .map((n) => Number(n).toString(16).padStart(2, "0")).join("");
          const card = getComputedStyle(document.querySelector(".rs-map")).backgroundColor;
          return [...document.querySelectorAll(".t")].map((node) => {
            const { color, backgroundColor } = getComputedStyle(node);
            const bare = backgroundColor === "rgba(0, 0, 0, 0)";
            return [hex(color), hex(bare ? card : backgroundColor)];
          });
        }"""
    )
    grounds = {ground for _, ground in painted}
    assert len(grounds) > 5
    assert min(contrast(text, ground) for text, ground in painted) >= 4.5


def test_four_thousand_tokens_stay_fluid(show: Show) -> None:
    page = show("word, " * 4000, "word " * 4000)
    assert page.locator(".rs-tokens").first.locator(".t").count() >= 4000
    elapsed_ms = page.evaluate(
        """() => new Promise((done) => {
          const start = performance.now();
          document.querySelector('input[value="value"]').click();
          requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
        })"""
    )
    assert elapsed_ms < 3000  # a budget for a busy machine; benchmarks measure it


def test_the_heatmap_fits_a_phone(show: Show, browser: Browser) -> None:
    page = show("a" * 400 + " words " * 40, "other\n" * 30)
    page.set_viewport_size({"width": 390, "height": 844})
    overflow = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow <= 0
