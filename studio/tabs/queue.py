"""The Queue tab: which pair comes next, checks of quality, what is asked beside the verdict."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from studio.components.curves import curves
from studio.components.notice import notice, notice_value
from studio.services import queue_settings, selection_curves
from studio.services.errors import StudioError
from studio.services.queue_settings import QueueSettings
from studio.services.selection_curves import ArmCurves
from studio.tabs.context import QUICK, SLOW, TabContext, TabHandle, sentence, told

STRATEGIES = [
    ("Random", "random"),
    ("In order of import", "in_order"),
    ("Uncertainty: where the newest head is least sure", "uncertainty"),
    ("Information: what would teach the newest head most", "information"),
]
# Random is what the others are compared with; no project has more than these.
COLOURS = {
    "random": "muted",
    "in_order": "rejected",
    "uncertainty": "chosen",
    "information": "accent",
}
NAMES = {"in_order": "in order"}
UNIT = "labels"


def build(ctx: TabContext) -> TabHandle:
    with gr.Tab("Queue", id="queue", elem_id="queue-tab") as tab:
        gr.Markdown("## Which pair comes next", elem_classes="rs-h")
        state = notice("queue-state")
        strategy = gr.Radio(STRATEGIES, label="Strategy", elem_id="queue-strategy")
        shares = _shares()
        gr.Markdown("## What people are asked", elem_classes="rs-h")
        asked = _asked()
        with gr.Row(elem_classes="rs-line rs-compact"):
            save = gr.Button(
                "Save", variant="primary", scale=0, min_width=120, elem_id="queue-save"
            )
        saved = notice("queue-saved")
        gr.Markdown(
            "## Does choosing pay?\n\nA reward head is fitted to the labels of each strategy "
            "alone, at equal numbers of labels, and judged on the same held-out pairs.",
            elem_classes="rs-h",
        )
        with gr.Row(elem_classes="rs-line rs-compact"):
            compare = gr.Button("Compare", scale=0, min_width=120, elem_id="queue-compare")
        told_arms = notice("queue-arms")
        plot = curves("queue-curves")
    fields = [strategy, *shares, *asked]

    @told
    def refresh(project_id: int | None, request: gr.Request) -> tuple[Any, ...]:
        if project_id is None or not ctx.person(request).may(project_id, "lead"):
            return "", *[gr.skip()] * len(fields), "", "", ""
        settings = queue_settings.get(ctx.database, project_id)
        return notice_value(state_of(settings)), *values_of(settings), "", "", ""

    @told
    def show_state(project_id: int | None, request: gr.Request) -> Any:
        """Coming back to the tab leaves what is being written alone."""
        if project_id is None or not ctx.person(request).may(project_id, "lead"):
            return gr.skip()
        return notice_value(state_of(queue_settings.get(ctx.database, project_id)))

    @told
    def keep(project_id: int | None, request: gr.Request, *given: Any) -> tuple[Any, ...]:
        person = ctx.require(request, project_id, "lead")
        try:
            settings = queue_settings.update(
                ctx.database, _chosen(project_id), person.name, **changes(given)
            )
        except StudioError as error:
            return gr.skip(), *[gr.skip()] * len(fields), notice_value(sentence(error), "error")
        done = notice_value("Saved. It holds from the next pair on.", "good")
        return notice_value(state_of(settings)), *values_of(settings), done

    @told
    def show_arms(project_id: int | None, request: gr.Request) -> tuple[str, str]:
        ctx.require(request, project_id, "lead")
        found = selection_curves.arm_curves(ctx.database, ctx.settings, _chosen(project_id))
        return notice_value(arms_in_words(found)), chart_of(found)

    save.click(keep, [ctx.picker, *fields], [state, *fields, saved], **SLOW)
    compare.click(show_arms, ctx.picker, [told_arms, plot], **SLOW, concurrency_limit=1)
    tab.select(show_state, ctx.picker, state, **QUICK)
    return TabHandle(tab, refresh, [state, *fields, saved, told_arms, plot])


def _shares() -> list[gr.Slider]:
    with gr.Row(elem_classes="rs-side-by-side"):
        return [
            gr.Slider(
                lowest,
                highest,
                step=1,
                label=label,
                info=info,
                min_width=240,
                elem_id=f"queue-{name}",
            )
            for name, label, lowest, highest, info in (
                ("random", "Random arm, %", 1, 100, "Training pairs drawn whatever the strategy"),
                ("gold", "Gold pairs, %", 0, 50, "Pairs whose answer is known, shown unannounced"),
                ("repeat", "Repeats, %", 0, 50, "Own earlier pairs again, sides swapped"),
            )
        ]


def _asked() -> list[Any]:
    with gr.Row(elem_classes="rs-side-by-side"):
        return [
            gr.Number(
                label="Votes wanted for each pair", precision=0, minimum=1, maximum=100,
                min_width=200, elem_id="queue-wanted",
            ),
            gr.Textbox(
                label="Reasons, one a line", lines=4, max_lines=20, min_width=240,
                placeholder="More truthful\nMore helpful", elem_id="queue-reasons",
            ),
            gr.Textbox(
                label="Aspects rated from 1 to 5, one a line", lines=4, max_lines=20,
                min_width=240, placeholder="Clarity\nTone", elem_id="queue-aspects",
            ),
        ]  # fmt: skip


def _chosen(project_id: int | None) -> int:
    if project_id is None:
        raise StudioError("no project is chosen; choose one above")
    return project_id


def values_of(settings: QueueSettings) -> list[Any]:
    """What the boxes show, in their order."""
    return [
        settings.strategy,
        round(100 * settings.random_share),
        round(100 * settings.gold_rate),
        round(100 * settings.repeat_rate),
        settings.wanted_votes,
        "\n".join(settings.reasons),
        "\n".join(settings.aspects),
    ]


def changes(given: tuple[Any, ...]) -> dict[str, Any]:
    """What the boxes say, for `queue_settings.update`; an untouched box changes nothing."""
    strategy, random_share, gold_rate, repeat_rate, wanted_votes, reasons, aspects = given
    shares = {"random_share": random_share, "gold_rate": gold_rate, "repeat_rate": repeat_rate}
    return {
        "strategy": strategy,
        **{name: None if share is None else share / 100 for name, share in shares.items()},
        "wanted_votes": None if wanted_votes is None else int(wanted_votes),
        "reasons": None if reasons is None else reasons.splitlines(),
        "aspects": None if aspects is None else aspects.splitlines(),
    }


def state_of(settings: QueueSettings) -> str:
    """Where the queue's order comes from now, and what the checks have to draw from."""
    ranking, parts = settings.ranking, []
    if settings.strategy in ("uncertainty", "information"):
        if ranking.get("wanted") != settings.strategy:
            parts.append("The pairs are being ranked; until then they come at random.")
        elif ranking.get("why_not"):
            parts.append(f"The pairs come at random for now: {ranking['why_not']}.")
        else:
            parts.append(
                f"{ranking['num_ranked']} of {ranking['num_candidates']} training pairs that want "
                f"a vote are ranked by checkpoint {ranking['checkpoint_id']} "
                f"({ranking['num_scored']} were looked at, {ranking['num_not_encoded']} are not "
                "encoded yet)."
            )
    if settings.gold_rate and not settings.num_gold:
        parts.append("There are no gold pairs to show: import some on the Data tab.")
    elif settings.num_gold:
        parts.append(f"The project has {settings.num_gold} gold pairs.")
    return " ".join(parts)


def arms_in_words(found: ArmCurves) -> str:
    """What the plot does not say."""
    if found.why_not:
        return f"There is nothing to compare yet: {found.why_not}."
    left_out = f" {found.num_not_encoded} are not encoded." if found.num_not_encoded else ""
    counts = ", ".join(f"{number} {_name(arm)}" for arm, number in found.num_labels.items())
    return (
        f"Labels: {counts}.{left_out} Judged on {found.num_heldout} held-out pairs; the bands are "
        "95 % intervals over their prompts. Where they overlap widely, nothing is shown yet."
    )


def chart_of(found: ArmCurves) -> str:
    """The plot's value."""
    if not found.arms:
        return ""
    series = [
        {
            "name": _name(arm),
            "colour": COLOURS.get(arm, "ink"),
            "points": [[labels, accuracy] for labels, accuracy, _, _ in points],
            "band": [[labels, low, high] for labels, _, low, high in points],
        }
        for arm, points in sorted(found.arms.items())
    ]
    return json.dumps([{"title": "Accuracy on held-out pairs", "unit": UNIT, "series": series}])


def _name(arm: str) -> str:
    return NAMES.get(arm, arm)
