"""Content: prompts, responses and pairs, addressed by hash, and adding many of them at once.

The same prompt, response or pair is never stored twice in a project, whichever way round its
answers came. A response's hash covers its prompt, so which answer becomes `response_a` says
nothing about the text, let alone about the winner.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db import slot_counts, slots
from db.adjudications import ADJUDICATION
from db.models import FILLING, Base, Pair, Prompt, Response, Vote

FLIPPED = {"a": "b", "b": "a"}
HELDOUT_ONE_IN = 5
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def digest(text: str) -> str:
    """sha256 of the text, as hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def prompt_hash(messages: Sequence[dict[str, str]]) -> str:
    """The prompt's content hash: of role and content of every message, nothing else."""
    plain = [[message["role"], message["content"]] for message in messages]
    return digest(_ENCODER.encode(plain))


def response_hash(prompt: str, text: str) -> str:
    """The response's content hash; `prompt` is its prompt's hash."""
    return digest(f"{prompt}\n{text}")


def split_of(prompt: str) -> str:
    """`heldout` for one prompt in five, by its hash: the same in every import and project."""
    return "heldout" if int(prompt[:8], 16) % HELDOUT_ONE_IN == 0 else "train"


def queue_position(pair: str) -> float:
    """A pair's place in the queue, in [0, 1): random, yet the same for the same content."""
    return int(pair[:13], 16) / 16**13


@dataclass(frozen=True, slots=True)
class Judgement:
    """One verdict on two answers, `a` being the first; `aspects` are ratings of `a` and `b`."""

    annotator: str
    choice: str
    strength: int | None = None
    reasons: tuple[str, ...] = ()
    comment: str = ""
    duration_ms: int | None = None
    aspects: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVote(Judgement):
    """A judgement to import."""

    id: str
    purpose: str = "label"  # or "adjudication"


@dataclass(frozen=True, slots=True)
class NewPair:
    """A pair to add, its two answers in the order in which `votes` and `gold_choice` mean them."""

    messages: list[dict[str, str]]
    first: str
    second: str
    category: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    votes: tuple[NewVote, ...] = ()
    gold_choice: str | None = None
    sources: tuple[str | None, str | None] = (None, None)  # who wrote each answer


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a NewPair."""

    pair_id: int
    is_new: bool
    num_votes: int  # stored now
    num_adjudications: int  # stored now, besides
    num_known: int  # the same annotator, or a lead by a last word, had given the same verdict
    num_contradicting: int  # the same annotator, or a lead, had given another one, which stands


@dataclass(slots=True)
class _Keyed:
    """A new pair with its hashes, its answers in stored order."""

    new: NewPair
    prompt: str
    response_a: str
    response_b: str
    text_a: str
    text_b: str
    flipped: bool
    pair: str


def pair_key(new: NewPair) -> tuple[str, bool]:
    """The pair's content hash, and whether its first answer is stored as `response_b`."""
    keyed = _with_hashes(new)
    return keyed.pair, keyed.flipped


def _with_hashes(new: NewPair) -> _Keyed:
    prompt = prompt_hash(new.messages)
    a, b = response_hash(prompt, new.first), response_hash(prompt, new.second)
    text_a, text_b, flipped = new.first, new.second, a > b
    if flipped:
        a, b, text_a, text_b = b, a, text_b, text_a
    return _Keyed(new, prompt, a, b, text_a, text_b, flipped, digest(f"{a}\n{b}"))


def add_pairs(
    s: Session, project_id: int, new: Sequence[NewPair], *, wanted_votes: int, now: datetime
) -> list[Added]:
    """Add the pairs that are not there yet, and their votes; one result for each, in order.

    A pair that has a verdict by import has no open slot; a new pair without one gets
    `wanted_votes` slots. Some thousand pairs a call is a good number.
    """
    keyed = [_with_hashes(each) for each in new]
    prompt_ids = _add_prompts(s, project_id, keyed, now)
    response_ids = _add_responses(s, keyed, prompt_ids, now)
    known = _ids(s, Pair, {each.pair for each in keyed}, project_id)
    pair_ids = _add_new_pairs(s, project_id, keyed, known, prompt_ids, response_ids, now)
    stored = _add_votes(s, project_id, keyed, pair_ids, now)
    _set_gold(s, keyed, pair_ids)
    _update_slots(s, project_id, keyed, known, pair_ids, wanted_votes)
    return _results(keyed, known, pair_ids, stored, _verdicts(s, keyed, pair_ids, stored))


def refresh_statistics(s: Session) -> None:
    """After a large import: PostgreSQL would plan by the old sizes for some time otherwise."""
    if s.get_bind().dialect.name == "postgresql":
        s.execute(sa.text("ANALYZE prompt, response, pair, slot, vote"))


def _insert_missing(s: Session, model: type[Base], rows: list[dict[str, Any]]) -> None:
    if rows:
        insert = sqlite.insert if s.get_bind().dialect.name == "sqlite" else postgresql.insert
        s.connection().execute(insert(model.__table__).on_conflict_do_nothing(), rows)  # type: ignore[arg-type]


def pair_ids(s: Session, hashes: Sequence[str], project_id: int) -> dict[str, int]:
    """The ids of those pairs that the project has, by content hash."""
    return _ids(s, Pair, hashes, project_id)


def _ids(
    s: Session, model: type[Prompt] | type[Pair], hashes: Iterable[str], project_id: int
) -> dict[str, int]:
    # The project is compared here: with it in the condition PostgreSQL, which knows nothing yet of
    # the rows of this transaction, walks over the whole project for every batch.
    rows = s.execute(
        select(model.content_hash, model.project_id, model.id).where(
            model.content_hash.in_(list(hashes))
        )
    )
    return {key: id_ for key, owner, id_ in rows if owner == project_id}


def _add_prompts(s: Session, project_id: int, keyed: list[_Keyed], now: datetime) -> dict[str, int]:
    by_hash = {each.prompt: each.new.messages for each in keyed}
    ids = _ids(s, Prompt, by_hash, project_id)
    rows = [
        {
            "project_id": project_id, "content_hash": key, "messages": messages, "meta": {},
            "created_at": now,
        }
        for key, messages in by_hash.items()
        if key not in ids
    ]  # fmt: skip
    _insert_missing(s, Prompt, rows)
    return ids | _ids(s, Prompt, by_hash.keys() - ids.keys(), project_id) if rows else ids


def _add_responses(
    s: Session, keyed: list[_Keyed], prompt_ids: dict[str, int], now: datetime
) -> dict[str, int]:
    by_hash: dict[str, tuple[int, str, str | None]] = {}
    for each in keyed:
        source_a, source_b = each.new.sources[:: -1 if each.flipped else 1]
        by_hash[each.response_a] = (prompt_ids[each.prompt], each.text_a, source_a)
        by_hash[each.response_b] = (prompt_ids[each.prompt], each.text_b, source_b)
    ids = _response_ids(s, by_hash)
    rows = [
        {
            "prompt_id": prompt_id, "content_hash": key, "text": text, "source": source,
            "created_at": now,
        }
        for key, (prompt_id, text, source) in by_hash.items()
        if key not in ids
    ]  # fmt: skip
    _insert_missing(s, Response, rows)
    return _response_ids(s, by_hash) if rows else ids


def _response_ids(s: Session, by_hash: dict[str, tuple[int, str, str | None]]) -> dict[str, int]:
    # The hash covers the prompt's content, so one prompt of the project can have it. The prompt is
    # compared here: with both columns in the condition SQLite would try every combination.
    rows = s.execute(
        select(Response.content_hash, Response.prompt_id, Response.id).where(
            Response.content_hash.in_(list(by_hash))
        )
    )
    return {key: id_ for key, prompt_id, id_ in rows if by_hash[key][0] == prompt_id}


def _add_new_pairs(
    s: Session, project_id: int, keyed: list[_Keyed], known: dict[str, int],
    prompt_ids: dict[str, int], response_ids: dict[str, int], now: datetime,
) -> dict[str, int]:  # fmt: skip
    rows = {
        each.pair: {
            "project_id": project_id, "prompt_id": prompt_ids[each.prompt],
            "response_a_id": response_ids[each.response_a],
            "response_b_id": response_ids[each.response_b],
            "content_hash": each.pair, "split": split_of(each.prompt), "status": "open",
            "category": each.new.category, "meta": each.new.meta, "created_at": now,
        }
        for each in reversed(keyed)  # of two equal ones, the first is kept
        if each.pair not in known
    }  # fmt: skip
    _insert_missing(s, Pair, list(reversed(rows.values())))
    return known | _ids(s, Pair, rows, project_id) if rows else known


def _add_votes(
    s: Session, project_id: int, keyed: list[_Keyed], pair_ids: dict[str, int], now: datetime
) -> set[str]:
    """Store the votes that are new; the ids of those stored."""
    rows: dict[str, dict[str, Any]] = {}
    for each in keyed:
        for vote in each.new.votes:
            rows.setdefault(vote.id, {
                "id": vote.id, "project_id": project_id, "pair_id": pair_ids[each.pair],
                "annotator": vote.annotator, "imported": True, "purpose": vote.purpose,
                "choice": _stored(vote.choice, each.flipped), "strength": vote.strength,
                "reasons": list(vote.reasons), "comment": vote.comment,
                "aspects": {
                    name: {_stored(side, each.flipped): rating for side, rating in sides.items()}
                    for name, sides in vote.aspects.items()
                },
                "duration_ms": vote.duration_ms, "surplus": False, "created_at": now,
            })  # fmt: skip
    if not rows:
        return set()
    before = set(s.scalars(select(Vote.id).where(Vote.id.in_(list(rows)))))
    fresh = [row for key, row in rows.items() if key not in before]
    _insert_missing(s, Vote, fresh)
    after = s.scalars(select(Vote.id).where(Vote.id.in_([row["id"] for row in fresh])))
    return set(after) if fresh else set()


def _stored(choice: str, flipped: bool) -> str:
    return FLIPPED.get(choice, choice) if flipped else choice


def _set_gold(s: Session, keyed: list[_Keyed], pair_ids: dict[str, int]) -> None:
    rows = [
        {"b_id": pair_ids[each.pair], "gold": _stored(each.new.gold_choice, each.flipped)}
        for each in keyed
        if each.new.gold_choice is not None
    ]
    if rows:
        table = Pair.__table__
        statement = sa.update(table).where(table.c.id == sa.bindparam("b_id"))  # type: ignore[arg-type]
        s.connection().execute(statement.values(gold_choice=sa.bindparam("gold")), rows)


def _update_slots(
    s: Session, project_id: int, keyed: list[_Keyed], known: dict[str, int],
    pair_ids: dict[str, int], wanted_votes: int,
) -> None:  # fmt: skip
    judged = {each.pair for each in keyed if any(vote.choice in FILLING for vote in each.new.votes)}
    gold = {each.pair for each in keyed if each.new.gold_choice is not None}
    # A gold pair is there to check on people: nobody labels it from now on.
    slots.close_open(s, [pair_ids[key] for key in sorted(judged | gold) if key in known])
    unlabelled = {each.pair for each in keyed} - judged - gold - known.keys()
    places = [(pair_ids[key], queue_position(key)) for key in sorted(unlabelled)]
    slots.add_slots(s, project_id, places, wanted_votes)


def _author(purpose: str, annotator: str) -> str | None:
    """Who has one verdict on a pair: an annotator, or (None) whichever lead has the last word."""
    return None if purpose == ADJUDICATION else annotator


def _verdicts(
    s: Session, keyed: list[_Keyed], pair_ids: dict[str, int], stored: set[str]
) -> dict[tuple[int, str | None], str]:
    """What stands by each author whose vote was not stored, to tell repeats from reversals."""
    pairs = {
        pair_ids[each.pair]
        for each in keyed
        if any(vote.id not in stored for vote in each.new.votes)
    }
    if not pairs:
        return {}
    rows = s.execute(
        select(Vote.pair_id, Vote.purpose, Vote.annotator, Vote.choice).where(
            Vote.pair_id.in_(pairs), Vote.retracted_at.is_(None),
            or_(Vote.imported.is_(True), Vote.purpose == ADJUDICATION),
        )
    )  # fmt: skip
    return {
        (pair_id, _author(purpose, annotator)): choice
        for pair_id, purpose, annotator, choice in rows
    }


def _results(
    keyed: list[_Keyed], known: dict[str, int], pair_ids: dict[str, int], stored: set[str],
    verdicts: dict[tuple[int, str | None], str],
) -> list[Added]:  # fmt: skip
    seen, counted, results = set(known), set(), []
    for each in keyed:
        pair_id, num_known, num_contradicting = pair_ids[each.pair], 0, 0
        num_stored: Counter[str] = Counter()
        for vote in each.new.votes:
            choice = _stored(vote.choice, each.flipped)
            if vote.id in stored and vote.id not in counted:
                counted.add(vote.id)
                num_stored[vote.purpose] += 1
            elif verdicts.get((pair_id, _author(vote.purpose, vote.annotator)), choice) == choice:
                num_known += 1
            else:
                num_contradicting += 1
        is_new = each.pair not in seen
        seen.add(each.pair)
        given = num_stored["label"], num_stored[ADJUDICATION]
        results.append(Added(pair_id, is_new, *given, num_known, num_contradicting))
    return results


@dataclass(frozen=True, slots=True)
class Edited:
    """A pair made of an edited answer and the one it came from; `choice` is the edit's side."""

    pair_id: int
    choice: str


def add_edit(
    s: Session, project_id: int, pair_id: int, side: str, text: str, *, source: str, now: datetime
) -> Edited | None:
    """Pair an edit of one answer of a pair with that answer; the new pair has no open slots.

    An edit that is there already, by somebody else or taken back, is used again with its pair.
    None when that pair is one to be judged in the queue, or to check on people with. A new pair
    has the category and the metadata of the old, and, being of the same prompt, its split.
    """
    pair = s.get_one(Pair, pair_id)
    prompt = s.get_one(Prompt, pair.prompt_id)
    parent = s.get_one(Response, pair.response_a_id if side == "a" else pair.response_b_id)
    key = response_hash(prompt.content_hash, text)
    row = {
        "prompt_id": prompt.id, "content_hash": key, "text": text, "source": source,
        "parent_id": parent.id, "created_at": now,
    }  # fmt: skip
    _insert_missing(s, Response, [row])
    edit_id = _response_ids(s, {key: (prompt.id, text, source)})[key]
    (a, a_id), (b, b_id) = sorted([(key, edit_id), (parent.content_hash, parent.id)])
    made = digest(f"{a}\n{b}")
    row = {
        "project_id": project_id, "prompt_id": prompt.id, "response_a_id": a_id,
        "response_b_id": b_id, "content_hash": made, "split": split_of(prompt.content_hash),
        "status": "open", "category": pair.category, "meta": pair.meta, "created_at": now,
    }  # fmt: skip
    _insert_missing(s, Pair, [row])
    found = s.get_one(Pair, _ids(s, Pair, [made], project_id)[made])
    if found.gold_choice is not None or slot_counts.has_any(s, found.id):
        return None
    return Edited(found.id, "a" if a_id == edit_id else "b")
