"""Fewer votes wanted than before: no more than that are handed out, whoever held what."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from db.engine import Database
from db.models import Slot, Vote, utc_now
from studio.services import history, labelling, queue_settings
from tests.rows import make_project, open_pairs

NOW = utc_now()
LATER = NOW + timedelta(hours=1)


def _shown(database: Database, project_id: int, who: str, now: datetime) -> list[dict[str, Any]]:
    return labelling.next_pairs(database, project_id, who, count=3, now=now)["pairs"]


def _judge(
    database: Database, project_id: int, who: str, showing: dict[str, Any], choice: str = "left",
    now: datetime = NOW,
) -> dict[str, Any]:  # fmt: skip
    vote = {"vote_id": str(uuid.uuid4()), "showing_id": showing["showing_id"], "choice": choice}
    return labelling.cast_vote(database, project_id, who, vote, now=now)


def _slots_a_pair(database: Database, project_id: int) -> set[int]:
    with database.read() as s:
        counted = select(func.count()).where(Slot.project_id == project_id).group_by(Slot.pair_id)
        return set(s.scalars(counted))


def _votes_a_pair(database: Database, project_id: int) -> set[int]:
    with database.read() as s:
        counted = select(func.count()).where(Vote.project_id == project_id).group_by(Vote.pair_id)
        return set(s.scalars(counted))


@pytest.mark.parametrize("lowered_at", [NOW, LATER], ids=["held", "lapsed"])
def test_leases_that_lapse_are_not_handed_out_beyond_what_is_wanted(
    database: Database, lowered_at: datetime
) -> None:
    project_id = make_project(database, open_pairs(3), wanted_votes=3)
    for who in "abc":
        assert len(_shown(database, project_id, who, NOW)) == 3
    queue_settings.update(database, project_id, "lead", wanted_votes=1, now=lowered_at)
    for who in "defg":
        for showing in _shown(database, project_id, who, LATER):
            assert _judge(database, project_id, who, showing, now=LATER)["status"] == "stored"
    assert _votes_a_pair(database, project_id) == {1}
    assert _slots_a_pair(database, project_id) == {1}
    assert labelling.progress(database, project_id, "new", now=LATER)["open_for_you"] == 0


def test_what_holders_give_back_is_kept_only_up_to_what_is_wanted(database: Database) -> None:
    project_id = make_project(database, open_pairs(1), wanted_votes=3)
    showings = {who: _shown(database, project_id, who, NOW)[0] for who in "abc"}
    queue_settings.update(database, project_id, "lead", wanted_votes=2, now=NOW)
    assert _slots_a_pair(database, project_id) == {3}  # three people hold one
    _judge(database, project_id, "a", showings["a"], "skip")
    assert _slots_a_pair(database, project_id) == {2}
    _judge(database, project_id, "b", showings["b"], "skip")
    assert _slots_a_pair(database, project_id) == {2}  # c's, and one for somebody else
    _judge(database, project_id, "c", showings["c"])
    (showing,) = _shown(database, project_id, "d", NOW)
    _judge(database, project_id, "d", showing)
    assert _shown(database, project_id, "e", NOW) == []


def test_a_vote_revised_to_a_skip_is_wanted_again_only_if_it_still_is(database: Database) -> None:
    project_id = make_project(database, open_pairs(1), wanted_votes=2)
    cast = {
        who: _judge(database, project_id, who, _shown(database, project_id, who, NOW)[0])
        for who in "ab"
    }
    queue_settings.update(database, project_id, "lead", wanted_votes=1, now=NOW)
    revised = {"vote_id": str(uuid.uuid4()), "revises": cast["a"]["vote_id"], "choice": "skip"}
    history.revise(database, project_id, "a", revised, now=NOW)
    assert _slots_a_pair(database, project_id) == {1}
    assert _shown(database, project_id, "c", NOW) == []
    revised = {"vote_id": str(uuid.uuid4()), "revises": cast["b"]["vote_id"], "choice": "skip"}
    history.revise(database, project_id, "b", revised, now=NOW)
    assert len(_shown(database, project_id, "c", NOW)) == 1
