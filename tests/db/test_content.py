"""Content: addressed by hash, never twice, its order telling nothing."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy import func, select

from db import content, pair_texts
from db.content import NewPair, NewVote
from db.engine import Database
from db.models import Pair, Prompt, Response, Slot, Vote, utc_now
from tests.rows import make_project, new_pair, user


def _add(database: Database, project_id: int, *new: NewPair) -> list[content.Added]:
    with database.write() as s:
        return content.add_pairs(s, project_id, new, wanted_votes=2, now=utc_now())


def _count(database: Database, model: type) -> int:
    with database.read() as s:
        return s.scalar(select(func.count()).select_from(model)) or 0


def test_a_swapped_pair_is_the_same_pair_and_its_verdict_turns_with_it(database: Database) -> None:
    project_id = make_project(database)
    first = NewPair(user("q"), "x", "y", votes=(NewVote("import:f:1", "a", id="1" * 36),))
    swapped = NewPair(user("q"), "y", "x", votes=(NewVote("import:f:2", "b", id="2" * 36),))
    one, other = _add(database, project_id, first, swapped)
    assert (one.is_new, other.is_new) == (True, False)
    assert one.pair_id == other.pair_id
    with database.read() as s:
        assert len(set(s.scalars(select(Vote.choice)))) == 1
        pair = pair_texts.get_pair(s, project_id, one.pair_id)
        choice = s.scalars(select(Vote.choice).limit(1)).one()
    assert pair is not None
    assert {"a": pair.response_a, "b": pair.response_b}[choice] == "x"


def test_the_same_content_is_stored_once_however_it_arrives(database: Database) -> None:
    project_id = make_project(database)
    pairs = [NewPair(user("q"), a, b) for a, b in (("x", "y"), ("y", "z"), ("z", "x"))]
    _add(database, project_id, *pairs, *pairs)
    _add(database, project_id, *pairs)
    counted = [_count(database, model) for model in (Prompt, Response, Pair, Slot)]
    assert counted == [1, 3, 3, 6]


def test_two_projects_keep_the_same_content_apart(database: Database) -> None:
    ids = [make_project(database, [new_pair(1)], name=name) for name in "pq"]
    with database.read() as s:
        found = [s.scalars(select(Pair.id).where(Pair.project_id == each)).all() for each in ids]
        assert [len(each) for each in found] == [1, 1]
        assert pair_texts.get_pair(s, ids[0], found[1][0]) is None
    assert _count(database, Response) == 4


def test_which_answer_is_a_says_nothing_about_the_text(database: Database) -> None:
    project_id = make_project(database)
    pairs = [NewPair(user(f"q{n}"), "short", "a longer answer") for n in range(300)]
    _add(database, project_id, *pairs)
    with database.read() as s:
        firsts = s.scalars(
            select(Response.text).join(Pair, Pair.response_a_id == Response.id)
        ).all()
    assert 110 < firsts.count("short") < 190


def test_a_fifth_of_the_prompts_is_held_out_and_whole_prompts_only() -> None:
    hashes = [content.prompt_hash(user(f"question {n}")) for n in range(5000)]
    share = sum(content.split_of(each) == "heldout" for each in hashes) / 5000
    assert 0.18 < share < 0.22


def test_the_split_follows_the_prompt(database: Database) -> None:
    pairs = [new_pair(n, prompt=f"prompt {n // 3}") for n in range(60)]
    make_project(database, pairs)
    with database.read() as s:
        rows = s.execute(select(Pair.prompt_id, Pair.split)).all()
        by_hash = dict(s.execute(select(Prompt.id, Prompt.content_hash)).all())
    assert len(rows) == 60
    assert all(content.split_of(by_hash[prompt]) == split for prompt, split in rows)


def test_a_pair_judged_by_import_has_no_open_slot(database: Database) -> None:
    project_id = make_project(database, [new_pair(1), new_pair(2)], wanted_votes=2)
    assert _count(database, Slot) == 4
    _add(database, project_id, new_pair(1, "a"), new_pair(3, "tie"))
    assert _count(database, Slot) == 2


def test_an_imported_skip_leaves_the_pair_open(database: Database) -> None:
    make_project(database, [new_pair(1, "skip")])
    assert _count(database, Slot) == 1


def test_results_tell_new_votes_from_repeats_and_contradictions(database: Database) -> None:
    project_id = make_project(database)

    def vote(number: int, choice: str) -> NewPair:
        given = NewVote("import:f:merged", choice, id=f"{number:036d}")
        return dataclasses.replace(new_pair(1), votes=(given,))

    results = _add(database, project_id, vote(1, "a"), vote(1, "a"), vote(2, "a"), vote(3, "b"))
    counted = [(r.num_votes, r.num_known, r.num_contradicting) for r in results]
    assert counted == [(1, 0, 0), (0, 1, 0), (0, 1, 0), (0, 0, 1)]
    assert _count(database, Vote) == 1


def test_pairs_are_read_in_order_a_chunk_at_a_time(database: Database) -> None:
    project_id = make_project(database, [new_pair(n) for n in range(7)])
    with database.read() as s:
        chunks = [len(chunk) for chunk in pair_texts.iter_pairs(s, project_id, 3)]
        ids = [pair.pair_id for chunk in pair_texts.iter_pairs(s, project_id, 3) for pair in chunk]
    assert chunks == [3, 3, 1]
    assert ids == sorted(ids)


@pytest.mark.parametrize("at", [0.0, 0.5, 0.999])
def test_a_random_pair_is_one_of_the_project(database: Database, at: float) -> None:
    make_project(database, [new_pair(n) for n in range(3)], name="other")
    project_id = make_project(database, [new_pair(n) for n in range(5)])
    with database.read() as s:
        found = pair_texts.random_pair_id(s, project_id, at)
        assert found is not None
        assert pair_texts.get_pair(s, project_id, found) is not None
        assert pair_texts.random_pair_id(s, project_id + 99, at) is None
