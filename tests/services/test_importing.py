"""Importing: every form, every refusal, nobody waits, the same file twice is nothing new."""

from __future__ import annotations

import csv
import gzip
import json
import os
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from db import pair_texts, votes
from db.engine import Database
from db.models import Pair, Project, Slot, Vote
from studio.services import importing, projects
from studio.services.errors import StudioError, UsageError
from studio.services.import_files import RowRefused
from studio.services.import_rows import row_pairs
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
        (chunk,) = pair_texts.iter_pairs(s, report.project_id, 100)
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
        found = pair_texts.get_pair(s, pair.project_id, pair.id)
    assert found is not None
    gold = {"a": found.response_a, "b": found.response_b}[str(pair.gold_choice)]
    assert gold == "good 1"


@pytest.mark.parametrize(("last_word", "answer"), [("b", "good"), ("both_bad", None)])
def test_a_last_word_settles_what_is_known_of_a_gold_pair(
    sqlite_database: Database, tmp_path: Path, last_word: str, answer: str | None
) -> None:
    split = [{"annotator": n, "choice": n} for n in "ab"]
    row = {
        "prompt": "q", "answers": ["bad", "good"], "votes": split,
        "adjudication": {"annotator": "lea", "choice": last_word},
    }  # fmt: skip
    path = write_jsonl(tmp_path / "f.jsonl", [row, preference(1)])
    report = _import(sqlite_database, path, purpose="gold")
    assert report.refused_counts.get("no agreed verdict for a gold pair", 0) == (answer is None)
    with sqlite_database.read() as s:
        known = s.execute(select(Pair.id, Pair.gold_choice, Pair.project_id)).all()
        texts = pair_texts.get_pairs(s, known[0].project_id, [pair.id for pair in known])
    golds = {
        {"a": texts[pair.id].response_a, "b": texts[pair.id].response_b}[str(pair.gold_choice)]
        for pair in known
    }
    assert golds == {"good 1"} | ({answer} if answer else set())


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
    assert sum(each.imported for each in reports) == 300
    assert _numbers(database) == [1, 300, 300, 0]


# --- options -----------------------------------------------------------------------------------


def test_a_dry_run_tells_all_and_changes_nothing(database: Database, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "f.jsonl", [*map(preference, range(4)), preference(1), "{"])
    dry = _import(database, path, dry_run=True)
    assert _numbers(database) == [0, 0, 0, 0]
    real = _import(database, path)
    for name in ("rows", "imported", "duplicate", "refused", "votes", "pairs"):
        assert getattr(dry, name) == getattr(real, name)
    assert dry.as_text().startswith("Would import f.jsonl into project 'p' as votes: 6 rows")


@pytest.mark.parametrize("purpose", ["votes", "gold", "unlabelled"])
def test_a_dry_run_into_a_project_that_has_pairs_counts_as_the_import_does(
    database: Database, tmp_path: Path, purpose: str
) -> None:
    first = [*map(preference, range(6)), preference(3, chosen="bad 3", rejected="good 3")]
    _import(database, write_jsonl(tmp_path / "f.jsonl", first))
    turned = preference(1, chosen="bad 1", rejected="good 1")
    rows = [*map(preference, range(4, 9)), turned, preference(8, id="again")]
    for name in ("f.jsonl", "other.jsonl"):  # the same annotator, and another
        path = write_jsonl(tmp_path / name, rows)
        before = _numbers(database)
        dry = _import(database, path, dry_run=True, purpose=purpose)
        assert _numbers(database) == before
        real = _import(database, path, purpose=purpose)
        told = {key: value for key, value in dry.as_json().items() if key != "project_id"}
        assert told == {key: real.as_json()[key] for key in told} | {"dry_run": True}


@pytest.mark.parametrize("dry_run", [True, False])
def test_nobody_waits_while_a_file_is_read(
    database: Database, tmp_path: Path, dry_run: bool
) -> None:
    path = tmp_path / "slow.jsonl"
    os.mkfifo(path)
    work = threading.Thread(target=lambda: _import(database, path, dry_run=dry_run), daemon=True)
    work.start()
    with path.open("w") as file:
        for number in range(300):
            file.write(json.dumps(preference(number)) + "\n")
        file.flush()
        time.sleep(0.2)  # the reader has what was written and waits for more
        begin = time.monotonic()
        other = threading.Thread(target=lambda: projects.create(database, "meanwhile"))
        other.start()
        other.join(timeout=30)
        waited_s = time.monotonic() - begin
        is_done = not other.is_alive()
        file.write(json.dumps(preference(300)) + "\n")
    other.join()
    work.join()
    assert is_done
    assert waited_s < 10
    assert _numbers(database)[1] == (0 if dry_run else 301)


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
    import datasets

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
    # Six times the rows; what is not collected yet swings by some hundred kB.
    assert peak(1800) < peak(300) * 2.5


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
