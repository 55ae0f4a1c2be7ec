"""What an import refuses: rows one by one, files as a whole, and never half of one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from db.engine import Database
from db.models import Pair, Project, Slot, Vote
from studio.services import importing
from studio.services.errors import StudioError
from studio.services.importing import ImportReport, import_file
from tests.rows import preference, user, write_jsonl

Q = user("2+2?")
CHOSEN, REJECTED = ({"role": "assistant", "content": each} for each in ("four", "five"))


def _import(database: Database, path: Path, **more: Any) -> ImportReport:
    return import_file(database, path, project_name="p", **more)


def _numbers(database: Database) -> list[int]:
    with database.read() as s:
        models = (Project, Pair, Vote, Slot)
        return [s.scalar(select(func.count()).select_from(each)) or 0 for each in models]


LONG = "x" * (4 * 2**20 + 10)
REFUSED: list[tuple[Any, str]] = [
    ('{"prompt": "q", "chosen"', "malformed JSON"),
    ('{"prompt": "q", "chosen": "x", "rejected": NaN}', "malformed JSON"),
    ("[" * 100_000, "malformed JSON"),
    ('["prompt"]', "not a JSON object"),
    ({"prompt": "q", "rejected": "y"}, "no 'chosen'"),
    ({"prompt": "q", "chosen": None, "rejected": "y"}, "no 'chosen'"),
    ({"prompt": "q", "chosen": "x"}, "no 'rejected'"),
    ({"prompt": "q"}, "no 'chosen'"),
    ({"chosen": "x", "rejected": "y"}, "no 'prompt'"),
    ({"prompt": "", "chosen": "x", "rejected": "y"}, "the prompt is empty"),
    ({"prompt": [], "chosen": "x", "rejected": "y"}, "the prompt is empty"),
    ({"prompt": 3, "chosen": "x", "rejected": "y"}, "'prompt' is neither text nor messages"),
    ({"prompt": "q", "chosen": "x", "rejected": "x"}, "chosen and rejected are equal"),
    ({"prompt": "q", "answers": ["x", "x"]}, "two answers are equal"),
    ({"prompt": "q", "answers": ["x"]}, "'answers' is no list of 2 to 32 answers"),
    ({"prompt": "q", "answers": ["x", 3]}, "an answer in 'answers' is no text"),
    ({"prompt": "q", "responses": list("abc"), "votes": [{"choice": "a"}]},
     "votes on more than two answers"),
    ({"prompt": "q", "answers": ["x", "y"], "votes": [{"choice": "left"}]},
     "a vote has an unknown choice"),
    ({"prompt": "q", "answers": ["x", "y"], "votes": [{"choice": "a", "strength": 9}]},
     "a vote's strength is not 1, 2 or 3"),
    ({"prompt": "q", "answers": ["x", "y"], "votes": {"a": 1}}, "'votes' is no list of objects"),
    ({"prompt": "q", "answers": ["x", "y"], "votes": [{"choice": "a", "aspects": {"tone": 3}}]},
     "a vote's 'aspects' is no list of ratings"),
    ({"prompt": "q", "answers": ["x", "y"],
      "votes": [{"choice": "a", "aspects": [{"aspect": "tone", "a": 6}]}]},
     "a vote's rating is not 1 to 5"),
    ({"prompt": "q", "answers": ["x", "y"], "votes": [
        {"choice": "a", "aspects": [{"aspect": "tone", "a": 1}, {"aspect": "tone", "a": 2}]}]},
     "a vote rates an aspect twice"),
    ({"prompt": "q", "answers": ["x", "y"], "adjudication": "a"}, "'adjudication' is no object"),
    ({"prompt": "q", "answers": ["x", "y"], "adjudication": {"choice": "skip"}},
     "an adjudication is none of a, b, tie, both_bad"),
    ({"prompt": "q", "responses": list("abc"), "adjudication": {"choice": "a"}},
     "an adjudication of more than two answers"),
    ({"prompt": "q", "chosen": "a\x00b", "rejected": "y"}, "the row holds a NUL character"),
    ('{"prompt": "q", "chosen": "x", "rejected": "y", "meta": ' + '{"m": ' * 500 + "1" + "}" * 501,
     "'meta' nests deeper than 32 levels"),
    ({"prompt": "q", "chosen": "x", "rejected": "y", "meta": {"k": "\x00"}},
     "the row holds a NUL character"),
    ('{"prompt": "q", "chosen": "\\ud800", "rejected": "y"}',
     "the row holds a lone surrogate, or bytes not UTF-8"),
    ({"prompt": [{"role": "robot", "content": "q"}], "chosen": "x", "rejected": "y"},
     "a message of 'prompt' has an unknown role"),
    ({"prompt": [{"role": "user", "content": None}], "chosen": "x", "rejected": "y"},
     "a message of 'prompt' has no text"),
    ({"prompt": [{**Q[0], "tool_calls": [1]}], "chosen": "x", "rejected": "y"},
     "a message of 'prompt' has more than role and content"),
    ({"prompt": "q", "chosen": [CHOSEN, CHOSEN], "rejected": [REJECTED]},
     "'chosen' is not one assistant's message after the prompt"),
    ({"chosen": [*Q, CHOSEN], "rejected": [*user("other"), REJECTED]},
     "chosen and rejected differ before their last message"),
    ({"chosen": [*Q, CHOSEN, *Q], "rejected": [*Q, REJECTED]},
     "'chosen' does not end with an assistant's message"),
    ({"prompt": "q", "chosen": "x", "rejected": "y", "meta": "words"}, "'meta' is no object"),
    ({"prompt": "q", "chosen": LONG, "rejected": "y"}, "longer than 4 MB"),
]  # fmt: skip


def test_a_bad_row_is_refused_with_number_and_reason_and_the_rest_imported(
    sqlite_database: Database, tmp_path: Path
) -> None:
    rows = [preference(0), *(row for row, _ in REFUSED), preference(1)]
    report = _import(sqlite_database, write_jsonl(tmp_path / "f.jsonl", rows))
    assert (report.imported, report.num_refused, report.rows) == (2, len(REFUSED), len(rows))
    for (number, why), (index, (_, reason)) in zip(report.refused, enumerate(REFUSED), strict=True):
        assert number == index + 2
        assert why.startswith(reason)
    assert sum(report.refused_counts.values()) == len(REFUSED)
    assert report.refused_counts["no 'chosen'"] == 3
    assert "row 2: malformed JSON" in report.as_text()
    assert json.loads(json.dumps(report.as_json()))["refused"][0]["row"] == 2


def test_bytes_that_are_not_utf8_are_refused_by_row(database: Database, tmp_path: Path) -> None:
    good = json.dumps(preference(1)).encode()
    path = tmp_path / "f.jsonl"
    path.write_bytes(good + b"\n" + good.replace(b"good", "gödel".encode("latin-1")) + b"\n")
    report = _import(database, path)
    assert report.imported == 1
    assert report.refused == [(2, "not UTF-8; save the file as UTF-8 (byte 0xf6 at 83)")]


def test_what_a_binary_file_holds_cannot_command_the_terminal(
    sqlite_database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"prompt,\x1b]0;owned\x07\nq,x\n")
    with pytest.raises(StudioError, match="no 'chosen'") as told:
        _import(sqlite_database, path)
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("f.jsonl", b"", "'f.jsonl' holds no rows, so .*; check that it is the file"),
        ("f.jsonl", b"\n\n", "holds no rows"),
        ("f.jsonl", b"\x00\xff" * 50, "all 1 rows are refused, nothing was imported; row 1: not"),
        ("f.jsonl", "{}".encode("utf-16"), "is UTF-16, not UTF-8"),
        ("f.json", b"[{}]", "holds one list; write one JSON object a line"),
        ("f.jsonl.gz", b"no gzip", "cannot be read to its end"),
        ("f.jsonl.gz", gzip.compress(b'{"prompt"' * 99)[:-9], "cannot be read to its end"),
        ("f.parquet", b"PAR1 or not", "no readable Parquet file"),
        ("f.csv", b"", "holds no rows"),
        ("f.xlsx", b"PK", "of an unknown kind; give .jsonl"),
        ("none", None, "no file .*check the path"),
    ],
)
def test_a_file_that_cannot_be_read_imports_nothing(
    sqlite_database: Database, tmp_path: Path, name: str, data: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(StudioError, match=message):
        _import(sqlite_database, path)
    assert _numbers(sqlite_database) == [0, 0, 0, 0]


def test_a_file_that_breaks_off_late_leaves_nothing_behind(
    database: Database, tmp_path: Path
) -> None:
    whole = gzip.compress("".join(json.dumps(preference(n)) + "\n" for n in range(3000)).encode())
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(whole[:-200])
    with pytest.raises(StudioError, match="check that the file is whole"):
        _import(database, path)
    assert _numbers(database) == [0, 0, 0, 0]


def test_an_interrupted_import_leaves_nothing_behind(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_jsonl(tmp_path / "f.jsonl", map(preference, range(50)))
    monkeypatch.setattr(importing, "BATCH", 20)

    def interrupted(rows: Iterator[Any]) -> Iterator[Any]:
        for number, row in rows:
            if number == 45:
                raise KeyboardInterrupt
            yield number, row

    read = importing.read_rows
    monkeypatch.setattr(importing, "read_rows", lambda path: interrupted(read(path)))
    with pytest.raises(KeyboardInterrupt):
        _import(database, path)
    assert _numbers(database) == [0, 0, 0, 0]
