"""Projects: making, finding, listing and archiving them, and the counts shown beside each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import FILLING, Guidelines, Pair, Project, Slot, Vote
from db.slot_counts import count_unfilled
from db.slots import LABEL


@dataclass(frozen=True)
class ProjectCounts:
    """What a project holds: pairs, pairs with a verdict, pairs still open, labels by origin."""

    num_pairs: int
    num_judged: int
    num_open: int
    num_imported_votes: int
    num_people_votes: int


def add_project(
    s: Session,
    name: str,
    *,
    backbone: str,
    guidelines: str,
    wanted_votes: int,
    author: str = "local",
) -> Project | None:
    """A new project, or None when the name is taken."""
    project = Project(
        name=name, backbone=backbone, guidelines=guidelines, wanted_votes=wanted_votes
    )
    try:
        with s.begin_nested():
            s.add(project)
    except sa.exc.IntegrityError:
        return None
    s.add(Guidelines(project_id=project.id, version=1, text=guidelines, author=author))
    return project


def get_project(s: Session, project_id: int) -> Project | None:
    return s.get(Project, project_id)


def find_project(s: Session, name: str) -> Project | None:
    return s.scalar(select(Project).where(Project.name == name))


def list_projects(s: Session, include_archived: bool = False) -> list[Project]:
    statement = select(Project).order_by(Project.id)
    if not include_archived:
        statement = statement.where(Project.archived_at.is_(None))
    return list(s.scalars(statement))


def set_archived(s: Session, project_id: int, at: datetime | None) -> bool:
    """Archive the project (or restore it, with None); False when there is no such project."""
    done = s.execute(sa.update(Project).where(Project.id == project_id).values(archived_at=at))
    return bool(done.rowcount)  # type: ignore[attr-defined]


def set_guidelines(s: Session, project_id: int, text: str, author: str = "local") -> int:
    """Put new guidelines in force; their version, which votes from now on carry."""
    s.execute(
        sa.update(Project)
        .where(Project.id == project_id)
        .values(guidelines=text, guidelines_version=Project.guidelines_version + 1)
    )
    version = s.scalar(select(Project.guidelines_version).where(Project.id == project_id))
    assert version is not None
    s.add(Guidelines(project_id=project_id, version=version, text=text, author=author))
    return version


def find_guidelines(s: Session, project_id: int, version: int) -> Guidelines | None:
    return s.scalar(
        select(Guidelines).where(Guidelines.project_id == project_id, Guidelines.version == version)
    )


def lock_project(s: Session, project_id: int) -> None:
    """Let one import at a time into a project; voting goes on meanwhile (on PostgreSQL)."""
    s.execute(
        select(Project.id).where(Project.id == project_id).with_for_update(key_share=True)
    ).all()


def count(s: Session, project_id: int) -> ProjectCounts:
    """The project's counts, each from an index alone."""
    by_origin = dict(
        s.execute(
            select(Vote.imported, func.count())
            .where(
                Vote.project_id == project_id, Vote.retracted_at.is_(None), Vote.purpose == LABEL
            )
            .group_by(Vote.imported)
        ).all()
    )
    return ProjectCounts(
        num_pairs=count_pairs(s, project_id),
        num_judged=count_judged(s, project_id),
        num_open=count_open(s, project_id),
        num_imported_votes=by_origin.get(True, 0),
        num_people_votes=by_origin.get(False, 0),
    )


def count_pairs(s: Session, project_id: int) -> int:
    return s.scalar(select(func.count()).where(Pair.project_id == project_id)) or 0


def count_judged(s: Session, project_id: int) -> int:
    """Pairs with at least one verdict (left, right, tie or both bad), whoever gave it."""
    judged = select(Vote.pair_id).where(  # counted distinct, SQLite would fill a table of its own
        Vote.project_id == project_id,
        Vote.retracted_at.is_(None),
        Vote.choice.in_(FILLING),
        Vote.purpose == LABEL,
    )
    return s.scalar(select(func.count()).select_from(judged.distinct().subquery())) or 0


def count_open(s: Session, project_id: int) -> int:
    """Pairs that want another vote and are not paused."""
    unfilled = select(Slot.id).where(Slot.pair_id == Pair.id, Slot.vote_id.is_(None)).exists()
    paused = s.scalar(
        select(func.count()).where(Pair.project_id == project_id, Pair.status == "paused", unfilled)
    )
    return count_unfilled(s, project_id) - (paused or 0)
