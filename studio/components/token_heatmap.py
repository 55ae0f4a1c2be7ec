"""Two answers as token heatmaps on one scale, with their rewards and P(A better).

`heatmap_value` turns what `services.scoring.compare` returns into the component's value; the
browser (token_heatmap.js) draws it, switches the reading and reads tokens out. Tokens travel as
columns (one list of texts, one of values, ...) in one JSON text: 4,000 tokens stay quick.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from studio.components.assets import asset, script, style
from studio.components.colours import level, palette_css, scale_of

if TYPE_CHECKING:
    import gradio as gr

READINGS = (
    {
        "key": "contribution",
        "label": "Contribution",
        "explains": "Each token's share of the reward. The shares add up exactly to the reward.",
    },
    {
        "key": "value",
        "label": "Value",
        "explains": "What the head reads at each token, given everything before it. "
        "Values do not add up to the reward.",
    },
)


def token_columns(tokens: Sequence[Mapping[str, Any]], scales: Mapping[str, float]) -> dict:
    """Tokens of one answer as parallel lists; `running` is the sum of contributions so far."""
    values = [token["value"] for token in tokens]
    contributions = [token["contribution"] for token in tokens]
    return {
        "text": [token["text"] for token in tokens],
        "value": [_rounded(value) for value in values],
        "contribution": [_rounded(share) for share in contributions],
        "running": [_rounded(total) for total in accumulate(contributions)],
        "pieces": {
            str(i): len(token["pieces"])
            for i, token in enumerate(tokens)
            if len(token.get("pieces") or ()) > 1
        },
        "levels": {
            "contribution": [level(share, scales["contribution"]) for share in contributions],
            "value": [level(value, scales["value"]) for value in values],
        },
    }


def scales_of(answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """One scale a reading over all answers; end tokens stand apart and do not stretch it."""
    tokens = [token for answer in answers for token in answer["tokens"]]
    inside = [token for token in tokens if token["text"]] or tokens
    return {
        "contribution": scale_of(token["contribution"] for token in inside),
        "value": scale_of(token["value"] for token in inside),
    }


def heatmap_value(comparison: Mapping[str, Any], titles: Sequence[str] = ("A", "B")) -> str:
    """The component's value, JSON text. Nothing in it is markup: the browser makes text nodes."""
    answers = comparison["answers"]
    scales = scales_of(answers)
    value = {
        "scales": scales,
        "reading": best_reading(answers),
        "prob_a_better": comparison.get("prob_a_better"),
        "source": source_line(comparison),
        "answers": [
            {
                "title": title,
                "reward": answer["reward"],
                "prompt_value": answer.get("prompt_value"),
                "warnings": list(answer.get("warnings") or ()),
                "tokens": token_columns(answer["tokens"], scales),
            }
            for title, answer in zip(titles, answers, strict=False)
        ],
    }
    # "<" is escaped because Gradio warns of "<script" anywhere in a value, data or not.
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def best_reading(answers: Sequence[Mapping[str, Any]]) -> str:
    """Contribution, unless the head reads the end token alone: then only values say something."""
    inside = [token for answer in answers for token in answer["tokens"] if token["text"]]
    is_flat = bool(inside) and all(token["contribution"] == 0 for token in inside)
    return "value" if is_flat else "contribution"


def source_line(comparison: Mapping[str, Any]) -> str:
    """Which checkpoint, backbone and device gave the numbers."""
    checkpoint = comparison.get("checkpoint") or {}
    parts = [
        f"checkpoint {checkpoint['id']}" if checkpoint.get("id") is not None else "",
        str(checkpoint.get("readout") or ""),
        str(comparison.get("backbone") or ""),
        str(comparison.get("device") or ""),
    ]
    return " · ".join(part for part in parts if part)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 6)


def token_heatmap(value: str = "") -> gr.HTML:
    """The component; its value comes from `heatmap_value`, or "" for nothing yet."""
    import gradio as gr

    return gr.HTML(
        value,
        html_template=asset("token_heatmap.html"),
        css_template=style("token_heatmap.css") + palette_css(),
        js_on_load=script("dom.js", "token_heatmap.js"),
        apply_default_css=False,
        elem_id="token-heatmap",
        readings=list(READINGS),
    )
