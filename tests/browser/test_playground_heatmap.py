"""The token heatmap in a real Chromium: text untouched, numbers by hover and by keyboard."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from studio.components.colours import contrast
from tests.components.harness import comparison_of

pytestmark = pytest.mark.browser

CODE = 'def f(x):\n\treturn "<b>" if x else `${x}`\n\n\n# end  '
MIXED = "你好，世界！👩‍🚀 naïve\r\nعربي مع English\n"
Show = Callable[..., Page]


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
    for part in ("value so far", "change", "contribution", "sum so far"):
        expect(readout).to_contain_text(part)
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


CHECKED_SUMS = """() => {
  // Read every unit out of the exported data: the readings' own sums.
  const data = JSON.parse(window.exported);
  return data.answers.map((answer) => {
    const sum = (name) => answer.units.reduce((total, unit) => total + unit[name], 0);
    return {
      reward: answer.reward, contribution: sum("contribution"), last: answer.units.at(-1).value,
      change: answer.prompt_value + sum("change"),
      text: answer.units.map((unit) => unit.text).join(""),
    };
  });
}"""


@pytest.mark.parametrize("unit", ["token", "word", "sentence"])
def test_readings_add_up_whatever_the_unit_and_the_text_stays_whole(show: Show, unit: str) -> None:
    page = show(MIXED * 3, "One sentence. Another one, longer! 第三句。 第四句。")
    page.get_by_role("radio", name=f"{unit}s").check(force=True)
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON", exact=True).click()
    text = download.value.path().read_text(encoding="utf-8")
    page.evaluate("(text) => { window.exported = text; }", text)
    for sums, answer in zip(page.evaluate(CHECKED_SUMS), json.loads(text)["answers"], strict=True):
        assert sums["contribution"] == pytest.approx(sums["reward"], abs=1e-6)
        assert sums["change"] == pytest.approx(sums["last"], abs=1e-6)
        assert sums["text"] == answer["text"]
        assert answer["units"][-1]["running_sum"] == pytest.approx(answer["reward"], abs=1e-6)
    if unit == "sentence":
        assert len(json.loads(text)["answers"][1]["units"]) == 5  # four sentences and the end


def test_a_character_of_several_code_points_is_never_split(show: Show) -> None:
    comparison = comparison_of("ab👩‍🚀!", "other")
    tokens = comparison["answers"][0]["tokens"]
    end = tokens[-1]
    pieces = ["a", "b", "👩", "\u200d", "🚀", "!"]  # as a byte-level tokenizer cuts it
    comparison["answers"][0]["tokens"] = [
        {"text": piece, "value": 0.1 * i, "contribution": 0.01, "pieces": []}
        for i, piece in enumerate(pieces)
    ] + [end]
    page = show(comparison=comparison)
    shown = page.locator(".rs-tokens").first.locator(".t")
    assert shown.evaluate_all("nodes => nodes.map((n) => n.textContent)") == ["a", "b", "👩‍🚀", "!"]
    shown.nth(2).hover()
    expect(page.locator('[data-part="readout"]')).to_contain_text("3 tokens of the tokenizer")


def test_the_reading_changes_colours_legend_and_explanation(show: Show) -> None:
    page = show("alpha beta gamma", "other")
    painted = "() => [...document.querySelectorAll('.t')].map((node) => node.dataset.l)"
    before = page.evaluate(painted)
    low = page.locator('[data-part="legend-low"]').inner_text()
    expect(page.locator('[data-part="explains"]')).to_contain_text("exactly the reward")
    page.get_by_role("radio", name="Value so far").check(force=True)
    assert page.evaluate(painted) != before
    assert page.locator('[data-part="legend-low"]').inner_text() != low
    expect(page.locator('[data-part="explains"]')).to_contain_text("do not add up")
    page.get_by_role("radio", name="Change").check(force=True)
    expect(page.locator(".rs-chip").first).to_contain_text("begins at the prompt's end: +0.120")


def test_a_head_that_reads_the_end_token_alone_starts_with_the_change(show: Show) -> None:
    comparison = comparison_of("alpha beta", "other")
    for answer in comparison["answers"]:
        for token in answer["tokens"][:-1]:
            token["contribution"] = 0.0
    comparison["objective"] = "outcome"
    page = show(comparison=comparison)
    expect(page.get_by_role("radio", name="Change")).to_be_checked()
    expect(page.locator('[data-part="caution"]')).to_contain_text("do not read it as a reason")
    page.get_by_role("radio", name="Contribution").check(force=True)
    expect(page.locator('[data-part="explains"]')).to_contain_text("reads the end token alone")


def of_two_checkpoints(*answers: str) -> dict:
    comparison = comparison_of(*answers)
    comparison["against"] = comparison_of(*answers) | {"checkpoint": {"id": 7}}
    first = comparison["against"]["answers"][0]
    first["reward"] += 0.5
    first["tokens"][-1]["contribution"] += 0.5
    for token in first["tokens"]:
        token["value"] += 0.5
    return comparison


def test_every_figure_says_of_which_of_two_checkpoints_it_is(show: Show) -> None:
    page = show(comparison=of_two_checkpoints("alpha beta gamma", "other"))
    summary, ranking = page.locator('[data-part="summary"]'), page.locator(".rs-ranking")
    title = page.locator(".rs-map h3").first
    expect(summary).to_contain_text("By checkpoint 3")
    expect(summary).not_to_contain_text("By checkpoint 7")
    expect(title).to_have_text("Answer A · checkpoint 3")
    expect(ranking).to_contain_text("Ranked by checkpoint 3")
    expect(ranking).to_contain_text("Reward by checkpoint 7")
    page.get_by_role("radio", name="Checkpoint 7").check(force=True)
    expect(summary).to_contain_text("By checkpoint 7")
    expect(summary).to_contain_text("B scored lower than A by 0.5")
    expect(title).to_have_text("Answer A · checkpoint 7")
    expect(ranking).to_contain_text("P(row is better than column) by checkpoint 7")
    expect(ranking).to_contain_text("Reward by checkpoint 3")


def test_the_difference_of_two_checkpoints_is_labelled_as_one(show: Show) -> None:
    page = show(comparison=of_two_checkpoints("alpha beta gamma", "other"))
    page.get_by_role("radio", name="Difference").check(force=True)
    whole = page.locator(".rs-map").first
    expect(whole.locator("header")).to_contain_text("checkpoint 3 minus checkpoint 7")
    expect(whole.locator("header")).to_contain_text("−0.500")
    expect(whole.locator("header")).to_contain_text("difference of the rewards")
    expect(whole.locator(".rs-parts")).to_contain_text("= difference −0.500")
    expect(page.locator('[data-part="explains"]')).to_contain_text(
        "Checkpoint 3 minus checkpoint 7"
    )
    expect(page.locator('[data-part="chart-title"]')).to_contain_text("Difference of the values")
    page.get_by_role("radio", name="Value so far").check(force=True)
    page.locator(".rs-tokens .t").first.focus()
    expect(page.locator('[data-part="readout"]')).to_contain_text(
        "difference of: value so far −0.500"
    )


def test_both_checkpoints_maps_of_an_answer_stand_beside_each_other(show: Show) -> None:
    page = show(comparison=of_two_checkpoints("alpha beta gamma", "other"))
    page.get_by_role("radio", name="Both", exact=True).check(force=True)
    maps = page.locator(".rs-map")
    titles = [f"Answer {name} · checkpoint {number}" for name in "AB" for number in (3, 7)]
    assert maps.locator("h3").all_inner_texts() == titles
    summary = page.locator('[data-part="summary"]')
    for number in (3, 7):
        expect(summary).to_contain_text(f"By checkpoint {number}")
    one, other = maps.nth(0).bounding_box(), maps.nth(1).bounding_box()
    assert one is not None
    assert other is not None
    assert one["y"] == other["y"]
    page.locator(".rs-map").nth(1).locator(".t").first.focus()
    expect(page.locator('[data-part="readout"]')).to_contain_text("A by 7 “alpha”")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function(
        """() => {
          const [one, other] = document.querySelectorAll(".rs-map");
          return other.offsetTop >= one.offsetTop + one.offsetHeight;
        }"""
    )
    page.wait_for_function(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


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
    # The chart is drawn anew when its frame has told it the new width.
    page.wait_for_function(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
