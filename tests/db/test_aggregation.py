"""The merge rules of docs/training-rules.md, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from db import snapshots, votes
from db.aggregation import Merged, Rules, Verdict
from db.engine import Database
from db.models import Project, Vote, utc_now
from db.vote_table import MAX_MS, UNKNOWN_MS, KeptVotes, read_votes, reread
from tests.judging import give, give_all, pair_ids
from tests.rows import make_project, open_pairs


def _project(database: Database, *pairs: str) -> tuple[int, list[int]]:
    """A project with a pair for each list of choices such as `a a tie`; annotators are p0, p1 …"""
    project_id = make_project(database, open_pairs(len(pairs)))
    ids = pair_ids(database, project_id)
    rows = [
        (pair_id, f"p{number}", choice)
        for pair_id, choices in zip(ids, pairs, strict=True)
        for number, choice in enumerate(choices.split())
    ]
    give_all(database, project_id, rows)
    return project_id, ids


def _merged(database: Database, project_id: int, **rules: Any) -> Merged:
    with database.read() as s:
        return votes.merged(s, project_id, rules=Rules.from_settings(rules))


@pytest.mark.parametrize(
    ("choices", "shares", "majority", "without_ties"),
    [
        ("a", (1, 0), (1, 0), (1, 0)),
        ("a a b", (2 / 3, 0), (1, 0), (2 / 3, 0)),
        ("a b", (0.5, 0), (0.5, 1), (0.5, 0)),
        ("a tie", (0.75, 0.5), (1, 0), (1, 0)),
        ("b tie tie", (1 / 3, 2 / 3), (0.5, 1), (0, 0)),
        ("tie", (0.5, 1), (0.5, 1), None),
    ],
)
def test_each_method_gives_its_target_and_share_of_ties(
    database: Database, choices: str, shares: Any, majority: Any, without_ties: Any
) -> None:
    project_id, (pair_id,) = _project(database, choices)
    for rules, expected in (
        ({}, shares),
        ({"method": "majority"}, majority),
        ({"ties": "drop"}, without_ties),
    ):
        verdict = _merged(database, project_id, **rules).verdict(pair_id)
        if expected is None:
            assert verdict == "tie_only"
        else:
            assert isinstance(verdict, Verdict)
            assert verdict[:2] == pytest.approx(expected)


def test_strength_is_the_mean_of_those_who_chose_the_favoured_answer(database: Database) -> None:
    project_id, (won, lost, even, unsaid) = _project(database, "a", "b b", "a b", "a")
    give(database, project_id, won, "x", "a", strength=3)
    give(database, project_id, won, "y", "a", strength=2)
    give(database, project_id, won, "z", "b", strength=1)
    give(database, project_id, lost, "x", "b", strength=1)
    give(database, project_id, even, "x", "tie")
    with database.read() as s:
        found = {pair.pair_id: pair.mean_strength for pair in votes.judged_pairs(s, project_id)}
    assert found == {won: 2.5, lost: -1, even: None, unsaid: None}


def test_what_is_left_out_is_counted_by_reason(database: Database) -> None:
    project_id, ids = _project(
        database, "a skip flag", "both_bad skip", "skip", "flag both_bad", "tie", "a b tie", ""
    )
    give(database, project_id, ids[0], "gold", "b", purpose="gold")
    give(database, project_id, ids[6], "again", "b", purpose="repeat")
    with database.read() as s:
        assert votes.left_out(s, project_id) == {
            "pairs_both_bad_only": 1, "pairs_flag_only": 1, "pairs_not_judged": 1,
            "pairs_skip_only": 1, "votes_flag": 1, "votes_gold": 1, "votes_repeat": 1,
            "votes_skip": 1,
        }  # fmt: skip
        snapshot_counts = votes.left_out(s, project_id)
    with database.write() as s:
        assert snapshots.take(s, project_id).counts["left_out"] == snapshot_counts
    strict = _merged(database, project_id, ties="drop", min_votes=2, exclude=["p1"])
    assert strict.left_out(7) == {
        "pairs_both_bad_only": 1, "pairs_flag_only": 1, "pairs_not_judged": 1,
        "pairs_skip_only": 1, "pairs_tie_only": 1, "pairs_too_few_votes": 2,
    }  # fmt: skip
    assert _merged(database, project_id, exclude=["p0"]).left_out(7)["pairs_excluded_only"] == 2


def test_an_adjudication_overrides_the_votes(database: Database) -> None:
    project_id, (one, tied, bad) = _project(database, "a a b skip", "a", "b tie")
    for pair_id, choice in ((one, "b"), (tied, "tie"), (bad, "both_bad")):
        strength = 2 if choice == "b" else None
        give(
            database, project_id, pair_id, "lead", choice, purpose="adjudication", strength=strength
        )
    for method in ("shares", "majority", "reliability"):
        found = _merged(database, project_id, method=method)
        assert found.verdict(one) == Verdict(0, 0, -2, 1)
        assert found.verdict(tied) == Verdict(0.5, 1, None, 1)
        assert found.verdict(bad) == "adjudicated_both_bad"
        assert found.left_out(3) == {
            "pairs_adjudicated_both_bad": 1, "votes_overridden": 4, "votes_skip": 1,
        }  # fmt: skip
    with database.read() as s:
        assert [pair.pair_id for pair in votes.judged_pairs(s, project_id)] == [one, tied]


def test_reliability_trusts_those_who_agree_with_others(database: Database) -> None:
    # p0 to p2 mostly agree; p3 says the opposite of them half of the time.
    many = ["a a a b", "b b b a", "a a a a", "b b b b", "a a b a", "b b a b"] * 6
    project_id, ids = _project(database, *many, "a b", "")
    give(database, project_id, ids[-1], "p0", "a")
    give(database, project_id, ids[-1], "p3", "b")
    found = _merged(database, project_id, method="reliability")
    assert found.reliability is not None
    assert found.has_converged
    assert found.reliability["p0"].right > found.reliability["p3"].right + 0.2
    verdict = found.verdict(ids[-1])
    assert isinstance(verdict, Verdict)
    assert verdict.target > 0.8
    assert verdict.num_votes == 2


def test_a_snapshot_gives_its_targets_again_to_the_last_bit(database: Database) -> None:
    project_id, ids = _project(database, *["a a b", "b tie a", "a b b", "tie b b"] * 5)
    with database.write() as s:
        s.execute(update(Project).values(aggregation={"method": "reliability"}))
    with database.write() as s:
        snapshot = snapshots.take(s, project_id)
    with database.read() as s:
        before = votes.merged(s, project_id)
    give(database, project_id, ids[0], "aaa", "b")  # sorts before all others
    give(database, project_id, ids[1], "lead", "b", purpose="adjudication")
    with database.write() as s:
        s.execute(update(Vote).where(Vote.annotator == "p1").values(retracted_at=utc_now()))
        s.execute(update(Project).values(aggregation={}))
    with database.read() as s:
        again = votes.merged(s, project_id, snapshot)
        now = votes.merged(s, project_id)
    assert again.target.tolist() == before.target.tolist()
    assert again.num_votes.tolist() == before.num_votes.tolist()
    assert now.target.tolist() != before.target.tolist()


def test_votes_come_out_of_the_table_as_they_went_in(database: Database) -> None:
    project_id, (pair_id, other) = _project(database, "flag", "a")
    give(database, project_id, pair_id, "Ünal", "b", strength=3, left_side="b", duration_ms=1234)
    give(database, project_id, other, "Ünal", "tie", purpose="gold", left_side="a", imported=True)
    give(database, project_id, other, "slow", "a", duration_ms=2**52)
    with database.read() as s:
        table = read_votes(s, project_id, with_ids=True)
    rows = {
        (table.names[who], pair, choice, purpose, left, strength, imported, ms)
        for who, pair, choice, purpose, left, strength, imported, ms in zip(
            table.annotator.tolist(), table.pair.tolist(), table.choice.tolist(),
            table.purpose.tolist(), table.left.tolist(), table.strength.tolist(),
            table.imported.tolist(), table.duration_ms.tolist(), strict=True,
        )
    }  # fmt: skip
    assert rows == {
        ("p0", pair_id, 5, 0, 0, 0, 0, UNKNOWN_MS), ("p0", other, 0, 0, 0, 0, 0, UNKNOWN_MS),
        ("Ünal", pair_id, 1, 0, 2, 3, 0, 1234), ("Ünal", other, 2, 1, 1, 0, 1, UNKNOWN_MS),
        ("slow", other, 0, 0, 0, 0, 0, MAX_MS),
    }  # fmt: skip
    assert table.ids is not None
    assert len(set(table.ids.tolist())) == 5


def test_only_the_votes_of_those_who_did_something_are_read_again(database: Database) -> None:
    project_id, ids = _project(database, *["a b a b"] * 6)
    other_project = make_project(database, open_pairs(2), name="Other")
    known: KeptVotes | None = None

    def kept_after(*changed: str) -> KeptVotes:
        """What is kept now is what all would be read as; of `changed` alone it was read."""
        nonlocal known
        with database.read() as s:
            now, all_of_them = reread(s, project_id, known), read_votes(s, project_id)
        for column in ("pair", "annotator", "choice", "purpose", "strength", "duration_ms"):
            assert getattr(now.table(), column).tolist() == getattr(all_of_them, column).tolist()
        assert now.table().names == all_of_them.names
        for name, packed in (known.packed if known else {}).items():
            assert (now.packed.get(name) is packed) == (name not in changed), name
        known = now
        return now

    kept_after()
    first = give(database, project_id, ids[0], "ada", "tie", strength=None)
    kept_after("ada")
    give(database, other_project, pair_ids(database, other_project)[0], "p0", "a")
    kept_after()
    with database.write() as s:
        s.execute(update(Vote).where(Vote.id == first).values(retracted_at=utc_now()))
    assert "ada" not in kept_after("ada").packed
    give(database, project_id, ids[0], "ada", "b", duration_ms=900)  # as many stand as before
    kept_after("ada")
    with database.write() as s:
        s.execute(
            update(Vote)
            .where(Vote.pair_id == ids[3], Vote.annotator.in_(["p0", "p1"]))
            .values(retracted_at=utc_now())
        )
    give(database, project_id, ids[3], "p1", "b")
    kept_after("p0", "p1")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"metod": "shares"}, "unknown key 'metod'"),
        ({"method": "mean"}, "'mean'; use one of shares, majority"),
        ({"min_votes": 0}, "min_votes is 0; use a whole number from 1"),
        ({"min_votes": True}, "min_votes is True"),
        ({"pseudo_votes": -1}, "pseudo_votes is -1"),
        ({"exclude": "mara"}, "exclude is 'mara'; give a list"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Rules.from_settings(settings)
