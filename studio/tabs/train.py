"""The Train tab: what is new, the Train button, the run at work with its curves, the checkpoints.

Everything comes from the database through `services.training`, asked every two seconds while the
tab is open, so that every browser shows the same and a reload loses nothing.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.components.curves import curves, curves_value
from studio.components.train_panel import (
    headline_value,
    newest_failure,
    results_value,
    run_value,
    train_panel,
)
from studio.services import training
from studio.services.errors import StudioError
from studio.tabs.context import QUICK, TabContext, TabHandle, told

TICK_S = 2


def build(ctx: TabContext) -> TabHandle:
    with gr.Tab("Train", id="train") as tab:
        with gr.Row(elem_classes="rs-side-by-side"):
            with gr.Column(scale=5, min_width=280):
                headline = train_panel("headline")
            with gr.Column(scale=0, min_width=190):
                start = gr.Button("Train", variant="primary", elem_id="train-button")
                stop = gr.Button("Cancel run", visible=False, elem_id="cancel-button")
        run = train_panel("run")
        plots = curves("train-curves")
        results = train_panel("results")
        timer = gr.Timer(TICK_S, active=False)
    outputs = [headline, run, plots, results, start, stop]

    @told
    def refresh(project_id: int | None) -> tuple[Any, ...]:
        if project_id is None:
            return "", "", "", "", gr.Button(interactive=False), gr.Button(visible=False)
        status = training.status(ctx.database, project_id)
        failure = newest_failure(status)
        log = training.log_tail(ctx.database, ctx.settings, failure["id"]) if failure else ""
        plotted = _run_to_plot(status)
        rows = training.curves(ctx.database, plotted) if plotted is not None else []
        return (
            headline_value(status),
            run_value(status, log),
            curves_value(rows),
            results_value(status),
            gr.Button(interactive=status["why_not_trainable"] is None and not _is_training(status)),
            gr.Button(visible=status["active"] is not None),
        )

    @told
    def train(project_id: int | None) -> tuple[Any, ...]:
        if project_id is None:
            raise StudioError("no project is chosen; choose one above")
        training.request_run(ctx.database, project_id, trigger="click")
        return refresh(project_id)

    @told
    def cancel(project_id: int | None) -> tuple[Any, ...]:
        active = training.status(ctx.database, project_id)["active"] if project_id else None
        if active:
            training.cancel(ctx.database, active["id"])
        return refresh(project_id)

    shows = {"inputs": ctx.picker, "outputs": outputs, **QUICK}
    start.click(train, **shows)
    stop.click(cancel, **shows)
    timer.tick(refresh, **shows)
    tab.select(refresh, **shows)
    ctx.tabs.select(_is_open, None, timer, **QUICK)
    return TabHandle(tab, refresh, outputs)


@told
def _is_open(event: gr.SelectData) -> gr.Timer:
    """Ask the database only while somebody looks."""
    return gr.Timer(active=event.value == "Train")


def _is_training(status: training.TrainStatus) -> bool:
    return any(run["kind"] == "train" for run in status["unfinished"])


def _run_to_plot(status: training.TrainStatus) -> int | None:
    """The training at work, or else the newest that succeeded: its checkpoint is shown below."""
    runs = [run for run in status["recent"] if run["kind"] == "train"]
    at_work = [run for run in runs if run["status"] in ("starting", "running", "cancelling")]
    done = [run for run in runs if run["status"] == "succeeded"]
    return next((run["id"] for run in [*at_work, *done]), None)
