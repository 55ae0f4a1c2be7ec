"""Answers as token heatmaps on one scale: what the browser is given to draw.

`heatmap_columns` turns what `services.playground.compare` returns into the JSON that the page
draws: tokens travel as columns (one list of texts, one of values, ...), so that 4,000 stay quick.
The three readings, and words or sentences as the unit, are made of them in the browser
(heat_units.js), which knows where graphemes, words and sentences begin.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from studio.components.assets import asset, script, style
from studio.components.colours import NUM_LEVELS, SCALE_QUANTILE, palette, palette_css

if TYPE_CHECKING:
    import gradio as gr

READINGS = (
    {
        "key": "contribution",
        "label": "Contribution",
        "explains": "Each token's share of the reward: text and end token add up to exactly the "
        "reward. The end token is the mark behind the last word, where the head has read the whole "
        "answer: its share, often the larger one, belongs to no place in the text. The map shows "
        "what this head adds up; it does not find what a person would call bad (of sentences put "
        "into good answers it told the bad ones hardly better than chance, AUC .53).",
    },
    {
        "key": "change",
        "label": "Change",
        "explains": "How the value moves from one token to the next, beginning with the value at "
        "the prompt's last token, which stands apart: adds up to the value at the last token.",
    },
    {
        "key": "value",
        "label": "Value so far",
        "explains": "What the head reads at each token of all text up to it. Neighbours share "
        "nearly all of it, so values do not add up to anything.",
    },
)
SCRIPTS = (
    "dom.js",
    "heat_units.js",
    "heat_paint.js",
    "heat_read.js",
    "heat_parts.js",
    "heat_runs.js",
    "heat_reasons.js",
    "heat_ranking.js",
    "heat_chart.js",
    "heat_export.js",
    "heat_view.js",
)


def token_columns(tokens: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tokens of one answer as parallel lists; `pieces` counts merged tokens, by index."""
    return {
        "text": [token["text"] for token in tokens],
        "value": [_rounded(token["value"]) for token in tokens],
        "contribution": [_rounded(token["contribution"]) for token in tokens],
        "pieces": {
            str(i): len(token["pieces"])
            for i, token in enumerate(tokens)
            if len(token.get("pieces") or ()) > 1
        },
    }


def heatmap_columns(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """The comparison with its tokens as columns, of `against` too."""
    shown = {
        **comparison,
        "answers": [
            {**answer, "tokens": token_columns(answer["tokens"])}
            for answer in comparison["answers"]
        ],
    }
    if comparison.get("against"):
        shown["against"] = heatmap_columns(comparison["against"])
    return shown


def heatmap_value(comparison: Mapping[str, Any]) -> str:
    """The component's value, JSON text. Nothing in it is markup: the browser makes text nodes."""
    # "<" is escaped because Gradio warns of "<script" anywhere in a value, data or not.
    text = json.dumps(heatmap_columns(comparison), ensure_ascii=False)
    return text.replace("<", "\\u003c")


def heat_props() -> dict[str, Any]:
    """What the scripts of every heatmap need besides the value."""
    return {
        "readings": list(READINGS),
        "levels": NUM_LEVELS,
        "quantile": SCALE_QUANTILE,
        "palettes": {"light": _listed(False), "dark": _listed(True)},
    }


def heat_style() -> str:
    """Styles of every heatmap, with the colours of the levels."""
    return style("token_heatmap.css") + palette_css()


def token_heatmap(value: str = "") -> gr.HTML:
    """The heatmaps alone; the value comes from `heatmap_value`, or "" for nothing yet."""
    import gradio as gr

    return gr.HTML(
        value,
        html_template=asset("token_heatmap.html"),
        css_template=heat_style(),
        js_on_load=script(*SCRIPTS, "token_heatmap.js"),
        apply_default_css=False,
        elem_id="token-heatmap",
        **heat_props(),
    )


def _listed(is_dark: bool) -> list[str]:
    """Colours from the lowest level to the highest, for exports."""
    colours = palette(is_dark)
    return [colours[n] for n in range(-NUM_LEVELS, NUM_LEVELS + 1)]


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 9)
