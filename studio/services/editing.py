"""Edits: an annotator writes a better answer, which becomes a response that beats its parent.

    edit(database, project_id, "ann", {"vote_id": uuid, "showing_id": 7, "side": "left",
                                       "text": "better"})

The edit and the answer it came from are a new pair of the same prompt, so of the same split, with
the annotator's label that the edit is better. It wants no further votes; who writes the same
answer, or takes it back and gives it again, adds a vote to the pair that is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from db import content, pair_texts, slots, votes
from db.models import Vote, utc_now
from studio.services import labelling
from studio.services.errors import Conflict, UsageError
from studio.services.projects import is_storable
from studio.services.showing_form import check_same
from studio.services.vote_form import checked_uuid, checked_version, stored_choice, version_shown

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.engine import Database
    from db.models import Project

MAX_EDIT = 200_000


@dataclass(frozen=True)
class _Edit:
    vote_id: str
    showing_id: int
    side: str
    text: str
    guidelines_version: int | None


def edit(
    database: Database,
    project_id: int,
    annotator: str,
    edit: Mapping[str, Any],
    *,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Store an edited answer and the vote for it; committed when this returns.

    The status is `stored`, or `duplicate` where this vote_id stored the same edit before.
    """
    now = now or utc_now()
    given = _checked(edit)
    with database.write() as s:
        project = labelling.find_project(s, project_id)
        slots.lock_annotator(s, project_id, annotator)
        showing = labelling.own_showing(s, project_id, annotator, given.showing_id)
        check_same(showing, edit)
        side = stored_choice(given.side, showing.left_side)
        earlier = votes.get_vote(s, given.vote_id)
        if earlier is not None:
            _check_resent(s, earlier, annotator, given)
            status, pair_id = "duplicate", earlier.pair_id
        else:
            _check_changed(s, project_id, showing.pair_id, side, given.text)
            status = "stored"
            pair_id = _store(s, project, annotator, showing.pair_id, side, given, now)
    return labelling.answer_to_vote(
        database, project_id, annotator, now,
        {"status": status, "vote_id": given.vote_id, "pair_id": pair_id},
    )  # fmt: skip


def _checked(edit: Mapping[str, Any]) -> _Edit:
    showing_id, side, text = edit.get("showing_id"), edit.get("side"), edit.get("text")
    if (
        isinstance(showing_id, bool)
        or not isinstance(showing_id, int)
        or not 0 < showing_id < 2**31
    ):
        raise UsageError(f"showing_id is {showing_id!r}; give the id of a showing")
    if side not in ("left", "right"):
        raise UsageError(f"side is {side!r}; use left or right")
    if not isinstance(text, str) or not text.strip():
        raise UsageError("the edited answer is empty; write the better answer, or cancel")
    if len(text) > MAX_EDIT:
        raise UsageError(f"the edited answer has {len(text)} characters; use at most {MAX_EDIT}")
    if not is_storable(text):
        raise UsageError("the edited answer holds a NUL character or a lone surrogate; remove it")
    vote_id = checked_uuid(edit.get("vote_id"))
    return _Edit(vote_id, showing_id, side, text, checked_version(edit))


def _check_resent(s: Session, earlier: Vote, annotator: str, given: _Edit) -> None:
    pair = pair_texts.get_pair(s, earlier.project_id, earlier.pair_id)
    assert pair is not None
    text = pair.response_a if earlier.choice == "a" else pair.response_b
    if earlier.annotator != annotator or earlier.showing_id is not None or text != given.text:
        raise Conflict(
            f"vote {earlier.id} is stored with another content; make a new vote_id for a new edit"
        )


def _check_changed(s: Session, project_id: int, pair_id: int, side: str, text: str) -> None:
    """A browser's text box changes line ends by itself; that alone is no edit."""
    pair = pair_texts.get_pair(s, project_id, pair_id)
    assert pair is not None
    parent = pair.response_a if side == "a" else pair.response_b
    if _compared(text) == _compared(parent):
        raise UsageError(
            "the edited answer is the same as the answer it came from; change it first"
        )


def _compared(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _store(
    s: Session, project: Project, annotator: str, pair_id: int, side: str, given: _Edit,
    now: datetime,
) -> int:  # fmt: skip
    made = content.add_edit(
        s, project.id, pair_id, side, given.text, source=f"person:{annotator}", now=now
    )
    if made is None:
        raise Conflict(
            "the edited answer is an answer to this prompt already, so it was not stored; "
            "change it, or judge the pair in which it stands"
        )
    standing = votes.standing_vote(s, made.pair_id, annotator)
    if standing is not None:
        raise Conflict(
            f"you gave this very answer before (vote {standing.id}), so it was not stored again; "
            "change it, or cancel"
        )
    votes.add_vote(
        s,
        Vote(
            id=given.vote_id,
            project_id=project.id,
            pair_id=made.pair_id,
            annotator=annotator,
            choice=made.choice,
            guidelines_version=version_shown(given.guidelines_version, project.guidelines_version),
            created_at=now,
        ),
    )
    return made.pair_id
