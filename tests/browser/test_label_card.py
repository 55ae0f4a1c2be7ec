"""The vote card in a real Chromium, against a server that fails on demand.

What must hold whatever the network does: the next pair is painted at once, nothing is called saved
before it is, nothing that was judged is lost or counted twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Complaints
from tests.components.harness import (
    SCOPE,
    FakeServer,
    build,
    guidelines,
    numbered_pairs,
    serve,
    settings,
    showing,
)

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

    def settles(self) -> None:
        """A pair that has only just been painted takes no click."""
        self.page.wait_for_timeout(400)

    def saving(self, state: str) -> None:
        expect(self.page.locator(SAVE)).to_have_attribute("data-save", state)

    def kept(self, kind: str) -> int:
        """How many entries of this kind the browser keeps."""
        return self.page.evaluate(
            "kind => Object.keys(localStorage).filter(k => k.includes(`/${kind}/`)).length", kind
        )

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
    label.settles()
    label.page.get_by_role("button", name="Left is much better").click()
    label.shows(2)
    label.settles()
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
    label.saving("note")
    assert label.given() == [(2, "left", 2)]
    assert label.kept("vote") == 0
    label.press("3", "4", "4")  # the pairs that were ahead, then the one whose verdict was refused
    label.wait_for_votes(4)
    assert (1, "tie", None) in label.given()


def test_a_refused_vote_can_be_sent_again_with_its_id(label: Label, complaints: Complaints) -> None:
    complaints.allow("409")
    label.open().shows(1)
    label.fake.refuse_next = "the project is archived"
    label.press("3")
    label.saving("refused")
    label.open()  # it is kept over a reload
    label.shows(1)
    label.saving("refused")
    label.page.get_by_role("button", name="Send again").click()
    label.saving("saved")
    label.shows(2)
    assert label.given() == [(1, "left", 1)]
    assert label.kept("vote") == 0


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_proxys_answer_is_no_refusal(label: Label, complaints: Complaints, status: int) -> None:
    complaints.allow(str(status))
    label.open().shows(1)
    label.fake.proxy_status = status
    label.press("1")
    label.saving("waiting")
    expect(label.page.locator(SAVE)).to_contain_text(f"the server answered {status}")
    label.fake.proxy_status = 0
    label.page.get_by_role("button", name="Try now").click()
    label.saving("saved")
    assert label.given() == [(1, "left", 3)]


def test_votes_wait_while_somebody_else_is_signed_in(label: Label, complaints: Complaints) -> None:
    complaints.allow("403")
    label.open().shows(1)
    label.fake.held_back = "this page is Zoë's, and Bo is signed in now"
    label.press("1")
    label.saving("waiting")
    expect(label.page.locator(SAVE)).to_contain_text("this page is Zoë's, and Bo is signed in now")
    label.fake.held_back = ""
    label.open()
    label.wait_for_votes(1)
    assert label.fake.scopes == {SCOPE}


def test_votes_for_another_database_are_counted_and_can_be_kept_as_a_file(
    label: Label, tmp_path: Path
) -> None:
    project, moment, owner = SCOPE.split("/")
    label.open().shows(1)
    label.page.evaluate(
        "keys => keys.forEach((key, i) => localStorage.setItem(key, JSON.stringify({"
        "created: i, attempts: 1, kind: 'vote', vote: {vote_id: `v${i}`, pair_id: 7}})))",
        [
            f"reward-studio/vote/{project}/20250102T030405000678/{owner}/v0",
            f"reward-studio/vote/{project}/20250102T030405000678/Bo/v1",
            f"reward-studio/vote/{int(project) + 1}/{moment}/{owner}/v2",
        ],
    )
    label.open().shows(1)
    line = label.page.locator(SAVE)
    expect(line).to_contain_text("1 vote kept here, given before a backup came back")
    with label.page.expect_download() as saving:
        label.page.get_by_role("button", name="Save as a file").click()
    saving.value.save_as(tmp_path / "votes.json")
    (entry,) = json.loads((tmp_path / "votes.json").read_text())
    assert entry["vote"] == {"vote_id": "v0", "pair_id": 7}
    label.page.get_by_role("button", name="Discard").click()
    expect(line).to_contain_text("Every verdict is saved as you give it")
    assert label.kept("vote") == 2  # Bo's and those of the other project
    assert not label.given()


def test_a_vote_says_what_was_shown_and_under_which_guidelines(
    label: Label, complaints: Complaints
) -> None:
    complaints.allow("503")
    label.fake.settings = settings(guidelines=guidelines(3, "Be kind"))
    label.open().shows(1)
    label.fake.fail = True
    label.press("1")
    label.saving("waiting")
    label.fake.fail = False
    label.fake.settings = settings(guidelines=guidelines(4, "Be kinder"))
    label.open()
    label.wait_for_votes(1)
    (vote,) = label.fake.votes.values()
    assert (vote["pair_id"], vote["shown_at"][:4]) == (1001, "2026")
    assert vote["guidelines_version"] == 3


def test_a_draft_is_not_shown_on_another_pair_that_has_its_number(label: Label) -> None:
    label.open().shows(1)
    label.press("c")
    label.page.keyboard.type("of the first")
    label.press("Enter")
    label.fake.pairs[0]["pair_id"] = 77  # as after a restore
    label.open().shows(1)
    label.press("c")
    expect(label.page.locator(".rs-drawer textarea")).to_have_value("")


def test_a_double_click_gives_one_verdict_and_space_none(label: Label) -> None:
    label.open().shows(1)
    label.settles()
    button = label.page.get_by_role("button", name="Left is clearly better")
    button.dblclick()
    label.shows(2)
    label.press("Space")
    label.settles()
    label.shows(2)
    button.click()
    label.page.mouse.click(*_middle(label.page, "Tie: equally good"))  # of the pair just painted
    label.shows(3)
    label.settles()
    label.shows(3)
    button.focus()
    label.press("Enter")  # the keyboard keeps its buttons
    label.shows(4)
    expect(button).to_be_focused()
    label.wait_for_votes(3)
    assert label.fake.num_vote_requests == 3


def _middle(page: Page, name: str) -> tuple[float, float]:
    box = page.get_by_role("button", name=name).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("size", [(390, 844), (820, 1180), (1366, 768)])
def test_the_verdicts_do_not_move_when_a_vote_is_saved(label: Label, size: tuple[int, int]) -> None:
    label.page.set_viewport_size({"width": size[0], "height": size[1]})
    label.open().shows(1)
    places = """() => [...document.querySelectorAll('.rs-verdict, .rs-action')].map((button) => {
      const {x, y, width, height} = button.getBoundingClientRect();
      return [x, y, width, height].map(Math.round).join(' ');
    })"""
    before = label.page.evaluate(places)
    for number in (1, 2):
        label.press("2")
        label.shows(number + 1)
        assert label.page.evaluate(places) == before
        label.wait_for_votes(number)
        label.saving("saved")
        expect(label.page.locator(SAVE)).to_contain_text("Left was from model-one")
        assert label.page.evaluate(places) == before
    label.press("u")
    label.saving("note")
    assert label.page.evaluate(places) == before


def test_reasons_mode_ends_with_its_pair(label: Label) -> None:
    label.fake.settings = settings(reasons=["Truer", "Clearer"])
    label.open().shows(1)
    label.settles()
    label.press("r")
    label.page.get_by_role("button", name="Tie: equally good").click()
    label.shows(2)
    label.press("1")
    label.shows(3)
    label.wait_for_votes(2)
    assert [vote["reasons"] for vote in label.fake.votes.values()] == [[], []]
    assert label.given()[1] == (2, "left", 3)


def test_a_flag_that_is_not_raised_is_no_comment_on_the_verdict(label: Label) -> None:
    label.open().shows(1)
    label.press("f")
    label.page.keyboard.type("an accusation")
    label.press("Escape", "3")
    label.shows(2)
    label.wait_for_votes(1)
    assert [vote["comment"] for vote in label.fake.votes.values()] == [""]
    label.press("u")
    label.shows(1)
    label.press("f")
    expect(label.page.locator(".rs-drawer textarea")).to_have_value("an accusation")


def test_a_page_that_is_seen_again_renews_its_pairs_at_once(label: Label) -> None:
    label.open().shows(1)
    label.fake.renewed.clear()
    label.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    label.page.wait_for_timeout(500)
    assert label.fake.renewed == [[1, 2, 3]]


def test_arrows_are_verdicts_after_the_tab_was_clicked(label: Label) -> None:
    label.open().shows(1)
    label.page.get_by_role("tab", name="Label", exact=True).click()
    label.page.wait_for_timeout(100)
    label.press("ArrowRight")
    label.shows(2)
    label.page.get_by_role("tab", name="Label", exact=True).focus()  # by keyboard it is the tabs'
    label.press("ArrowRight")
    label.page.wait_for_timeout(300)
    assert label.fake.num_vote_requests == 1


def test_a_verdict_during_an_undo_is_given_to_no_other_pair(label: Label) -> None:
    label.open().shows(1)
    label.press("1", "2")
    label.wait_for_votes(2)
    label.shows(3)
    label.fake.undo_delay_s = 0.5
    label.press("u", "7")
    expect(label.page.locator(SAVE)).to_contain_text("Undoing")
    label.shows(2)
    assert label.given() == [(1, "left", 3)]
    label.press("6")
    label.shows(3)
    label.wait_for_votes(2)
    label.press("u")
    label.shows(2)
    assert label.given() == [(1, "left", 3)]


def test_after_a_reload_an_undo_whose_answer_was_lost_takes_one_vote_back(
    label: Label, complaints: Complaints
) -> None:
    complaints.allow("503")
    label.open().shows(1)
    label.press("1", "2")
    label.wait_for_votes(2)
    label.open().shows(3)
    label.fake.lose_undo = 1
    label.press("u")
    expect(label.page.locator(SAVE)).to_contain_text("Not undone")
    label.press("u")
    expect(label.page.locator(SAVE)).to_contain_text("taken back already")
    assert label.given() == [(1, "left", 3)]
    label.press("u")
    label.shows(1)
    assert label.given() == []


def test_an_undo_that_changes_nothing_does_not_say_undone(label: Label) -> None:
    label.open().shows(1)
    label.press("1")
    label.wait_for_votes(1)
    (vote_id,) = label.fake.votes
    label.fake.votes.clear()
    label.fake.taken_back.add(vote_id)  # on another device
    label.press("u")
    expect(label.page.locator(SAVE)).to_contain_text("this verdict was taken back already")


def test_earlier_versions_of_the_guidelines_can_be_read(label: Label) -> None:
    label.fake.settings = settings(guidelines=guidelines(3, "Prefer what is *kind*."))
    label.fake.past_guidelines = {2: "Prefer what is <b>true</b>."}
    label.open().shows(1)
    panel = label.page.get_by_role("region", name="Guidelines", exact=True)
    panel.get_by_label("Which version of the guidelines").select_option("2")
    expect(panel).to_contain_text("Prefer what is <b>true</b>.")
    expect(panel).to_contain_text("An old version, of")
    expect(panel).to_contain_text("Version 3 is in force")
    label.press("1")  # the focus is not kept by the list
    label.shows(2)
    panel.get_by_label("Which version of the guidelines").select_option("3")
    expect(panel.locator("em")).to_have_text("kind")


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
    expect(label.page.get_by_role("button", name="Go to Data")).to_be_visible()


def test_what_goes_with_a_verdict_is_sent_with_it_and_survives_a_reload(label: Label) -> None:
    label.fake.settings = settings(
        reasons=["Truer", "Clearer"],
        skip_reasons=["Not my field", "Broken"],
        aspects=["Helpful", "Correct"],
    )
    label.open().shows(1)
    page = label.page
    label.press("r", "2", "Escape", "a", "4", "5", "1", "2")  # then the digits are verdicts again
    label.press("c")
    page.keyboard.type("1 and 2 differ ?")
    label.press("Enter")
    label.shows(1)
    label.open().shows(1)
    expect(page.get_by_role("button", name="Clearer")).to_have_attribute("aria-pressed", "true")
    label.press("2")
    label.shows(2)
    label.press("s", "1")
    label.shows(3)
    label.press("s", "s")
    label.shows(4)
    label.press("f")
    page.keyboard.type("broken")
    label.press("Enter")
    label.wait_for_votes(1)
    label.saving("saved")
    first, skipped, just_skipped, flagged = label.fake.votes.values()
    assert first["reasons"] == ["Clearer"]
    assert first["aspects"] == {
        "Helpful": {"left": 4, "right": 1},
        "Correct": {"left": 5, "right": 2},
    }
    assert first["comment"] == "1 and 2 differ ?"
    assert (skipped["choice"], skipped["skip_reason"]) == ("skip", "Not my field")
    assert (just_skipped["choice"], just_skipped["skip_reason"]) == ("skip", None)
    assert (flagged["choice"], flagged["comment"]) == ("flag", "broken")
    assert page.evaluate("Object.keys(localStorage).filter(k => k.includes('/draft/'))") == []
    expect(page.locator(SAVE)).to_contain_text("Left was from model-one")


def test_a_better_answer_waits_through_a_failing_server_and_undo_brings_its_text_back(
    label: Label, complaints: Complaints
) -> None:
    complaints.allow("503")
    label.open().shows(1)
    page = label.page
    label.press("e", "2")
    box = page.get_by_label("The better answer")
    expect(box).to_have_value("Right 1")
    expect(page.get_by_role("button", name="Save as a better answer")).to_be_disabled()
    box.fill("Right 1, improved")
    label.settles()
    page.get_by_role("button", name="Left is much better").click()  # not before the edit is settled
    expect(page.locator(SAVE)).to_contain_text("Save or cancel your edit first")
    label.fake.lose_answers = 1
    label.press("Control+Enter")
    label.saving("saved")
    (edit,) = label.fake.edits.values()
    assert (edit["showing_id"], edit["side"], edit["text"]) == (1, "right", "Right 1, improved")
    assert label.fake.num_vote_requests == 2
    label.shows(1)
    label.press("u")
    expect(page.locator(SAVE)).to_contain_text("its text is kept under Edit")
    assert label.fake.edits == {}
    label.press("e", "ArrowRight")
    expect(box).to_have_value("Right 1, improved")
    label.press("Escape", "1")
    label.shows(2)


MARKDOWN = "# Why\n\n**Because** $x^2$:\n\n```python\nreturn 1\n```\n\n" + "A line of it.\n\n" * 60


def test_answers_are_formatted_differ_in_marked_words_and_scroll_together(label: Label) -> None:
    other = MARKDOWN.replace("A line", "One line") + "The end."
    label.fake.pairs = [
        showing(n, [{"role": "user", "content": "?"}], MARKDOWN, other) for n in (1, 2)
    ]
    label.open()
    page = label.page
    left, right = (page.locator(f'[data-part="{side}-text"]') for side in ("left", "right"))
    expect(left.get_by_role("heading", name="Why")).to_be_visible()
    expect(left.locator("math")).to_have_count(1)
    expect(left.locator("pre .k")).to_have_text("return")
    left.evaluate("pane => { pane.scrollTop = (pane.scrollHeight - pane.clientHeight) / 2; }")
    share = "pane => pane.scrollTop / (pane.scrollHeight - pane.clientHeight)"
    page.wait_for_function(
        "() => document.querySelector('[data-part=right-text]').scrollTop > 100", timeout=5000
    )
    assert abs(right.evaluate(share) - 0.5) < 0.02
    page.get_by_role("button", name="Scroll together").click()
    left.evaluate("pane => { pane.scrollTop = 0; }")
    page.wait_for_timeout(200)
    assert abs(right.evaluate(share) - 0.5) < 0.02
    label.press("d")
    expect(left.locator("mark").first).to_have_text("A")
    expect(right.locator("mark").last).to_have_text("The end")
    expect(page.locator('[data-part="diff-note"]')).to_contain_text(
        "62 words only in the right one"
    )
    assert left.evaluate("pane => pane.textContent.includes('Because')")
    label.press("d", "t")
    expect(left.locator("mark, math")).to_have_count(0)
    expect(left).to_contain_text("**Because** $x^2$")
    label.open()  # the choice is remembered
    expect(left).to_contain_text("**Because** $x^2$")
    expect(page.get_by_role("button", name="Plain text")).to_have_attribute("aria-pressed", "true")


def test_the_next_pair_lies_ready_unseen_and_comes_whole_from_its_top(label: Label) -> None:
    label.fake.pairs = [
        showing(n, [{"role": "user", "content": "?"}], f"Number {n}\n\n{MARKDOWN}", MARKDOWN)
        for n in (1, 2, 3)
    ]
    label.open()
    page = label.page
    left, ahead = (page.locator(f'[data-part="left-{name}"]') for name in ("text", "ahead"))
    are_seen = """pane => [...pane.querySelectorAll("*")].map(
        (node) => node.checkVisibility()).filter((seen, i, all) => all.indexOf(seen) === i)"""
    expect(ahead).to_contain_text("Number 2")
    assert ahead.evaluate(are_seen) == [False]
    height = ahead.evaluate("pane => pane.firstElementChild.children[40].style.cssText")
    assert "contain-intrinsic-block-size" in height
    expect(left).to_have_attribute("tabindex", "0")
    left.focus()
    left.evaluate("pane => { pane.scrollTop = 500; }")
    label.press("1")
    expect(left).to_contain_text("Number 2")
    expect(left).to_be_focused()
    assert left.evaluate("pane => pane.scrollTop") == 0
    expect(ahead).to_contain_text("Number 3")
    expect(page.locator(".rs-pane:not(.ahead) .below")).to_have_count(0)
    assert left.evaluate(are_seen) == [True]
    assert left.evaluate("pane => pane.scrollHeight") > 1500
    label.press("Space")
    page.wait_for_function(
        "() => document.querySelector('[data-part=left-text]').scrollTop > 100", timeout=5000
    )
    label.press("u")
    expect(left).to_contain_text("Number 1")
    assert left.evaluate("pane => pane.scrollTop") == 0
    assert left.evaluate(are_seen) == [True]


def test_guidelines_stay_as_they_were_left_and_say_when_they_changed(label: Label) -> None:
    label.fake.settings = settings(guidelines=guidelines(1, "# Prefer\n\n*true* before nice"))
    label.open().shows(1)
    page = label.page
    panel = page.get_by_role("region", name="Guidelines", exact=True)
    expect(panel.locator("em")).to_have_text("true")
    expect(panel).to_contain_text("Version 1")
    label.press("g")
    expect(panel).to_be_hidden()
    label.fake.settings = settings(guidelines=guidelines(2, "Prefer what is kind."))
    label.open().shows(1)
    expect(panel).to_be_hidden()
    button = page.get_by_role("button", name="Guidelines: open or close them")
    expect(button).to_have_attribute("title", "Changed since you last looked")
    button.click()
    expect(panel).to_contain_text("you had read version 1")


def test_whitespace_direction_and_empty_answers_are_kept(label: Label) -> None:
    text = "  two\n\n    indented\ttab  "
    label.fake.pairs = [showing(1, [{"role": "user", "content": "سؤال؟"}], text, "")]
    label.open()
    prompt = label.page.locator('[data-part="prompt"] p')
    assert prompt.evaluate("node => getComputedStyle(node).direction") == "rtl"
    expect(label.page.locator('[data-part="right-text"]')).to_have_text("(empty)")
    label.press("t")
    left = label.page.locator('[data-part="left-text"] .rs-text')
    assert left.evaluate("node => node.textContent") == text
    assert left.evaluate("node => getComputedStyle(node).whiteSpace") == "pre-wrap"
    prompt = label.page.locator('[data-part="prompt"] .rs-text')
    assert prompt.get_attribute("dir") == "auto"
    assert prompt.evaluate("node => getComputedStyle(node).direction") == "rtl"


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
