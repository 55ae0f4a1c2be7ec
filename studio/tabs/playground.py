"""The Playground tab: a prompt, two answers, their rewards and the heatmaps that explain them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import gradio as gr

from studio.components.conversation import (
    conversation,
    conversation_messages,
    conversation_value,
)
from studio.components.notice import notice, notice_value
from studio.components.token_heatmap import heatmap_value, token_heatmap
from studio.services import scoring
from studio.services.errors import StudioError
from studio.tabs.context import QUICK, SLOW, TabContext, TabHandle, sentence, told

MAX_CHARACTERS = 200_000


def build(ctx: TabContext) -> TabHandle:
    with gr.Tab("Playground", id="playground") as tab:
        with gr.Row(visible=False, elem_classes="rs-unready") as unready_box:
            unready = notice("playground-unready")
            to_train = gr.Button("Go to Train", scale=0, min_width=140, elem_id="go-to-train")
        with gr.Row(elem_classes="rs-line rs-compact"):
            random_pair = gr.Button("Random pair", scale=0, min_width=130, elem_id="random-pair")
            pair_id = gr.Textbox(
                show_label=False,
                label="Pair number",
                placeholder="Pair number",
                max_lines=1,
                container=False,
                scale=0,
                min_width=96,
                elem_id="pair-number",
            )
            open_pair = gr.Button("Open pair", scale=0, min_width=110, elem_id="open-pair")
        with gr.Accordion("System prompt", open=False, elem_id="system-prompt") as system_box:
            system = gr.Textbox(
                show_label=False,
                label="System prompt",
                lines=2,
                max_lines=6,
                placeholder="None",
                container=False,
            )
        with gr.Column(visible=False, elem_classes="rs-earlier") as earlier_box:
            earlier = conversation("earlier-turns")
            forget = gr.Button("Leave these turns out", size="sm", elem_id="forget-turns")
        prompt = _text("Prompt", 2, 6, "What the answers reply to", "playground-prompt")
        with gr.Row(elem_classes="rs-side-by-side"):
            with gr.Column(min_width=300):
                answer_a = _text("Answer A", 5, 8, "One answer", "answer-a")
            with gr.Column(min_width=300):
                answer_b = _text("Answer B", 5, 8, "Another answer", "answer-b")
        with gr.Row(elem_classes="rs-line"):
            score = gr.Button("Score", variant="primary", scale=0, min_width=190, elem_id="score")
            told_here = notice("playground-notice")
        heatmap = token_heatmap()
    typed = [system, earlier, prompt, answer_a, answer_b]
    loaded = [*typed, earlier_box, system_box, pair_id, told_here, heatmap]

    @told
    def load(project_id: int | None, wanted: str | None) -> tuple[Any, ...]:
        unchanged = [gr.skip()] * (len(loaded) - 2)
        try:
            pair = _project_pair(ctx, project_id, wanted or "")
        except StudioError as error:
            return *unchanged, notice_value(sentence(error), "error"), gr.skip()
        return *_fields(pair), notice_value(verdict_line(pair)), ""

    @told
    def run(project_id: int | None, *fields: str | None) -> tuple[Any, ...]:
        # A box that nobody has touched yet is None.
        try:
            comparison = _compare(ctx, project_id, *(field or "" for field in fields))
        except StudioError as error:
            return notice_value(sentence(error), "error"), "", gr.skip()
        return gr.skip(), heatmap_value(comparison), gr.Row(visible=False)

    @told
    def look(project_id: int | None) -> tuple[Any, ...]:
        reason = scoring.why_not_scorable(ctx.database, project_id) if project_id else ""
        return gr.Row(visible=bool(reason)), notice_value(reason, "warning")

    @told
    def refresh(project_id: int | None) -> tuple[Any, ...]:
        return notice_value(), "", *look(project_id)

    gr.on(
        [score.click, prompt.submit, answer_a.submit, answer_b.submit],
        run,
        [ctx.picker, *typed],
        [told_here, heatmap, unready_box],
        **SLOW,
        concurrency_limit=None,
    )
    random_pair.click(told(lambda p: load(p, "random")), ctx.picker, loaded, **QUICK)
    open_pair.click(load, [ctx.picker, pair_id], loaded, **QUICK)
    pair_id.submit(load, [ctx.picker, pair_id], loaded, **QUICK)
    forget.click(
        told(lambda: ("", gr.Column(visible=False))), None, [earlier, earlier_box], **QUICK
    )
    to_train.click(told(lambda: gr.Tabs(selected="train")), None, ctx.tabs, **QUICK)
    tab.select(look, ctx.picker, [unready_box, unready], **QUICK)
    # What people said of a pair is not said of an edited one.
    edits = [box.input for box in (system, prompt, answer_a, answer_b)]
    gr.on(edits, None, None, told_here, js="() => ''", **QUICK)
    return TabHandle(tab, refresh, [told_here, heatmap, unready_box, unready])


def _text(label: str, lines: int, max_lines: int, placeholder: str, elem_id: str) -> gr.Textbox:
    return gr.Textbox(
        label=label,
        lines=lines,
        max_lines=max_lines,
        placeholder=placeholder,
        max_length=MAX_CHARACTERS,
        elem_id=elem_id,
    )


def _project_pair(ctx: TabContext, project_id: int | None, wanted: str) -> Mapping[str, Any]:
    if project_id is None:
        raise StudioError("no project is chosen; choose one above")
    wanted = wanted.strip()
    if wanted != "random" and not re.fullmatch(r"[0-9]{1,9}", wanted):
        raise StudioError(f"{wanted!r} is not a pair's number; give one such as 12")
    return scoring.project_pair(ctx.database, project_id, wanted)


def _compare(
    ctx: TabContext,
    project_id: int | None,
    system: str,
    earlier: str,
    prompt: str,
    answer_a: str,
    answer_b: str,
) -> Mapping[str, Any]:
    if project_id is None:
        raise StudioError("no project is chosen; choose one above")
    if not prompt.strip():
        raise StudioError("the prompt is empty; write one or open a pair of the project")
    messages = [
        *([{"role": "system", "content": system}] if system.strip() else []),
        *conversation_messages(earlier),
        {"role": "user", "content": prompt},
    ]
    return scoring.compare(ctx.database, ctx.settings, project_id, messages, [answer_a, answer_b])


def _fields(pair: Mapping[str, Any]) -> tuple[Any, ...]:
    """The pair in the order of `loaded`: the last turn to edit, system prompt and others apart."""
    messages = list(pair["messages"])
    system = messages.pop(0)["content"] if messages and messages[0]["role"] == "system" else ""
    last = messages.pop()["content"] if messages and messages[-1]["role"] == "user" else ""
    return (
        system,
        conversation_value(messages),
        last,
        pair["response_a"],
        pair["response_b"],
        gr.Column(visible=bool(messages)),
        gr.Accordion(open=bool(system)),
        str(pair["pair_id"]),
    )


def verdict_line(pair: Mapping[str, Any]) -> str:
    """What people said of the pair, in words."""
    verdict = pair["verdict"] or {}
    target, count = verdict.get("target"), verdict.get("num_votes") or 0
    name = f"Pair {pair['pair_id']}"
    if target is None:
        return f"{name} is not judged yet."
    votes = "1 vote" if count == 1 else f"{count} votes"
    if target == 0.5:
        return f"{name}: judged a tie ({votes})."
    better, share = ("A", target) if target > 0.5 else ("B", 1 - target)
    agreed = "" if share == 1 else f", {share:.0%} of them for it"
    return f"{name}: answer {better} was judged better ({votes}{agreed})."
