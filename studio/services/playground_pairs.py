"""Two answers of the playground become a pair of the project, to be labelled.

    sent = send(database, settings, project_id, "mara", messages, "one", "two")
    sent["pair_id"], sent["is_new"]

The pair is an unlabelled import like any other: checked by the same rules, known by its content,
so that the same two answers are one pair however often and whichever way round they are sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from db import audit, content, projects
from db.content import NewPair
from db.models import utc_now
from studio.services import encoding
from studio.services.errors import Conflict, NotFound, UsageError
from studio.services.import_rows import RowRefused, row_pairs

if TYPE_CHECKING:
    from db.engine import Database
    from studio.settings import Settings


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
