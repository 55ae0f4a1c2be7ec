"""Imports a preference file into a project: all of its acceptable rows, or nothing.

    report = import_file(database, Path("pairs.jsonl.gz"), project_name="support")
    print(report.as_text())

One transaction: a crash, a full disk or Ctrl-C leaves the database as it was. A vote's id is
derived from the pair, the row and the annotator, so that importing a file again, even under
another name, changes nothing. Formats are in import_files.py, forms of rows in import_rows.py.
"""

from __future__ import annotations

import itertools
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from db import audit, content
from db import projects as project_queries
from db.content import NewPair, NewVote
from db.engine import Database
from db.models import Project, utc_now
from studio.services import projects
from studio.services.errors import StudioError, UsageError
from studio.services.import_files import UnreadableRow, read_rows
from studio.services.import_rows import RowPairs, RowRefused, row_pairs

__all__ = ["PURPOSES", "ImportReport", "import_file", "read_rows"]

PURPOSES = ("votes", "unlabelled", "gold")
BATCH = 1000  # pairs
MAX_LISTED = 1000  # refused rows that the report lists; all are counted
VOTE_NAMESPACE = uuid.UUID("6f7b8f0a-3c0e-4f6e-9d0b-0d7c2f1f3a51")
REPORT_EVERY_S = 2.0


@dataclass
class ImportReport:
    """What became of a file's rows: rows = imported + merged + duplicate + refused."""

    project: str
    file: str
    purpose: str
    dry_run: bool = False
    project_id: int | None = None
    rows: int = 0
    imported: int = 0  # brought a pair that was not there
    merged: int = 0  # brought new votes to a pair that was there
    duplicate: int = 0  # brought nothing new
    pairs: int = 0  # new pairs
    votes: int = 0  # new votes
    repeated_votes: int = 0  # the annotator had given that verdict on that pair already
    contradicting_votes: int = 0  # the annotator had given another verdict, which stands
    control_tokens: int = 0  # rows whose text spells a control token
    control_token_counts: dict[str, int] = field(default_factory=dict)
    ignored_columns: dict[str, int] = field(default_factory=dict)
    refused: list[tuple[int, str]] = field(default_factory=list)
    refused_counts: dict[str, int] = field(default_factory=dict)

    @property
    def num_refused(self) -> int:
        return sum(self.refused_counts.values())

    def refuse(self, number: int, reason: str, seen: str) -> None:
        self.refused_counts[reason] = self.refused_counts.get(reason, 0) + 1
        if len(self.refused) < MAX_LISTED:
            self.refused.append((number, f"{reason} ({seen})" if seen else reason))

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object."""
        shown = {name: getattr(self, name) for name in self.__dataclass_fields__}
        shown["num_refused"] = self.num_refused
        shown["refused"] = [{"row": number, "reason": why} for number, why in self.refused]
        return shown

    def as_text(self) -> str:
        """The report as a person reads it."""
        did = "Would import" if self.dry_run else "Imported"
        lines = [
            f"{did} {self.file} into project {self.project!r} as {self.purpose}: {self.rows} rows",
            f"  {self.imported} imported ({self.pairs} new pairs), {self.merged} added votes to "
            f"known pairs, {self.duplicate} duplicate, {self.num_refused} refused",
            f"  {self.votes} new votes, {self.repeated_votes} given before, "
            f"{self.contradicting_votes} against the annotator's earlier verdict (not counted)",
        ]
        if self.control_tokens:
            listed = ", ".join(f"{name} {n}" for name, n in self.control_token_counts.items())
            lines.append(f"  {self.control_tokens} rows spell control tokens: {listed}")
        if self.ignored_columns:
            lines.append(f"  columns not kept: {', '.join(sorted(self.ignored_columns))}")
        for reason, number in sorted(self.refused_counts.items(), key=lambda each: -each[1]):
            lines.append(f"  refused {number}: {reason}")
        lines += [f"    row {number}: {why}" for number, why in self.refused[:10]]
        if self.num_refused > 10:
            lines.append(f"    and {self.num_refused - 10} more")
        return "\n".join(lines)


class _DryRun(Exception):
    """Leaves the transaction so that it is rolled back."""


def import_file(
    database: Database,
    path: Path,
    *,
    project_name: str,
    purpose: str = "votes",
    dry_run: bool = False,
    backbone: str = "embedded",
    control_tokens: Sequence[str] = (),
    reject_control_tokens: bool = False,
    report: Callable[[str], None] | None = None,
) -> ImportReport:
    """Import the file into the project, which is made if it does not exist.

    `purpose` votes keeps the verdicts, unlabelled opens the pairs for labelling without them, gold
    keeps each pair's agreed verdict as the known answer. `control_tokens` are the backbone's;
    texts that spell one are counted, and refused with `reject_control_tokens`.
    """
    if purpose not in PURPOSES:
        raise UsageError(f"purpose is {purpose!r}; use one of {', '.join(PURPOSES)}")
    path = Path(path)
    outcome = ImportReport(project_name, path.name, purpose, dry_run)
    spelled = _Spelled(control_tokens, reject_control_tokens)
    rows = _parsed_rows(read_rows(path), outcome, spelled, report)
    # Opens the file before the transaction: a wrong path must not wait for the database.
    first = list(itertools.islice(rows, 1))
    rows = itertools.chain(first, rows)
    try:
        with database.write() as s:
            project = _project(s, project_name, backbone)
            outcome.project_id = None if dry_run else project.id
            _add_all(s, project, rows, outcome)
            _check_outcome(outcome)
            if dry_run:
                raise _DryRun
            audit.record(s, "local", "import", "project", project.id, **_summary(outcome))
            if outcome.rows >= BATCH:
                content.refresh_statistics(s)
    except _DryRun:
        pass
    return outcome


def add_rows(
    s: Session,
    project: Project,
    rows: Iterable[tuple[int, dict[str, Any] | UnreadableRow]],
    file: str,
    purpose: str,
) -> ImportReport:
    """Import numbered rows into the project, inside the caller's transaction."""
    outcome = ImportReport(project.name, file, purpose, project_id=project.id)
    _add_all(s, project, _parsed_rows(rows, outcome, _Spelled((), False), None), outcome)
    audit.record(s, "local", "import", "project", project.id, **_summary(outcome))
    return outcome


def _project(s: Session, name: str, backbone: str) -> Project:
    found = project_queries.find_project(s, projects.checked_name(name))
    if found is None:
        found = projects.add(s, name, backbone=backbone)
    elif found.archived_at is not None:
        raise StudioError(f"project {name!r} is archived; restore it or choose another name")
    project_queries.lock_project(s, found.id)
    return found


def _check_outcome(outcome: ImportReport) -> None:
    if outcome.rows == 0:
        raise StudioError(f"{outcome.file!r} holds no rows; nothing was imported")
    if outcome.num_refused == outcome.rows:
        number, why = outcome.refused[0]
        raise StudioError(
            f"{outcome.file!r}: all {outcome.rows} rows are refused, nothing was imported; "
            f"row {number}: {why}"
        )


def _summary(outcome: ImportReport) -> dict[str, Any]:
    kept = ("file", "purpose", "rows", "imported", "merged", "duplicate", "votes")
    return {name: getattr(outcome, name) for name in kept} | {"refused": outcome.num_refused}


# --- rows ------------------------------------------------------------------------------------


class _Spelled:
    """Finds the control tokens that a text spells."""

    def __init__(self, control_tokens: Sequence[str], reject: bool) -> None:
        self.reject = reject
        longest_first = sorted(filter(None, control_tokens), key=len, reverse=True)
        spelled = "|".join(map(re.escape, longest_first))
        self.pattern = re.compile(spelled) if spelled else None

    def check(self, parsed: RowPairs, outcome: ImportReport) -> None:
        if self.pattern is None:
            return
        found = Counter(name for text in parsed.texts() for name in self.pattern.findall(text))
        if found and self.reject:
            raise RowRefused("the text spells a control token", next(iter(found)))
        outcome.control_tokens += bool(found)
        for name, number in found.items():
            counts = outcome.control_token_counts
            counts[name] = counts.get(name, 0) + number


def _parsed_rows(
    rows: Iterable[tuple[int, dict[str, Any] | UnreadableRow]],
    outcome: ImportReport,
    spelled: _Spelled,
    report: Callable[[str], None] | None,
) -> Iterator[RowPairs]:
    """The acceptable rows; the others go into the outcome."""
    told = time.monotonic()
    for number, row in rows:
        outcome.rows += 1
        if report is not None and time.monotonic() - told > REPORT_EVERY_S:
            told = time.monotonic()
            report(f"{outcome.rows} rows read, {outcome.num_refused} refused")
        if isinstance(row, UnreadableRow):
            outcome.refuse(number, row.reason, row.seen)
            continue
        try:
            parsed = row_pairs(row)
            if outcome.purpose == "gold":
                _agreed(parsed)
            spelled.check(parsed, outcome)
        except RowRefused as refused:
            outcome.refuse(number, refused.reason, refused.seen)
            continue
        for name in parsed.ignored:
            outcome.ignored_columns[name] = outcome.ignored_columns.get(name, 0) + 1
        yield parsed


def _agreed(parsed: RowPairs) -> str:
    """The verdict that most of the row's votes give: the gold choice."""
    counts = Counter(vote.choice for vote in parsed.votes if vote.choice in ("a", "b", "tie"))
    ranked = counts.most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        raise RowRefused("no agreed verdict for a gold pair", dict(counts))
    return ranked[0][0]


# --- adding ----------------------------------------------------------------------------------


def _add_all(s: Session, project: Project, rows: Iterator[RowPairs], outcome: ImportReport) -> None:
    batch: list[NewPair] = []
    sizes: list[int] = []  # pairs of each row in the batch
    for parsed in rows:
        new = _new_pairs(project.id, parsed, outcome)
        batch += new
        sizes.append(len(new))
        if len(batch) >= BATCH:
            _add_batch(s, project, batch, sizes, outcome)
            batch, sizes = [], []
    if batch:
        _add_batch(s, project, batch, sizes, outcome)


def _add_batch(
    s: Session, project: Project, batch: list[NewPair], sizes: list[int], outcome: ImportReport
) -> None:
    added = iter(
        content.add_pairs(s, project.id, batch, wanted_votes=project.wanted_votes, now=utc_now())
    )
    for size in sizes:
        of_row = list(itertools.islice(added, size))
        num_votes = sum(each.num_votes for each in of_row)
        outcome.pairs += sum(each.is_new for each in of_row)
        outcome.votes += num_votes
        outcome.repeated_votes += sum(each.num_known for each in of_row)
        outcome.contradicting_votes += sum(each.num_contradicting for each in of_row)
        if any(each.is_new for each in of_row):
            outcome.imported += 1
        elif num_votes:
            outcome.merged += 1
        else:
            outcome.duplicate += 1


def _new_pairs(project_id: int, parsed: RowPairs, outcome: ImportReport) -> list[NewPair]:
    made = []
    for first, second in itertools.combinations(parsed.answers, 2):
        new = NewPair(parsed.messages, first, second, parsed.category, parsed.meta)
        if outcome.purpose == "votes" and parsed.votes:
            votes = _new_votes(project_id, parsed, new, outcome.file)
            new = NewPair(parsed.messages, first, second, parsed.category, parsed.meta, votes)
        elif outcome.purpose == "gold":
            gold = _agreed(parsed)
            new = NewPair(
                parsed.messages, first, second, parsed.category, parsed.meta, gold_choice=gold
            )
        made.append(new)
    return made


def _new_votes(project_id: int, parsed: RowPairs, new: NewPair, file: str) -> tuple[NewVote, ...]:
    pair, flipped = content.pair_key(new)
    votes = []
    for vote in parsed.votes:
        choice = content.FLIPPED.get(vote.choice, vote.choice) if flipped else vote.choice
        # Not the file's name: the same rows under another name are the same votes.
        identity = json.dumps(
            [project_id, pair, parsed.row_id, vote.annotator, choice, vote.strength]
        )
        votes.append(
            NewVote(
                id=str(uuid.uuid5(VOTE_NAMESPACE, identity)),
                annotator=f"import:{file}:{vote.annotator}",
                choice=vote.choice,
                strength=vote.strength,
                reasons=vote.reasons,
                comment=vote.comment,
                duration_ms=vote.duration_ms,
            )
        )
    return tuple(votes)
