"""Exporting: what was judged comes out, loads, goes in again, and nothing is hidden."""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import pair_texts, votes
from db.engine import Database
from db.models import Vote
from studio.services import adjudication, exporting, importing, labelling
from studio.services.errors import Conflict, NotFound, UsageError
from tests.judging import give, pair_ids
from tests.rows import make_project, new_pair, open_pairs, write_jsonl


@pytest.fixture
def project_id(database: Database) -> int:
    """One pair of every fate, among them a person's vote and one taken back."""
    pairs = [
        new_pair(1, "a"), new_pair(2, "b", "b", "tie"), new_pair(3, "tie"), new_pair(4, "both_bad"),
        new_pair(5, "skip", "skip"), new_pair(6), new_pair(7),
    ]  # fmt: skip
    project_id = make_project(database, pairs)
    for choice in ("left", "left"):
        (shown,) = labelling.next_pairs(database, project_id, "ann", count=1)["pairs"]
        vote = {
            "vote_id": str(uuid.uuid4()), "showing_id": shown["showing_id"], "choice": choice,
            "strength": 3, "reasons": ["truer"], "comment": "你好", "duration_ms": 900,
        }  # fmt: skip
        labelling.cast_vote(database, project_id, "ann", vote)
    labelling.undo(database, project_id, "ann")
    return project_id


def _lines(path: Path) -> list[dict[str, Any]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().splitlines()]


def test_pairs_carry_their_raw_votes_and_the_rest_is_counted(
    database: Database, project_id: int, tmp_path: Path
) -> None:
    out = tmp_path / "pairs.jsonl"
    report = exporting.export(database, project_id, "pairs", "jsonl", out)
    rows = {row["prompt"][0]["content"]: row for row in _lines(out)}
    assert (rows["prompt 1"]["chosen"], rows["prompt 1"]["rejected"]) == ("first 1", "second 1")
    assert rows["prompt 2"]["chosen"] == "second 2"
    assert rows["prompt 2"]["chosen_share"] == pytest.approx(5 / 6)
    assert sorted(v["choice"] for v in rows["prompt 2"]["votes"]) == ["chosen", "chosen", "tie"]
    mine = next(row for row in rows.values() if row["votes"][0]["annotator"] == "ann")
    assert mine["votes"][0]["choice"] == "chosen"
    assert mine["votes"][0]["comment"] == "你好"
    left_out = report.left_out
    assert (
        left_out.pop("pairs_not_judged")
        + len(rows)
        + sum(number for why, number in left_out.items() if why.startswith("pairs_"))
        == 7
    )
    assert left_out["pairs_tied"] == left_out["pairs_both_bad_only"] == 1
    assert left_out["votes_retracted"] == 1
    assert (report.rows, report.votes) == (len(rows), sum(len(r["votes"]) for r in rows.values()))
    assert sum(report.rows_by_split.values()) == report.rows


def test_nothing_that_people_gave_is_missing(database: Database, tmp_path: Path) -> None:
    project_id = make_project(database, [new_pair(1)], reasons=["truer"], aspects=["tone"])
    (shown,) = labelling.next_pairs(database, project_id, "ann", count=1)["pairs"]
    left = "a" if shown["left"]["text"] == _texts_of(database, project_id)[0] else "b"
    for choice in ("right", "left"):
        vote = {
            "vote_id": str(uuid.uuid4()), "showing_id": shown["showing_id"], "choice": choice,
            "aspects": {"tone": {"left": 4}}, "reasons": ["truer"],
        }  # fmt: skip
        labelling.cast_vote(database, project_id, "ann", vote)
        if choice == "right":
            labelling.undo(database, project_id, "ann")
            withdrawn = vote["vote_id"]
    last_word = {"vote_id": str(uuid.uuid4()), "choice": {"a": "b", "b": "a"}[left]}
    adjudication.adjudicate(database, project_id, "mara", shown["pair_id"], last_word)
    report = exporting.export(database, project_id, "votes", "jsonl", tmp_path / "v.jsonl")
    assert (report.rows, report.votes, report.adjudications) == (1, 1, 1)
    assert "1 votes and 1 adjudication to" in report.as_text()
    (row,) = _lines(tmp_path / "v.jsonl")
    (vote,) = row["votes"]
    assert vote["aspects"] == [{"aspect": "tone", "a": None, "b": None} | {left: 4}]
    assert (vote["choice"], vote["left_side"], vote["revises"]) == (left, left, withdrawn)
    assert row["adjudication"]["choice"] == last_word["choice"]
    assert row["sources"] == [None, None]
    exporting.export(database, project_id, "pairs", "jsonl", tmp_path / "p.jsonl")
    (row,) = _lines(tmp_path / "p.jsonl")
    assert row["chosen_share"] == 1.0  # by the last word, which stands beside the vote against it
    assert (row["adjudication"]["choice"], row["votes"][0]["choice"]) == ("chosen", "rejected")
    assert row["votes"][0]["left_side"] == "rejected"
    assert row["votes"][0]["aspects"] == [{"aspect": "tone", "chosen": None, "rejected": 4}]


def _texts_of(database: Database, project_id: int) -> tuple[str, str]:
    with database.read() as s:
        (chunk,) = pair_texts.iter_pairs(s, project_id, 10)
    return chunk[0].response_a, chunk[0].response_b


def test_the_report_lies_beside_the_file_and_names_its_hash(
    database: Database, project_id: int, tmp_path: Path
) -> None:
    out = tmp_path / "votes.jsonl"
    report = exporting.export(database, project_id, "votes", "jsonl", out)
    beside = json.loads((tmp_path / "votes.jsonl.report.json").read_text())
    assert beside == report.as_json()
    assert beside["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert beside["project"] == "p"
    assert f"Exported {report.rows} rows" in report.as_text()
    assert sorted(each.name for each in tmp_path.iterdir() if each.suffix != ".db")[:1]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("name", ["v.jsonl", "v.jsonl.gz", "v.parquet"])
def test_exported_votes_come_in_again_with_the_same_meaning(
    database: Database, project_id: int, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    fmt = "parquet" if name.endswith("parquet") else "jsonl"
    exported = exporting.export(database, project_id, "votes", fmt, out)
    report = importing.import_file(database, out, project_name="again")
    assert report.num_refused == 0
    assert (report.pairs, report.votes) == (exported.rows, exported.votes)
    assert report.project_id is not None
    with database.read() as s:
        found = [votes.judged_pairs(s, each) for each in (project_id, report.project_id)]
    first, again = (sorted((p.response_a, p.target, p.num_votes) for p in each) for each in found)
    assert first == again


@pytest.mark.parametrize("fmt", ["jsonl", "parquet"])
def test_last_words_and_ratings_come_in_again(database: Database, tmp_path: Path, fmt: str) -> None:
    project_id = make_project(database, open_pairs(8), aspects=["tone", "facts"])
    ids = pair_ids(database, project_id)
    aspects = {"tone": {"a": 4, "b": 1}, "facts": {"b": 5}}
    for pair_id in ids[:6]:
        give(database, project_id, pair_id, "ann", "a", aspects=aspects, strength=2)
    words = dict(zip(ids[4:], ("b", "both_bad", "tie"), strict=False))  # on the last alone no vote
    for pair_id, choice in words.items():
        last_word = {"vote_id": str(uuid.uuid4()), "choice": choice, "comment": "so"}
        adjudication.adjudicate(database, project_id, "mara", pair_id, last_word)
    out = tmp_path / f"v.{fmt}"
    exporting.export(database, project_id, "votes", fmt, out)

    tried = importing.import_file(database, out, project_name="again", dry_run=True)
    report = importing.import_file(database, out, project_name="again")
    for each in (tried, report):
        assert (each.pairs, each.votes, each.adjudications, each.num_refused) == (7, 6, 3, 0)
    assert "override votes: 3" in report.as_text()
    assert report.project_id is not None
    before, after = (_judgements(database, each) for each in (project_id, report.project_id))
    assert before == after
    assert any(ratings == aspects for _, _, _, ratings, _ in after)
    repeated = importing.import_file(database, out, project_name="again")
    assert (repeated.duplicate, repeated.votes, repeated.adjudications) == (7, 0, 0)
    assert (repeated.repeated_votes, repeated.contradicting_votes) == (9, 0)

    # One last word stands on a pair: a lead's own is not overridden by a file's.
    with database.read() as s:
        same = {text: pair_id for pair_id, text in _texts(s, report.project_id).items()}
        here = {same[text]: words[pair_id] for pair_id, text in _texts(s, project_id).items()
                if pair_id in words}  # fmt: skip
    changed = next(pair_id for pair_id, choice in here.items() if choice == "b")
    own = {"vote_id": str(uuid.uuid4()), "choice": "a"}
    adjudication.adjudicate(database, report.project_id, "lea", changed, own)
    again = importing.import_file(database, out, project_name="again")
    assert (again.adjudications, again.repeated_votes, again.contradicting_votes) == (0, 8, 1)
    assert adjudication.open_pair(database, report.project_id, changed)["adjudication"][
        "annotator"
    ] == "lea"  # fmt: skip


def _texts(s: Session, project_id: int) -> dict[int, str]:
    (chunk,) = pair_texts.iter_pairs(s, project_id, 100)
    return {each.pair_id: each.response_a for each in chunk}


def _judgements(database: Database, project_id: int) -> list[tuple[Any, ...]]:
    """Every standing vote by the text that it is on, and what the pair's votes come to."""
    with database.read() as s:
        texts = _texts(s, project_id)
        targets = {pair.pair_id: pair.target for pair in votes.judged_pairs(s, project_id)}
        found = s.scalars(select(Vote).where(Vote.project_id == project_id))
        rows = [
            (texts[vote.pair_id], vote.purpose, (vote.choice, vote.strength, vote.comment),
             vote.aspects, targets.get(vote.pair_id))
            for vote in found
        ]  # fmt: skip
    return sorted(rows, key=lambda row: row[:3])


@pytest.mark.parametrize(
    ("kind", "fmt", "name"),
    [
        ("pairs", "trl", "x.jsonl"), ("pairs", "trl", "x.parquet"), ("pairs", "jsonl", "x.jsonl"),
        ("pairs", "parquet", "x.parquet"), ("votes", "jsonl", "x.jsonl"),
        ("votes", "parquet", "x.parquet"),
    ],
)  # fmt: skip
def test_every_format_loads_with_datasets(
    database: Database, project_id: int, tmp_path: Path, kind: str, fmt: str, name: str
) -> None:
    datasets = pytest.importorskip("datasets")
    out = tmp_path / name
    report = exporting.export(database, project_id, kind, fmt, out)
    loader = "parquet" if name.endswith("parquet") else "json"
    rows = datasets.load_dataset(
        loader, data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert rows.num_rows == report.rows > 0
    if fmt == "trl":
        assert rows.column_names == ["prompt", "chosen", "rejected", "split"]
        row = next(each for each in rows if each["prompt"][0]["content"] == "prompt 1")
        assert row["prompt"] == [{"role": "user", "content": "prompt 1"}]
        assert row["chosen"] == [{"role": "assistant", "content": "first 1"}]
        assert row["rejected"] == [{"role": "assistant", "content": "second 1"}]


def test_parquet_keeps_metadata_as_text(database: Database, tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": "x", "rejected": "y", "meta": {"k": [1], "category": "c"}}]
    source = write_jsonl(tmp_path / "f.jsonl", rows)
    project_id = importing.import_file(database, source, project_name="m").project_id
    assert project_id is not None
    exporting.export(database, project_id, "pairs", "parquet", tmp_path / "m.parquet")
    (row,) = pq.read_table(tmp_path / "m.parquet").to_pylist()
    assert json.loads(row["meta"]) == {"k": [1], "category": "c"}
    report = importing.import_file(database, tmp_path / "m.parquet", project_name="n")
    assert report.imported == 1


def test_an_empty_project_gives_an_empty_file_and_says_so(
    database: Database, tmp_path: Path
) -> None:
    project_id = make_project(database, [new_pair(1)])
    for fmt, name in (("jsonl", "e.jsonl"), ("parquet", "e.parquet")):
        report = exporting.export(database, project_id, "pairs", fmt, tmp_path / name)
        assert (report.rows, report.left_out) == (0, {"pairs_not_judged": 1})
    assert (tmp_path / "e.jsonl").read_bytes() == b""
    assert pq.read_table(tmp_path / "e.parquet").num_rows == 0


def test_a_file_that_is_there_is_never_overwritten(database: Database, tmp_path: Path) -> None:
    project_id = make_project(database, [new_pair(1, "a")])
    out = tmp_path / "x.jsonl"
    out.write_text("precious")
    with pytest.raises(Conflict, match="exists already; name another file"):
        exporting.export(database, project_id, "pairs", "jsonl", out)
    assert out.read_text() == "precious"


@pytest.mark.parametrize(
    ("kind", "fmt", "name", "message"),
    [
        ("model", "jsonl", "x", "kind is 'model'; export one of votes, pairs"),
        ("pairs", "xml", "x", "format is 'xml'; use one of jsonl"),
        ("votes", "trl", "x", "holds merged pairs"),
        ("pairs", "jsonl", "none/x", "no folder"),
        ("pairs", "parquet", "x.jsonl", "'x.jsonl' is no name for parquet"),
        ("pairs", "jsonl", "x.parquet", "'x.parquet' is no name for jsonl"),
    ],
)
def test_a_wrong_request_is_refused(
    sqlite_database: Database, tmp_path: Path, kind: str, fmt: str, name: str, message: str
) -> None:
    project_id = make_project(sqlite_database)
    with pytest.raises(UsageError, match=message):
        exporting.export(sqlite_database, project_id, kind, fmt, tmp_path / name)


def test_a_failed_export_leaves_no_file(sqlite_database: Database, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        exporting.export(sqlite_database, 999, "pairs", "jsonl", tmp_path / "x.jsonl")
    assert not list(tmp_path.glob("*x.jsonl*"))
