"""Snapshots: a digest that stands for the votes, and what is new since the newest checkpoint."""

from __future__ import annotations

import uuid
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import update

from db import checkpoints, content, runs, snapshots, votes
from db.engine import Database
from db.models import Project, Vote, utc_now
from db.snapshot_ids import digest_of, holds, pack_ids, unpack_ids
from tests.rows import make_project, new_pair


def _train(database: Database, project_id: int, status: str = "succeeded") -> None:
    with database.write() as s:
        run = runs.enqueue(s, project_id, "train", {}, "click")
        runs.set_snapshot(s, run.id, snapshots.take(s, project_id).id)
        if status == "succeeded":
            checkpoints.add_checkpoint(s, run.id, project_id, "d", "0" * 64, {})
        runs.finish(s, run.id, status)


def _new(database: Database, project_id: int) -> int:
    with database.read() as s:
        return snapshots.new_judged_pairs(s, project_id)


def _add(database: Database, project_id: int, *pairs: content.NewPair) -> None:
    with database.write() as s:
        content.add_pairs(s, project_id, pairs, wanted_votes=1, now=utc_now())


def test_new_pairs_are_those_judged_since_the_newest_checkpoint(database: Database) -> None:
    project_id = make_project(database, [new_pair(1, "a"), new_pair(2, "skip"), new_pair(3)])
    assert _new(database, project_id) == 1
    _train(database, project_id, "failed")
    assert _new(database, project_id) == 1
    _train(database, project_id)
    assert _new(database, project_id) == 0
    _add(database, project_id, new_pair(3, "a", "b"), new_pair(4, "tie"), new_pair(5, "both_bad"))
    assert _new(database, project_id) == 2
    with database.write() as s:
        s.execute(update(Vote).where(Vote.choice == "tie").values(retracted_at=utc_now()))
    assert _new(database, project_id) == 1


def test_a_vote_that_was_long_in_committing_is_still_new(database: Database) -> None:
    project_id = make_project(database, [new_pair(1, "a"), new_pair(2, "b")])
    _train(database, project_id)
    _add(database, project_id, new_pair(3, "a"))
    with database.write() as s:  # its time lies before the snapshot's, as after a slow commit
        s.execute(update(Vote).values(created_at=utc_now() - timedelta(minutes=20)))
    assert _new(database, project_id) == 1


def test_the_digest_stands_for_the_votes(database: Database) -> None:
    project_id = make_project(database, [new_pair(1, "a"), new_pair(2, "b")])
    with database.write() as s:
        one, other = snapshots.take(s, project_id), snapshots.take(s, project_id)
    assert one.digest == other.digest
    _add(database, project_id, new_pair(3, "a"))
    with database.write() as s:
        third = snapshots.take(s, project_id)
    assert third.digest != one.digest
    assert third.counts == {"votes": 3, "votes_imported": 3, "pairs": 3, "left_out": {}}
    assert len(unpack_ids(third.vote_ids)) == 3


def test_the_digest_stands_for_the_rules_too(database: Database) -> None:
    project_id = make_project(database, [new_pair(1, "a", "a", "b"), new_pair(2, "b")])
    with database.write() as s:
        shares = snapshots.take(s, project_id)
        s.execute(update(Project).values(aggregation={"method": "majority"}))
    with database.write() as s:
        majority = snapshots.take(s, project_id)
        s.execute(update(Project).values(aggregation={}))
    assert shares.digest != majority.digest
    assert shares.vote_ids == majority.vote_ids
    with database.read() as s:  # the project's rules have changed since: the snapshots' have not
        found = [votes.merged(s, project_id, each) for each in (shares, majority)]
    assert [sorted(each.target * (1 - each.target)) for each in found] == [
        [0, pytest.approx(2 / 9)],
        [0, 0],
    ]


def test_packed_ids_come_back_and_order_does_not_matter() -> None:
    ids = [str(uuid.uuid4()) for _ in range(50)]
    assert unpack_ids(pack_ids(ids)) == set(ids)
    assert pack_ids(ids) == pack_ids(reversed(ids))
    assert digest_of(pack_ids(ids), 1, {}) == digest_of(pack_ids(reversed(ids)), 1, {})
    assert unpack_ids(pack_ids([])) == frozenset()
    packed = np.array([uuid.UUID(each).bytes for each in ids], dtype="S16")
    assert holds(pack_ids(ids[:20]), packed).tolist() == [True] * 20 + [False] * 30
    assert not holds(pack_ids([]), packed).any()
