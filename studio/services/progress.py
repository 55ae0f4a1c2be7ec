"""Where a project and an annotator stand, cheaply, however many votes there are.

    standing = progress.standing(database, s, project, "ann", now)
    standing.told          # what the page shows
    standing.num_free      # pairs that can still be given to the annotator

A small project is counted anew each time. In a larger one the project's figures may be older, up
to two minutes at a million votes, and say so (`age_s`): while they are renewed, on a thread of
their own, the old ones serve. What the annotator has given is exact at every moment.

Gold pairs and repeats must not show in the figures. So where a project has them, `open_for_you`
is what is left *with* those that are to be expected, it falls by one with every verdict whatever
that was for, and the project's own figures are renewed by the minute only.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from db import progress as queries

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.engine import Database
    from db.models import Project
    from db.progress import OwnTally, ProjectTally

T = TypeVar("T")

log = logging.getLogger(__name__)

SMALL_ROWS = 2_000  # pairs and votes: below, counting takes some milliseconds
ROWS_A_SECOND = 20_000  # a project of so many is counted once a second: some 2 % of a core
LONGEST_S = 60.0
MAX_ENTRIES = 2000  # projects and annotators of one server whose counts are kept


@dataclass(frozen=True)
class Standing:
    """What is told to the annotator, and what the draw of the next pair needs."""

    told: dict[str, int]
    num_free: int
    heldout_share: float  # of the pairs that want a vote


@dataclass
class _Entry:
    value: Any
    counted_at: float


@dataclass
class _Counts:
    """Values counted a while ago; who finds one too old is given it and has it counted anew."""

    entries: dict[tuple[Any, ...], _Entry] = field(default_factory=dict)
    being_counted: set[tuple[Any, ...]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(
        self,
        database: Database,
        s: Session,
        key: tuple[Any, ...],
        lifetime_s: float,
        count: Callable[[Session], T],
    ) -> tuple[T, float]:
        """The value and its age in seconds."""
        now = time.monotonic()
        with self.lock:
            entry = self.entries.get(key)
            if entry is not None and lifetime_s > 0:
                age = now - entry.counted_at
                if age < lifetime_s or key in self.being_counted:
                    return entry.value, age
                if age < 2 * lifetime_s:
                    self.being_counted.add(key)
                    _recounts.submit(self._recount, database, key, count)
                    return entry.value, age
            self.being_counted.add(key)
        return self._count(s, key, count), 0.0

    def _recount(
        self, database: Database, key: tuple[Any, ...], count: Callable[[Session], Any]
    ) -> None:
        try:
            with database.read() as own:
                self._count(own, key, count)
        except Exception:
            # Nobody waits for it; once the old value is too old, a request counts and is told.
            log.exception("counting %s anew failed", key)
        finally:
            with self.lock:
                self.being_counted.discard(key)

    def _count(self, s: Session, key: tuple[Any, ...], count: Callable[[Session], T]) -> T:
        begin = time.monotonic()
        try:
            value = count(s)
        finally:
            with self.lock:
                self.being_counted.discard(key)
        with self.lock:
            if len(self.entries) >= MAX_ENTRIES:
                self.entries.clear()
            self.entries[key] = _Entry(value, begin)
        return value


# One at a time: what nobody waits for must not take the cores from those who do.
_recounts = ThreadPoolExecutor(1, thread_name_prefix="recount")
_counts_of: weakref.WeakKeyDictionary[Database, _Counts] = weakref.WeakKeyDictionary()
_counts_lock = threading.Lock()


def standing(
    database: Database, s: Session, project: Project, annotator: str, now: datetime
) -> Standing:
    """Count, or take what was counted a moment ago."""
    with _counts_lock:
        counts = _counts_of.setdefault(database, _Counts())
    tally, age_s = _project_tally(database, counts, s, project)
    own = queries.own_tally(s, project.id, annotator)
    lifetime_s, project_id = _lifetime_s(tally.num_rows), project.id

    def reachable(s: Session) -> int:
        """Pairs that were or still are the annotator's to judge: own votes do not change it."""
        closed = queries.count_closed_to(s, project_id, annotator, now)
        unfilled = tally.num_unfilled if lifetime_s else queries.count_unfilled(s, project_id)
        return unfilled - closed + queries.own_tally(s, project_id, annotator).num_labels

    key = (project_id, annotator)
    num_reachable, _ = counts.get(database, s, key, lifetime_s, reachable)
    num_free = max(0, num_reachable - own.num_labels)
    told = {
        "judged_by_you": own.judged,
        "skipped_by_you": own.skipped,
        "open_for_you": _shown_as_open(project, num_reachable, num_free, own),
        "judged": tally.judged,
        "total": tally.total,
        "votes_by_people": tally.votes_by_people,
        "votes_imported": tally.votes_imported,
        "skipped": tally.skipped,
        "flagged": tally.flagged,
        "surplus": tally.surplus,
        "age_s": round(age_s),
    }
    heldout_share = tally.num_unfilled_heldout / max(1, tally.num_unfilled)
    return Standing(told, num_free, heldout_share)


def counted(
    database: Database, s: Session, project_id: int, what: str, count: Callable[[Session], T]
) -> T:
    """What `count` gives, from memory for as long as the project's own figures are."""
    with _counts_lock:
        counts = _counts_of.setdefault(database, _Counts())
    known = counts.entries.get((project_id,))
    tally = known.value if known else queries.project_tally(s, project_id)
    if known is None:
        counts.entries[(project_id,)] = _Entry(tally, time.monotonic())
    key = (project_id, what, "")
    value, _ = counts.get(database, s, key, _lifetime_s(tally.num_rows), count)
    return value


def _project_tally(
    database: Database, counts: _Counts, s: Session, project: Project
) -> tuple[ProjectTally, float]:
    known = counts.entries.get((project.id,))
    lifetime_s = 0.0 if known is None else _lifetime_s(known.value.num_rows)
    if project.gold_rate or project.repeat_rate:
        lifetime_s = LONGEST_S
    project_id = project.id  # a thread of its own may not touch this session's row
    return counts.get(
        database, s, (project_id,), lifetime_s, lambda own: queries.project_tally(own, project_id)
    )


def _lifetime_s(num_rows: int) -> float:
    """For how long a count serves: not at all where counting takes no time."""
    return 0.0 if num_rows < SMALL_ROWS else min(LONGEST_S, num_rows / ROWS_A_SECOND)


def _shown_as_open(project: Project, num_reachable: int, num_free: int, own: OwnTally) -> int:
    """How many pairs the annotator is still to see; falls by one with each vote of any purpose."""
    checks = project.gold_rate + project.repeat_rate
    if not num_free or not checks:
        return num_free
    return max(1, math.ceil(num_reachable / (1 - checks)) - own.num_labels - own.num_checks)
