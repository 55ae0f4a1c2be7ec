"""The parts of the Train tab that are read: what is new, the run at work, the newest checkpoint.

`train_panel("headline" | "run" | "results")` makes one part; its value is what
`services.training.status` returns, cut to that part by the functions here, so that a part is
drawn again only when something in it changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from studio.components.assets import script, style

if TYPE_CHECKING:
    import gradio as gr

Part = Literal["headline", "run", "results"]
Status = Mapping[str, Any]

SCRIPTS = (
    "dom.js",
    "run_log.js",
    "length_lean.js",
    "head_alone.js",
    "train_run.js",
    "train_panel.js",
)
CHECKPOINT_FIELDS = (
    "id",
    "created_at",
    "accuracy",
    "accuracy_ci",
    "length_only_accuracy",
    "length_only_accuracy_ci",
    "length_only_rule",
    "majority_accuracy",
    "reward_length_correlation",
    "log_loss",
    "ece",
    "evaluation",
    "num_folds",
    "pairs",
    "num_pairs",
    "num_train",
    "num_heldout",
    "layer",
    "readout",
    "left_out_told",
    "head_of",
)


def headline_value(status: Status, left_out: str = "") -> str:
    """How many judged pairs the newest checkpoint has not seen, and how many do not train."""
    checkpoint = status["checkpoint"]
    return _packed(
        {
            "new_judged": status["new_judged"],
            "checkpoint_id": checkpoint["id"] if checkpoint else None,
            "why_not": status["why_not_trainable"],
            "left_out": left_out,
        }
    )


def run_value(status: Status, log_tail: str = "") -> str:
    """The run at work with the end of its log, and the newest one that failed."""
    active = status["active"]
    return _packed(
        {
            "project_id": status["project_id"],
            "active": {**active, "log": log_tail} if active else None,
            "queued": max(0, len(status["unfinished"]) - 1),
            "failed": newest_failure(status),
        }
    )


def results_value(status: Status) -> str:
    """The newest checkpoint's figures and the table of runs."""
    checkpoint = status["checkpoint"]
    failed = newest_failure(status)
    return _packed(
        {
            "project_id": status["project_id"],
            "told_above": failed["id"] if failed else None,
            "checkpoint": {
                **{name: checkpoint.get(name) for name in CHECKPOINT_FIELDS},
                "in_use": status["in_use"],
                "because": checkpoint["promotion"].get("because"),
            }
            if checkpoint
            else None,
            "recent": [
                {
                    **run,
                    # What still moves is shown above, and would draw this table every two seconds.
                    "elapsed_s": run["elapsed_s"] if run["finished_at"] else None,
                    **dict.fromkeys(("stage", "done", "total", "eta_s")),
                    "goes_on_as": goes_on_as(run, status["recent"]),
                }
                for run in status["recent"]
            ],
        }
    )


def goes_on_as(run: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> int | None:
    """The run that does the rest of an encoding which made way for training; None for others.

    The dispatcher queues that run, with the trigger "resumed", when it ends the first one.
    """
    if run["kind"] != "encode" or run["status"] not in ("cancelling", "cancelled"):
        return None
    later = [each for each in runs if each["kind"] == "encode" and each["id"] > run["id"]]
    following = min(later, key=lambda each: each["id"], default=None)
    return following["id"] if following and following["trigger"] == "resumed" else None


def newest_failure(status: Status) -> dict[str, Any] | None:
    """The newest training if it failed, else the newest encoding if that did.

    An older failure is history. An encoding that goes on after a training that failed does not
    hide the failure: somebody waits for that training.
    """
    for kind in ("train", "encode"):
        newest = next((run for run in status["recent"] if run["kind"] == kind), None)
        if newest and newest["status"] == "failed":
            return dict(newest)
    return None


def train_panel(part: Part) -> gr.HTML:
    import gradio as gr

    return gr.HTML(
        "",
        html_template='<div class="rs-train" data-part="train"></div>',
        css_template=style("train_panel.css"),
        js_on_load=script(*SCRIPTS),
        apply_default_css=False,
        elem_id=f"train-{part}",
        part=part,
    )


def _packed(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
