"""What the heatmap is given: columns that keep the text and the sums, markup that stays data."""

from __future__ import annotations

import json

import pytest

from studio.components.token_heatmap import heat_props, heatmap_columns, heatmap_value
from tests.components.harness import comparison_of


def test_texts_joined_are_the_answer_and_shares_add_up_to_the_reward() -> None:
    response = "你好，世界 👩‍🚀!\n\nA  second\tline."
    shown = json.loads(heatmap_value(comparison_of(response)))["answers"][0]
    assert "".join(shown["tokens"]["text"]) == response
    assert sum(shown["tokens"]["contribution"]) == pytest.approx(shown["reward"], abs=1e-7)


def test_text_the_model_does_not_read_has_no_value() -> None:
    comparison = comparison_of("word")
    comparison["answers"][0]["tokens"][0].update(value=None, contribution=0.0)
    tokens = heatmap_columns(comparison)["answers"][0]["tokens"]
    assert tokens["value"][0] is None


def test_markup_in_an_answer_stays_data_and_raises_no_warning_of_gradio() -> None:
    import gradio as gr

    value = heatmap_value(comparison_of("<script>alert(1)</script> ${alert(1)}"))
    assert "<" not in value
    gr.HTML("").postprocess(value)  # warnings are errors here
    text = "".join(json.loads(value)["answers"][0]["tokens"]["text"])
    assert text == "<script>alert(1)</script> ${alert(1)}"


def test_merged_pieces_are_counted_and_a_second_checkpoint_comes_as_columns_too() -> None:
    comparison = comparison_of("世")
    comparison["answers"][0]["tokens"][0]["pieces"] = [{"id": 1}, {"id": 2}, {"id": 3}]
    comparison["against"] = comparison_of("世")
    shown = heatmap_columns(comparison)
    assert shown["answers"][0]["tokens"]["pieces"] == {"0": 3}
    assert shown["against"]["answers"][0]["tokens"]["text"][0] == "世"


def test_exports_have_a_colour_for_every_level() -> None:
    props = heat_props()
    for colours in props["palettes"].values():
        assert len(colours) == 2 * props["levels"] + 1
    assert [reading["key"] for reading in props["readings"]] == ["contribution", "change", "value"]
