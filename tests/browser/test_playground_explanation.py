"""Why an answer scored lower: the sentence, the two parts of a reward, the stretches that count."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.components.harness import judged

pytestmark = pytest.mark.browser

Show = Callable[..., Page]
SUMMARY = '[data-part="summary"]'


def numbers(text: str) -> list[float]:
    return [float(found.replace("−", "-")) for found in re.findall(r"[+−]?\d+\.\d+", text)]


@pytest.mark.parametrize(
    "shares",
    [(0.1004, 0.5334), (-0.0006, -0.0006), (0.12345, -0.77777), (0.0, 0.4), (-0.5, 0.00049)],
)
def test_the_written_shares_of_text_and_end_token_add_up_to_the_written_reward(
    show: Show, shares: tuple[float, float]
) -> None:
    page = show(comparison=judged([("word", shares[0]), ("", shares[1])], [("x", 0.0), ("", 0.0)]))
    whole = page.locator(".rs-map").first
    text, end, reward = numbers(whole.locator(".rs-parts p").inner_text())
    assert round(text + end, 3) == reward
    assert reward == pytest.approx(sum(shares), abs=5e-4)
    assert numbers(whole.locator(".rs-reward").inner_text() + ".0")[0] == reward
    assert text == pytest.approx(shares[0], abs=1.1e-3)


def test_the_end_token_is_not_coloured_on_the_scale_of_the_text(show: Show) -> None:
    page = show(
        comparison=judged([("one ", 0.01), ("two", -0.02), ("", -0.7)], [("x", 0), ("", 0)])
    )
    end = page.locator(".rs-end").first
    expect(end).to_have_text("end token −0.700")
    assert end.get_attribute("data-l") is None
    ground = "node => getComputedStyle(node).backgroundColor"
    assert end.evaluate(ground) == page.locator(".rs-end").nth(1).evaluate(ground)
    levels = page.locator(".rs-tokens .t").evaluate_all("all => all.map((n) => n.dataset.l)")
    assert levels[:2] == ["6", "-12"]  # the text has the scale to itself


def test_the_sentence_names_what_made_the_answer_lower_and_leads_there(show: Show) -> None:
    better = [("Fine words.", 0.0), (" Better", 0.1), (" words.", 0.1), ("", 0.0)]
    worse = [("Fine words.", 0.0), (" Bad", -0.3), (" words", -0.2), (" here.", 0.0), ("", 0.0)]
    page = show(comparison=judged(better, worse))
    summary = page.locator(SUMMARY)
    expect(summary).to_contain_text(
        "B scored lower than A by 0.70: all of it stands in the coloured"
    )
    expect(summary).to_contain_text("mostly because of “Bad words here.” (−0.50 in B)")
    expect(summary).not_to_contain_text("Fine words")
    summary.get_by_role("button").first.click()
    second = page.locator(".rs-map").nth(1)
    expect(second.locator(".t:focus")).to_have_text(" Bad")
    assert "".join(second.locator(".marked").all_text_contents()) == " Bad words here."
    expect(page.locator(".rs-ranking")).to_contain_text("43 %")


def test_the_sentence_says_how_much_stands_in_the_text_and_how_much_in_the_end_token(
    show: Show,
) -> None:
    page = show(comparison=judged([("Good.", 0.1), ("", 0.4)], [("Short.", 0.0), ("", -0.3)]))
    expect(page.locator(SUMMARY)).to_contain_text(
        "B scored lower than A by 0.80: 0.10 of it (13 %) stands in the coloured text, 0.70 (87 %) "
        "in the end token, where the head has read the whole answer."
    )


def test_the_sentence_says_where_text_and_end_token_point_in_opposite_directions(
    show: Show,
) -> None:
    page = show(comparison=judged([("Good.", 0.1), ("", 0.4)], [("Short.", 0.22), ("", -0.3)]))
    summary = page.locator(SUMMARY)
    expect(summary).to_contain_text(
        "B scored lower than A by 0.58: its end token, where the head has read the whole answer, "
        "is 0.70 lower, but its coloured text is 0.12 higher. The two point in opposite "
        "directions, and the end token decides."
    )
    expect(summary).to_contain_text("In the text most speaks for B: “Short.” (+0.22 in B)")
    expect(summary).to_contain_text("most against it is “Good.” (+0.10 in A)")


def test_a_head_of_the_end_token_alone_names_no_place_in_the_text(show: Show) -> None:
    page = show(comparison=judged([("Good.", 0.0), ("", 0.4)], [("Short.", 0.0), ("", -0.3)]))
    expect(page.locator(SUMMARY)).to_contain_text("this head reads the end token alone")
    assert page.locator(f"{SUMMARY} button").count() == 0


def test_places_that_outweigh_each_other_are_told_as_such(show: Show) -> None:
    worse = [("It is nice.", 0.4), (" It is wrong.", -0.5), (" It is here.", 0.02), ("", 0.0)]
    page = show(comparison=judged([("Well.", 0.0), ("", 0.0)], worse))
    expect(page.locator(SUMMARY)).to_contain_text(
        "In the text many places outweigh each other, 0.50 against B and 0.42 for it: most against "
        "it “It is wrong.” (−0.50 in B), most for it “It is nice.” (+0.40 in B)."
    )
    expect(page.locator(SUMMARY)).not_to_contain_text("mostly because of")


def test_the_largest_opposing_phrase_is_named_beside_the_reason(show: Show) -> None:
    worse = [("It is nice.", 0.2), (" It is wrong.", -0.7), ("", 0.0)]
    page = show(comparison=judged([("Well.", 0.0), ("", 0.0)], worse))
    expect(page.locator(SUMMARY)).to_contain_text(
        "mostly because of “It is wrong.” (−0.70 in B); most for it is “It is nice.” (+0.20 in B)."
    )


def test_a_line_break_is_not_told_as_an_end_token(show: Show) -> None:
    better = [("One line.\n", 0.001), ("\n", 0.03), ("Two lines.", 0.001), ("", 0.1)]
    page = show(comparison=judged(better, [("Short.", 0.0), ("", -0.5)]))
    text, end, _ = numbers(page.locator(".rs-parts p").first.inner_text())
    assert (text, end) == (0.032, 0.1)


def test_how_far_the_head_leans_to_length_is_said_with_the_lengths_at_hand(show: Show) -> None:
    comparison = judged([("one two three four", 0.1), ("", 0.4)], [("one", 0.0), ("", -0.3)])
    leaning = {"leans_to": "longer", "correlation": 0.914, "measured_on": "held-out pairs"}
    comparison["length"] = leaning
    length = show(comparison=comparison).locator(".rs-length")
    expect(length).to_have_text(
        "This head leans to longer answers (r = .91 with length on held-out pairs); B is 3 words "
        "shorter."
    )
    accuracies = {"correlation": None, "right_longer": 0.9, "right_shorter": 0.302}
    comparison["length"] = leaning | accuracies
    expect(show(comparison=comparison).locator(".rs-length")).to_contain_text(
        "(on held-out pairs it is right in 90 % where the better answer is the longer, in 30 % "
        "where it is the shorter)"
    )
    comparison["length"] = None
    page = show(comparison=comparison)
    expect(page.locator(SUMMARY)).to_contain_text("scored lower")
    expect(page.locator(".rs-length")).to_have_count(0)


def test_a_lower_answer_whose_length_the_head_likes_is_told_so(show: Show) -> None:
    comparison = judged([("one", 0.1), ("", 0.4)], [("one two three four", 0.0), ("", -0.3)])
    comparison["length"] = {
        "leans_to": "longer",
        "correlation": 0.8,
        "measured_on": "held-out pairs",
    }
    length = show(comparison=comparison).locator(".rs-length")
    expect(length).to_contain_text("B is 3 words longer, which speaks for it.")


def test_extremes_are_stretches_of_words_that_add_up_and_do_not_overlap(show: Show) -> None:
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    shares = {"four": 0.3, "five": 0.2, "six": 0.25, "ten": 0.1, "two": -0.4}
    tokens = [
        (word if n == 0 else f" {word}", shares.get(word, 0.0)) for n, word in enumerate(words)
    ]
    page = show(comparison=judged([*tokens, ("", 0.0)], [("x", 0.0), ("", 0.0)]))
    groups = page.locator('[data-part="extremes-0"] > div')
    raise_it = groups.first.locator("button").all_inner_texts()
    assert "four five six" in raise_it[0]
    assert numbers(raise_it[0])[-1] == pytest.approx(0.85 if "ten" in raise_it[0] else 0.75)
    lower_it = groups.nth(1).locator("button").all_inner_texts()
    assert len(lower_it) == 1
    assert "two" in lower_it[0].split()
    for stretch in [*raise_it, *lower_it]:
        assert len(stretch.split()) >= 4  # three words at least, and the number
    page.emulate_media(reduced_motion="reduce")  # the jump is at once
    groups.first.locator("button").first.click()
    marked = page.locator(".rs-tokens .marked").all_text_contents()
    assert " four five six" in "".join(marked)
    page.get_by_role("radio", name="sentences").check(force=True)
    assert groups.first.locator("button").all_inner_texts() == raise_it  # whatever is coloured


def test_of_many_answers_the_second_best_is_explained_and_the_others_open(show: Show) -> None:
    answers = [[("Some words.", 0.1 - n / 10), ("", 0.3)] for n in range(8)]
    page = show(comparison=judged(*answers))
    reasons = page.locator(".rs-why")
    expect(reasons).to_have_count(7)
    expect(reasons.first).to_contain_text("B scored lower than A by 0.10")
    assert page.locator(".rs-why[open]").count() == 1
    expect(reasons.first.locator("p")).to_contain_text("All of it stands in the coloured text.")
    reasons.nth(6).locator("summary").click()
    page.get_by_role("radio", name="words", exact=True).check(force=True)
    expect(page.locator(".rs-why[open]")).to_have_count(2)  # as they were left


def test_the_map_says_what_it_does_not_show_and_its_scale_has_a_zero(show: Show) -> None:
    page = show("alpha beta", "other")
    explains = page.locator('[data-part="explains"]')
    expect(explains).to_contain_text("does not find what a person would call bad")
    expect(page.locator(".rs-legend-bar")).to_have_text("0")
