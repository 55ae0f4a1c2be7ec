"""The vote card in a real Chromium, against a server that fails on demand.

What must hold whatever the network does: the next pair is painted at once, nothing is called saved
before it is, nothing that was judged is lost or counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Complaints
from tests.components.harness import FakeServer, build, numbered_pairs, serve, showing

pytestmark = pytest.mark.browser

CARD = ".rs-card"
SAVE = '[data-part="save"]'


class Label:
    """The open page and the fake server behind it."""

    def __init__(self, page: Page, fake: FakeServer, url: str) -> None:
        self.page, self.fake, self.url = page, fake, url

    def open(self) -> Label:
        self.page.goto(self.url)
        self.page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
        return self

    def shows(self, number: int) -> None:
        expect(self.page.locator(CARD)).to_have_attribute("data-showing", str(number))
        expect(self.page.locator('[data-part="left-text"]')).to_have_text(f"Left {number}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def saving(self, state: str) -> None:
        expect(self.page.locator(SAVE)).to_have_attribute("data-save", state)

    def given(self) -> list[tuple[int, str, int | None]]:
        votes = self.fake.votes.values()
        return [(vote["showing_id"], vote["choice"], vote["strength"]) for vote in votes]

    def wait_for_votes(self, count: int) -> None:
        self.page.wait_for_function(
            "count => document.querySelector('[data-part=count]').textContent"
            ".startsWith(`${count} judged`)",
            arg=count,
        )


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeServer, str]]:
    """One page for the module; every test gets fresh pairs and a browser that knows nothing."""
    fake = FakeServer([])
    with serve(build(fake)) as url:
        yield fake, url


@pytest.fixture
def label(served: tuple[FakeServer, str], page: Page) -> Label:
    fake, url = served
    fake.__init__(numbered_pairs(12))  # type: ignore[misc]
    return Label(page, fake, url)


KEYS = {
    "1": ("left", 3),
    "2": ("left", 2),
    "3": ("left", 1),
    "4": ("tie", None),
    "5": ("right", 1),
    "6": ("right", 2),
    "7": ("right", 3),
    "ArrowLeft": ("left", 2),
    "ArrowRight": ("right", 2),
    "x": ("both_bad", None),
    "s": ("skip", None),  # without reasons to choose from, it skips at once
}


def test_every_key_gives_its_verdict(label: Label) -> None:
    label.open().shows(1)
    for number, key in enumerate(KEYS, start=1):
        label.press(key)
        label.shows(number + 1)
    label.saving("saved")
    expected = [(number, *verdict) for number, verdict in enumerate(KEYS.values(), start=1)]
    assert label.given() == expected
    assert all(0 <= vote["duration_ms"] < 60_000 for vote in label.fake.votes.values())


def test_buttons_give_the_same_verdicts_as_keys(label: Label) -> None:
    label.open().shows(1)
    label.page.get_by_role("button", name="Left is much better").click()
    label.shows(2)
    label.page.get_by_role("button", name="Skip").click()
    label.shows(3)
    label.saving("saved")
    assert label.given() == [(1, "left", 3), (2, "skip", None)]


def test_keys_are_dead_in_text_boxes_with_modifiers_on_repeat_and_on_other_tabs(
    label: Label,
) -> None:
    label.open().shows(1)
    label.page.locator("#notes textarea").click()
    label.press("1", "s", "x")
    label.page.locator("body").click(position={"x": 5, "y": 300})
    label.press("Control+1", "Alt+2", "Shift+S")
    label.page.keyboard.down("d")  # not a key of this page
    label.page.evaluate(
        """() => document.dispatchEvent(
             new KeyboardEvent("keydown", {key: "1", code: "Digit1", repeat: true}))"""
    )
    label.page.get_by_role("tab", name="Heatmap", exact=True).click()
    label.press("1", "2", "x")
    label.page.get_by_role("tab", name="Label", exact=True).click()
    label.shows(1)
    assert label.fake.num_vote_requests == 0
    label.press("2")
    label.shows(2)


def test_the_key_map_opens_and_swallows_verdicts_until_it_is_closed(label: Label) -> None:
    label.open().shows(1)
    label.press("?")
    dialog = label.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Left is much better")
    label.press("1")
    label.shows(1)
    label.press("Escape")
    expect(dialog).to_be_hidden()
    label.press("1")
    label.shows(2)


def test_three_pairs_are_ahead_so_a_slow_server_holds_nobody_up(label: Label) -> None:
    label.open().shows(1)
    label.fake.delay_s = 1.0
    label.press("1", "2")
    label.shows(3)
    label.saving("saving")
    assert len(label.fake.votes) < 2
    label.fake.delay_s = 0.0
    label.saving("saved")
    assert label.given() == [(1, "left", 3), (2, "left", 2)]


def test_saved_is_not_said_before_the_server_has_stored_the_vote(
    label: Label, complaints: Complaints
) -> None:
    complaints.allow("503")
    label.open().shows(1)
    label.page.evaluate(
        """() => {
          window.seen = [];
          const box = document.querySelector('[data-part="save"]');
          new MutationObserver(() => window.seen.push(box.dataset.save)).observe(
            box, {attributes: true});
        }"""
    )
    label.fake.fail = True
    label.press("1")
    label.saving("waiting")
    assert "saved" not in label.page.evaluate("window.seen")
    label.fake.fail = False
    label.saving("saved")


def test_votes_wait_through_a_failing_server_and_are_sent_once(
    label: Label, complaints: Complaints
) -> None:
    complaints.allow("503")
    label.open().shows(1)
    label.fake.fail = True
    label.press("1", "7")
    label.shows(3)
    expect(label.page.locator(SAVE)).to_contain_text("2 votes waiting to be saved")
    label.fake.fail = False
    label.page.get_by_role("button", name="Try now").click()
    label.saving("saved")
    assert label.given() == [(1, "left", 3), (2, "right", 3)]
    assert label.page.evaluate("Object.keys(localStorage).filter(k => k.includes('/vote/'))") == []


def test_a_lost_answer_is_sent_again_with_the_same_id(label: Label, complaints: Complaints) -> None:
    complaints.allow("503")
    label.open().shows(1)
    label.fake.lose_answers = 2
    label.press("3")
    label.wait_for_votes(1)
    label.saving("saved")
    assert label.fake.num_vote_requests == 3
    assert label.given() == [(1, "left", 1)]


def test_a_reload_with_votes_waiting_loses_none_and_shows_no_pair_twice(
    label: Label, complaints: Complaints
) -> None:
    complaints.allow("503")
    label.open().shows(1)
    label.fake.fail = True
    label.press("1", "6")
    label.shows(3)
    label.saving("waiting")
    label.fake.fail = False
    label.open()
    label.wait_for_votes(2)
    label.shows(3)
    assert label.given() == [(1, "left", 3), (2, "right", 2)]


def test_offline_the_pairs_that_are_there_can_be_judged_and_the_page_says_so(
    label: Label, complaints: Complaints
) -> None:
    complaints.allow("ERR_INTERNET_DISCONNECTED")
    label.open().shows(1)
    label.page.context.set_offline(True)
    label.press("1", "1", "1")
    expect(label.page.locator(CARD)).to_have_attribute("data-state", "problem")
    expect(label.page.locator(CARD)).to_contain_text("nothing you judged is lost")
    expect(label.page.locator(SAVE)).to_contain_text("3 votes waiting to be saved")
    label.page.context.set_offline(False)
    label.shows(4)
    label.saving("saved")
    assert len(label.fake.votes) == 3


def test_a_refused_vote_is_shown_with_the_reason_and_blocks_nothing(
    label: Label, complaints: Complaints
) -> None:
    complaints.allow("409")
    label.open().shows(1)
    label.fake.refuse_next = "you judged this pair in another window"
    label.press("1")
    label.saving("refused")
    expect(label.page.locator(SAVE)).to_contain_text("You judged this pair in another window.")
    label.press("2")
    label.shows(3)
    label.page.get_by_role("button", name="Dismiss").click()
    label.saving("saved")
    assert label.given() == [(2, "left", 2)]


def test_undo_shows_the_earlier_pairs_step_by_step(label: Label) -> None:
    label.open().shows(1)
    label.press("1", "2")
    label.wait_for_votes(2)
    label.press("u")
    label.shows(2)
    label.saving("note")
    label.press("u")
    label.shows(1)
    assert label.given() == []
    label.press("7", "7")
    label.wait_for_votes(2)
    label.shows(3)
    assert label.given() == [(1, "right", 3), (2, "right", 3)]


def test_undo_of_a_vote_that_never_left_takes_it_back_at_once(
    label: Label, complaints: Complaints
) -> None:
    complaints.allow("503")
    label.open().shows(1)
    label.fake.fail = True
    label.press("1")
    label.saving("waiting")
    label.press("2")
    label.shows(3)
    label.press("u")
    label.shows(2)
    label.fake.fail = False
    label.press("5")
    label.wait_for_votes(2)
    assert label.given() == [(1, "left", 3), (2, "right", 1)]


def test_undo_with_nothing_to_undo_says_so(label: Label) -> None:
    label.open().shows(1)
    label.press("u")
    expect(label.page.locator(SAVE)).to_contain_text("There is no vote of yours to undo")
    label.shows(1)


def test_when_no_pair_is_left_the_page_says_how_many_and_what_next(label: Label) -> None:
    label.fake.pairs = numbered_pairs(2)
    label.open().shows(1)
    label.press("1", "s")
    card = label.page.locator(CARD)
    expect(card).to_have_attribute("data-state", "empty")
    expect(card).to_contain_text("No pair is left for you")
    expect(card).to_contain_text("You judged 1 pair")
    expect(card).to_contain_text("1 pair was skipped")
    expect(label.page.get_by_role("button", name="Go to Train")).to_be_visible()
    expect(label.page.get_by_role("button", name="Left is much better")).to_be_hidden()
    label.press("u")
    label.shows(2)


def test_a_project_without_pairs_says_where_they_come_from(label: Label) -> None:
    label.fake.pairs = []
    label.open()
    expect(label.page.locator(CARD)).to_contain_text("This project has no pairs yet")
    expect(label.page.get_by_role("button", name="Go to Projects")).to_be_visible()


def test_whitespace_direction_and_empty_answers_are_kept(label: Label) -> None:
    text = "  two\n\n    indented\ttab  "
    label.fake.pairs = [showing(1, [{"role": "user", "content": "سؤال؟"}], text, "")]
    label.open()
    left = label.page.locator('[data-part="left-text"] .rs-text')
    assert left.evaluate("node => node.textContent") == text
    assert left.evaluate("node => getComputedStyle(node).whiteSpace") == "pre-wrap"
    prompt = label.page.locator('[data-part="prompt"] .rs-text')
    assert prompt.get_attribute("dir") == "auto"
    assert prompt.evaluate("node => getComputedStyle(node).direction") == "rtl"
    expect(label.page.locator('[data-part="right-text"]')).to_have_text("(empty)")


def test_long_system_prompts_and_old_turns_are_folded(label: Label) -> None:
    turns = [
        {"role": role, "content": f"turn {n}"}
        for n, role in enumerate(["user", "assistant", "user", "assistant", "user"])
    ]
    long_system = {"role": "system", "content": "Rules. " * 200}
    label.fake.pairs = [showing(1, [long_system, *turns], "a", "b")]
    label.open()
    prompt = label.page.locator('[data-part="prompt"]')
    expect(prompt.get_by_text("turn 4")).to_be_visible()
    expect(prompt.get_by_text("turn 3")).to_be_hidden()
    prompt.get_by_text("4 earlier turns").click()
    expect(prompt.get_by_text("turn 0")).to_be_visible()
    expect(prompt.get_by_text("Rules. Rules.")).to_be_hidden()
    prompt.get_by_text("System prompt (1,400 characters)").click()
    expect(prompt.get_by_text("Rules. Rules.")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1366])
def test_the_page_fits_its_width_and_buttons_are_big_enough_to_touch(
    label: Label, browser: Browser, width: int
) -> None:
    label.page.set_viewport_size({"width": width, "height": 768})
    label.open().shows(1)
    overflow = label.page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow <= 0
    for box in label.page.locator(f"{CARD} button:visible").all():
        size = box.bounding_box()
        assert size is not None
        assert size["height"] >= 40
        assert size["y"] + size["height"] <= 768  # the bar is on screen


def test_the_next_pair_is_painted_without_waiting_for_the_server(label: Label) -> None:
    label.open().shows(1)
    label.fake.delay_s = 0.4
    elapsed: Callable[[], float] = lambda: label.page.evaluate(  # noqa: E731
        """() => new Promise((done) => {
          const start = performance.now();
          const card = document.querySelector(".rs-card");
          const before = card.dataset.showing;
          document.body.dispatchEvent(new KeyboardEvent("keydown",
            {key: "2", code: "Digit2", bubbles: true}));
          const changed = card.dataset.showing !== before;
          requestAnimationFrame(() => done(changed ? performance.now() - start : 1e9));
        })"""
    )
    assert elapsed() < 200
