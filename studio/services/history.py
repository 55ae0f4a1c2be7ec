"""An annotator's own past votes: found again, and revised.

    page = history(database, project_id, "ann", choice="skip", query="paris")
    revise(database, project_id, "ann", {"vote_id": new, "revises": old, "choice": "left"})

A revision retracts the old vote and appends a new one that names it: nothing is overwritten. What
a vote was for (a label, a gold pair, a repeat) is not told here either.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from db import own_votes, slots, votes
from db.models import FILLING, Vote, utc_now
from db.own_votes import OwnVote
from studio.services import labelling
from studio.services.errors import Conflict, NotFound, UsageError
from studio.services.showing_form import reveal, with_html
from studio.services.vote_form import (
    CHOICES,
    SKIP_REASONS,
    checked_uuid,
    checked_verdict,
    shown_aspects,
    shown_choice,
    stored_choice,
    taken,
    version_shown,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.engine import Database

MAX_LIMIT = 100
MAX_QUERY = 500
SEARCHED_AT_ONCE = 200
MAX_SEARCHED = 2000  # votes that one request looks through


# --- finding ---------------------------------------------------------------------------------


def history(
    database: Database,
    project_id: int,
    annotator: str,
    *,
    choice: str | None = None,
    query: str = "",
    before: str | None = None,
    limit: int = 20,
) -> dict[str, Any]:
    """The annotator's standing votes, newest first; see label_routes for the form.

    Args:
        choice: only votes of this choice, as the annotator saw the sides.
        query: only votes with all of these words in prompt, answers, reasons or comment.
        before: the cursor that the last page gave.
    """
    _check_filter(choice, query, limit)
    words = _folded(query).split()
    choices = None if choice is None else {"left": ["a", "b"], "right": ["a", "b"]}.get(choice)
    if choice is not None and choices is None:
        choices = [choice]
    found: list[OwnVote] = []
    num_searched = 0
    with database.read() as s:
        labelling.find_project(s, project_id)
        last = _cursor(s, project_id, annotator, before)
        while True:
            chunk = own_votes.own_votes_before(
                s, project_id, annotator, last, SEARCHED_AT_ONCE, choices
            )
            for own in chunk:
                num_searched += 1
                last = own.vote
                if _matches(own, choice, words):
                    found.append(own)
                if len(found) == limit:
                    break
            is_done = len(chunk) < SEARCHED_AT_ONCE and len(found) < limit
            if is_done or len(found) == limit or num_searched >= MAX_SEARCHED:
                break
    return {
        "votes": [_described(own) for own in found],
        "before": None if is_done or last is None else last.id,
        "num_searched": num_searched,
    }


def _check_filter(choice: str | None, query: str, limit: int) -> None:
    if choice is not None and choice not in CHOICES:
        raise UsageError(f"choice is {choice!r}; use one of {', '.join(CHOICES)}")
    if len(query) > MAX_QUERY:
        raise UsageError(f"q is {len(query)} characters long; use at most {MAX_QUERY}")
    if not 1 <= limit <= MAX_LIMIT:
        raise UsageError(f"limit is {limit}; ask for 1 to {MAX_LIMIT} votes")


def _cursor(s: Session, project_id: int, annotator: str, before: str | None) -> Vote | None:
    return None if before is None else _own_vote(s, project_id, annotator, before, "before")


def _own_vote(s: Session, project_id: int, annotator: str, vote_id: object, name: str) -> Vote:
    vote = votes.get_vote(s, checked_uuid(vote_id, name))
    if (
        vote is None
        or vote.project_id != project_id
        or vote.annotator != annotator
        or vote.purpose not in own_votes.OWN_PURPOSES
    ):
        raise NotFound(f"you have no vote {vote_id} in this project; reload the page")
    return vote


def _matches(own: OwnVote, choice: str | None, words: list[str]) -> bool:
    if choice is not None and shown_choice(own.vote.choice, own.left_side) != choice:
        return False
    if not words:
        return True
    texts = [message["content"] for message in own.messages]
    texts += [own.response_a, own.response_b, own.vote.comment, *own.vote.reasons]
    searched = _folded("\n".join(texts))
    return all(word in searched for word in words)


def _folded(text: str) -> str:
    """Without case and without different spellings of the same character."""
    return unicodedata.normalize("NFKC", text).casefold()


def _described(own: OwnVote) -> dict[str, Any]:
    vote, left_side = own.vote, own.left_side
    left, right = (own.response_a, own.source_a), (own.response_b, own.source_b)
    if left_side == "b":
        left, right = right, left
    texts = {
        "messages": own.messages,
        "left": {"text": left[0]},
        "right": {"text": right[0]},
    }
    # The answer that was edited may still be before its author in a pair to be judged.
    is_judged = vote.choice in FILLING and vote.showing_id is not None
    skipped = [each for each in vote.reasons if vote.choice == "skip" and each in SKIP_REASONS]
    return {
        "vote_id": vote.id,
        "pair_id": vote.pair_id,
        "created_at": vote.created_at.isoformat(),
        "choice": shown_choice(vote.choice, left_side),
        "strength": vote.strength,
        "reasons": [each for each in vote.reasons if each not in skipped],
        "skip_reason": skipped[0] if skipped else None,
        "aspects": shown_aspects(vote.aspects, left_side),
        "comment": vote.comment,
        "duration_ms": vote.duration_ms,
        "guidelines_version": vote.guidelines_version,
        "revises": vote.revises,
        "is_edit": vote.showing_id is None,
        **with_html(texts),
        "reveal": {"left": left[1], "right": right[1]} if is_judged else None,
    }


# --- revising --------------------------------------------------------------------------------


def revise(
    database: Database,
    project_id: int,
    annotator: str,
    vote: Mapping[str, Any],
    *,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Replace an own vote by another; committed when this returns, and once however often sent.

    The sides are those on which the old vote was given.
    """
    now = now or utc_now()
    given = checked_verdict(vote)
    with database.write() as s:
        project = labelling.find_project(s, project_id)
        slots.lock_annotator(s, project_id, annotator)
        old = _own_vote(s, project_id, annotator, vote.get("revises"), "revises")
        left_side = old.left_side or "a"
        choice = stored_choice(given["choice"], left_side)
        beside, set_aside = taken(given, labelling.offer_of(project), left_side)
        earlier = votes.get_vote(s, given["vote_id"])
        if earlier is not None:
            labelling.check_resent(earlier, annotator, given, choice, revises=old.id)
            status = "duplicate"
        elif old.retracted_at is not None:
            raise Conflict(
                f"vote {old.id} was taken back or revised already, so vote {given['vote_id']} "
                "was not stored; reload your history and revise what stands now"
            )
        else:
            new = labelling.new_vote(
                given | beside,
                choice,
                old,
                old.showing_id,
                version_shown(given["guidelines_version"], project.guidelines_version),
                now,
                revises=old.id,
            )
            status = _replace(s, old, new, now)
        is_edit = old.showing_id is None
        told = None if is_edit else reveal(s, old.pair_id, left_side, choice)
    return labelling.answer_to_vote(
        database, project_id, annotator, now,
        {"status": status, "vote_id": given["vote_id"], "reveal": told, "set_aside": set_aside},
    )  # fmt: skip


def _replace(s: Session, old: Vote, new: Vote, now: datetime) -> str:
    votes.retract(s, old, now)  # first: one standing label of a pair and annotator
    votes.add_vote(s, new)
    if new.purpose == "label" and new.showing_id is not None:
        if new.choice not in FILLING:
            slots.vacate(s, old.id, now)
        elif not slots.hand_over(s, old.id, new.id):
            new.surplus = not slots.fill(s, new.pair_id, new.annotator, new.id, now)
    if new.choice == "flag" and old.choice != "flag":  # the same flag again changes nothing
        votes.set_pair_status(s, new.pair_id, "paused")
    elif old.choice == "flag" and new.choice != "flag" and not votes.is_kept_paused(s, new.pair_id):
        votes.set_pair_status(s, new.pair_id, "open")
    return "surplus" if new.surplus else "stored"
