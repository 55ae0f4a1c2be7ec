"""Turns a row of a preference file into pairs to add, or says why it is refused.

    row_pairs({"prompt": "2+2?", "chosen": "4", "rejected": "5"})

Forms: prompt (text or messages) with chosen and rejected (text or messages); chosen and rejected
that are whole conversations; prompt with two `answers`, their `votes` and an `adjudication`; prompt
with two or more `responses`, of which an answers rule makes pairs, without a verdict or with
`scores`, a number for each: the higher is better. `sources` names who wrote each answer,
`annotator` who chose. Texts are read in import_texts.py, verdicts in import_votes.py.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from db.content import Judgement
from studio.services import import_texts, import_votes
from studio.services.import_files import (
    MAX_ROW_BYTES,
    CellList,
    RowRefused,
    parse_json,
)
from studio.services.import_texts import Messages, is_given
from studio.services.import_votes import SCORED
from studio.services.projects import is_storable

MAX_DEPTH = 32  # of `meta`
ANSWER_RULES = ("all", "first", "neighbours", "one")  # how more than two answers become pairs
ROW_FIELDS = {
    "id", "source", "licence", "license", "prompt", "chosen", "rejected", "answers", "responses",
    "votes", "adjudication", "meta", "sources", "scores", "annotator",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RowPairs:
    """What a row holds: a prompt, answers of which every two make a pair, and verdicts on two."""

    row_id: str
    messages: Messages
    answers: tuple[str, ...]
    votes: tuple[Judgement, ...]
    category: str | None
    meta: dict[str, Any]
    ignored: tuple[str, ...] = field(default=())  # columns that were not kept
    sources: tuple[str | None, ...] = ()  # who wrote each answer; empty where nothing is said
    scores: tuple[float, ...] = ()
    adjudication: Judgement | None = None  # a lead's last word on the two answers

    def couples(self, rule: str) -> list[tuple[int, int]]:
        """Which two answers make a pair (their places), by one of ANSWER_RULES."""
        every = list(itertools.combinations(range(len(self.answers)), 2))
        if rule == "all" or len(every) == 1:
            return every
        if rule == "first":
            return [(0, other) for other in range(1, len(self.answers))]
        if rule == "neighbours":
            return [(i, i + 1) for i in range(len(self.answers) - 1)]
        drawn = hashlib.sha256("\x1f".join(self.answers).encode()).digest()
        return [every[int.from_bytes(drawn[:8]) % len(every)]]

    def votes_on(self, first: int, second: int) -> tuple[Judgement, ...]:
        """The row's verdicts on these two answers; `a` is the first."""
        if not self.scores:
            return self.votes
        difference = self.scores[first] - self.scores[second]
        return (Judgement(SCORED, "a" if difference > 0 else "b" if difference < 0 else "tie"),)

    def source(self, place: int) -> str | None:
        return self.sources[place] if self.sources else None

    def texts(self) -> Iterator[str]:
        """Every text that a template would render."""
        yield from (message["content"] for message in self.messages)
        yield from self.answers


def row_pairs(row: Mapping[str, Any]) -> RowPairs:
    """The row's content, checked; raises RowRefused."""
    votes: tuple[Judgement, ...] = ()
    last_word: Judgement | None = None
    ignored: set[str] = set()
    if is_given(row, "chosen") or is_given(row, "rejected"):
        messages, answers = import_texts.chosen_and_rejected(row)
        votes = (Judgement(import_votes.annotator_of(row), "a"),)
        ignored = {name for name in ("votes", "adjudication") if row.get(name)}
    elif is_given(row, "answers") or is_given(row, "responses"):
        messages = import_texts.prompt_of(row)
        answers = import_texts.answers_of(row)
        votes, ignored = import_votes.votes_of(row, len(answers))
        last_word, not_kept = import_votes.last_word_of(row, len(answers))
        ignored |= not_kept | ({"annotator"} if row.get("annotator") else set())
    else:
        raise RowRefused("no 'chosen'", f"columns {', '.join(map(str, row)) or 'none'}")
    if len(set(answers)) < len(answers):
        what = "chosen and rejected are equal" if "chosen" in row else "two answers are equal"
        raise RowRefused(what, answers[0])
    meta, dropped = _meta(row)
    has_verdict = bool(votes or last_word)
    if has_verdict and row.get("scores"):
        ignored.add("scores")
    parsed = RowPairs(
        row_id="" if row.get("id") is None else str(row["id"]),
        messages=messages,
        answers=answers,
        votes=votes,
        category=_category(meta),
        meta=meta,
        ignored=tuple(sorted(dropped | ignored)),
        sources=import_texts.sources_of(row, len(answers)),
        scores=() if has_verdict else import_votes.scores_of(row, len(answers)),
        adjudication=last_word,
    )
    _check_storable(parsed)
    return parsed


# --- metadata and checks ---------------------------------------------------------------------


def _meta(row: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """What is kept beside the pair, and the names of the columns that are not."""
    given = row.get("meta")
    if isinstance(given, str):  # as a Parquet export keeps it
        parsed = parse_json(given.encode(errors="surrogatepass"))
        given = parsed if isinstance(parsed, dict) else given
    if given is not None and not isinstance(given, Mapping):
        raise RowRefused("'meta' is no object", type(given).__name__)
    _check_depth(given, MAX_DEPTH)
    meta: dict[str, Any] = _plain(given) if given else {}
    licence = row.get("licence") if is_given(row, "licence") else row.get("license")
    kept = {"id": row.get("id"), "source": row.get("source"), "licence": licence}
    dropped = set()
    for name, value in row.items():
        if name in ROW_FIELDS or value is None:
            continue
        if isinstance(value, str | int | float | bool | CellList):
            kept[str(name)] = getattr(value, "text", value)
        else:
            dropped.add(str(name))
    return meta | {key: _plain(value) for key, value in kept.items() if value is not None}, dropped


def _plain(value: Any) -> Any:
    """The value as JSON has it: Parquet brings dates, decimals and NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)


def _category(meta: Mapping[str, Any]) -> str | None:
    category = meta.get("category")
    return None if category is None else str(category)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield key
            yield from _strings(each)
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(_strings, value))


def _check_depth(value: Any, room: int) -> None:
    """Refuse what nests deeper than anything that walks it later has room for."""
    if isinstance(value, Mapping | list | tuple):
        if room == 0:
            raise RowRefused(f"'meta' nests deeper than {MAX_DEPTH} levels")
        for each in value.values() if isinstance(value, Mapping) else value:
            _check_depth(each, room - 1)


def _check_storable(parsed: RowPairs) -> None:
    size = 0
    named = filter(None, parsed.sources)
    for text in itertools.chain(parsed.texts(), [parsed.row_id], named, _strings(parsed.meta)):
        size += len(text)
        _check_text(text)
    for vote in (*parsed.votes, *filter(None, [parsed.adjudication])):
        for text in (vote.annotator, vote.comment, *vote.reasons, *vote.aspects):
            size += len(text)
            _check_text(text)
    if size > MAX_ROW_BYTES:
        raise RowRefused(f"longer than {MAX_ROW_BYTES // 2**20} MB")


def _check_text(text: str) -> None:
    if not is_storable(text):
        what = (
            "a NUL character"
            if "\x00" in text
            else "a lone surrogate, or bytes not UTF-8; save the file as UTF-8"
        )
        raise RowRefused(f"the row holds {what}", repr(text[:40]))
