"""Rows of an export: what stands in each, and why a pair has none.

    row = votes_row(exported)            # or pairs_row, trl_row: a dict, or the reason as text

Every row has all its keys, whatever is known: a reader that takes the types from the first rows
must not meet others later. What differs from pair to pair (`meta`) is JSON in a text for the same
reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from db.aggregation import Verdict
from db.pair_texts import PairText
from db.votes import RawVote

Row = dict[str, Any]
AS_STORED = {"a": "a", "b": "b"}


@dataclass(frozen=True, slots=True)
class Exported:
    """A pair with all that an export can say of it."""

    pair: PairText
    sources: tuple[str | None, str | None]  # who wrote `response_a` and `response_b`
    votes: list[RawVote]  # standing labels, oldest first
    adjudication: RawVote | None  # a lead's last word
    verdict: Verdict | str  # by the project's rules, or why there is none

    @property
    def num_votes(self) -> int:
        return len(self.votes)


def votes_row(of: Exported) -> Row | str:
    """Both answers and every vote on them, as an import takes it."""
    if not of.votes and of.adjudication is None:
        return "pairs_not_judged"
    return {
        **_origin(of.pair),
        "prompt": of.pair.messages,
        "answers": [of.pair.response_a, of.pair.response_b],
        "sources": list(of.sources),
        "votes": [_raw(vote, AS_STORED) for vote in of.votes],
        "adjudication": _last_word(of, AS_STORED),
        "split": of.pair.split,
        "meta": _meta(of.pair),
    }


def pairs_row(of: Exported) -> Row | str:
    """Chosen and rejected by the merge rules, the raw votes beside them."""
    merged = _merged(of)
    if isinstance(merged, str):
        return merged
    chosen, rejected, share, winner = merged
    named = {"a": "chosen", "b": "rejected"} if winner == "a" else {"a": "rejected", "b": "chosen"}
    return {
        **_origin(of.pair),
        "prompt": of.pair.messages,
        "chosen": chosen,
        "rejected": rejected,
        "chosen_share": share,
        "sources": list(of.sources if winner == "a" else of.sources[::-1]),
        "votes": [_raw(vote, named) for vote in of.votes],
        "adjudication": _last_word(of, named),
        "split": of.pair.split,
        "meta": _meta(of.pair),
    }


def trl_row(of: Exported) -> Row | str:
    """What TRL's trainers read, and the split, so that held-out pairs can be kept out."""
    merged = _merged(of)
    if isinstance(merged, str):
        return merged
    return {
        "prompt": of.pair.messages,
        "chosen": [{"role": "assistant", "content": merged[0]}],
        "rejected": [{"role": "assistant", "content": merged[1]}],
        "split": of.pair.split,
    }


def _merged(of: Exported) -> tuple[str, str, float, str] | str:
    """(chosen, rejected, its target, its side) by the project's rules, or why there is none."""
    pair, verdict = of.pair, of.verdict
    if isinstance(verdict, str):
        return f"pairs_{verdict}"
    target = verdict.target
    if target == 0.5:
        return "pairs_tied"
    if target > 0.5:
        return pair.response_a, pair.response_b, target, "a"
    return pair.response_b, pair.response_a, 1 - target, "b"


def _origin(pair: PairText) -> Row:
    named = {name: pair.meta.get(name) for name in ("id", "source", "licence")}
    row = {name: None if value is None else str(value) for name, value in named.items()}
    return row | {"id": row["id"] or f"pair-{pair.pair_id}"}


def _meta(pair: PairText) -> str:
    return json.dumps(pair.meta, ensure_ascii=False)


def _last_word(of: Exported, named: Mapping[str, str]) -> Row | None:
    return None if of.adjudication is None else _raw(of.adjudication, named)


def _raw(vote: RawVote, named: Mapping[str, str]) -> Row:
    """A vote; `named` says what the row calls `response_a` and `response_b`."""
    a, b = named["a"], named["b"]
    aspects = [
        {"aspect": name, a: sides.get("a"), b: sides.get("b")}
        for name, sides in vote.aspects.items()
    ]
    return {
        "id": vote.id,
        "annotator": vote.annotator,
        "choice": named.get(vote.choice, vote.choice),
        "strength": vote.strength,
        "reasons": vote.reasons,
        "aspects": aspects,
        "comment": vote.comment,
        "duration_ms": vote.duration_ms,
        "left_side": None if vote.left_side is None else named[vote.left_side],
        "guidelines_version": vote.guidelines_version,
        "imported": vote.imported,
        "surplus": vote.surplus,
        "created_at": vote.created_at.isoformat(timespec="microseconds"),
        "revises": vote.revises,
    }
