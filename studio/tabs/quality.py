"""The Quality tab: how far people agree, what each annotator does, pairs to look at, and the rules.

Every part is a component that triggers `act`; what is asked for is done by the services, which
count from the votes. The last word on a pair is given here (services/adjudication.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from studio.components.quality_panels import (
    quality_figures,
    quality_pairs,
    quality_rules,
    quality_value,
)
from studio.services import adjudication, aggregation, agreement, quality, relabelling
from studio.services.agreement import Estimate
from studio.services.errors import StudioError, UsageError
from studio.services.people import Person
from studio.tabs.context import QUICK, TabContext, TabHandle, told

LISTS = ("disputed", "flagged", "relabel", "adjudicated")
Asked = Mapping[str, Any]


def build(ctx: TabContext) -> TabHandle:
    with gr.Tab("Quality", id="quality") as tab:
        figures, pairs, rules = quality_figures(), quality_pairs(), quality_rules()
    outputs = [figures, pairs, rules]

    @told
    def refresh(project_id: int | None, request: gr.Request) -> tuple[str, str, str]:
        ctx.require(request, project_id, "lead")
        waiting = {} if project_id is None else {"is_waiting": True}
        return quality_value(waiting), "", ""

    @told
    def ask_figures(project_id: int | None, request: gr.Request, event: gr.EventData) -> Any:
        ctx.require(request, project_id, "lead")
        asked = _asked(event)
        if project_id is None:
            return "", "", ""
        if asked.get("action") == "couple":
            couple = _couple(ctx, project_id, asked)
            return quality_value(_figures(ctx, project_id) | couple), gr.skip(), gr.skip()
        if asked.get("is_first") is not True:  # an open pair and half a comment stay as they are
            return quality_value(_figures(ctx, project_id)), gr.skip(), gr.skip()
        return (
            quality_value(_figures(ctx, project_id)),
            quality_value(_pairs(ctx, project_id, {})),
            quality_value(_rules(ctx, project_id)),
        )

    @told
    def ask_pairs(project_id: int | None, request: gr.Request, event: gr.EventData) -> str:
        person = ctx.require(request, project_id, "lead")
        asked = _asked(event)
        done: dict[str, Any] = {}
        try:
            if project_id is not None:
                done = _decide(ctx, person, project_id, asked)
        except StudioError as error:
            done = {"error": str(error)}
        return "" if project_id is None else quality_value(_pairs(ctx, project_id, asked) | done)

    @told
    def ask_rules(project_id: int | None, request: gr.Request, event: gr.EventData) -> Any:
        person = ctx.require(request, project_id, "lead")
        if project_id is None:
            return "", gr.skip()
        answer = _try_rules(ctx, person, project_id, _asked(event))
        return (
            quality_value(_rules(ctx, project_id) | answer),
            quality_value(_figures(ctx, project_id)) if "done" in answer else gr.skip(),
        )

    figures.act(ask_figures, ctx.picker, outputs, **QUICK)
    pairs.act(ask_pairs, ctx.picker, pairs, **QUICK)
    rules.act(ask_rules, ctx.picker, [rules, figures], **QUICK)
    return TabHandle(tab, refresh, outputs)


def _asked(event: gr.EventData) -> Asked:
    return event._data if isinstance(event._data, dict) else {}


# --- figures ---------------------------------------------------------------------------------


def _figures(ctx: TabContext, project_id: int) -> dict[str, Any]:
    found = quality.overview(ctx.database, project_id)
    return {
        "alpha": _estimate(found.alpha),
        "alpha_words": quality.alpha_in_words(found.alpha),
        "percent": _estimate(found.percent),
        "ceiling": _estimate(found.ceiling),
        "fleiss": _estimate(found.fleiss),
        "fleiss_votes": found.fleiss_votes,
        "cohen": _estimate(found.cohen),
        "num_couples": found.num_couples,
        "min_common": agreement.MIN_COMMON,
        "num_votes": found.num_votes,
        "num_judged": found.num_judged,
        "num_shared": found.num_shared,
        "num_pairs": found.num_pairs,
        "num_trained": found.merged.num_with_target,
        "left_out": found.left_out,
        "too_fast": found.too_fast,
        "with_others": found.with_others,
        "gold": found.gold,
        "repeats": found.repeats,
        "annotators": [
            {
                key: _estimate(value) if isinstance(value, Estimate) else value
                for key, value in vars(row).items()
            }
            for row in found.annotators
        ],
    }


def _estimate(found: Estimate) -> dict[str, Any]:
    return found._asdict()


def _couple(ctx: TabContext, project_id: int, asked: Asked) -> dict[str, Any]:
    names = {"first": str(asked.get("first")), "second": str(asked.get("second"))}
    if names["first"] == names["second"]:
        return {"error": "choose two different annotators"}
    try:
        kappa = quality.two_annotators(ctx.database, project_id, **names)
    except StudioError as error:
        return {"error": str(error)}
    return {"couple": {**names, "kappa": _estimate(kappa)}}


# --- pairs -----------------------------------------------------------------------------------


def _decide(ctx: TabContext, person: Person, project_id: int, asked: Asked) -> dict[str, Any]:
    """What a lead does to a pair; what to tell of it."""
    action = asked.get("action")
    if action in ("list", "open"):
        return {}
    pair_id = _pair_id(asked.get("pair"))
    arguments = (ctx.database, project_id, person.name, pair_id)
    if action == "adjudicate":
        adjudication.adjudicate(*arguments, asked)
        return {"done": f"saved: your verdict on pair {pair_id} overrides its votes"}
    if action == "withdraw":
        adjudication.withdraw(*arguments)
        return {"done": f"withdrawn: the votes on pair {pair_id} count again"}
    if action == "pause":
        paused = asked.get("paused") is True
        adjudication.set_paused(*arguments, paused)
        how = "paused: it is shown to nobody" if paused else "handed out again"
        return {"done": f"pair {pair_id} is {how}"}
    raise UsageError(f"unknown action {action!r:.40}; load the page again")


def _pair_id(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise UsageError(f"pair is {value!r:.40}; choose one from the lists")
    return value


def _pairs(ctx: TabContext, project_id: int, asked: Asked) -> dict[str, Any]:
    """The list that is looked at and, where one is open, the pair."""
    found = quality.overview(ctx.database, project_id)
    name = str(asked.get("list"))
    name = name if name in LISTS else "disputed"
    rows, note, total = _LISTED[name](ctx, project_id)
    words = adjudication.first_words(ctx.database, project_id, [row["pair_id"] for row in rows])
    totals = {
        "disputed": found.num_disputed,
        "flagged": adjudication.count_flagged(ctx.database, project_id),
        "adjudicated": found.num_adjudicated,
        **({"relabel": total} if name == "relabel" else {}),
    }
    shown = [{**row, "words": words.get(row["pair_id"], "")} for row in rows]
    value = {"list": name, "rows": shown, "note": note, "totals": totals, "opened": None}
    return value | _opened(ctx, project_id, asked, [row["pair_id"] for row in rows])


def _opened(ctx: TabContext, project_id: int, asked: Asked, listed: list[int]) -> dict[str, Any]:
    """The pair that is asked for, or the next one after a verdict, with the one that follows."""
    pair_id = asked.get("pair")
    if asked.get("action") == "adjudicate":
        pair_id = asked.get("next")
    if asked.get("action") == "list" or pair_id is None:
        return {}
    try:
        opened = adjudication.open_pair(ctx.database, project_id, _pair_id(pair_id))
    except StudioError as error:
        return {"error": str(error)}
    opened["model"] = relabelling.prediction(
        ctx.database, ctx.settings, project_id, opened["pair_id"]
    )
    after = listed[listed.index(pair_id) + 1 :] if pair_id in listed else listed
    opened["next"] = after[0] if after else None
    return {"opened": opened}


Listed = tuple[list[dict[str, Any]], str | None, int]


def _list_disputed(ctx: TabContext, project_id: int) -> Listed:
    found = quality.overview(ctx.database, project_id)
    rows = [
        {
            "pair_id": each.pair_id,
            "said": _counts_text(each.counts),
            "about": f"{sum(each.counts.values())} votes",
        }
        for each in found.disputed
    ]
    return rows, None, found.num_disputed


NAMES = {"a": "A", "b": "B", "tie": "tie", "both_bad": "both bad", "skip": "skip", "flag": "flag"}


def _counts_text(counts: Mapping[str, int]) -> str:
    return " · ".join(f"{NAMES[choice]} {number}" for choice, number in counts.items())


def _list_flagged(ctx: TabContext, project_id: int) -> Listed:
    rows = [
        {
            "pair_id": each["pair_id"],
            "said": "; ".join([*each["reasons"], each["comment"]]).strip("; ") or "no comment",
            "about": f"{'paused' if each['is_paused'] else 'open again'} · {each['annotator']}",
        }
        for each in adjudication.list_flagged(ctx.database, project_id)
    ]
    return rows, None, adjudication.count_flagged(ctx.database, project_id)


def _list_relabel(ctx: TabContext, project_id: int) -> Listed:
    try:
        found = relabelling.candidates(ctx.database, ctx.settings, project_id)
    except StudioError as error:
        return [], str(error)[:1].upper() + str(error)[1:], 0
    if found["checkpoint_id"] is None:
        return [], "There is no model yet: train one first.", 0
    rows = [
        {
            "pair_id": each["pair_id"],
            "said": f"people {each['people'].upper()}, {each['share']:.0%}".replace("%", " %"),
            "about": f"model {each['prob_people']:.0%}".replace("%", " %")
            + ("" if each["was_unseen"] else " · trained on it"),
        }
        for each in found["listed"]
    ]
    note = (
        f"Checkpoint {found['checkpoint_id']} gives these verdicts {found['strong']:.0%} or less "
        f"({found['num_scored']:,} pairs compared"
    ).replace("%", " %")
    if found["num_unscored"]:
        note += f"; {found['num_unscored']:,} wait to be encoded and are not among them"
    return rows, f"{note}).", found["total"]


def _list_adjudicated(ctx: TabContext, project_id: int) -> Listed:
    rows = [
        {
            "pair_id": each["pair_id"],
            "said": NAMES[each["choice"]],
            "about": f"{each['annotator']} · {each['created_at'][:10]}",
        }
        for each in adjudication.list_adjudicated(ctx.database, project_id)
    ]
    return rows, None, len(rows)


_LISTED = {
    "disputed": _list_disputed,
    "flagged": _list_flagged,
    "relabel": _list_relabel,
    "adjudicated": _list_adjudicated,
}


# --- rules -----------------------------------------------------------------------------------


def _rules(ctx: TabContext, project_id: int) -> dict[str, Any]:
    found = quality.overview(ctx.database, project_id)
    return {
        "settings": aggregation.read(ctx.database, project_id),
        "annotators": sorted(row.name for row in found.annotators),
    }


def _try_rules(ctx: TabContext, person: Person, project_id: int, asked: Asked) -> dict[str, Any]:
    """A preview of the settings asked for, or the settings in force."""
    settings = asked.get("settings")
    try:
        if not isinstance(settings, dict):
            raise UsageError("the settings are missing; load the page again")
        if asked.get("action") == "preview":
            preview = aggregation.preview(ctx.database, project_id, settings)
            return {"preview": preview, "draft": preview["settings"]}
        aggregation.change(ctx.database, project_id, person.name, settings)
    except StudioError as error:
        return {"error": str(error), "draft": settings}
    return {"done": "these rules are in force from the next training on"}
