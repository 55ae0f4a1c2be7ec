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
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from db import own_votes, showings, slots, votes
from db import projects as project_queries
from db.engine import Database
from db.models import FILLING, Project, Selection, Vote, utc_now
from studio.services import choosing
from studio.services import progress as progress_counts
from studio.services.errors import Conflict, NotFound, UsageError
from studio.services.showing_form import check_same, describe, reveal, with_html
from studio.services.vote_form import (
    Offer,
    checked_uuid,
    checked_vote,
    stored_choice,
    taken,
    version_shown,
)

LEASE = timedelta(minutes=10)
MAX_COUNT = 20  # showings that one annotator may hold
_chance = random.SystemRandom()


# --- handing out -----------------------------------------------------------------------------


def next_pairs(
    database: Database,
    project_id: int,
    annotator: str,
    *,
    count: int = 3,
    exclude: Sequence[int] = (),
    now: datetime | None = None,
    chance: random.Random | None = None,
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
        project = find_project(s, project_id)
        standing = progress_counts.standing(database, s, project, annotator, now)
    if project.archived_at is not None:
        closed = f"project {project.name!r} is archived; restore it to label in it"
        return {"pairs": [], "progress": standing.told, "closed": closed}
    with database.write() as s:
        slots.lock_annotator(s, project_id, annotator)
        slots.drop_lapsed(s, project_id, now)
        held = _renew_open(s, project_id, annotator, now)
        wanted = [each for each in held if each.id not in exclude][:count]
        num_free = standing.num_free - sum(each.purpose == "label" for each in held)
        room = min(count, MAX_COUNT - len(held) + len(wanted))
        while len(wanted) < room:
            showing = choosing.draw(
                s, project, annotator, standing, num_free=num_free, now=now,
                lease_until=now + LEASE, chance=chance or _chance,
            )  # fmt: skip
            if showing is None:
                break
            wanted.append(showing)
            num_free -= showing.purpose == "label"
        shown = describe(s, project_id, wanted, now + LEASE)
    return {
        "pairs": [with_html(each) for each in shown], "progress": standing.told, "closed": None,
    }  # fmt: skip


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
        project = find_project(s, project_id)
        return progress_counts.standing(database, s, project, annotator, now or utc_now()).told


def find_project(s: Session, project_id: int) -> Project:
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
        project = find_project(s, project_id)
        slots.lock_annotator(s, project_id, annotator)
        showing = own_showing(s, project_id, annotator, given["showing_id"])
        check_same(showing, vote)
        choice = stored_choice(given["choice"], showing.left_side)
        beside, set_aside = taken(given, offer_of(project), showing.left_side)
        earlier = votes.get_vote(s, given["vote_id"])
        if earlier is not None:
            check_resent(earlier, annotator, given, choice, showing_id=showing.id)
            status = "duplicate"
        else:
            version = version_shown(given["guidelines_version"], project.guidelines_version)
            new = new_vote(given | beside, choice, showing, showing.id, version, now)
            status = _store(s, new, showing, now)
        told = reveal(s, showing.pair_id, showing.left_side, choice)
    return answer_to_vote(
        database, project_id, annotator, now,
        {"status": status, "vote_id": given["vote_id"], "reveal": told, "set_aside": set_aside},
    )  # fmt: skip


def offer_of(project: Project) -> Offer:
    """What the project asks for beside the verdict."""
    return Offer(project.reasons, project.aspects)


def answer_to_vote(
    database: Database, project_id: int, annotator: str, now: datetime, answer: dict[str, Any]
) -> dict[str, Any]:
    """The answer with the progress; a new transaction: whatever happens to it, the vote is in."""
    return {**answer, "progress": progress(database, project_id, annotator, now=now)}


def new_vote(
    given: Mapping[str, Any],
    choice: str,
    on: Selection | Vote,
    showing_id: int | None,
    guidelines_version: int,
    now: datetime,
    revises: str | None = None,
) -> Vote:
    """The row of a verdict with what was given beside it, on a showing or on an earlier vote."""
    return Vote(
        id=given["vote_id"],
        project_id=on.project_id,
        pair_id=on.pair_id,
        showing_id=showing_id,
        annotator=on.annotator,
        purpose=on.purpose,
        choice=choice,
        strength=given["strength"],
        left_side=on.left_side,
        reasons=given["reasons"],
        aspects=given["aspects"],
        comment=given["comment"],
        duration_ms=given["duration_ms"],
        guidelines_version=guidelines_version,
        created_at=now,
        revises=revises,
    )


def _store(s: Session, vote: Vote, showing: Selection, now: datetime) -> str:
    standing = own_votes.standing_on(s, showing)
    if standing is not None:
        raise Conflict(
            f"you judged this pair already (vote {standing.id}), so vote {vote.id} "
            "was not stored; undo the earlier one first to change your mind"
        )
    withdrawn = own_votes.withdrawn_on(s, showing)
    vote.revises = withdrawn.id if withdrawn else None
    votes.add_vote(s, vote)
    if vote.purpose == "label":
        if vote.choice in FILLING:
            vote.surplus = not slots.fill(s, vote.pair_id, vote.annotator, vote.id, now)
        else:
            slots.free(s, vote.pair_id, vote.annotator, now)
    if vote.choice == "flag":
        votes.set_pair_status(s, vote.pair_id, "paused")
    showings.close_for_pair(s, vote.pair_id, vote.annotator, now)
    return "surplus" if vote.surplus else "stored"


def own_showing(s: Session, project_id: int, annotator: str, showing_id: int) -> Selection:
    showing = showings.get_showing(s, showing_id)
    if showing is None or showing.project_id != project_id or showing.annotator != annotator:
        raise NotFound(
            f"showing {showing_id} was not given to you in this project; reload the page"
        )
    return showing


def check_resent(
    earlier: Vote,
    annotator: str,
    given: Mapping[str, Any],
    choice: str,
    **same: Any,
) -> None:
    """Refuse an id that was used for another vote.

    Reasons and aspects may be fewer now: the project may have ceased to offer some meanwhile.
    """
    before = (earlier.annotator, earlier.choice, earlier.strength, earlier.comment)
    again = (annotator, choice, given["strength"], given["comment"])
    known = {*given["reasons"], given["skip_reason"]}
    is_same = (
        before == again
        and set(earlier.reasons) <= known
        and all(getattr(earlier, name) == value for name, value in same.items())
    )
    if not is_same:
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

    With `vote_id`, that very vote, or the revision that stands for it; asking again for one
    retracted before changes nothing, so a request that is sent twice undoes one vote only.
    """
    now = now or utc_now()
    shown: list[dict[str, Any]] = []
    with database.write() as s:
        find_project(s, project_id)
        slots.lock_annotator(s, project_id, annotator)
        vote = _vote_to_undo(s, project_id, annotator, vote_id)
        was_standing = vote is not None and vote.retracted_at is None
        if vote is not None and was_standing:
            votes.retract(s, vote, now)
            showing = _give_back(s, vote, now)
        else:
            showing = _still_open(s, vote, now)
        if showing is not None:
            shown = describe(s, project_id, [showing], now + LEASE)
    return {
        "retracted": None if vote is None else vote.id,
        "was_standing": was_standing,
        "showing": with_html(shown[0]) if shown else None,
        "progress": progress(database, project_id, annotator, now=now),
    }


def _vote_to_undo(s: Session, project_id: int, annotator: str, vote_id: str | None) -> Vote | None:
    if vote_id is None:
        return own_votes.last_own(s, project_id, annotator)
    vote = votes.get_vote(s, checked_uuid(vote_id))
    if vote is None or vote.project_id != project_id or vote.annotator != annotator:
        raise NotFound(f"you have no vote {vote_id} in this project; reload the page")
    return votes.standing_revision(s, vote) or vote


def _give_back(s: Session, vote: Vote, now: datetime) -> Selection | None:
    """Reopen the vote's showing, with its slot, or a free one of the pair, or without any."""
    if vote.choice == "flag" and not votes.is_kept_paused(s, vote.pair_id):
        votes.set_pair_status(s, vote.pair_id, "open")
    if vote.showing_id is None:
        return None  # given on no showing: an edit that beats what it came from
    slot_id = slots.unfill(s, vote.id, now + LEASE)
    if slot_id is None and vote.purpose == "label":
        slot_id = slots.take(s, vote.pair_id, vote.annotator, now=now, lease_until=now + LEASE)
    return showings.reopen(s, vote.showing_id, slot_id)


def _still_open(s: Session, vote: Vote | None, now: datetime) -> Selection | None:
    if vote is None:
        return None
    held = _renew_open(s, vote.project_id, vote.annotator, now)
    return next((each for each in held if each.id == vote.showing_id), None)
