"""Writes an export's rows as JSON lines or Parquet, with memory that does not grow with them.

    write_jsonl(rows, Path("pairs.jsonl.gz.part"), zipped=True)
    write_parquet(rows, Path("pairs.parquet.part"), "pairs")

JSON has no types of its own: `datasets` takes them from the first ten megabytes, and a column that
is null or an empty list up to there can hold nothing else afterwards. So in JSON lines the first
rows are those in which each column has a value for the first time; all others follow in order.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.services.export_rows import Row

BATCH = 200  # rows of a Parquet batch
PLAIN = frozenset({"prompt", "answers", "chosen", "rejected", "meta"})  # always text


def write_jsonl(rows: Iterator[Row], part: Path, zipped: bool) -> None:
    """One row a line; `part` is written beside itself first, behind rows that tell the types."""
    rest, types, first = part.with_name(f"{part.name}.rest"), _SeenTypes(), []
    try:
        with _writing(rest, zipped) as file:
            for row in rows:
                line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
                if types.are_new_in(row):
                    first.append(line)
                else:
                    file.write(line)
        with _writing(part, zipped) as file:
            file.writelines(first)
        with part.open("ab") as whole, rest.open("rb") as file:  # members of gzip files join up
            shutil.copyfileobj(file, whole, 2**20)
    finally:
        rest.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(path: Path, zipped: bool) -> Iterator[Any]:
    with path.open("wb") as raw:
        if zipped:
            with gzip.GzipFile("", "wb", fileobj=raw) as file:
                yield file
        else:
            yield raw


class _SeenTypes:
    """Which columns have had a value so far."""

    def __init__(self) -> None:
        self._shapes: set[Any] = set()
        self._paths: set[str] = set()

    def are_new_in(self, row: Row) -> bool:
        """Whether the row has a value where none before it had one."""
        parts = {key: value for key, value in row.items() if key not in PLAIN}
        votes = parts.pop("votes", [])
        shapes = {_shape(parts), *map(_shape, votes)}  # few, and quick to compare
        if shapes <= self._shapes:
            return False
        self._shapes |= shapes
        paths = set(_paths(parts | {"votes": votes}))
        is_new = not paths <= self._paths
        self._paths |= paths
        return is_new


def _shape(value: Any) -> Any:
    """Where in the value something stands, as something to compare."""
    if isinstance(value, dict):
        return tuple(map(_shape, value.values()))
    if isinstance(value, list):
        return frozenset(map(_shape, value))
    return _tells(value)


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """The names of all columns in the value in which something stands."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _paths(each, f"{path}.{name}")
    elif isinstance(value, list):
        for each in value:
            yield from _paths(each, f"{path}[]")
    elif _tells(value):
        yield path


def _tells(value: Any) -> bool:
    """A text that begins as a date does is taken for a time by Arrow, so it tells no type."""
    if isinstance(value, str):
        return value[4:5] != "-" or value[7:8] != "-"
    return value is not None


def write_parquet(rows: Iterator[Row], part: Path, kind: str) -> None:
    """Typed columns; `kind` is votes, pairs or trl."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(kind)
    with pq.ParquetWriter(part, schema) as writer:
        batch: list[Row] = []
        for row in rows:
            batch.append(row)
            if len(batch) >= BATCH:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema))


def _schema(kind: str) -> Any:
    import pyarrow as pa

    text = pa.string()
    messages = pa.list_(pa.struct({"role": text, "content": text}))
    if kind == "trl":
        names = {"prompt": messages, "chosen": messages, "rejected": messages, "split": text}
        return pa.schema(names)
    sides = ("a", "b") if kind == "votes" else ("chosen", "rejected")
    rating = pa.struct({"aspect": text} | dict.fromkeys(sides, pa.int64()))
    raw = pa.struct(
        {
            "id": text, "annotator": text, "choice": text, "strength": pa.int64(),
            "reasons": pa.list_(text), "aspects": pa.list_(rating), "comment": text,
            "duration_ms": pa.int64(), "left_side": text, "guidelines_version": pa.int64(),
            "imported": pa.bool_(), "surplus": pa.bool_(), "created_at": text, "revises": text,
        }
    )  # fmt: skip
    head = {"id": text, "source": text, "licence": text, "prompt": messages}
    if kind == "votes":
        answers = {"answers": pa.list_(text)}
    else:
        answers = {"chosen": text, "rejected": text, "chosen_share": pa.float64()}
    judged = {"sources": pa.list_(text), "votes": pa.list_(raw), "adjudication": raw}
    return pa.schema(head | answers | judged | {"split": text, "meta": text})
