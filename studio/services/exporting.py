"""Exports a project's judgements: streamed, never half a file, with a count of what is left out.

    export(database, project_id, "pairs", "jsonl", Path("pairs.jsonl"))

`votes`: a row a pair, both answers and every standing vote, as an import takes it. `pairs`: chosen
and rejected after the merge rules (docs/training-rules.md), the raw votes beside them. `trl`: only
prompt, chosen and rejected as messages, for TRL's trainers. JSON lines (.gz if so named) or
Parquet; `<out>.report.json` says how many rows there are and what was left out and why.
"""

from __future__ import annotations

import contextlib
import gzip
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
from db.aggregation import Verdict
from db.engine import Database
from db.models import Vote
from db.pair_texts import PairText
from studio.services import projects
from studio.services.errors import Conflict, UsageError

KINDS = ("votes", "pairs")
FORMATS = ("jsonl", "parquet", "trl")
OTHERS = {
    "jsonl": (".parquet", ".parquet.gz", ".csv", ".csv.gz"),
    "parquet": (".jsonl", ".ndjson", ".json", ".csv", ".gz"),
    "trl": (".parquet.gz", ".csv", ".csv.gz"),
}
CHUNK = 1000  # pairs
Row = dict[str, Any]


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
    rows_by_split: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    sha256: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def as_text(self) -> str:
        """The report as a person reads it."""
        lines = [f"Exported {self.rows} rows with {self.votes} votes to {self.file}"]
        lines += [f"  left out {number}: {why}" for why, number in self.left_out.items()]
        return "\n".join(lines)


def export(database: Database, project_id: int, kind: str, fmt: str, out: Path) -> ExportReport:
    """Write the project's votes or pairs to `out`, which must not exist yet."""
    out = Path(out)
    _check(kind, fmt, out)
    report = ExportReport(projects.get(database, project_id).name, out.name, kind, fmt)
    left_out: Counter[str] = Counter()
    as_row = {"votes": _votes_row, "pairs": _pairs_row}[kind] if fmt != "trl" else _trl_row
    is_parquet = fmt == "parquet" or (fmt == "trl" and out.suffix == ".parquet")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with database.read() as s:
            rules = votes.rules_of(s, project_id)
            report.aggregation = rules.as_settings()
            merged = votes.merged(s, project_id, rules=rules)
            rows = _rows(s, project_id, as_row, merged, report, left_out)
            if is_parquet:
                _write_parquet(rows, part, "trl" if fmt == "trl" else kind)
            else:
                _write_jsonl(rows, part, zipped=out.suffix == ".gz")
            left_out["votes_retracted"] = votes.count_retracted(s, project_id)
            left_out.update(votes.count_never_training(s, project_id))
            if kind == "pairs":
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


# --- rows ------------------------------------------------------------------------------------


def _rows(
    s: Session,
    project_id: int,
    as_row: Callable[[PairText, list[Vote], Verdict | str], Row | str],
    merged: votes.Merged,
    report: ExportReport,
    left_out: Counter[str],
) -> Iterator[Row]:
    """The rows to write; of the rest, the reason is counted."""
    for chunk in pair_texts.iter_pairs(s, project_id, CHUNK):
        by_pair = votes.standing_votes(s, [pair.pair_id for pair in chunk])
        for pair in chunk:
            of_pair = by_pair.get(pair.pair_id, [])
            row = as_row(pair, of_pair, merged.verdict(pair.pair_id))
            if isinstance(row, str):
                left_out[row] += 1
                continue
            report.rows += 1
            report.votes += len(of_pair)
            splits = report.rows_by_split
            splits[pair.split] = splits.get(pair.split, 0) + 1
            yield row
        s.expunge_all()  # flat memory: the session keeps every row that it has loaded


def _votes_row(pair: PairText, of_pair: list[Vote], _verdict: Verdict | str) -> Row | str:
    if not of_pair:
        return "pairs_not_judged"
    return {
        **_origin(pair),
        "prompt": pair.messages,
        "answers": [pair.response_a, pair.response_b],
        "votes": [_raw(vote, vote.choice) for vote in of_pair],
        "split": pair.split,
        "meta": pair.meta,
    }


def _pairs_row(pair: PairText, of_pair: list[Vote], verdict: Verdict | str) -> Row | str:
    merged = _merged(pair, verdict)
    if isinstance(merged, str):
        return merged
    chosen, rejected, share, winner = merged
    named = {"a": "chosen", "b": "rejected"} if winner == "a" else {"a": "rejected", "b": "chosen"}
    return {
        **_origin(pair),
        "prompt": pair.messages,
        "chosen": chosen,
        "rejected": rejected,
        "chosen_share": share,
        "split": pair.split,
        "votes": [_raw(vote, named.get(vote.choice, vote.choice)) for vote in of_pair],
        "meta": pair.meta,
    }


def _trl_row(pair: PairText, _of_pair: list[Vote], verdict: Verdict | str) -> Row | str:
    merged = _merged(pair, verdict)
    if isinstance(merged, str):
        return merged
    return {
        "prompt": pair.messages,
        "chosen": [{"role": "assistant", "content": merged[0]}],
        "rejected": [{"role": "assistant", "content": merged[1]}],
    }


def _merged(pair: PairText, verdict: Verdict | str) -> tuple[str, str, float, str] | str:
    """(chosen, rejected, its target, its side) by the project's rules, or why there is none."""
    if isinstance(verdict, str):
        return f"pairs_{verdict}"
    target = verdict.target
    if target == 0.5:
        return "pairs_tied"
    if target > 0.5:
        return pair.response_a, pair.response_b, target, "a"
    return pair.response_b, pair.response_a, 1 - target, "b"


def _origin(pair: PairText) -> Row:
    named = {name: pair.meta.get(name) for name in ("id", "source", "licence")}
    row = {name: None if value is None else str(value) for name, value in named.items()}
    return row | {"id": row["id"] or f"pair-{pair.pair_id}"}


def _raw(vote: Vote, choice: str) -> Row:
    return {
        "id": vote.id,
        "annotator": vote.annotator,
        "choice": choice,
        "strength": vote.strength,
        "reasons": vote.reasons,
        "comment": vote.comment,
        "duration_ms": vote.duration_ms,
        "left_side": vote.left_side,
        "guidelines_version": vote.guidelines_version,
        "imported": vote.imported,
        "surplus": vote.surplus,
        "created_at": vote.created_at.isoformat(),
    }


# --- files -----------------------------------------------------------------------------------


def _write_jsonl(rows: Iterator[Row], part: Path, zipped: bool) -> None:
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(part.open("wb"))
        file: Any = stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw)) if zipped else raw
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _write_parquet(rows: Iterator[Row], part: Path, kind: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(kind)
    with pq.ParquetWriter(part, schema) as writer:
        batch: list[Row] = []
        for row in rows:
            if "meta" in row:  # its fields differ from row to row, which a column cannot
                row["meta"] = json.dumps(row["meta"], ensure_ascii=False)
            batch.append(row)
            if len(batch) >= CHUNK:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema))


def _schema(kind: str) -> Any:
    import pyarrow as pa

    text = pa.string()
    messages = pa.list_(pa.struct({"role": text, "content": text}))
    if kind == "trl":
        return pa.schema({"prompt": messages, "chosen": messages, "rejected": messages})
    raw = pa.struct(
        {
            "id": text, "annotator": text, "choice": text, "strength": pa.int64(),
            "reasons": pa.list_(text), "comment": text, "duration_ms": pa.int64(),
            "left_side": text, "guidelines_version": pa.int64(), "imported": pa.bool_(),
            "surplus": pa.bool_(), "created_at": text,
        }
    )  # fmt: skip
    origin = {"id": text, "source": text, "licence": text, "prompt": messages}
    if kind == "votes":
        rest = {"answers": pa.list_(text), "votes": pa.list_(raw), "split": text, "meta": text}
    else:
        rest = {
            "chosen": text, "rejected": text, "chosen_share": pa.float64(), "split": text,
            "votes": pa.list_(raw), "meta": text,
        }  # fmt: skip
    return pa.schema(origin | rest)


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
