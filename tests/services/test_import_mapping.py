"""Files in other people's forms: proposed columns, verdicts in other words, many answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from db.engine import Database
from db.models import Pair, Response, Vote
from studio.services import import_mapping, import_preview, importing
from studio.services.errors import Conflict, UsageError
from studio.services.import_files import RowRefused
from studio.services.import_rows import row_pairs
from tests.rows import write_jsonl

ARENA = {
    "question_id": "q1",
    "model_a": "left-9b",
    "model_b": "right-7b",
    "winner": "model_b",
    "judge": "mara",
    "question": "Two plus two?",
    "answer_a": "Five",
    "answer_b": "Four",
    "language": "en",
}


def test_columns_of_known_names_are_proposed() -> None:
    assert import_mapping.propose(list(ARENA)) == {
        "prompt": "question", "answer_a": "answer_a", "answer_b": "answer_b", "verdict": "winner",
        "source_a": "model_a", "source_b": "model_b", "annotator": "judge", "id": "question_id",
    }  # fmt: skip
    assert import_mapping.propose(["Instruction", "Response 1", "Response 2", "Preference"]) == {
        "prompt": "Instruction", "answer_a": "Response 1", "answer_b": "Response 2",
        "verdict": "Preference",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "first_number", "choice"),
    [
        ("model_a", None, "a"), ("B", None, "b"), ("tie (bothbad)", None, "both_bad"),
        ("Tie", None, "tie"), (1, "1", "a"), (2.0, "1", "b"), (0, "0", "a"), ("1", "0", "b"),
    ],
)  # fmt: skip
def test_verdicts_in_other_words(value: Any, first_number: str | None, choice: str) -> None:
    mapping = {"answer_a": "x", "answer_b": "y", "verdict": "v", "prompt": "p"}
    if first_number is not None:
        mapping["first_number"] = first_number
    row = import_mapping.mapped_row({"x": "1", "y": "2", "v": value, "p": "?"}, mapping)
    assert row["votes"] == [{"choice": choice}]


@pytest.mark.parametrize(("value", "first"), [(1, None), (0, None), (3, "1"), ("maybe", None)])
def test_a_verdict_that_could_be_read_two_ways_is_refused(value: Any, first: str | None) -> None:
    mapping = {"answer_a": "x", "answer_b": "y", "verdict": "v"}
    if first is not None:
        mapping["first_number"] = first
    with pytest.raises(RowRefused, match=r"number|none that is known"):
        import_mapping.mapped_row({"x": "1", "y": "2", "v": value}, mapping)


def test_a_mapped_file_keeps_authors_annotators_and_the_rest(
    database: Database, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "arena.jsonl", [ARENA, ARENA | {"winner": 2}])
    columns = import_preview.preview(path).mapping
    report = importing.import_file(database, path, project_name="arena", columns=columns)
    assert (report.imported, report.votes) == (1, 1)
    assert report.refused == [
        (2, "the verdict is a number; say which number is the first answer (2)")
    ]
    with database.read() as s:
        sources = dict(s.execute(select(Response.text, Response.source)).all())
        vote = s.scalars(select(Vote)).one()
        pair = s.scalars(select(Pair)).one()
        winner = pair.response_a_id if vote.choice == "a" else pair.response_b_id
        assert s.get_one(Response, winner).text == "Four"
    assert sources == {"Five": "left-9b", "Four": "right-7b"}
    assert vote.annotator == "import:arena.jsonl:mara"
    assert pair.meta["language"] == "en"
    assert pair.meta["id"] == "q1"


def test_an_unmapped_column_does_not_pass_for_a_field(database: Database, tmp_path: Path) -> None:
    row = {"p": "?", "good": "x", "bad": "y", "prompt": "not the prompt", "votes": "3"}
    path = write_jsonl(tmp_path / "f.jsonl", [row])
    mapping = {"prompt": "p", "chosen": "good", "rejected": "bad"}
    assert importing.import_file(database, path, project_name="f", columns=mapping).imported == 1
    with database.read() as s:
        pair = s.scalars(select(Pair)).one()
    assert pair.meta["file.prompt"] == "not the prompt"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"prompt": "p"}, "name no answers"),
        ({"chosen": "a", "rejected": "b", "colour": "c"}, "unknown field 'colour'"),
        ({"chosen": "a", "rejected": "nowhere"}, "no column 'nowhere'"),
    ],
)
def test_a_mapping_that_cannot_be_one_is_told(
    mapping: dict[str, str], message: str, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "f.jsonl", [{"a": "1", "b": "2", "p": "?"}])
    with pytest.raises(UsageError, match=message):
        import_preview.preview(path, mapping)


def test_the_preview_shows_rows_as_they_would_be_read(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "f.jsonl",
        [ARENA, ARENA | {"answer_b": "Five"}, "{broken", ARENA | {"question": "x" * 500}],
    )
    seen = import_preview.preview(path)
    first, equal, broken, long = seen.samples
    assert (first.prompt, first.answers, first.verdict) == (
        "Two plus two?", ("Five", "Four"), "second is better",
    )  # fmt: skip
    assert equal.refused == "two answers are equal (Five)"
    assert broken.refused.startswith("malformed JSON")
    assert long.prompt.endswith("…")
    own = import_preview.preview(
        write_jsonl(tmp_path / "g.jsonl", [{"prompt": "?", "chosen": "x", "rejected": "y"}])
    )
    assert own.mapping == {}
    assert own.samples[0].verdict == "first is better"


@pytest.mark.parametrize(
    ("rule", "couples"),
    [
        ("all", {"AB", "AC", "AD", "BC", "BD", "CD"}),
        ("first", {"AB", "AC", "AD"}),
        ("neighbours", {"AB", "BC", "CD"}),
    ],
)
def test_more_than_two_answers_become_pairs_by_rule(
    database: Database, tmp_path: Path, rule: str, couples: set[str]
) -> None:
    path = write_jsonl(tmp_path / "f.jsonl", [{"prompt": "?", "responses": ["A", "B", "C", "D"]}])
    importing.import_file(database, path, project_name="f", purpose="unlabelled", answers_rule=rule)
    assert _couples(database) == couples


def _couples(database: Database) -> set[str]:
    with database.read() as s:
        texts = {r.id: r.text for r in s.scalars(select(Response))}
        pairs = list(s.scalars(select(Pair)))
    return {"".join(sorted((texts[p.response_a_id], texts[p.response_b_id]))) for p in pairs}


def test_one_pair_of_many_is_drawn_the_same_every_time(database: Database, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "f.jsonl", [{"prompt": "?", "responses": ["A", "B", "C", "D"]}])
    options: dict[str, Any] = {"project_name": "f", "answers_rule": "one"}
    assert importing.import_file(database, path, **options).pairs == 1
    assert importing.import_file(database, path, **options).duplicate == 1
    assert len(_couples(database)) == 1


def test_scores_give_verdicts(database: Database, tmp_path: Path) -> None:
    row = {"prompt": "?", "responses": ["A", "B", "C"], "scores": [1, 4.5, 1]}
    path = write_jsonl(tmp_path / "f.jsonl", [row])
    assert importing.import_file(database, path, project_name="f").votes == 3
    with database.read() as s:
        texts = {r.id: r.text for r in s.scalars(select(Response))}
        pairs = {p.id: p for p in s.scalars(select(Pair))}
        found = set()
        for vote in s.scalars(select(Vote)):
            pair = pairs[vote.pair_id]
            a, b = texts[pair.response_a_id], texts[pair.response_b_id]
            found.add((*sorted((a, b)), {"a": a, "b": b}.get(vote.choice, vote.choice)))
    assert found == {("A", "B", "B"), ("B", "C", "B"), ("A", "C", "tie")}


@pytest.mark.parametrize(
    "verdict", [{"votes": [{"choice": "b"}]}, {"adjudication": {"choice": "b"}}]
)
def test_scores_beside_a_verdict_are_told_as_not_kept(verdict: Any) -> None:
    row = row_pairs({"prompt": "?", "answers": ["A", "B"], "scores": [2, 1]} | verdict)
    assert (row.scores, row.ignored) == ((), ("scores",))


@pytest.mark.parametrize("scores", [[1, 2], [1, 2, "three"], [1, 2, float("inf")], "high"])
def test_scores_that_are_none_are_refused(scores: Any, database: Database, tmp_path: Path) -> None:
    good = {"prompt": "?", "chosen": "x", "rejected": "y"}
    row = {"prompt": "?", "responses": ["A", "B", "C"], "scores": scores}
    path = write_jsonl(tmp_path / "f.jsonl", [good, json.dumps(row).replace("Infinity", "1e999")])
    report = importing.import_file(database, path, project_name="f", dry_run=True)
    assert report.num_refused == 1
    assert "score" in report.refused[0][1]


def test_every_refused_row_is_written_to_be_mended(database: Database, tmp_path: Path) -> None:
    rows: list[Any] = [
        {"prompt": "?", "chosen": "x", "rejected": "y"},
        {"prompt": "?", "chosen": "x", "rejected": "x"},
        "{broken",
    ]
    path, out = write_jsonl(tmp_path / "f.jsonl", rows), tmp_path / "refused.jsonl"
    importing.import_file(database, path, project_name="f", refused_to=out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(each["row"], each["content"]) for each in lines] == [(2, rows[1]), (3, None)]
    with pytest.raises(Conflict, match="exists already"):
        importing.import_file(database, path, project_name="f", refused_to=out)
    mapped = write_jsonl(tmp_path / "m.jsonl", [ARENA, ARENA | {"winner": 2}])
    columns, unclear = import_preview.preview(mapped).mapping, tmp_path / "unclear.jsonl"
    importing.import_file(database, mapped, project_name="m", columns=columns, refused_to=unclear)
    assert json.loads(unclear.read_text())["content"] == ARENA | {"winner": 2}
    clean = write_jsonl(tmp_path / "g.jsonl", rows[:1])
    nothing = tmp_path / "none.jsonl"
    importing.import_file(database, clean, project_name="g", refused_to=nothing)
    assert not nothing.exists()


def test_a_refusal_without_anything_seen_has_no_empty_brackets(tmp_path: Path) -> None:
    rows = [{"prompt": " ", "chosen": "x", "rejected": "y"}]
    (sample,) = import_preview.preview(write_jsonl(tmp_path / "f.jsonl", rows)).samples
    assert sample.refused == "the prompt is empty"
