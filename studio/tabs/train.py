"""The Train tab: what is new, the Train button, the run at work with its curves, the checkpoints.

Everything comes from the database through `services.training`, asked every two seconds while the
tab is open, so that every browser shows the same and a reload loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.components.train_panel import (
    headline_value,
    newest_failure,
    results_value,
    run_value,
    train_panel,
)
from studio.services import training
from studio.tabs.context import QUICK, TabContext, TabHandle, told

if TYPE_CHECKING:
    import pandas as pd

TICK_S = 2
# Plot, the metrics in it (name in the database: name in the legend), and its colours.
PLOTS = (
    ("Loss", {"loss": "loss"}, ["#0b7a80"]),
    (
        "Mean reward",
        {"reward_chosen": "chosen", "reward_rejected": "rejected", "reward_gap": "gap"},
        ["#7a68b5", "#c96f0a", "#0b7a80"],
    ),
    ("Accuracy on unseen pairs", {"heldout_accuracy": "accuracy"}, ["#0b7a80"]),
)


def build(ctx: TabContext) -> TabHandle:
    with gr.Tab("Train", id="train") as tab:
        with gr.Row(elem_classes="rs-side-by-side"):
            with gr.Column(scale=5, min_width=280):
                headline = train_panel("headline")
            with gr.Column(scale=0, min_width=190):
                start = gr.Button("Train", variant="primary", elem_id="train-button")
                stop = gr.Button("Cancel run", visible=False, elem_id="cancel-button")
        run = train_panel("run")
        with gr.Row(elem_classes="rs-plots"):
            plots = [_plot(title, names, colours) for title, names, colours in PLOTS]
        results = train_panel("results")
        timer = gr.Timer(TICK_S, active=False)
        drawn = gr.State("")  # which run and how many points the plots show
    outputs = [headline, run, results, start, stop, *plots, drawn]

    @told
    def refresh(project_id: int | None, shown: str = "") -> tuple[Any, ...]:
        if project_id is None:
            return _nothing()
        status = training.status(ctx.database, project_id)
        failure = newest_failure(status)
        log = training.log_tail(ctx.database, ctx.settings, failure["id"]) if failure else ""
        return (
            headline_value(status),
            run_value(status, log),
            results_value(status),
            gr.Button(interactive=status["why_not_trainable"] is None and not _is_training(status)),
            gr.Button(visible=status["active"] is not None),
            *_curves(ctx, project_id, status, shown),
        )

    @told
    def train(project_id: int | None, shown: str) -> tuple[Any, ...]:
        if project_id is None:
            raise gr.Error("Choose a project first.", print_exception=False)
        training.request_run(ctx.database, project_id, trigger="click")
        return refresh(project_id, shown)

    @told
    def cancel(project_id: int, shown: str) -> tuple[Any, ...]:
        active = training.status(ctx.database, project_id)["active"]
        if active:
            training.cancel(ctx.database, active["id"])
        return refresh(project_id, shown)

    shows = {"inputs": [ctx.picker, drawn], "outputs": outputs, **QUICK}
    start.click(train, **shows)
    stop.click(cancel, **shows)
    timer.tick(refresh, **shows)
    tab.select(refresh, **shows)
    ctx.tabs.select(_is_open, None, timer, **QUICK)
    return TabHandle(tab, refresh, outputs)


def _is_open(event: gr.SelectData) -> gr.Timer:
    """Ask the database only while somebody looks."""
    return gr.Timer(active=event.value == "Train")


def _plot(title: str, names: dict[str, str], colours: list[str]) -> gr.LinePlot:
    return gr.LinePlot(
        None,
        x="step",
        y="value",
        color="series" if len(names) > 1 else None,
        color_map=dict(zip(names.values(), colours, strict=True)),
        title=title,
        color_title=" ",
        x_title="solver step",
        y_title=" ",
        height=230,
        min_width=280,
        show_label=False,
        tooltip="axis",
        buttons=[],
        visible=False,
    )


def _is_training(status: training.TrainStatus) -> bool:
    return any(run["kind"] == "train" for run in status["unfinished"])


def _nothing() -> tuple[Any, ...]:
    hidden = [gr.LinePlot(visible=False) for _ in PLOTS]
    return "", "", "", gr.Button(interactive=False), gr.Button(visible=False), *hidden, ""


def _curves(
    ctx: TabContext, project_id: int, status: training.TrainStatus, shown: str
) -> list[Any]:
    """New data for the plots and its signature, or nothing to change where they show it already."""
    run_id = _run_to_plot(status)
    rows = training.curves(ctx.database, run_id) if run_id is not None else []
    signature = f"{project_id}/{run_id}/{len(rows)}"
    if signature == shown:
        return [gr.skip()] * (len(PLOTS) + 1)
    return [*(_plot_update(rows, names) for _, names, _ in PLOTS), signature]


def _run_to_plot(status: training.TrainStatus) -> int | None:
    """The training at work, or else the newest one: the curves stay when it is done."""
    runs = [run for run in status["recent"] if run["kind"] == "train"]
    active = [run for run in runs if run["status"] in ("starting", "running", "cancelling")]
    return (active or runs or [{"id": None}])[0]["id"]


def _plot_update(rows: list[dict[str, Any]], names: dict[str, str]) -> gr.LinePlot:
    frame = _frame(rows, names)
    return gr.LinePlot(frame, visible=not frame.empty)


def _frame(rows: list[dict[str, Any]], names: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    wanted = [
        {"step": row["step"], "series": names[row["name"]], "value": row["value"]}
        for row in rows
        if row["name"] in names
    ]
    return pd.DataFrame(wanted, columns=["step", "series", "value"])
