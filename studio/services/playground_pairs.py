"""Pairs of the project in the playground: opened there, or made of two of its answers.

    opened = open_pair(database, project_id, person, "random")      # or "disputed", or a number
    sent = send(database, settings, project_id, "mara", messages, "one", "two")

Whoever labels must not learn here what others said: annotators open pairs that they have judged,
with their own verdict. Leads open any; one who labels too is not told the verdict of a pair that
still waits for theirs.

A pair that is sent is an unlabelled import like any other: checked by the same rules, known by its
content, so that the same two answers are one pair however often and whichever way round they come.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from db import audit, content, own_votes, pair_texts, projects, slot_counts, votes
from db.content import NewPair
from db.models import JUDGING, utc_now
from studio.services import encoding
from studio.services.errors import Conflict, NotFound, UsageError
from studio.services.import_files import RowRefused
from studio.services.import_rows import row_pairs
from studio.services.people import require

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.engine import Database
    from studio.services.people import Person
    from studio.settings import Settings


def open_pair(
    database: Database, project_id: int, person: Person, wanted: int | str
) -> dict[str, Any]:
    """A pair by its id, `random` or `disputed` (leads), with the verdict that the person may know.

    `verdict` has `target` (None: not judged), `num_votes`, and `of`: `you` for the person's own
    vote, `all` for everybody's; it is None where the pair still waits for the person's own.
    """
    is_lead = person.may(project_id, "lead")
    with database.read() as s:
        pair_id = _find(s, project_id, person, wanted, is_lead)
        pair = pair_texts.get_pair(s, project_id, pair_id) if pair_id is not None else None
        if pair is None:
            raise NotFound(_no_pair(wanted, is_lead))
        return {
            "pair_id": pair.pair_id,
            "messages": pair.messages,
            "response_a": pair.response_a,
            "response_b": pair.response_b,
            "split": pair.split,
            "verdict": _verdict(s, project_id, pair.pair_id, person, is_lead),
        }


def has_pairs(database: Database, project_id: int, person: Person) -> bool:
    """Whether there is a pair that the person may open."""
    with database.read() as s:
        is_lead = person.may(project_id, "lead")
        return _find(s, project_id, person, "random", is_lead) is not None


def _find(
    s: Session, project_id: int, person: Person, wanted: int | str, is_lead: bool
) -> int | None:
    if wanted == "disputed":
        require(person, project_id, "lead")
        return pair_texts.disputed_pair_id(s, project_id, random.random())
    if is_lead:
        if wanted == "random":
            return pair_texts.random_pair_id(s, project_id, random.random())
        return int(wanted)
    if wanted == "random":
        return own_votes.random_judged(s, project_id, person.name, random.random())
    has_judged = own_votes.verdict_on(s, project_id, int(wanted), person.name) is not None
    return int(wanted) if has_judged else None


def _verdict(
    s: Session, project_id: int, pair_id: int, person: Person, is_lead: bool
) -> dict[str, Any] | None:
    own = own_votes.verdict_on(s, project_id, pair_id, person.name)
    if not is_lead:
        choices = Counter([own] if own else [])
    elif own is None and slot_counts.is_wanted(s, pair_id) and _labels(s, project_id, person.name):
        return None
    else:
        choices = Counter(
            each.choice for each in votes.standing_votes(s, [pair_id]).get(pair_id, [])
        )
    return {
        "target": votes.target_of(choices),
        "num_votes": sum(choices[choice] for choice in JUDGING),
        "of": "all" if is_lead else "you",
    }


def _labels(s: Session, project_id: int, name: str) -> bool:
    return votes.last_vote(s, project_id, name) is not None


def _no_pair(wanted: int | str, is_lead: bool) -> str:
    if wanted == "disputed":
        return "nobody disagrees on a pair of this project yet: take a random one."
    if not is_lead:
        what = "no pair yet" if wanted == "random" else f"no pair {wanted}"
        return f"you have judged {what}: the playground opens pairs after your verdict on them."
    what = "no pairs" if wanted == "random" else f"no pair {wanted}"
    return f"the project has {what}: import some, or take a random one."


def send(
    database: Database,
    settings: Settings,
    project_id: int,
    person: str,
    messages: list[dict[str, str]],
    first: str,
    second: str,
) -> dict[str, Any]:
    """Add the pair with the source `playground:<person>`, or say that it is there already."""
    row = {"prompt": messages, "responses": [first, second], "source": f"playground:{person}"}
    try:
        parsed = row_pairs(row)
    except RowRefused as error:
        seen = f" ({error.seen})" if error.seen else ""
        raise UsageError(f"the two answers make no pair: {error.reason}{seen}.") from error
    with database.write() as s:
        project = projects.get_project(s, project_id)
        if project is None:
            raise NotFound(f"there is no project {project_id}: choose one above.")
        if project.archived_at is not None:
            raise Conflict(f"the project {project.name!r} is archived: restore it to add pairs.")
        projects.lock_project(s, project_id)
        new = NewPair(parsed.messages, first, second, parsed.category, parsed.meta)
        (added,) = content.add_pairs(
            s, project_id, [new], wanted_votes=project.wanted_votes, now=utc_now()
        )
        if added.is_new:
            audit.record(s, person, "send_to_labelling", "pair", added.pair_id, source="playground")
    if added.is_new:
        encoding.enqueue(database, settings, project_id, "playground")
    return {"pair_id": added.pair_id, "is_new": added.is_new}
