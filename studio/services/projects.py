"""Projects as the page and the console see them: make, list, find, archive.

info = create(database, "support answers")
get(database, "support answers").id == info.id
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from db import audit, snapshots
from db import projects as queries
from db.engine import Database
from db.models import Project, utc_now
from studio.services.errors import Conflict, NotFound, UsageError

MAX_NAME = 100
MAX_WANTED_VOTES = 100


@dataclass(frozen=True)
class ProjectInfo:
    """A project and its counts at one moment."""

    id: int
    name: str
    archived: bool
    backbone: str
    guidelines: str
    guidelines_version: int
    wanted_votes: int
    created_at: datetime
    num_pairs: int
    num_judged: int
    num_open: int
    num_new: int  # pairs with a verdict that the newest checkpoint has not seen
    num_imported_votes: int
    num_people_votes: int


def create(
    database: Database,
    name: str,
    *,
    backbone: str = "embedded",
    guidelines: str = "",
    wanted_votes: int = 1,
) -> ProjectInfo:
    """A new, empty project; its name must not be taken."""
    with database.write() as s:
        project = add(s, name, backbone=backbone, guidelines=guidelines, wanted_votes=wanted_votes)
        return _info(s, project)


def add(
    s: Session, name: str, *, backbone: str, guidelines: str = "", wanted_votes: int = 1
) -> Project:
    """Make a project inside the caller's transaction."""
    name = checked_name(name)
    if not 1 <= wanted_votes <= MAX_WANTED_VOTES:
        raise UsageError(
            f"a pair cannot want {wanted_votes} votes; give a number from 1 to {MAX_WANTED_VOTES}"
        )
    for what, text in (("guidelines", guidelines), ("backbone", backbone)):
        if not is_storable(text):
            raise UsageError(f"the {what} hold a NUL character or a lone surrogate; remove it")
    project = queries.add_project(
        s, name, backbone=backbone, guidelines=guidelines, wanted_votes=wanted_votes
    )
    if project is None:
        raise Conflict(f"there is a project named {name!r} already; choose another name")
    audit.record(s, "local", "create", "project", project.id, name=name)
    return project


def checked_name(name: str) -> str:
    """The name without surrounding space, if a project may be called so."""
    name = name.strip()
    if not name:
        raise UsageError("the project's name is empty; give it one")
    if len(name) > MAX_NAME:
        raise UsageError(
            f"the project's name is {len(name)} characters long; use at most {MAX_NAME}"
        )
    if not name.isprintable() or not is_storable(name):
        raise UsageError(
            f"the project's name {name!r} holds a character that does not print; leave it out"
        )
    return name


def is_storable(text: str) -> bool:
    """PostgreSQL keeps neither NUL characters nor lone surrogates."""
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def list_all(database: Database, include_archived: bool = False) -> list[ProjectInfo]:
    """Every project, oldest first."""
    with database.read() as s:
        return [_info(s, project) for project in queries.list_projects(s, include_archived)]


def choices(database: Database, *, archived: bool = False) -> list[tuple[str, int]]:
    """Name and id of every project in use (or put away): no counts, so it costs nothing."""
    with database.read() as s:
        found = queries.list_projects(s, include_archived=True)
        return [
            (each.name, each.id) for each in found if (each.archived_at is not None) == archived
        ]


def guidelines(database: Database, project_id: int) -> str:
    """The project's guidelines as they are now."""
    with database.read() as s:
        return find(s, project_id).guidelines


def names(database: Database) -> dict[int, str]:
    """The name of every project, archived ones too, by id: no counts, so it costs nothing."""
    with database.read() as s:
        found = queries.list_projects(s, include_archived=True)
        return {project.id: project.name for project in found}


def get(database: Database, name_or_id: str | int) -> ProjectInfo:
    """The project of this name or id; a name wins over an id that is spelt the same."""
    with database.read() as s:
        return _info(s, find(s, name_or_id))


def find(s: Session, name_or_id: str | int) -> Project:
    """The row of the project of this name or id, archived or not."""
    found = None
    if isinstance(name_or_id, str):
        found = queries.find_project(s, name_or_id.strip())
    if found is None and is_id(name_or_id):
        found = queries.get_project(s, int(name_or_id))
    if found is None:
        names = [repr(project.name) for project in queries.list_projects(s)]
        choices = f"there are: {', '.join(names)}" if names else "there are no projects yet"
        raise NotFound(f"no project {name_or_id!r}; {choices}")
    return found


def is_id(value: str | int) -> bool:
    """Whether a row could have this id: both databases hold 31 bits."""
    text = str(value)
    return text.isascii() and text.isdigit() and int(text) < 2**31


def only_project(database: Database) -> ProjectInfo:
    """The project, where there is only one; else an error that names the choices."""
    with database.read() as s:
        found = queries.list_projects(s)
        if not found:
            raise NotFound("there are no projects yet; import a file or create one")
        if len(found) > 1:
            names = ", ".join(repr(project.name) for project in found)
            raise UsageError(f"there are {len(found)} projects ({names}); say which with --project")
        return _info(s, found[0])


def set_guidelines(
    database: Database, project_id: int, text: str, actor: str = "local"
) -> ProjectInfo:
    """Put new guidelines in force; every vote says under which version it was cast.

    The words they replace are kept in the audit trail. The same words again change nothing.
    """
    if not is_storable(text):
        raise UsageError("the guidelines hold a NUL character or a lone surrogate; remove it")
    with database.write() as s:
        project = find(s, project_id)
        replaced = project.guidelines
        if text != replaced:
            version = queries.set_guidelines(s, project_id, text, actor)
            s.refresh(project)
            audit.record(
                s, actor, "guidelines", "project", project_id, version=version, replaced=replaced
            )
    return get(database, project_id)  # counts take a while, and nobody's vote should wait for them


def archive(database: Database, project_id: int, actor: str = "local") -> ProjectInfo:
    """Put the project away: nothing is deleted, its pairs are no longer handed out."""
    return _set_archived(database, project_id, utc_now(), "archive", actor)


def restore(database: Database, project_id: int, actor: str = "local") -> ProjectInfo:
    """Bring an archived project back."""
    return _set_archived(database, project_id, None, "restore", actor)


def _set_archived(
    database: Database, project_id: int, at: datetime | None, action: str, actor: str
) -> ProjectInfo:
    with database.write() as s:
        project = find(s, project_id)
        if (project.archived_at is None) != (at is None):
            queries.set_archived(s, project_id, at)
            audit.record(s, actor, action, "project", project_id)
    return get(database, project_id)


def _info(s: Session, project: Project) -> ProjectInfo:
    counts = queries.count(s, project.id)
    return ProjectInfo(
        id=project.id,
        name=project.name,
        archived=project.archived_at is not None,
        backbone=project.backbone,
        guidelines=project.guidelines,
        guidelines_version=project.guidelines_version,
        wanted_votes=project.wanted_votes,
        created_at=project.created_at,
        num_pairs=counts.num_pairs,
        num_judged=counts.num_judged,
        num_open=counts.num_open,
        num_new=snapshots.new_judged_pairs(s, project.id),
        num_imported_votes=counts.num_imported_votes,
        num_people_votes=counts.num_people_votes,
    )
