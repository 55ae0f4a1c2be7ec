"""Small line charts of a training run: loss, mean rewards, accuracy, over the solver's steps.

`curves_value(rows)` takes what `services.training.curves` returns; the browser (curves.js) draws
one SVG a chart. Steps are whole numbers and so are the axis's, which `gr.LinePlot` cannot promise;
and it brings a megabyte of plotting code for three lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr

# Chart, and the metrics in it: name in the database, name in the chart, colour (a --rs- property).
CHARTS = (
    ("Loss", (("loss", "loss", "accent"),)),
    (
        "Mean reward",
        (
            ("reward_gap", "gap", "accent"),
            ("reward_chosen", "chosen", "chosen"),
            ("reward_rejected", "rejected", "rejected"),
        ),
    ),
    # Held out, or left out of a fold where too few prompts are held out.
    ("Unseen accuracy", (("heldout_accuracy", "accuracy", "accent"),)),
)
# The 95 % interval of a metric, drawn as a band around its line, is in the metrics of these names.
LOW, HIGH = "_low", "_high"


def curves_value(rows: Iterable[Mapping[str, Any]]) -> str:
    """The component's value: the charts that have points; "" when none has."""
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        points.setdefault(row["name"], []).append((row["step"], row["value"]))
    charts = [
        {"title": title, "series": series}
        for title, names in CHARTS
        if (series := [_series(points, name, *rest) for name, *rest in names if name in points])
    ]
    return json.dumps(charts) if charts else ""


def _series(
    points: Mapping[str, list[tuple[int, float]]], metric: str, name: str, colour: str
) -> dict[str, Any]:
    series: dict[str, Any] = {"name": name, "colour": colour, "points": sorted(points[metric])}
    low, high = dict(points.get(metric + LOW, [])), dict(points.get(metric + HIGH, []))
    if low and high:
        series["band"] = [[step, low[step], high[step]] for step in sorted(set(low) & set(high))]
    return series


def curves(elem_id: str) -> gr.HTML:
    import gradio as gr

    return gr.HTML(
        "",
        html_template='<div class="rs-plots" data-part="plots"></div>',
        css_template=style("curves.css"),
        js_on_load=script("dom.js", "plot.js", "curves.js"),
        apply_default_css=False,
        elem_id=elem_id,
    )
