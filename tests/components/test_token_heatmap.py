"""What the heatmap is given: columns that keep the text and the sums, one scale for all answers."""

from __future__ import annotations

import json

import pytest

from studio.components.token_heatmap import heatmap_value, scales_of
from tests.components.harness import comparison_of, word_tokens


def test_texts_joined_are_the_answer_and_shares_add_up_to_the_reward() -> None:
    response = "你好，世界 👩‍🚀!\n\nA  second\tline."
    shown = json.loads(heatmap_value(comparison_of(response)))["answers"][0]
    assert "".join(shown["tokens"]["text"]) == response
    assert sum(shown["tokens"]["contribution"]) == pytest.approx(shown["reward"], abs=1e-5)
    assert shown["tokens"]["running"][-1] == pytest.approx(shown["reward"], abs=1e-5)


def test_both_answers_share_one_scale_that_the_end_token_does_not_stretch() -> None:
    answers = comparison_of("a calm answer", "another calm answer")["answers"]
    answers[0]["tokens"][-1]["contribution"] = 90.0
    assert scales_of(answers)["contribution"] < 1


def test_an_empty_answer_has_a_scale_from_its_end_token() -> None:
    assert scales_of([{"tokens": word_tokens("")}])["contribution"] == pytest.approx(0.62)


def test_text_the_model_does_not_read_has_no_value_and_level_zero() -> None:
    comparison = comparison_of("word")
    comparison["answers"][0]["tokens"][0].update(value=None, contribution=0.0)
    tokens = json.loads(heatmap_value(comparison))["answers"][0]["tokens"]
    assert tokens["value"][0] is None
    assert tokens["levels"]["value"][0] == 0


def test_markup_in_an_answer_stays_data_and_raises_no_warning_of_gradio() -> None:
    import gradio as gr

    value = heatmap_value(comparison_of("<script>alert(1)</script> ${alert(1)}"))
    assert "<" not in value
    gr.HTML("").postprocess(value)  # warnings are errors here
    text = "".join(json.loads(value)["answers"][0]["tokens"]["text"])
    assert text == "<script>alert(1)</script> ${alert(1)}"


def test_merged_pieces_are_counted_and_the_source_is_named() -> None:
    comparison = comparison_of("世")
    comparison["answers"][0]["tokens"][0]["pieces"] = [{"id": 1}, {"id": 2}, {"id": 3}]
    shown = json.loads(heatmap_value(comparison))
    assert shown["answers"][0]["tokens"]["pieces"] == {"0": 3}
    assert shown["source"] == "checkpoint 3 · SmolLM2-135M-Instruct · cpu"
