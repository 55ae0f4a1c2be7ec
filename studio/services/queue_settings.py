"""What a lead decides about a project's queue: strategy, checks of quality, what is asked.

settings = get(database, project_id)
update(database, project_id, "mara", strategy="information", gold_rate=0.05)
for_annotators(database, project_id)          # what the label page needs of it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from db import audit, checks, projects, slots
from db.models import STRATEGIES, utc_now
from studio.services.errors import NotFound, UsageError
from studio.services.projects import MAX_WANTED_VOTES, is_storable
from studio.services.rendering import render_markdown
from studio.services.vote_form import MAX_COMMENT, SKIP_REASONS

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from db.engine import Database
    from db.models import Project

MIN_RANDOM_SHARE = 0.01  # there is always a random arm: nothing else says what a strategy is worth
MAX_CHECK_RATE = 0.5  # gold and repeats together
MAX_CHOICES = 20
MAX_CHOICE_LENGTH = 60
PAIRS_AT_ONCE = 2000


@dataclass(frozen=True)
class QueueSettings:
    """The settings as they stand, and what the page says beside them."""

    strategy: str
    random_share: float
    gold_rate: float
    repeat_rate: float
    wanted_votes: int
    reasons: list[str]
    aspects: list[str]
    num_gold: int
    ranking: dict[str, Any]


def get(database: Database, project_id: int) -> QueueSettings:
    with database.read() as s:
        return _settings(s, _find(s, project_id))


def for_annotators(database: Database, project_id: int) -> dict[str, Any]:
    """What the label page offers; nothing that tells how pairs are chosen or people checked."""
    with database.read() as s:
        project = _find(s, project_id)
    return {
        "project": project.name,
        "reasons": project.reasons,
        "skip_reasons": list(SKIP_REASONS),
        "aspects": project.aspects,
        "guidelines": {
            "version": project.guidelines_version,
            "text": project.guidelines,
            "html": render_markdown(project.guidelines, is_document=True),
        },
        "wanted_votes": project.wanted_votes,
        "max_comment": MAX_COMMENT,
    }


def update(
    database: Database,
    project_id: int,
    actor: str,
    *,
    strategy: str | None = None,
    random_share: float | None = None,
    gold_rate: float | None = None,
    repeat_rate: float | None = None,
    wanted_votes: int | None = None,
    reasons: Sequence[str] | None = None,
    aspects: Sequence[str] | None = None,
    now: datetime | None = None,
) -> QueueSettings:
    """Change what is given; all of it or, where something is wrong, none."""
    with database.write() as s:
        project = _find(s, project_id)
        wanted: dict[str, Any] = {
            "queue_strategy": _strategy(strategy or project.queue_strategy),
            "random_share": _share(
                "random_share", random_share, project.random_share, 1.0, MIN_RANDOM_SHARE
            ),
            "gold_rate": _share("gold_rate", gold_rate, project.gold_rate, MAX_CHECK_RATE),
            "repeat_rate": _share("repeat_rate", repeat_rate, project.repeat_rate, MAX_CHECK_RATE),
            "wanted_votes": _wanted_votes(wanted_votes or project.wanted_votes),
            "reasons": _choices("reason", project.reasons if reasons is None else reasons),
            "aspects": _choices("aspect", project.aspects if aspects is None else aspects),
        }
        both = wanted["gold_rate"] + wanted["repeat_rate"]
        if both > MAX_CHECK_RATE:
            raise UsageError(
                f"gold pairs and repeats would be {both:.0%} of all pairs; keep them to "
                f"{MAX_CHECK_RATE:.0%} together"
            )
        changed = {name: value for name, value in wanted.items() if getattr(project, name) != value}
        for name, value in changed.items():
            setattr(project, name, value)
        if changed:
            audit.record(s, actor, "queue", "project", project_id, **changed)
        settings = _settings(s, project)
    if "wanted_votes" in changed:
        set_slots(database, project_id, now)
    return settings


def set_slots(database: Database, project_id: int, now: datetime | None = None) -> None:
    """Open or close slots until every pair in the queue has as many as votes are wanted.

    In steps of some thousand pairs, so that people go on voting meanwhile. A slot that is filled
    or that somebody holds stays; if they do not vote, it goes when it is given back or lapses.
    """
    last = 0
    while True:
        with database.write() as s:
            project = _find(s, project_id)
            next_last = slots.resize(
                s, project_id, project.wanted_votes, last, PAIRS_AT_ONCE, now or utc_now()
            )
        if next_last is None:
            return
        last = next_last


def _settings(s: Session, project: Project) -> QueueSettings:
    return QueueSettings(
        strategy=project.queue_strategy,
        random_share=project.random_share,
        gold_rate=project.gold_rate,
        repeat_rate=project.repeat_rate,
        wanted_votes=project.wanted_votes,
        reasons=list(project.reasons),
        aspects=list(project.aspects),
        num_gold=checks.count_gold(s, project.id),
        ranking=dict(project.ranking),
    )


def _find(s: Session, project_id: int) -> Project:
    project = projects.get_project(s, project_id)
    if project is None:
        raise NotFound(f"no project with id {project_id}; reload the page and choose one")
    return project


def _strategy(strategy: str) -> str:
    if strategy not in STRATEGIES:
        raise UsageError(f"strategy is {strategy!r}; use one of {', '.join(STRATEGIES)}")
    return strategy


def _share(
    name: str, value: float | None, now: float, highest: float, lowest: float = 0.0
) -> float:
    if value is None:
        return now
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not lowest <= value <= highest:
        raise UsageError(f"{name} is {value!r}; give a share from {lowest:g} to {highest:g}")
    return float(value)


def _wanted_votes(number: int) -> int:
    if not 1 <= number <= MAX_WANTED_VOTES:
        raise UsageError(
            f"a pair cannot want {number} votes; give a number from 1 to {MAX_WANTED_VOTES}"
        )
    return number


def _choices(what: str, names: Sequence[str]) -> list[str]:
    """Distinct names without surrounding space; empty lines are left out."""
    found = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if len(found) > MAX_CHOICES:
        raise UsageError(f"there are {len(found)} {what}s; offer at most {MAX_CHOICES}")
    for name in found:
        if len(name) > MAX_CHOICE_LENGTH or not name.isprintable() or not is_storable(name):
            raise UsageError(
                f"the {what} {name[:80]!r} is too long or holds a character that does not print; "
                f"use at most {MAX_CHOICE_LENGTH} printable characters"
            )
    return found
