"""Imports a preference file into a project: read and checked whole, then stored step by step.

    report = import_file(database, Path("pairs.jsonl.gz"), project_name="support")
    print(report.as_text())

Nothing is stored before the last row is read, and nothing at all where the file is refused. Rows
are stored some hundred at a time, each lot in a transaction of its own, so that people go on voting
meanwhile. A crash or Ctrl-C leaves whole lots; importing the file again adds the rest: a vote's id
is derived from the pair, the row and the annotator, so what is there, even under another file's
name, stays as it is. A dry run stores in a database of its own (import_rehearsal.py). Formats are
in import_files.py, forms of rows in import_rows.py.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import pickle
import re
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import IO, Any

from sqlalchemy.orm import Session

from db import audit, content
from db import projects as project_queries
from db.adjudications import ADJUDICATION
from db.content import NewPair, NewVote
from db.engine import Database
from db.models import Project, utc_now
from studio.services import import_mapping, projects
from studio.services.errors import Conflict, StudioError, UsageError
from studio.services.import_files import RowRefused, Rows, UnreadableRow, read_rows
from studio.services.import_rehearsal import rehearsal
from studio.services.import_report import ImportReport
from studio.services.import_rows import ANSWER_RULES, RowPairs, row_pairs

__all__ = ["PURPOSES", "ImportReport", "import_file", "read_rows"]

PURPOSES = ("votes", "unlabelled", "gold")
BATCH = 250  # pairs of a transaction
PAUSE = 0.5  # of the time that a transaction took: others' votes go between
LARGE = 1000  # rows from which PostgreSQL is told to look at its tables anew
VOTE_NAMESPACE = uuid.UUID("6f7b8f0a-3c0e-4f6e-9d0b-0d7c2f1f3a51")
REPORT_EVERY_S = 2.0


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
    columns: Mapping[str, str] | None = None,
    answers_rule: str = "all",
    refused_to: Path | None = None,
    actor: str = "local",
) -> ImportReport:
    """Import the file into the project, which is made if it does not exist.

    `purpose` votes keeps the verdicts, unlabelled opens the pairs for labelling without them, gold
    keeps each pair's agreed verdict as the known answer. `control_tokens` are the backbone's;
    texts that spell one are counted, and refused with `reject_control_tokens`. `columns` says
    which of the file's columns hold our fields (see import_mapping); `answers_rule`, which pairs
    more than two answers make. `refused_to` gets every refused row as JSON lines, to mend and
    import again.
    """
    _check_options(purpose, answers_rule)
    path = Path(path)
    outcome = ImportReport(project_name, path.name, purpose, dry_run, answers_rule=answers_rule)
    spelled = _Spelled(control_tokens, reject_control_tokens)
    numbered = read_rows(path)
    if columns:
        numbered = _mapped(numbered, import_mapping.checked(columns))
    rows = _parsed_rows(numbered, outcome, spelled, report)
    with _refused_file(refused_to) as outcome.refused_file:
        return _import_rows(database, rows, outcome, backbone, actor)


@contextlib.contextmanager
def _refused_file(path: Path | None) -> Iterator[IO[str] | None]:
    """The file for refused rows; it must not exist yet, and is there only if a row is refused."""
    if path is None:
        yield None
        return
    if path.exists():
        raise Conflict(f"{str(path)!r} exists already; name another file for the refused rows")
    with path.open("x", encoding="ascii") as file:
        yield file
    if path.stat().st_size == 0:
        path.unlink()


def _import_rows(
    database: Database,
    rows: Iterator[RowPairs],
    outcome: ImportReport,
    backbone: str,
    actor: str,
) -> ImportReport:
    """Read everything, then store it; a dry run, where nobody sees it."""
    with tempfile.TemporaryFile() as spool:
        for parsed in rows:
            pickle.dump(parsed, spool, pickle.HIGHEST_PROTOCOL)
        _check_outcome(outcome)
        spool.seek(0)
        if outcome.dry_run:
            with rehearsal(database, projects.checked_name(outcome.project)) as stage:
                _store(stage.database, _spooled(spool), outcome, backbone, actor, stage.prepare)
        else:
            outcome.project_id = _store(database, _spooled(spool), outcome, backbone, actor)
    return outcome


def _spooled(spool: IO[bytes]) -> Iterator[RowPairs]:
    """The rows that were written to this process's own temporary file."""
    while True:
        try:
            yield pickle.load(spool)
        except EOFError:
            return


def _store(
    database: Database,
    rows: Iterator[RowPairs],
    outcome: ImportReport,
    backbone: str,
    actor: str,
    prepare: Callable[[Session, int, Sequence[NewPair]], None] | None = None,
) -> int:
    """Add the rows, a lot at a time; the project's id. `prepare` is called before each lot."""
    with database.write() as s:
        project_id = _project(s, outcome.project, backbone).id
    for batch, sizes in _batches(project_id, rows, outcome):
        begin = time.monotonic()
        with database.write() as s:
            project = _project(s, outcome.project, backbone)
            if prepare is not None:
                prepare(s, project.id, batch)
            _add_batch(s, project, batch, sizes, outcome)
        if prepare is None:
            time.sleep(PAUSE * (time.monotonic() - begin))
    with database.write() as s:
        audit.record(s, actor, "import", "project", project_id, **_summary(outcome))
        if outcome.rows >= LARGE:
            content.refresh_statistics(s)
    return project_id


def _check_options(purpose: str, answers_rule: str) -> None:
    if purpose not in PURPOSES:
        raise UsageError(f"purpose is {purpose!r}; use one of {', '.join(PURPOSES)}")
    if answers_rule not in ANSWER_RULES:
        raise UsageError(f"answers rule is {answers_rule!r}; use one of {', '.join(ANSWER_RULES)}")


def _mapped(rows: Rows, columns: Mapping[str, str]) -> Rows:
    """The rows in the studio's own form; what a verdict column says may be unknown."""
    for number, row in rows:
        if isinstance(row, UnreadableRow):
            yield number, row
            continue
        try:
            yield number, import_mapping.mapped_row(row, columns)
        except RowRefused as refused:
            yield number, UnreadableRow(refused.reason, refused.seen, row)


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
            f"row {number}: {why}. docs/engineer.md shows the forms of a row; columns of other "
            "names are mapped on the page or with --column FIELD=COLUMN."
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
            outcome.refuse(number, row.reason, row.seen, row.row)
            continue
        try:
            parsed = row_pairs(row)
            if outcome.purpose == "gold":
                for couple in parsed.couples(outcome.answers_rule):
                    _agreed(parsed, *couple)
            spelled.check(parsed, outcome)
        except RowRefused as refused:
            outcome.refuse(number, refused.reason, refused.seen, row)
            continue
        for name in parsed.ignored:
            outcome.ignored_columns[name] = outcome.ignored_columns.get(name, 0) + 1
        yield parsed


def _agreed(parsed: RowPairs, first: int, second: int) -> str:
    """The last word, or the verdict that most of the votes give: the gold choice."""
    last_word = parsed.adjudication
    votes = [last_word] if last_word else parsed.votes_on(first, second)
    counts = Counter(vote.choice for vote in votes if vote.choice in ("a", "b", "tie"))
    ranked = counts.most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        raise RowRefused("no agreed verdict for a gold pair", dict(counts))
    return ranked[0][0]


# --- adding ----------------------------------------------------------------------------------


def _add_all(s: Session, project: Project, rows: Iterator[RowPairs], outcome: ImportReport) -> None:
    for batch, sizes in _batches(project.id, rows, outcome):
        _add_batch(s, project, batch, sizes, outcome)


def _batches(
    project_id: int, rows: Iterator[RowPairs], outcome: ImportReport
) -> Iterator[tuple[list[NewPair], list[int]]]:
    """Pairs to add, and how many of them each row made."""
    batch: list[NewPair] = []
    sizes: list[int] = []
    for parsed in rows:
        new = _new_pairs(project_id, parsed, outcome)
        batch += new
        sizes.append(len(new))
        if len(batch) >= BATCH:
            yield batch, sizes
            batch, sizes = [], []
    if batch:
        yield batch, sizes


def _add_batch(
    s: Session, project: Project, batch: list[NewPair], sizes: list[int], outcome: ImportReport
) -> None:
    added = iter(
        content.add_pairs(s, project.id, batch, wanted_votes=project.wanted_votes, now=utc_now())
    )
    for size in sizes:
        of_row = list(itertools.islice(added, size))
        num_votes = sum(each.num_votes for each in of_row)
        num_last_words = sum(each.num_adjudications for each in of_row)
        outcome.adjudications += num_last_words
        outcome.pairs += sum(each.is_new for each in of_row)
        outcome.votes += num_votes
        outcome.repeated_votes += sum(each.num_known for each in of_row)
        outcome.contradicting_votes += sum(each.num_contradicting for each in of_row)
        if any(each.is_new for each in of_row):
            outcome.imported += 1
        elif num_votes or num_last_words:
            outcome.merged += 1
        else:
            outcome.duplicate += 1


def _new_pairs(project_id: int, parsed: RowPairs, outcome: ImportReport) -> list[NewPair]:
    made = []
    for first, second in parsed.couples(outcome.answers_rule):
        new = NewPair(
            parsed.messages,
            parsed.answers[first],
            parsed.answers[second],
            parsed.category,
            parsed.meta,
            sources=(parsed.source(first), parsed.source(second)),
        )
        if outcome.purpose == "votes":
            new = replace(
                new, votes=tuple(_new_votes(project_id, parsed, first, second, new, outcome.file))
            )
        elif outcome.purpose == "gold":
            new = replace(new, gold_choice=_agreed(parsed, first, second))
        made.append(new)
    return made


def _new_votes(
    project_id: int, parsed: RowPairs, first: int, second: int, new: NewPair, file: str
) -> Iterator[NewVote]:
    """The row's votes on this pair and a lead's last word on it, with ids that follow from them."""
    given = [(vote, "label") for vote in parsed.votes_on(first, second)]
    if parsed.adjudication is not None:
        given.append((parsed.adjudication, ADJUDICATION))
    if not given:
        return
    pair, flipped = content.pair_key(new)
    for vote, purpose in given:
        choice = content.FLIPPED.get(vote.choice, vote.choice) if flipped else vote.choice
        # Not the file's name: the same rows under another name are the same votes.
        identity = [project_id, pair, parsed.row_id, vote.annotator, choice, vote.strength]
        if purpose != "label":
            identity.append(purpose)
        said = {each.name: getattr(vote, each.name) for each in fields(vote)}
        said["annotator"] = f"import:{file}:{vote.annotator}"
        vote_id = str(uuid.uuid5(VOTE_NAMESPACE, json.dumps(identity)))
        yield NewVote(**said, id=vote_id, purpose=purpose)
