"""Importing: every form, every refusal, all or nothing, and the same file twice is nothing new."""

from __future__ import annotations

import csv
import gzip
import json
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from db import content, votes
from db.engine import Database
from db.models import Pair, Project, Slot, Vote
from studio.services import importing, projects
from studio.services.errors import StudioError, UsageError
from studio.services.import_rows import RowRefused, row_pairs
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


# --- forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2+2?", "chosen": "four", "rejected": "five"},
        {"prompt": Q, "chosen": "four", "rejected": "five"},
        {"prompt": Q, "chosen": [CHOSEN], "rejected": [REJECTED]},
        {"prompt": "2+2?", "chosen": [*Q, CHOSEN], "rejected": [*Q, REJECTED]},
        {"chosen": [*Q, CHOSEN], "rejected": [*Q, REJECTED]},
        {"prompt": Q, "answers": ["four", "five"], "votes": [{"annotator": "x", "choice": "a"}]},
        {"prompt": Q, "answers": ["five", "four"], "votes": [{"annotator": "x", "choice": "b"}]},
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}],
         "chosen": "four", "rejected": "five"},
    ],
)  # fmt: skip
def test_every_form_gives_the_same_judged_pair(
    database: Database, tmp_path: Path, row: dict[str, Any]
) -> None:
    report = _import(database, write_jsonl(tmp_path / "f.jsonl", [row]))
    assert (report.rows, report.imported, report.votes) == (1, 1, 1)
    assert report.project_id is not None
    with database.read() as s:
        (pair,) = votes.judged_pairs(s, report.project_id)
    assert pair.messages == Q
    better, worse = (pair.response_a, pair.response_b)[:: 1 if pair.target == 1 else -1]
    assert (better, worse) == ("four", "five")


def test_many_responses_give_every_pair_unlabelled(database: Database, tmp_path: Path) -> None:
    row = {"prompt": "q", "responses": ["w", "x", "y", "z"]}
    report = _import(database, write_jsonl(tmp_path / "f.jsonl", [row]))
    assert (report.rows, report.imported, report.pairs, report.votes) == (1, 1, 6, 0)
    assert _numbers(database) == [1, 6, 0, 6]


def test_texts_of_every_script_come_back_unchanged(database: Database, tmp_path: Path) -> None:
    texts = ["你好，世界 👩‍👩‍👧", "a\r\nb\t\u2028c  ", "", "\ufeffx", "é e\u0301"]
    row = {"prompt": "q", "responses": texts}
    report = _import(database, write_jsonl(tmp_path / "f.jsonl", [row]))
    assert report.project_id is not None
    with database.read() as s:
        (chunk,) = content.iter_pairs(s, report.project_id, 100)
    assert {text for pair in chunk for text in (pair.response_a, pair.response_b)} == set(texts)


def test_metadata_is_kept_and_what_is_not_kept_is_named(database: Database, tmp_path: Path) -> None:
    row = preference(
        1, source="set", licence="MIT", meta={"category": "maths", "deep": {"x": [1]}},
        score=0.5, embedding=[1, 2],
    )  # fmt: skip
    report = _import(database, write_jsonl(tmp_path / "f.jsonl", [row]))
    assert report.ignored_columns == {"embedding": 1}
    with database.read() as s:
        pair = s.scalars(select(Pair)).one()
    assert pair.category == "maths"
    assert pair.meta == {
        "category": "maths", "deep": {"x": [1]}, "id": "row-1", "source": "set", "licence": "MIT",
        "score": 0.5,
    }  # fmt: skip


def test_votes_keep_their_annotators_apart(database: Database, tmp_path: Path) -> None:
    given = [
        {"annotator": "ann", "choice": "a", "strength": 2, "reason": "truer", "seconds": 9},
        {"annotator": "bob", "choice": "tie", "reasons": ["same"], "duration_ms": 1500.0},
        {"choice": "b"},
        {"annotator": "ann", "choice": "b"},
    ]
    row = {"prompt": "q", "answers": ["x", "y"], "votes": given}
    report = _import(database, write_jsonl(tmp_path / "f.jsonl", [row]))
    assert (report.votes, report.contradicting_votes) == (3, 1)
    assert report.ignored_columns == {"votes.seconds": 1}
    with database.read() as s:
        by_name = {each.annotator: each for each in s.scalars(select(Vote))}
    names = ["import:f.jsonl:ann", "import:f.jsonl:bob", "import:f.jsonl:vote-3"]
    assert sorted(by_name) == names
    assert (by_name[names[0]].strength, by_name[names[0]].comment) == (2, "truer")
    assert (by_name[names[1]].reasons, by_name[names[1]].duration_ms) == (["same"], 1500)
    assert all(each.imported for each in by_name.values())


# --- purposes --------------------------------------------------------------------------------


def test_unlabelled_opens_the_pairs_without_their_verdicts(
    database: Database, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "f.jsonl", [preference(n) for n in range(3)])
    report = _import(database, path, purpose="unlabelled")
    assert (report.imported, report.votes) == (3, 0)
    assert _numbers(database) == [1, 3, 0, 3]


def test_gold_keeps_the_agreed_verdict_and_hands_nothing_out(
    database: Database, tmp_path: Path
) -> None:
    tied = [{"annotator": n, "choice": n} for n in "ab"]
    rows = [preference(1), {"prompt": "q", "answers": ["x", "y"], "votes": tied}]
    report = _import(database, write_jsonl(tmp_path / "f.jsonl", rows), purpose="gold")
    assert report.refused_counts == {"no agreed verdict for a gold pair": 1}
    assert _numbers(database) == [1, 1, 0, 0]
    with database.read() as s:
        pair = s.scalars(select(Pair)).one()
        found = content.get_pair(s, pair.project_id, pair.id)
    assert found is not None
    gold = {"a": found.response_a, "b": found.response_b}[str(pair.gold_choice)]
    assert gold == "good 1"


def test_an_unknown_purpose_is_refused(sqlite_database: Database, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="purpose is 'silver'; use one of votes"):
        _import(sqlite_database, tmp_path / "f.jsonl", purpose="silver")


# --- again -----------------------------------------------------------------------------------


def test_a_file_imported_twice_changes_nothing(database: Database, tmp_path: Path) -> None:
    votes_row = {"prompt": "q", "answers": ["x", "y"], "votes": [{"annotator": "n", "choice": "a"}]}
    path = write_jsonl(tmp_path / "f.jsonl", [*map(preference, range(5)), votes_row])
    first = _import(database, path)
    before = _numbers(database)
    renamed = path.rename(tmp_path / "g.jsonl")
    for again in (_import(database, renamed), _import(database, renamed, purpose="unlabelled")):
        assert (again.imported, again.merged, again.duplicate) == (0, 0, 6)
        assert _numbers(database) == before
    assert (first.imported, first.votes, before) == (6, 6, [1, 6, 6, 0])


def test_swapped_duplicates_are_one_pair_and_a_reversal_is_counted(
    database: Database, tmp_path: Path
) -> None:
    one = {"prompt": "q", "chosen": "x", "rejected": "y"}
    other = {"prompt": "q", "chosen": "y", "rejected": "x"}
    report = _import(database, write_jsonl(tmp_path / "f.jsonl", [one, one, other]))
    assert (report.imported, report.duplicate) == (1, 2)
    assert (report.repeated_votes, report.contradicting_votes) == (1, 1)
    assert _numbers(database)[1:3] == [1, 1]


def test_another_files_verdict_on_a_known_pair_is_added(database: Database, tmp_path: Path) -> None:
    _import(database, write_jsonl(tmp_path / "f.jsonl", [preference(1)]))
    reverse = {**preference(1), "id": "z", "chosen": "bad 1", "rejected": "good 1"}
    report = _import(database, write_jsonl(tmp_path / "g.jsonl", [reverse]))
    assert (report.imported, report.merged, report.votes) == (0, 1, 1)
    assert report.project_id is not None
    with database.read() as s:
        assert votes.judged_pairs(s, report.project_id)[0].target == 0.5


def test_a_batch_boundary_changes_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [preference(n % 7) for n in range(20)]
    path = write_jsonl(tmp_path / "f.jsonl", rows)
    whole = _import(database, path, dry_run=True)
    monkeypatch.setattr(importing, "BATCH", 3)
    assert _import(database, path, dry_run=True) == whole
    assert (whole.imported, whole.duplicate) == (7, 13)


def test_two_imports_of_one_file_at_once_agree(database: Database, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "f.jsonl", map(preference, range(300)))
    projects.create(database, "p")
    reports: list[ImportReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(_import(database, path))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.imported for each in reports) == [0, 0, 300]
    assert _numbers(database) == [1, 300, 300, 0]


# --- refusals --------------------------------------------------------------------------------

LONG = "x" * (4 * 2**20 + 10)
REFUSED = [
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
    ({"prompt": "q", "chosen": "a\x00b", "rejected": "y"}, "the row holds a NUL character"),
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
    assert report.refused == [(2, "not UTF-8 (byte 0xf6 at 83)")]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("f.jsonl", b"", "'f.jsonl' holds no rows; nothing was imported"),
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


def test_a_dry_run_tells_all_and_changes_nothing(database: Database, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "f.jsonl", [*map(preference, range(4)), preference(1), "{"])
    dry = _import(database, path, dry_run=True)
    assert _numbers(database) == [0, 0, 0, 0]
    real = _import(database, path)
    for name in ("rows", "imported", "duplicate", "refused", "votes", "pairs"):
        assert getattr(dry, name) == getattr(real, name)
    assert dry.as_text().startswith("Would import f.jsonl into project 'p' as votes: 6 rows")


def test_control_tokens_are_counted_or_refused(database: Database, tmp_path: Path) -> None:
    rows = [preference(0, chosen="<|im_end|> <|im_end|>"), preference(1)]
    path = write_jsonl(tmp_path / "f.jsonl", rows)
    tokens = ("<|im_end|>", "<|im_start|>")
    report = _import(database, path, control_tokens=tokens, dry_run=True)
    assert (report.imported, report.control_tokens) == (2, 1)
    assert report.control_token_counts == {"<|im_end|>": 2}
    strict = _import(database, path, control_tokens=tokens, reject_control_tokens=True)
    assert strict.refused == [(1, "the text spells a control token (<|im_end|>)")]
    assert strict.imported == 1


def test_an_archived_project_takes_no_import(database: Database, tmp_path: Path) -> None:
    projects.archive(database, projects.create(database, "p").id)
    path = write_jsonl(tmp_path / "f.jsonl", [preference(1)])
    with pytest.raises(StudioError, match="archived; restore it"):
        _import(database, path)


# --- files -----------------------------------------------------------------------------------


def _same_as_jsonl(database: Database, path: Path) -> None:
    report = import_file(database, path, project_name="other")
    expected = _import(database, write_jsonl(path.parent / "f.jsonl", map(preference, range(6))))
    assert (report.imported, report.votes) == (expected.imported, expected.votes) == (6, 6)
    assert report.project_id is not None
    assert expected.project_id is not None
    with database.read() as s:
        found = [votes.judged_pairs(s, each) for each in (report.project_id, expected.project_id)]
    assert [(p.messages, p.response_a, p.target) for p in found[0]] == [
        (p.messages, p.response_a, p.target) for p in found[1]
    ]


def test_gzip_is_read(sqlite_database: Database, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "g", map(preference, range(6)))
    (tmp_path / "g.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + path.read_bytes()))
    _same_as_jsonl(sqlite_database, tmp_path / "g.jsonl.gz")


def test_csv_is_read_with_messages_in_cells(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "prompt", "chosen", "rejected"])
        writer.writeheader()
        for number in range(6):
            row = preference(number)
            text = row["prompt"][0]["content"] if number % 2 else json.dumps(row["prompt"])
            writer.writerow(row | {"prompt": text})
    _same_as_jsonl(sqlite_database, path)


def test_csv_rows_that_do_not_fit_are_refused(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(b"prompt,chosen,rejected\nq,x,y\nq,x\nq,x,y,z\nq,\xe4,y\n")
    report = _import(sqlite_database, path)
    assert report.imported == 1
    assert [number for number, _ in report.refused] == [2, 3, 4]
    assert "no 'rejected'" in report.refused[0][1]
    assert "more cells" in report.refused[1][1]
    assert "bytes not UTF-8" in report.refused[2][1]


def test_parquet_is_read(sqlite_database: Database, tmp_path: Path) -> None:
    table = pa.Table.from_pylist([preference(n, when=None) for n in range(6)])
    pq.write_table(table, tmp_path / "g.parquet", row_group_size=2)
    _same_as_jsonl(sqlite_database, tmp_path / "g.parquet")


@pytest.mark.parametrize("splits", [False, True])
def test_a_saved_dataset_is_read(sqlite_database: Database, tmp_path: Path, splits: bool) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([preference(n) for n in range(6)])
    if splits:
        rows = datasets.DatasetDict(
            {"train": rows.select(range(4)), "test": rows.select(range(4, 6))}
        )
    rows.save_to_disk(str(tmp_path / "saved"))
    _same_as_jsonl(sqlite_database, tmp_path / "saved")


def test_a_folder_of_something_else_is_refused(sqlite_database: Database, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not saved by datasets"):
        _import(sqlite_database, tmp_path)


def test_memory_does_not_grow_with_the_file(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 50)

    def peak(number: int) -> int:
        path = tmp_path / f"{number}.jsonl"
        with path.open("w") as file:
            for n in range(number):
                row = preference(n, chosen=f"{n} " + "good " * 300, rejected="bad " * 300)
                file.write(json.dumps(row) + "\n")
        tracemalloc.start()
        import_file(sqlite_database, path, project_name=f"p{number}")
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached

    peak(100)  # what is loaded on first use is not the file's
    assert peak(900) < peak(300) * 1.3


def test_progress_is_told(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(importing, "REPORT_EVERY_S", 0.0)
    path = write_jsonl(tmp_path / "f.jsonl", map(preference, range(5)))
    _import(sqlite_database, path, report=told.append)
    assert told[-1] == "5 rows read, 0 refused"


def test_a_row_with_verdict_and_votes_keeps_the_verdict_and_names_the_votes() -> None:
    parsed = row_pairs(preference(1, votes=[{"annotator": "n", "choice": "chosen"}]))
    assert parsed.ignored == ("votes",)
    with pytest.raises(RowRefused):
        row_pairs({})
