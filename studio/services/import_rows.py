"""Turns a row of a preference file into pairs to add, or says why it is refused.

    row_pairs({"prompt": "2+2?", "chosen": "4", "rejected": "5"})

Forms: prompt (text or messages) with chosen and rejected (text or messages); chosen and rejected
that are whole conversations; prompt with two `answers` and `votes`; prompt with two or more
`responses`, of which an answers rule makes pairs, without a verdict or with `scores`, a number for
each: the higher is better. `sources` names who wrote each answer, `annotator` who chose.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from db.models import CHOICES
from studio.services.import_files import MAX_ROW_BYTES, CellList, parse_json, printable, text_of
from studio.services.projects import is_storable

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_RESPONSES = 32
MAX_DEPTH = 32  # of `meta`
ANSWER_RULES = ("all", "first", "neighbours", "one")  # how more than two answers become pairs
SCORED = "scores"  # the pseudo-annotator of verdicts that follow from scores
MERGED = "merged"  # the one pseudo-annotator of a set that comes without its votes
ROW_FIELDS = {
    "id", "source", "licence", "license", "prompt", "chosen", "rejected", "answers", "responses",
    "votes", "meta", "sources", "scores", "annotator",
}  # fmt: skip
VOTE_FIELDS = {
    "annotator", "choice", "strength", "reasons", "reason", "comment", "duration_ms",
}  # fmt: skip
Messages = list[dict[str, str]]


class RowRefused(Exception):
    """The row cannot be imported: a short reason, to be counted, and what was seen."""

    def __init__(self, reason: str, seen: object = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.seen = printable(str(seen)[:200])


@dataclass(frozen=True, slots=True)
class RowVote:
    """One verdict on two answers; `a` is the first."""

    annotator: str
    choice: str
    strength: int | None = None
    reasons: tuple[str, ...] = ()
    comment: str = ""
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RowPairs:
    """What a row holds: a prompt, answers of which every two make a pair, and verdicts on two."""

    row_id: str
    messages: Messages
    answers: tuple[str, ...]
    votes: tuple[RowVote, ...]
    category: str | None
    meta: dict[str, Any]
    ignored: tuple[str, ...] = field(default=())  # columns that were not kept
    sources: tuple[str | None, ...] = ()  # who wrote each answer; empty where nothing is said
    scores: tuple[float, ...] = ()

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

    def votes_on(self, first: int, second: int) -> tuple[RowVote, ...]:
        """The row's verdicts on these two answers; `a` is the first."""
        if not self.scores:
            return self.votes
        difference = self.scores[first] - self.scores[second]
        return (RowVote(SCORED, "a" if difference > 0 else "b" if difference < 0 else "tie"),)

    def source(self, place: int) -> str | None:
        return self.sources[place] if self.sources else None

    def texts(self) -> Iterator[str]:
        """Every text that a template would render."""
        yield from (message["content"] for message in self.messages)
        yield from self.answers


def row_pairs(row: Mapping[str, Any]) -> RowPairs:
    """The row's content, checked; raises RowRefused."""
    votes: tuple[RowVote, ...] = ()
    ignored: set[str] = set()
    if _given(row, "chosen") or _given(row, "rejected"):
        messages, answers = _chosen_and_rejected(row)
        votes = (RowVote(_annotator(row), "a"),)
        ignored = {name for name in ("votes", "scores") if row.get(name)}
    elif _given(row, "answers") or _given(row, "responses"):
        messages = _prompt(row)
        answers = _answers(row)
        votes, ignored = _votes(row, len(answers))
        ignored |= {"annotator"} if row.get("annotator") else set()
    else:
        raise RowRefused("no 'chosen'", f"columns {', '.join(map(str, row)) or 'none'}")
    if len(set(answers)) < len(answers):
        what = "chosen and rejected are equal" if "chosen" in row else "two answers are equal"
        raise RowRefused(what, answers[0])
    meta, dropped = _meta(row)
    parsed = RowPairs(
        row_id="" if row.get("id") is None else str(row["id"]),
        messages=messages,
        answers=answers,
        votes=votes,
        category=_category(meta),
        meta=meta,
        ignored=tuple(sorted(dropped | ignored)),
        sources=_sources(row, len(answers)),
        scores=() if "scores" in ignored or votes else _scores(row, len(answers)),
    )
    _check_storable(parsed)
    return parsed


def _given(row: Mapping[str, Any], name: str) -> bool:
    return row.get(name) is not None


# --- prompt and answers ----------------------------------------------------------------------


def _chosen_and_rejected(row: Mapping[str, Any]) -> tuple[Messages, tuple[str, ...]]:
    for name in ("chosen", "rejected"):
        if not _given(row, name):
            seen = "it is empty" if name in row else f"columns {', '.join(map(str, row))}"
            raise RowRefused(f"no '{name}'", seen)
    if _given(row, "prompt"):
        messages = _prompt(row)
        return messages, (_answer(row, "chosen", messages), _answer(row, "rejected", messages))
    chosen, rejected = (_conversation(row, name) for name in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise RowRefused("chosen and rejected differ before their last message")
    return chosen[:-1], (chosen[-1]["content"], rejected[-1]["content"])


def _conversation(row: Mapping[str, Any], name: str) -> Messages:
    value = text_of(row[name])
    if not isinstance(value, list):
        raise RowRefused("no 'prompt'", f"and '{name}' is {type(value).__name__}")
    messages = _messages(value, name)
    if len(messages) < 2:
        raise RowRefused("no 'prompt'", f"and '{name}' holds one message only")
    if messages[-1]["role"] != "assistant":
        raise RowRefused(f"'{name}' does not end with an assistant's message", messages[-1]["role"])
    return messages


def _prompt(row: Mapping[str, Any]) -> Messages:
    prompt = text_of(row.get("prompt"))
    if prompt is None:
        raise RowRefused("no 'prompt'", f"columns {', '.join(map(str, row))}")
    if isinstance(prompt, str):
        if not prompt.strip():
            raise RowRefused("the prompt is empty")
        return [{"role": "user", "content": prompt}]
    messages = _messages(prompt, "prompt")
    if not messages:
        raise RowRefused("the prompt is empty")
    return messages


def _answer(row: Mapping[str, Any], name: str, prompt: Messages) -> str:
    """An answer as text, or as messages, with or without the prompt's before it."""
    value = text_of(row[name])
    if isinstance(value, str):
        return value
    messages = _messages(value, name)
    if messages[: len(prompt)] == prompt:
        messages = messages[len(prompt) :]
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise RowRefused(
            f"'{name}' is not one assistant's message after the prompt",
            [message["role"] for message in messages],
        )
    return messages[0]["content"]


def _messages(value: Any, name: str) -> Messages:
    if not isinstance(value, list):
        raise RowRefused(f"'{name}' is neither text nor messages", type(value).__name__)
    return [_message(each, name) for each in value]


def _message(message: Any, name: str) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise RowRefused(f"a message of '{name}' is no object", type(message).__name__)
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise RowRefused(f"a message of '{name}' has an unknown role", repr(role))
    if isinstance(content, list):
        content = _joined_parts(content, name)
    if not isinstance(content, str):
        raise RowRefused(f"a message of '{name}' has no text", type(content).__name__)
    for key, other in message.items():
        if key not in ("role", "content") and other:
            raise RowRefused(f"a message of '{name}' has more than role and content", key)
    return {"role": role, "content": content}


def _joined_parts(parts: list[Any], name: str) -> str:
    texts = []
    for part in parts:
        is_text = isinstance(part, Mapping) and part.get("type") == "text"
        if not is_text or not isinstance(part.get("text"), str):
            raise RowRefused(f"a message of '{name}' holds something other than text", part)
        texts.append(part["text"])
    return "".join(texts)


def _answers(row: Mapping[str, Any]) -> tuple[str, ...]:
    name = "answers" if _given(row, "answers") else "responses"
    value = row[name]
    if not isinstance(value, list) or not 2 <= len(value) <= MAX_RESPONSES:
        seen = len(value) if isinstance(value, list) else type(value).__name__
        raise RowRefused(f"'{name}' is no list of 2 to {MAX_RESPONSES} answers", seen)
    texts = tuple(map(text_of, value))
    if not all(isinstance(each, str) for each in texts):
        raise RowRefused(f"an answer in '{name}' is no text", "it is empty" * (None in texts))
    return texts


def _sources(row: Mapping[str, Any], num_answers: int) -> tuple[str | None, ...]:
    value = row.get("sources")
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) != num_answers:
        seen = len(value) if isinstance(value, list) else type(value).__name__
        raise RowRefused("'sources' is no list with a name for each answer", seen)
    return tuple(None if each in (None, "") else str(each) for each in value)


def _scores(row: Mapping[str, Any], num_answers: int) -> tuple[float, ...]:
    value = row.get("scores")
    if value is None or value == []:
        return ()
    if not isinstance(value, list) or len(value) != num_answers:
        seen = len(value) if isinstance(value, list) else type(value).__name__
        raise RowRefused("'scores' is no list with a number for each answer", seen)
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int | float) or not math.isfinite(each):
            raise RowRefused("a score is no number", repr(each))
    return tuple(map(float, value))


# --- votes -----------------------------------------------------------------------------------


def _votes(row: Mapping[str, Any], num_answers: int) -> tuple[tuple[RowVote, ...], set[str]]:
    value = row.get("votes")
    if value is None or value == []:
        return (), set()
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise RowRefused("'votes' is no list of objects", type(value).__name__)
    if num_answers != 2:
        raise RowRefused("votes on more than two answers", num_answers)
    ignored = {
        f"votes.{key}"
        for each in value
        for key, other in each.items()
        if key not in VOTE_FIELDS and other is not None
    }
    return tuple(_vote(each, number) for number, each in enumerate(value, start=1)), ignored


def _vote(vote: Mapping[str, Any], number: int) -> RowVote:
    choice = vote.get("choice")
    if choice not in CHOICES:
        raise RowRefused("a vote has an unknown choice", repr(choice))
    strength = vote.get("strength")
    if strength is not None and (isinstance(strength, bool) or strength not in (1, 2, 3)):
        raise RowRefused("a vote's strength is not 1, 2 or 3", repr(strength))
    reasons = vote.get("reasons") or []
    comment = vote.get("comment") or vote.get("reason") or ""
    if not isinstance(comment, str) or not _is_texts(reasons):
        raise RowRefused("a vote's reasons or comment are no text")
    duration = vote.get("duration_ms")
    if duration is not None and (
        not isinstance(duration, int | float) or not 0 <= duration < 2**53
    ):
        raise RowRefused("a vote's duration_ms is no number of milliseconds", repr(duration))
    annotator = vote.get("annotator")
    return RowVote(
        annotator=f"vote-{number}" if annotator in (None, "") else str(annotator),
        choice=choice,
        strength=None if strength is None else int(strength),
        reasons=tuple(reasons),
        comment=comment,
        duration_ms=None if duration is None else int(duration),
    )


def _annotator(row: Mapping[str, Any]) -> str:
    value = row.get("annotator")
    return MERGED if value in (None, "") else str(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


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
    licence = row.get("licence") if _given(row, "licence") else row.get("license")
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
    for vote in parsed.votes:
        for text in (vote.annotator, vote.comment, *vote.reasons):
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
