"""The lead's last word on a pair: see all that was said of it, decide, revise, pause or reopen it.

    pair = open_pair(database, project_id, 17)                 # texts and every vote
    adjudicate(database, project_id, "mara", 17, {"vote_id": uuid, "choice": "a"})
    withdraw(database, project_id, "mara", 17)                 # back to what the votes say
    set_paused(database, project_id, "mara", 17, False)        # a flagged pair is handed out again

An adjudication is a vote like any other row, with the purpose `adjudication`: it stands alone on
its pair, and overrides the others in training. A revision retracts it and adds another; both stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from db import adjudications, audit, pair_texts, projects, votes
from db.models import FILLING, Pair, Vote, utc_now
from studio.services.errors import Conflict, NotFound, UsageError
from studio.services.projects import is_storable
from studio.services.rendering import render_markdown
from studio.services.vote_form import MAX_COMMENT, checked_uuid

if TYPE_CHECKING:
    from db.engine import Database

MAX_LISTED = 100


def open_pair(database: Database, project_id: int, pair_id: int) -> dict[str, Any]:
    """The pair with every standing vote on it, JSON-ready; answers are named a and b here.

    Texts come plain and as HTML to show. What a vote was shown is `left_side`.
    """
    with database.read() as s:
        pair = pair_texts.get_pair(s, project_id, pair_id)
        if pair is None:
            raise NotFound(f"there is no pair {pair_id} in this project; choose one from the lists")
        row = s.get_one(Pair, pair_id)
        given = adjudications.votes_on(s, pair_id)
    standing = next((v for v in given if v.purpose == adjudications.ADJUDICATION), None)
    return {
        "pair_id": pair_id,
        "messages": [{**each, "html": render_markdown(each["content"])} for each in pair.messages],
        "response_a": {"text": pair.response_a, "html": render_markdown(pair.response_a)},
        "response_b": {"text": pair.response_b, "html": render_markdown(pair.response_b)},
        "split": pair.split,
        "is_paused": row.status == "paused",
        "gold_choice": row.gold_choice,
        "votes": [_described(vote) for vote in given if vote is not standing],
        "adjudication": None if standing is None else _described(standing),
    }


def _described(vote: Vote) -> dict[str, Any]:
    return {
        "vote_id": vote.id,
        "annotator": vote.annotator,
        "purpose": vote.purpose,
        "choice": vote.choice,
        "strength": vote.strength,
        "left_side": vote.left_side,
        "reasons": [str(each) for each in vote.reasons],
        "aspects": vote.aspects,
        "comment": vote.comment,
        "duration_ms": vote.duration_ms,
        "imported": vote.imported,
        "created_at": vote.created_at.isoformat(),
    }


def adjudicate(
    database: Database, project_id: int, lead: str, pair_id: int, given: Mapping[str, Any]
) -> str:
    """Give the last word; `stored`, or `duplicate` when this vote_id was stored before.

    `given` has `vote_id`, `choice` (a, b, tie or both_bad), and may have `strength` and `comment`.
    """
    form = _checked(given)
    with database.write() as s:
        _locked(s, project_id, pair_id)
        earlier = votes.get_vote(s, form["id"])
        if earlier is not None:
            return _resent(earlier, lead, pair_id, form)
        project = projects.get_project(s, project_id)
        assert project is not None
        now = utc_now()
        replaced = adjudications.standing(s, pair_id)
        if replaced is not None:
            votes.retract(s, replaced, now)
        votes.add_vote(
            s,
            Vote(
                **form,
                project_id=project_id,
                pair_id=pair_id,
                annotator=lead,
                purpose=adjudications.ADJUDICATION,
                guidelines_version=project.guidelines_version,
                created_at=now,
                revises=replaced.id if replaced else None,
            ),
        )
        details = {"choice": form["choice"], "vote": form["id"]}
        if replaced is not None:
            details["replaced"] = replaced.id
        audit.record(s, lead, "adjudicate", "pair", pair_id, **details)
    return "stored"


def withdraw(database: Database, project_id: int, lead: str, pair_id: int) -> bool:
    """Take the adjudication back, so that the votes count again; False when there was none."""
    with database.write() as s:
        _locked(s, project_id, pair_id)
        standing = adjudications.standing(s, pair_id)
        if standing is None:
            return False
        votes.retract(s, standing, utc_now())
        audit.record(s, lead, "withdraw adjudication", "pair", pair_id, vote=standing.id)
    return True


def set_paused(database: Database, project_id: int, lead: str, pair_id: int, paused: bool) -> None:
    """Keep a pair from being shown, or hand it out again; the flags on it stay on record."""
    with database.write() as s:
        pair = _locked(s, project_id, pair_id)
        status = "paused" if paused else "open"
        if pair.status != status:
            votes.set_pair_status(s, pair_id, status)
        elif not paused:
            return  # it is open already
        # That a flagged pair stays paused is a decision too, and somebody's.
        audit.record(s, lead, "pause" if paused else "reopen", "pair", pair_id)


def list_flagged(database: Database, project_id: int) -> list[dict[str, Any]]:
    """Flagged pairs with why, those still paused first; at most MAX_LISTED."""
    with database.read() as s:
        found = adjudications.list_flagged(s, project_id, MAX_LISTED)
    return [{**asdict(each), "created_at": each.created_at.isoformat()} for each in found]


def count_flagged(database: Database, project_id: int) -> int:
    """How many flagged pairs there are, listed or not."""
    with database.read() as s:
        return adjudications.count_flagged(s, project_id)


def list_adjudicated(database: Database, project_id: int) -> list[dict[str, Any]]:
    """The newest adjudications, to look at or revise."""
    with database.read() as s:
        found = adjudications.list_adjudicated(s, project_id, MAX_LISTED)
    return [{"pair_id": vote.pair_id, **_described(vote)} for vote in found]


def first_words(database: Database, project_id: int, pair_ids: list[int]) -> dict[int, str]:
    """The beginning of the last user turn of each pair, by which people know it again."""
    with database.read() as s:
        pairs = pair_texts.get_pairs(s, project_id, pair_ids)
    return {pair_id: _beginning(pair.messages) for pair_id, pair in pairs.items()}


def _beginning(messages: list[dict[str, str]], length: int = 110) -> str:
    last = next((m for m in reversed(messages) if m["role"] == "user"), messages[-1])
    text = " ".join(last["content"].split())
    return text if len(text) <= length else text[:length].rstrip() + "…"


def _locked(s: Session, project_id: int, pair_id: int) -> Pair:
    pair = adjudications.lock_pair(s, project_id, pair_id)
    if pair is None:
        raise NotFound(f"there is no pair {pair_id} in this project; choose one from the lists")
    return pair


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    choice, strength, comment = given.get("choice"), given.get("strength"), given.get("comment")
    if choice not in FILLING:
        raise UsageError(f"choice is {choice!r}; use one of {', '.join(FILLING)}")
    if strength is not None:
        if isinstance(strength, bool) or strength not in (1, 2, 3):
            raise UsageError(f"strength is {strength!r}; use 1, 2 or 3")
        if choice not in ("a", "b"):
            raise UsageError(f"strength is {strength} with {choice!r}; only an answer can have one")
    comment = comment or ""
    if not isinstance(comment, str) or len(comment) > MAX_COMMENT or not is_storable(comment):
        raise UsageError(
            f"the comment must be text of at most {MAX_COMMENT} characters, without NUL characters"
        )
    return {
        "id": checked_uuid(given.get("vote_id")),
        "choice": choice,
        "strength": strength,
        "comment": comment,
    }


def _resent(earlier: Vote, lead: str, pair_id: int, form: Mapping[str, Any]) -> str:
    before = (earlier.pair_id, earlier.annotator, earlier.choice, earlier.strength, earlier.comment)
    if before != (pair_id, lead, form["choice"], form["strength"], form["comment"]):
        raise Conflict(
            f"vote {earlier.id} is stored with another content; make a new vote_id for a new vote"
        )
    return "duplicate"
