"""Exports a project's judgements: streamed, never half a file, with a count of what is left out.

    export(database, project_id, "pairs", "jsonl", Path("pairs.jsonl"))

`votes`: a row a pair, both answers and every standing vote, as an import takes it. `pairs`: chosen
and rejected after the merge rules (docs/training-rules.md), the raw votes beside them. `trl`: only
prompt, chosen and rejected as messages, for TRL's trainers, and the split. JSON lines (.gz if so
named) or Parquet; `<out>.report.json` says how many rows there are and what was left out and why.
Rows are in export_rows.py, files in export_files.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from db import pair_texts, votes
from db.engine import Database
from studio.services import projects
from studio.services.errors import Conflict, UsageError
from studio.services.export_files import write_jsonl, write_parquet
from studio.services.export_rows import Exported, Row, pairs_row, trl_row, votes_row

KINDS = ("votes", "pairs")
FORMATS = ("jsonl", "parquet", "trl")
OTHERS = {
    "jsonl": (".parquet", ".parquet.gz", ".csv", ".csv.gz"),
    "parquet": (".jsonl", ".ndjson", ".json", ".csv", ".gz"),
    "trl": (".parquet.gz", ".csv", ".csv.gz"),
}
CHUNK = 200  # pairs


@dataclass
class ExportReport:
    """What an export holds, and what it leaves out and why."""

    project: str
    file: str
    kind: str
    format: str
    rule_version: int = votes.RULE_VERSION
    aggregation: dict[str, Any] = field(default_factory=dict)  # the project's merge rules
    rows: int = 0
    votes: int = 0  # standing votes in the rows
    adjudications: int = 0  # beside them
    rows_by_split: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    sha256: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def as_text(self) -> str:
        """The report as a person reads it."""
        number = self.adjudications
        settled = f" and {number} adjudication{'s' * (number != 1)}" if number else ""
        lines = [f"Exported {self.rows} rows with {self.votes} votes{settled} to {self.file}"]
        lines += [f"  left out {number}: {why}" for why, number in self.left_out.items()]
        return "\n".join(lines)


def export(database: Database, project_id: int, kind: str, fmt: str, out: Path) -> ExportReport:
    """Write the project's votes or pairs to `out`, which must not exist yet."""
    out = Path(out)
    _check(kind, fmt, out)
    report = ExportReport(projects.get(database, project_id).name, out.name, kind, fmt)
    left_out: Counter[str] = Counter()
    as_row = {"votes": votes_row, "pairs": pairs_row}[kind] if fmt != "trl" else trl_row
    is_parquet = fmt == "parquet" or (fmt == "trl" and out.suffix == ".parquet")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with database.read() as s:
            rules = votes.rules_of(s, project_id)
            report.aggregation = rules.as_settings()
            merged = votes.merged(s, project_id, rules=rules) if kind == "pairs" else None
            rows = _rows(s, project_id, as_row, merged, report, left_out)
            if is_parquet:
                write_parquet(rows, part, "trl" if fmt == "trl" else kind)
            else:
                write_jsonl(rows, part, zipped=out.suffix == ".gz")
            left_out["votes_retracted"] = votes.count_retracted(s, project_id)
            left_out.update(votes.count_never_training(s, project_id))
            if merged is not None:
                left_out.update({f"votes_{k}": number for k, number in merged.num_left_out.items()})
        report.left_out = {why: number for why, number in sorted(left_out.items()) if number}
        report.sha256 = _sha256(part)
        _publish(part, out)
    finally:
        part.unlink(missing_ok=True)
    sidecar = out.with_name(f"{out.name}.report.json")
    sidecar.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    return report


def _check(kind: str, fmt: str, out: Path) -> None:
    if kind not in KINDS:
        raise UsageError(f"kind is {kind!r}; export one of {', '.join(KINDS)}")
    if fmt not in FORMATS:
        raise UsageError(f"format is {fmt!r}; use one of {', '.join(FORMATS)}")
    if fmt == "trl" and kind != "pairs":
        raise UsageError("format trl holds merged pairs; export pairs, or votes as jsonl")
    if out.name.lower().endswith(OTHERS[fmt]):  # whoever reads it goes by its name
        raise UsageError(f"{out.name!r} is no name for {fmt}; end it as the format does")
    if out.exists():
        raise Conflict(f"{str(out)!r} exists already; name another file or move it away")
    if not out.parent.is_dir():
        raise UsageError(f"no folder {str(out.parent)!r} to write into; make it first")


def _rows(
    s: Session,
    project_id: int,
    as_row: Callable[[Exported], Row | str],
    merged: votes.Merged | None,
    report: ExportReport,
    left_out: Counter[str],
) -> Iterator[Row]:
    """The rows to write; of the rest, the reason is counted."""
    for chunk in pair_texts.iter_pairs(s, project_id, CHUNK):
        ids = [pair.pair_id for pair in chunk]
        labels, settled = votes.raw_votes(s, ids), votes.raw_votes(s, ids, "adjudication")
        sources = pair_texts.sources_of(s, ids)
        for pair in chunk:
            of_pair = labels.get(pair.pair_id, [])
            last_word = next(iter(settled.get(pair.pair_id, [])), None)
            verdict = merged.verdict(pair.pair_id) if merged is not None else ""
            row = as_row(Exported(pair, sources[pair.pair_id], of_pair, last_word, verdict))
            if isinstance(row, str):
                left_out[row] += 1
                continue
            report.rows += 1
            report.votes += len(of_pair)
            report.adjudications += last_word is not None
            splits = report.rows_by_split
            splits[pair.split] = splits.get(pair.split, 0) + 1
            yield row


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _publish(part: Path, out: Path) -> None:
    """Give the finished file its name, in one step, and never over another file."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(part, out)
    except FileExistsError:
        raise Conflict(f"{str(out)!r} was made meanwhile; name another file") from None
    except OSError:  # a file system without hard links
        os.rename(part, out)
