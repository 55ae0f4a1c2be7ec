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
import itertools
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from studio.services.errors import StudioError, UsageError

MAX_ROW_BYTES = 4 * 2**20
BATCH_ROWS = 256  # that Arrow converts at a time
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
Rows = Iterator[tuple[int, "dict[str, Any] | UnreadableRow"]]


class UnreadableRow:
    """A row that could not be read: a short reason, to be counted, what was seen, and the row."""

    def __init__(self, reason: str, seen: str = "", row: dict[str, Any] | None = None) -> None:
        self.reason = reason
        self.seen = printable(seen)
        self.row = row  # None where it is no row at all


class RowRefused(Exception):
    """The row cannot be imported: a short reason, to be counted, and what was seen."""

    def __init__(self, reason: str, seen: object = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.seen = printable(str(seen)[:200])


class CellList(list[Any]):
    """The list that a CSV cell spells, and the cell's text: which is meant, its column says."""

    def __init__(self, items: Iterable[Any], text: str) -> None:
        super().__init__(items)
        self.text = text


def text_of(value: Any) -> Any:
    """What a column of texts or messages holds: a CSV cell that spells no messages is text."""
    if not isinstance(value, CellList):
        return value
    are_messages = all(
        isinstance(each, Mapping) and {"role", "content"} <= each.keys() for each in value
    )
    return value if value and are_messages else value.text


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
    number = 0
    try:
        for number, row in rows:
            yield number, row
    except (OSError, EOFError, zlib.error) as error:
        raise StudioError(
            f"{path.name!r} cannot be read to its end ({error}); check that the file is whole"
        ) from error
    if number == 0:
        raise StudioError(
            f"{path.name!r} holds no rows, so nothing can be read from it; "
            "check that it is the file that you mean"
        )


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
        return UnreadableRow(
            "not UTF-8; save the file as UTF-8", f"byte {line[error.start]:#04x} at {error.start}"
        )
    try:
        row = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return UnreadableRow("malformed JSON; write one JSON object a line", str(error)[:200])
    if not isinstance(row, dict):
        return UnreadableRow("not a JSON object", type(row).__name__)
    return row


def _csv_rows(path: Path, zipped: bool) -> Rows:
    csv.field_size_limit(MAX_ROW_BYTES)  # of the whole process; the default cuts at 128 kB
    with _open(path, zipped) as raw, contextlib.closing(_peekable(raw)) as file:
        _check_start(path, file.peek(2)[:2])
        # Bytes that are not UTF-8 become lone surrogates, which the row's own check refuses.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        records = _csv_records(path, text)
        _, header = next(records, ("", []))
        names = [name or f"column {place}" for place, name in enumerate(header, start=1)]
        _check_names(path, names)
        for number, (lines, cells) in enumerate(records, start=1):
            if len(cells) > len(names):
                yield number, UnreadableRow("more cells than the header has columns", lines)
            else:
                padded = itertools.zip_longest(names, map(_cell, cells))
                yield number, dict(padded)


def _csv_records(path: Path, text: IO[str]) -> Iterator[tuple[str, list[str]]]:
    """Each row's cells, and where in the file it stands.

    Strict: a quote that nothing closes would otherwise take every later row into its cell.
    """
    reader = csv.reader(text, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise StudioError(
                f"{path.name!r} is no whole CSV: {_csv_fault(error, start, reader.line_num)}"
            ) from error
        if cells is None:
            return
        if cells:  # an empty line is no row
            end = reader.line_num
            yield f"line {start}" if end == start else f"lines {start} to {end}", cells


def _csv_fault(error: csv.Error, start: int, end: int) -> str:
    """What is wrong with the row from line `start`, of which the reader got to line `end`."""
    if "unexpected end" in str(error):
        return f"in the row of line {start} a quote opens that nothing closes; close it"
    if "field larger" in str(error):
        return (
            f"the row of line {start} has a cell longer than {MAX_ROW_BYTES // 2**20} MB; "
            "close its quote, or leave the row out"
        )
    if "expected after" in str(error):
        return (
            f"in the row of line {start} a quote closes at line {end} and text follows; close "
            'the quote where its cell ends, and double a quote inside a cell ("")'
        )
    return f"the row of line {start} cannot be read ({error})"


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse a column that is there twice: which of the two is meant, nobody can tell."""
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise StudioError(
            f"{path.name!r} has the column {printable(twice[0])!r} more than once; rename one"
        )


def _peekable(raw: IO[bytes]) -> io.BufferedReader:
    return raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore


def _cell(text: str) -> Any:
    """A cell's text, a CellList where it spells a list, or None: in CSV an empty cell is missing.

    CSV cannot tell an empty answer from none.
    """
    if not text.strip():
        return None
    if not text.startswith("["):
        return text
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    return CellList(parsed, text) if isinstance(parsed, list) else text


def _parquet_rows(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _check_names(path, file.schema_arrow.names)
            yield from _numbered(file.iter_batches(batch_size=BATCH_ROWS))
    except (pa.ArrowException, ValueError) as error:
        raise StudioError(
            f"{path.name!r} is no readable Parquet file ({error}); write it again"
        ) from error


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
    tables = (split.with_format("arrow").iter(batch_size=BATCH_ROWS) for split in splits)
    yield from _numbered(itertools.chain.from_iterable(tables))


def _numbered(batches: Iterable[Any]) -> Rows:
    """The rows of Arrow's batches; one by one where some value has no form in Python."""
    number = 1
    for batch in batches:
        try:
            rows = batch.to_pylist()
        except (ValueError, OverflowError):
            rows = [_arrow_row(batch, index) for index in range(batch.num_rows)]
        for row in rows:
            yield number, row
            number += 1


def _arrow_row(batch: Any, index: int) -> dict[str, Any] | UnreadableRow:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = _arrow_value(column[index])
        except UnicodeDecodeError as error:
            seen = f"byte {error.object[error.start]:#04x} at {error.start}"
            return UnreadableRow(f"column {name!r} is not UTF-8; write it as UTF-8", seen)
        except (ValueError, OverflowError) as error:
            return UnreadableRow(f"column {name!r} cannot be read; leave it out", str(error)[:200])
    return row


def _arrow_value(scalar: Any) -> Any:
    """The value; a time that Python's calendar has no date for, as the number that is stored."""
    import pyarrow as pa

    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        if not pa.types.is_temporal(scalar.type):
            raise
        return scalar.value
