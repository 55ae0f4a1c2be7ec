"""The Train tab: what is new, the Train button, the run at work with its curves, the newest
checkpoint, the runs, and when the project trains by itself.

Everything comes from the database through `services.training`, asked every second while the
tab is open, so that every browser shows the same and a reload loses nothing. The rules are read
when the tab is opened and not while somebody writes them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import available_timezones

import gradio as gr

from studio.components.curves import curves, curves_value
from studio.components.notice import notice, notice_value
from studio.components.train_panel import (
    headline_value,
    results_value,
    run_value,
    train_panel,
)
from studio.services import retrain, training
from studio.services.errors import StudioError
from studio.services.left_out import left_out, pairs_told
from studio.tabs.context import QUICK, TabContext, TabHandle, sentence, told

PROMOTION = [
    ("Put it to use, unless it is significantly worse", "unless_worse"),
    ("Always put it to use", "always"),
    ("Wait until a lead promotes it", "manual"),
]


def build(ctx: TabContext) -> TabHandle:
    with gr.Tab("Train", id="train") as tab:
        with gr.Row(elem_classes="rs-side-by-side"):
            with gr.Column(scale=5, min_width=280):
                headline = train_panel("headline")
            with gr.Column(scale=0, min_width=190):
                start = gr.Button("Train", variant="primary", elem_id="train-button")
        run = train_panel("run")
        plots = curves("train-curves")
        results = train_panel("results")
        rules, save, saved = _rules_form()
    outputs = [headline, run, plots, results, start]

    @told
    def refresh(project_id: int | None, request: gr.Request) -> tuple[Any, ...]:
        if project_id is None:
            return "", "", "", "", gr.Button(interactive=False)
        ctx.require(request, project_id, "lead")
        return _shown(ctx, project_id)

    @told
    def train(project_id: int | None, request: gr.Request) -> tuple[Any, ...]:
        person = ctx.require(request, project_id, "lead")
        if project_id is None:
            raise StudioError("no project is chosen; choose one above")
        training.request_run(ctx.database, project_id, trigger="click", actor=person.name)
        return _shown(ctx, project_id)

    @told
    def cancel(project_id: int | None, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """The run that was shown when the button was pressed; another may be at work by now."""
        ctx.require(request, project_id, "lead")
        shown = event._data.get("run") if isinstance(event._data, dict) else None
        if project_id is not None and isinstance(shown, int):
            training.cancel(ctx.database, shown, project_id)
        return refresh(project_id, request)

    @told
    def read_rules(project_id: int | None, request: gr.Request) -> tuple[Any, ...]:
        if project_id is None:
            return *([gr.skip()] * len(rules)), ""
        ctx.require(request, project_id, "lead")
        return *_rules_shown(retrain.told(ctx.database, project_id)), ""

    @told
    def save_rules(
        project_id: int | None,
        by_count: bool,
        count: float | None,
        by_vote: bool,
        by_clock: bool,
        cron: str | None,
        timezone: str | None,
        promotion: str,
        request: gr.Request,
    ) -> str:
        person = ctx.require(request, project_id, "lead")
        if project_id is None:
            raise StudioError("no project is chosen; choose one above")
        wanted = {
            "new_pairs": _whole(count) if by_count else None,
            "after_vote": bool(by_vote),
            "cron": (cron or " ") if by_clock else None,
            "timezone": timezone if by_clock else None,
        }
        try:
            rules_now = retrain.set_rules(
                ctx.database, project_id, wanted, actor=person.name, promotion_rule=promotion
            )
        except StudioError as error:
            return notice_value(sentence(error), "error")
        return notice_value(in_words(rules_now), "good")

    shows = {"inputs": ctx.picker, "outputs": outputs, **QUICK}
    start.click(train, **shows)
    run.cancel_run(cancel, **shows)
    headline.look(refresh, **shows)
    tab.select(refresh, **shows)
    tab.select(read_rules, ctx.picker, [*rules, saved], **QUICK)
    save.click(save_rules, [ctx.picker, *rules], saved, **QUICK)
    results.open_checkpoints(told(lambda: gr.Tabs(selected="checkpoints")), None, ctx.tabs, **QUICK)

    @told
    def show(project_id: int | None, request: gr.Request) -> tuple[Any, ...]:
        return *refresh(project_id, request), *read_rules(project_id, request)

    return TabHandle(tab, show, [*outputs, *rules, saved])


def _shown(ctx: TabContext, project_id: int) -> tuple[Any, ...]:
    """The values of everything above the rules."""
    status = training.status(ctx.database, project_id)
    plotted = _run_to_plot(status)
    rows = training.curves(ctx.database, plotted) if plotted is not None else []
    return (
        headline_value(status, pairs_told(left_out(ctx.database, project_id))),
        run_value(status, _log(ctx, status["active"])),
        curves_value(rows),
        results_value(status),
        gr.Button(interactive=status["why_not_trainable"] is None and not _is_training(status)),
    )


def _log(ctx: TabContext, run: dict[str, Any] | None) -> str:
    return training.log_tail(ctx.database, ctx.settings, run["id"]) if run else ""


def _is_training(status: training.TrainStatus) -> bool:
    return any(run["kind"] == "train" for run in status["unfinished"])


def _run_to_plot(status: training.TrainStatus) -> int | None:
    """The training at work, or else the newest that succeeded: its checkpoint is shown below."""
    runs = [run for run in status["recent"] if run["kind"] == "train"]
    at_work = [run for run in runs if run["status"] in ("starting", "running", "cancelling")]
    done = [run for run in runs if run["status"] == "succeeded"]
    return next((run["id"] for run in [*at_work, *done]), None)


# --- the rules -------------------------------------------------------------------------------


def _rules_form() -> tuple[list[gr.components.Component], gr.Button, gr.HTML]:
    with gr.Accordion("Rules: when it trains by itself", open=False, elem_id="train-rules"):
        with gr.Row(elem_classes="rs-line rs-compact"):
            by_count = gr.Checkbox(
                label="When this many judged pairs are new", scale=0, min_width=310
            )
            count = gr.Number(
                label="New judged pairs", value=50, precision=0, minimum=1, show_label=False,
                container=False, min_width=110, scale=0, elem_id="rule-count",
            )  # fmt: skip
        by_vote = gr.Checkbox(
            label="After every vote",
            info="As soon as voting pauses for two seconds, the head alone: layer, readout and "
            "penalty are chosen anew once a tenth more pairs are judged, or a day has gone by. It "
            "never interrupts an encoding.",
        )
        with gr.Row(elem_classes="rs-line rs-compact"):
            by_clock = gr.Checkbox(
                label="At these times, if anything is new",
                info="As in a crontab: minute, hour, day of the month, month, day of the week.",
                scale=0,
                min_width=310,
            )
            cron = gr.Textbox(
                label="Times as in a crontab", value="0 3 * * *", max_lines=1, show_label=False,
                container=False, min_width=150, scale=0, elem_id="rule-cron",
            )  # fmt: skip
            timezone = gr.Dropdown(
                sorted(available_timezones()), value="UTC", label="Time zone", show_label=False,
                container=False, min_width=200, scale=0, elem_id="rule-timezone",
            )  # fmt: skip
        promotion = gr.Radio(
            PROMOTION, value="unless_worse", label="What becomes of a new checkpoint",
            elem_id="rule-promotion",
        )  # fmt: skip
        with gr.Row(elem_classes="rs-line"):
            save = gr.Button("Save rules", scale=0, min_width=150, elem_id="save-rules")
            saved = notice("rules-result")
    return [by_count, count, by_vote, by_clock, cron, timezone, promotion], save, saved


def _rules_shown(rules: dict[str, Any]) -> tuple[Any, ...]:
    """The form's values; what is off keeps a value to start from."""
    return (
        rules["new_pairs"] is not None,
        rules["new_pairs"] or 50,
        rules["after_vote"],
        bool(rules["cron"]),
        rules["cron"] or "0 3 * * *",
        rules["timezone"],
        rules["promotion_rule"],
    )


def _whole(count: float | None) -> Any:
    """Gradio's number is a float, or None where the box is empty."""
    return int(count) if isinstance(count, float) and count.is_integer() else count or 0.5


def in_words(rules: dict[str, Any]) -> str:
    """What the saved rules come to."""
    when = []
    if rules["new_pairs"]:
        when.append(f"as soon as {rules['new_pairs']} judged pairs are new")
    if rules["after_vote"]:
        when.append("after votes")
    if rules["next_time"]:
        at = datetime.fromisoformat(rules["next_time"])
        when.append(f"on {at:%d %B at %H:%M} ({rules['timezone']}) and so on, if anything is new")
    if not when:
        return "Saved: it trains only when somebody asks for it."
    return f"Saved: it trains {'; '.join(when)}."
