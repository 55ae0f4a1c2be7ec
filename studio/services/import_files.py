"""Reads preference files row by row, with memory that does not grow with the file.

    for number, row in read_rows(Path("pairs.jsonl.gz")): ...

JSON lines (.jsonl, .ndjson, .json; also .gz), CSV (also .gz), Parquet, and a folder that
`datasets` saved. A row is a dict, or an UnreadableRow that says what is wrong with it; numbers
count lines of JSON lines and rows of the rest, from 1. A file that cannot be read at all raises
StudioError.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from studio.services.errors import StudioError, UsageError

MAX_ROW_BYTES = 4 * 2**20
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
Rows = Iterator[tuple[int, "dict[str, Any] | UnreadableRow"]]


class UnreadableRow:
    """A row that could not be read: a short reason, to be counted, what was seen, and the row."""

    def __init__(self, reason: str, seen: str = "", row: dict[str, Any] | None = None) -> None:
        self.reason = reason
        self.seen = printable(seen)
        self.row = row  # None where it is no row at all


def printable(text: str) -> str:
    """A file's text as a terminal may show it: a binary file's bytes could command it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def read_rows(path: Path) -> Rows:
    """Every row of the file with its number; which format it is, its name says."""
    path = Path(path)
    if path.is_dir():
        return _with_clear_errors(path, _saved_dataset_rows(path))
    if not path.exists():
        raise UsageError(f"no file {str(path)!r}; check the path")
    name = path.name.lower().removesuffix(".gz")
    zipped = path.name.lower().endswith(".gz")
    if name.endswith(JSON_ENDINGS):
        return _with_clear_errors(path, _json_rows(path, zipped))
    if name.endswith(".csv"):
        return _with_clear_errors(path, _csv_rows(path, zipped))
    if name.endswith(".parquet") and not zipped:
        return _with_clear_errors(path, _parquet_rows(path))
    raise UsageError(
        f"{path.name!r} is of an unknown kind; give .jsonl, .csv (either may be .gz), .parquet, "
        "or a folder saved by datasets"
    )


def _with_clear_errors(path: Path, rows: Rows) -> Rows:
    try:
        yield from rows
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise StudioError(
            f"{path.name!r} cannot be read to its end ({error}); check that the file is whole"
        ) from error


def _open(path: Path, zipped: bool) -> IO[bytes]:
    if zipped:
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _check_start(path: Path, start: bytes) -> None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise StudioError(f"{path.name!r} is UTF-16, not UTF-8; save it as UTF-8")


def _json_rows(path: Path, zipped: bool) -> Rows:
    with _open(path, zipped) as file:
        number = 0
        while line := file.readline(MAX_ROW_BYTES + 1):
            number += 1
            if number == 1:
                _check_start(path, line)
                line = line.removeprefix(b"\xef\xbb\xbf")
                if line.lstrip().startswith(b"["):
                    raise StudioError(
                        f"{path.name!r} starts with '[': it holds one list; "
                        "write one JSON object a line"
                    )
            if len(line) > MAX_ROW_BYTES:
                while line and not line.endswith(b"\n"):  # to the next row
                    line = file.readline(MAX_ROW_BYTES)
                yield number, UnreadableRow(f"longer than {MAX_ROW_BYTES // 2**20} MB")
            elif line.strip():
                yield number, parse_json(line)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def parse_json(line: bytes) -> dict[str, Any] | UnreadableRow:
    """One line of JSON lines."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return UnreadableRow("not UTF-8", f"byte {line[error.start]:#04x} at {error.start}")
    try:
        row = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return UnreadableRow("malformed JSON", str(error)[:200])
    if not isinstance(row, dict):
        return UnreadableRow("not a JSON object", type(row).__name__)
    return row


def _csv_rows(path: Path, zipped: bool) -> Rows:
    csv.field_size_limit(MAX_ROW_BYTES)  # of the whole process; the default cuts at 128 kB
    with _open(path, zipped) as raw, contextlib.closing(_peekable(raw)) as file:
        _check_start(path, file.peek(2)[:2])
        # Bytes that are not UTF-8 become lone surrogates, which the row's own check refuses.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.DictReader(text)
        for number, cells in enumerate(reader, start=1):
            if None in cells:
                yield number, UnreadableRow("more cells than the header has columns")
            else:
                yield number, {key: _cell(value) for key, value in cells.items()}


def _peekable(raw: IO[bytes]) -> io.BufferedReader:
    return raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore


def _cell(value: str | None) -> Any:
    """A cell's text, or the list that it spells when it is a list of messages, answers, votes."""
    if value is None or not value.startswith(("[{", '["')):
        return value
    try:
        parsed = json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return value
    return parsed if isinstance(parsed, list) else value


def _parquet_rows(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield from _numbered(file.iter_batches(batch_size=256), 1)
    except pa.ArrowException as error:
        raise StudioError(f"{path.name!r} is no readable Parquet file ({error})") from error


def _saved_dataset_rows(path: Path) -> Rows:
    """The rows of `Dataset.save_to_disk`, or of all splits of a saved `DatasetDict`."""
    if not any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        raise UsageError(
            f"folder {path.name!r} was not saved by datasets (it has no state.json); "
            "name a file in it"
        )
    import datasets
    import pyarrow as pa

    try:
        saved = datasets.load_from_disk(str(path))  # memory-mapped: nothing is read yet
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise StudioError(
            f"folder {path.name!r} cannot be read by datasets ({str(error).strip()[:200]})"
        ) from error
    splits = saved.values() if isinstance(saved, datasets.DatasetDict) else [saved]
    number = 1
    for split in splits:
        for row in split:
            yield number, dict(row)
            number += 1


def _numbered(batches: Any, number: int) -> Rows:
    for batch in batches:
        for row in batch.to_pylist():
            yield number, row
            number += 1
