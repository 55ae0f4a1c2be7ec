"""Whose page a request comes from, and of which project of which database.

    scope = scope_of(database, 3, "Lia")       # "3/20260102T030405000678/Lia"
    check_scope(database, 3, "Bo", scope)      # NotAllowed: the page is Lia's

The browser keeps what it could not send under this name, and says it with every request. So votes
wait when somebody else signs in, or when the studio runs on another database, where the same
numbers name other pairs; the moment in which the project was made tells databases apart, also over
backups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.services import labelling
from studio.services.people import NotAllowed

if TYPE_CHECKING:
    from db.engine import Database


def scope_of(database: Database, project_id: int, annotator: str) -> str:
    """Project, the moment in which it was made, and annotator."""
    with database.read() as s:
        made_at = labelling.find_project(s, project_id).created_at
    return f"{project_id}/{made_at:%Y%m%dT%H%M%S%f}/{annotator}"


def check_scope(database: Database, project_id: int, annotator: str, claimed: str) -> None:
    """NotAllowed, which is no final refusal, when the page is of another scope than the request."""
    here = scope_of(database, project_id, annotator)
    if claimed == here:
        return
    owner = claimed.split("/", 2)[-1]
    if owner != annotator:
        raise NotAllowed(
            f"this page is {owner}'s, and {annotator} is signed in now; sign in as {owner} again, "
            "and what waits here is saved"
        )
    raise NotAllowed(
        "the studio runs on another database than when this page was opened; what waits here is "
        "kept in this browser for that one: reload the page to judge in the new one"
    )
