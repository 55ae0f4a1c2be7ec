"""How a project's votes become targets: read the settings, try others, change them.

    read(database, project_id)                                # every key with its value
    preview(database, project_id, {"method": "majority"})     # what would change, in numbers
    change(database, project_id, "mara", {"method": "majority"})

The rules are in db/aggregation.py and docs/training-rules.md. A checkpoint keeps the settings that
it was trained by; a change shows in the next training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from db import audit
from db.aggregation import METHODS, TIES, TRAINING, Merged, Rules, merge
from db.models import Project
from db.projects import count_pairs
from db.vote_table import read_votes
from studio.services.errors import NotFound, UsageError

if TYPE_CHECKING:
    from db.engine import Database

__all__ = ["METHODS", "TIES", "change", "preview", "read"]
CHANGED = 1e-6  # targets that differ by less are the same


def read(database: Database, project_id: int) -> dict[str, Any]:
    """The settings in force, every key with its value."""
    with database.read() as s:
        return Rules.from_settings(_project(s, project_id).aggregation).as_settings()


def change(
    database: Database, project_id: int, lead: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Put settings in force; keys that are missing get their defaults."""
    rules = _checked(settings)
    with database.write() as s:
        project = _project(s, project_id)
        before = Rules.from_settings(project.aggregation)
        if rules != before:
            project.aggregation = rules.as_settings()
            audit.record(
                s, lead, "aggregation", "project", project_id,
                now=rules.as_settings(), replaced=before.as_settings(),
            )  # fmt: skip
    return rules.as_settings()


def preview(database: Database, project_id: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What other settings would make of the votes as they stand.

    `pairs` with a target, now and then; `changed` targets among the pairs that have one both ways,
    and of those `flipped` to the other answer; `gained` and `lost` pairs; `mean_change` of the
    changed targets; `left_out`; and for `reliability` what each annotator is held to be.
    """
    rules = _checked(settings)
    with database.read() as s:
        own = Rules.from_settings(_project(s, project_id).aggregation)
        table = read_votes(s, project_id, purposes=TRAINING)
        num_pairs = count_pairs(s, project_id)
    now, then = merge(table, own), merge(table, rules)
    never_converged = then.reliability is not None and not then.has_converged
    return {
        **_compared(now, then),
        "settings": rules.as_settings(),
        "is_in_force": rules == own,
        "left_out": then.left_out(num_pairs),
        "has_converged": not never_converged,
        "reliability": {name: each._asdict() for name, each in (then.reliability or {}).items()},
    }


def _compared(now: Merged, then: Merged) -> dict[str, Any]:
    import numpy as np

    both = now.has_target & then.has_target
    difference = np.abs(now.target - then.target)[both]
    changed = difference > CHANGED
    flipped = ((now.target - 0.5) * (then.target - 0.5) < 0)[both]
    return {
        "pairs_now": now.num_with_target,
        "pairs_then": then.num_with_target,
        "changed": int(changed.sum()),
        "flipped": int(flipped.sum()),
        "gained": int((then.has_target & ~now.has_target).sum()),
        "lost": int((now.has_target & ~then.has_target).sum()),
        "mean_change": float(difference[changed].mean()) if changed.any() else 0.0,
    }


def _project(s: Session, project_id: int) -> Project:
    project = s.get(Project, project_id)
    if project is None:
        raise NotFound(f"no project with id {project_id}; reload the page and choose one")
    return project


def _checked(settings: Mapping[str, Any]) -> Rules:
    try:
        return Rules.from_settings(settings)
    except ValueError as error:
        raise UsageError(str(error)) from error
