"""Labelling: hands out pairs, takes votes, takes them back. What the vote card talks to.

    batch = next_pairs(database, project_id, "local")            # up to three showings
    cast_vote(database, project_id, "local", {"vote_id": uuid, "showing_id": 7, "choice": "left"})
    undo(database, project_id, "local")                          # step by step

The promises: a vote is committed before `stored` is returned; the same `vote_id` counts once
however often it is sent; never more votes than wanted are handed out; one that arrives after its
pair went to somebody else is kept as surplus. A skip frees the pair for others and does not bring
it back to the same person, who can undo it; a flag pauses the pair for everybody.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from db import content, showings, slots, votes
from db import projects as project_queries
from db.engine import Database
from db.models import FILLING, Selection, Vote, utc_now
from studio.services.errors import Conflict, NotFound, UsageError
from studio.services.vote_form import checked_uuid, checked_vote

LEASE = timedelta(minutes=10)
MAX_COUNT = 20  # showings that one annotator may hold
OTHER_SIDE = {"a": "b", "b": "a"}
_sides = random.SystemRandom()


# --- handing out -----------------------------------------------------------------------------


def next_pairs(
    database: Database,
    project_id: int,
    annotator: str,
    *,
    count: int = 3,
    exclude: Sequence[int] = (),
    now: datetime | None = None,
) -> dict[str, Any]:
    """Up to `count` showings for the annotator, besides those in `exclude`, and the progress.

    Showings still open come first, on the same sides, with their leases renewed; then new ones.
    `exclude` are showings that the page holds already: they are renewed and not sent again.
    An archived project hands out nothing and says so in `closed`: a page may well ask for the
    next pair in the moment in which somebody archives the project.
    """
    now = now or utc_now()
    if not 1 <= count <= MAX_COUNT:
        raise UsageError(f"count is {count}; ask for 1 to {MAX_COUNT} pairs")
    with database.read() as s:
        project = _find_project(s, project_id)
        progress = votes.progress(s, project_id, annotator, now)
    if project.archived_at is not None:
        closed = f"project {project.name!r} is archived; restore it to label in it"
        return {"pairs": [], "progress": asdict(progress), "closed": closed}
    with database.write() as s:
        slots.lock_annotator(s, project_id, annotator)
        held = _renew_open(s, project_id, annotator, now)
        wanted = [each for each in held if each.id not in exclude][:count]
        num_free = progress.open_for_you - len(held)
        room = min(count, MAX_COUNT - len(held) + len(wanted))
        while len(wanted) < room:
            showing = _show_next(s, project_id, annotator, now, num_free)
            if showing is None:
                break
            wanted.append(showing)
            num_free -= 1
        shown = _describe(s, project_id, wanted, now + LEASE)
    return {"pairs": shown, "progress": asdict(progress), "closed": None}


def renew(
    database: Database,
    project_id: int,
    annotator: str,
    showing_ids: Sequence[int],
    *,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Prolong the leases of these showings; says which still stand and which have lapsed."""
    now = now or utc_now()
    ids = list(dict.fromkeys(showing_ids))
    if any(isinstance(each, bool) or not isinstance(each, int) for each in ids):
        raise UsageError(f"showing_ids is {showing_ids!r}; give a list of showing ids")
    with database.write() as s:
        slots.lock_annotator(s, project_id, annotator)
        held = {
            each.id: each.slot_id
            for each in showings.open_showings(s, project_id, annotator)
            if each.id in ids
        }
        lease_until = now + LEASE
        slot_ids = [slot_id for slot_id in held.values() if slot_id is not None]
        kept = slots.renew(s, slot_ids, annotator, lease_until)
    renewed = [each for each, slot_id in held.items() if slot_id is None or slot_id in kept]
    return {
        "renewed": renewed,
        "lapsed": [each for each in ids if each not in renewed],
        "lease_until": lease_until.isoformat(),
    }


def progress(
    database: Database, project_id: int, annotator: str, *, now: datetime | None = None
) -> dict[str, int]:
    """Where the project and this annotator stand."""
    with database.read() as s:
        _find_project(s, project_id)
        return asdict(votes.progress(s, project_id, annotator, now or utc_now()))


def _find_project(s: Session, project_id: int) -> Any:
    project = project_queries.get_project(s, project_id)
    if project is None:
        raise NotFound(f"no project with id {project_id}; reload the page and choose one")
    return project


def _renew_open(s: Session, project_id: int, annotator: str, now: datetime) -> list[Selection]:
    """The annotator's standing showings, leases prolonged; what has lapsed is closed."""
    held = showings.open_showings(s, project_id, annotator)
    showings.close_lapsed(s, project_id, annotator, [each.id for each in held], now)
    slot_ids = [each.slot_id for each in held if each.slot_id is not None]
    kept = slots.renew(s, slot_ids, annotator, now + LEASE)
    return [each for each in held if each.slot_id is None or each.slot_id in kept]


def _show_next(
    s: Session, project_id: int, annotator: str, now: datetime, num_free: int
) -> Selection | None:
    after = showings.last_position(s, project_id, annotator)
    slot = slots.claim(s, project_id, annotator, now=now, lease_until=now + LEASE, after=after)
    if slot is None:
        return None
    return showings.add_showing(
        s,
        project_id,
        annotator,
        slot,
        left_side=_sides.choice("ab"),
        strategy="random",  # the queue's order is by content hash: each free pair as likely
        propensity=1 / max(1, num_free),
        now=now,
    )


def _describe(
    s: Session, project_id: int, shown: Sequence[Selection], lease_until: datetime
) -> list[dict[str, Any]]:
    """The showings as the page gets them: nothing in them tells which answer is `response_a`."""
    pairs = content.get_pairs(s, project_id, [each.pair_id for each in shown])
    described = []
    for each in shown:
        pair = pairs[each.pair_id]
        left, right = pair.response_a, pair.response_b
        if each.left_side == "b":
            left, right = right, left
        described.append(
            {
                "showing_id": each.id,
                "pair_id": each.pair_id,
                "messages": pair.messages,
                "left": {"text": left},
                "right": {"text": right},
                "lease_until": lease_until.isoformat(),
            }
        )
    return described


# --- voting ----------------------------------------------------------------------------------


def cast_vote(
    database: Database,
    project_id: int,
    annotator: str,
    vote: Mapping[str, Any],
    *,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Store a vote; it is committed when this returns.

    The status is `stored`, `duplicate` (this vote_id was stored before, and nothing changes) or
    `surplus` (stored, though no vote of this pair was wanted any more).
    """
    now = now or utc_now()
    given = checked_vote(vote)
    with database.write() as s:
        project = _find_project(s, project_id)
        slots.lock_annotator(s, project_id, annotator)
        showing = _own_showing(s, project_id, annotator, given["showing_id"])
        choice = _stored_choice(given["choice"], showing.left_side)
        earlier = votes.get_vote(s, given["vote_id"])
        if earlier is not None:
            _check_resent(earlier, annotator, given, choice)
            status = "duplicate"
        else:
            status = _store(s, given, choice, showing, annotator, project.guidelines_version, now)
    # A new transaction: whatever happens to the counting, the vote is stored.
    return {
        "status": status,
        "vote_id": given["vote_id"],
        "progress": progress(database, project_id, annotator, now=now),
    }


def _store(
    s: Session,
    given: Mapping[str, Any],
    choice: str,
    showing: Selection,
    annotator: str,
    guidelines_version: int,
    now: datetime,
) -> str:
    standing = votes.standing_vote(s, showing.pair_id, annotator)
    if standing is not None:
        raise Conflict(
            f"you judged this pair already (vote {standing.id}), so vote {given['vote_id']} "
            "was not stored; undo the earlier one first to change your mind"
        )
    withdrawn = votes.last_vote(
        s, showing.project_id, annotator, pair_id=showing.pair_id, retracted=True
    )
    stored = votes.add_vote(
        s,
        Vote(
            id=given["vote_id"],
            project_id=showing.project_id,
            pair_id=showing.pair_id,
            showing_id=showing.id,
            annotator=annotator,
            choice=choice,
            strength=given["strength"],
            left_side=showing.left_side,
            reasons=given["reasons"],
            comment=given["comment"],
            duration_ms=given["duration_ms"],
            guidelines_version=guidelines_version,
            created_at=now,
            revises=withdrawn.id if withdrawn else None,
        ),
    )
    if choice in FILLING:
        stored.surplus = not slots.fill(s, showing.pair_id, annotator, stored.id, now)
    else:
        slots.free(s, showing.pair_id, annotator)
    if choice == "flag":
        votes.set_pair_status(s, showing.pair_id, "paused")
    showings.close_for_pair(s, showing.pair_id, annotator, now)
    return "surplus" if stored.surplus else "stored"


def _stored_choice(choice: str, left_side: str) -> str:
    sides = {"left": left_side, "right": OTHER_SIDE[left_side]}
    return sides.get(choice, choice)


def _own_showing(s: Session, project_id: int, annotator: str, showing_id: int) -> Selection:
    showing = showings.get_showing(s, showing_id)
    if showing is None or showing.project_id != project_id or showing.annotator != annotator:
        raise NotFound(
            f"showing {showing_id} was not given to you in this project; reload the page"
        )
    return showing


def _check_resent(earlier: Vote, annotator: str, given: Mapping[str, Any], choice: str) -> None:
    before = (
        earlier.annotator,
        earlier.showing_id,
        earlier.choice,
        earlier.strength,
        earlier.reasons,
        earlier.comment,
    )
    again = (
        annotator,
        given["showing_id"],
        choice,
        given["strength"],
        given["reasons"],
        given["comment"],
    )
    if before != again:
        raise Conflict(
            f"vote {earlier.id} is stored with another content; make a new vote_id for a new vote"
        )


# --- undo ------------------------------------------------------------------------------------


def undo(
    database: Database,
    project_id: int,
    annotator: str,
    *,
    vote_id: str | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Retract the annotator's last standing vote and give its pair back on the same sides.

    With `vote_id`, that very vote; asking again for one retracted before changes nothing, so a
    request that is sent twice undoes one vote only.
    """
    now = now or utc_now()
    shown: list[dict[str, Any]] = []
    with database.write() as s:
        _find_project(s, project_id)
        slots.lock_annotator(s, project_id, annotator)
        vote = _vote_to_undo(s, project_id, annotator, vote_id)
        if vote is not None and vote.retracted_at is None:
            votes.retract(s, vote, now)
            showing = _give_back(s, vote, now)
        else:
            showing = _still_open(s, vote, now)
        if showing is not None:
            shown = _describe(s, project_id, [showing], now + LEASE)
    return {
        "retracted": None if vote is None else vote.id,
        "showing": shown[0] if shown else None,
        "progress": progress(database, project_id, annotator, now=now),
    }


def _vote_to_undo(s: Session, project_id: int, annotator: str, vote_id: str | None) -> Vote | None:
    if vote_id is None:
        return votes.last_vote(s, project_id, annotator)
    vote = votes.get_vote(s, checked_uuid(vote_id))
    if vote is None or vote.project_id != project_id or vote.annotator != annotator:
        raise NotFound(f"you have no vote {vote_id} in this project; reload the page")
    return vote


def _give_back(s: Session, vote: Vote, now: datetime) -> Selection | None:
    """Reopen the vote's showing, with its slot, or a free one of the pair, or without any."""
    if vote.choice == "flag" and not votes.is_flagged(s, vote.pair_id):
        votes.set_pair_status(s, vote.pair_id, "open")
    slot_id = slots.unfill(s, vote.id, now + LEASE)
    if slot_id is None:
        taken = slots.take(s, vote.pair_id, vote.annotator, now=now, lease_until=now + LEASE)
        slot_id = taken.slot_id if taken else None
    if vote.showing_id is None:
        return None
    return showings.reopen(s, vote.showing_id, slot_id)


def _still_open(s: Session, vote: Vote | None, now: datetime) -> Selection | None:
    if vote is None:
        return None
    held = _renew_open(s, vote.project_id, vote.annotator, now)
    return next((each for each in held if each.id == vote.showing_id), None)
