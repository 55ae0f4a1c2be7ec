"""Merge rules: what becomes of a pair's votes, and what is left out."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import update

from db import snapshots, votes
from db.engine import Database
from db.models import Vote, utc_now
from tests.rows import make_project, new_pair


def _target_for_first(pair: votes.JudgedPair) -> float:
    return pair.target if pair.response_a.startswith("first") else 1 - pair.target


@pytest.mark.parametrize(
    ("choices", "target", "num_votes"),
    [
        ("a", 1.0, 1),
        ("b", 0.0, 1),
        ("tie", 0.5, 1),
        ("a a b", 2 / 3, 3),
        ("a tie", 0.75, 2),
        ("a both_bad skip flag", 1.0, 1),
    ],
)
def test_a_target_is_the_votes_share_with_a_tie_as_half(
    database: Database, choices: str, target: float, num_votes: int
) -> None:
    project_id = make_project(database, [new_pair(1, *choices.split())])
    with database.read() as s:
        (pair,) = votes.judged_pairs(s, project_id)
    assert _target_for_first(pair) == pytest.approx(target)
    assert pair.num_votes == num_votes
    assert pair.messages == [{"role": "user", "content": "prompt 1"}]


def test_what_does_not_say_which_is_better_is_left_out_and_counted(database: Database) -> None:
    pairs = [
        new_pair(1, "a", "skip", "both_bad"), new_pair(2, "both_bad", "skip"), new_pair(3, "skip"),
        new_pair(4, "flag", "both_bad"), new_pair(5),
    ]  # fmt: skip
    project_id = make_project(database, pairs)
    with database.read() as s:
        assert len(votes.judged_pairs(s, project_id)) == 1
        assert votes.left_out(s, project_id) == {
            "pairs_both_bad_only": 1, "pairs_flag_only": 1, "pairs_not_judged": 1,
            "pairs_skip_only": 1, "votes_both_bad": 1, "votes_skip": 1,
        }  # fmt: skip


def test_swapping_the_sides_complements_the_target() -> None:
    choices = Counter({"a": 3, "b": 1, "tie": 2})
    swapped = Counter({"a": 1, "b": 3, "tie": 2})
    target, other = votes.target_of(choices), votes.target_of(swapped)
    assert target is not None
    assert other is not None
    assert target + other == pytest.approx(1)


def test_a_snapshot_is_not_moved_by_later_votes_or_retractions(database: Database) -> None:
    project_id = make_project(database, [new_pair(1, "a"), new_pair(2, "b", "b")])
    with database.write() as s:
        snapshot = snapshots.take(s, project_id)
    with database.write() as s:
        s.execute(update(Vote).values(retracted_at=utc_now()))
    with database.read() as s:
        kept = snapshots.get_snapshot(s, snapshot.id)
        assert kept is not None
        assert len(votes.judged_pairs(s, project_id, kept)) == 2
        assert votes.judged_pairs(s, project_id) == []
        assert (kept.counts["votes"], kept.counts["pairs"]) == (3, 2)
