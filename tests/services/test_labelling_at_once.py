"""Labelling by many people, in many tabs, in any order: what must hold holds all the same."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from db.engine import Database
from db.models import FILLING, Slot, Vote, utc_now
from studio.services import labelling
from studio.services.errors import Conflict
from tests.rows import make_project, open_pairs


def _vote(showing: dict[str, Any], choice: str = "left") -> dict[str, Any]:
    return {
        "vote_id": str(uuid.uuid4()),
        "showing_id": showing["showing_id"],
        "choice": choice,
    }


def _shown(database: Database, project_id: int, who: str = "local", **more: Any) -> list[Any]:
    pairs: list[Any] = labelling.next_pairs(database, project_id, who, **more)["pairs"]
    return pairs


def _work(database: Database, project_id: int, who: str, errors: list[Exception]) -> None:
    """Label until nothing is left, sending every vote twice, as a shaky network would."""
    try:
        held: list[Any] = _shown(database, project_id, who, count=2)
        while held:
            for each in held:
                vote = _vote(each)
                for _ in range(2):
                    labelling.cast_vote(database, project_id, who, vote)
            held = _shown(database, project_id, who, count=2)
    except Exception as error:  # noqa: BLE001 - a thread's error must reach the test
        errors.append(error)


def test_fifty_people_at_once_never_get_more_votes_than_wanted(database: Database) -> None:
    project_id = make_project(database, open_pairs(50), wanted_votes=2)
    errors: list[Exception] = []
    threads = [
        threading.Thread(target=_work, args=(database, project_id, f"person {n}", errors))
        for n in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with database.read() as s:
        each_pair = Counter(s.scalars(select(Vote.pair_id)))
        surplus = s.scalar(select(func.count()).where(Vote.surplus.is_(True)))
        once = set(s.scalars(select(func.count(Vote.id)).group_by(Vote.pair_id, Vote.annotator)))
    assert set(each_pair.values()) == {2}
    assert len(each_pair) == 50
    assert (surplus, once) == (0, {1})


def test_one_person_in_many_tabs_gets_every_pair_once(database: Database) -> None:
    project_id = make_project(database, open_pairs(12), wanted_votes=3)
    results: list[Any] = []
    errors: list[Exception] = []
    start = threading.Barrier(8)

    def tab() -> None:
        try:
            start.wait()
            for each in _shown(database, project_id, "ann", count=4):
                results.append(each["pair_id"])
        except Exception as error:  # noqa: BLE001 - a thread's error must reach the test
            errors.append(error)

    threads = [threading.Thread(target=tab) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with database.read() as s:
        leased = Counter(s.scalars(select(Slot.pair_id).where(Slot.annotator == "ann")))
    assert set(leased.values()) == {1}
    assert set(results) == set(leased)


def test_the_same_vote_sent_at_once_is_stored_once(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    (showing,) = _shown(database, project_id)
    vote, statuses = _vote(showing), []

    def send() -> None:
        statuses.append(labelling.cast_vote(database, project_id, "local", vote)["status"])

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == ["duplicate"] * 7 + ["stored"]
    with database.read() as s:
        assert s.scalar(select(func.count(Vote.id))) == 1


# --- in any order ----------------------------------------------------------------------------


class _Walk:
    """Three people who vote, skip, flag, undo, reload and fall asleep, in random order."""

    def __init__(self, database: Database, project_id: int, seed: int) -> None:
        self.database, self.project_id = database, project_id
        self.random = random.Random(seed)
        self.now = utc_now()
        self.on_screen: dict[str, list[Any]] = {"ann": [], "bob": [], "cy": []}
        self.acknowledged: list[str] = []

    def step(self) -> None:
        who = self.random.choice(list(self.on_screen))
        action = self.random.choices((self.reload, self.vote, self.undo, self.sleep), (3, 6, 2, 1))[
            0
        ]
        action(who)

    def reload(self, who: str) -> None:
        held = _shown(self.database, self.project_id, who, count=2, now=self.now)
        self.on_screen[who] += held

    def vote(self, who: str) -> None:
        """On anything that was ever on screen: what lapsed or was judged since, too."""
        if not self.on_screen[who]:
            return
        choices = ("left", "right", "tie", "both_bad", "skip", "flag")
        choice = self.random.choices(choices, (4, 4, 2, 1, 2, 1))[0]
        vote = _vote(self.random.choice(self.on_screen[who]), choice)
        try:
            labelling.cast_vote(self.database, self.project_id, who, vote, now=self.now)
        except Conflict:
            return
        self.acknowledged.append(vote["vote_id"])

    def undo(self, who: str) -> None:
        labelling.undo(self.database, self.project_id, who, now=self.now)

    def sleep(self, _who: str) -> None:
        self.now += timedelta(minutes=self.random.choice((1, 12)))


def _check_slots(database: Database) -> None:
    """Every standing verdict that is no surplus fills a slot of its own, and nothing else does."""
    with database.read() as s:
        filled = s.scalars(select(Slot.vote_id).where(Slot.vote_id.is_not(None))).all()
        standing = s.scalars(
            select(Vote.id).where(
                Vote.retracted_at.is_(None), Vote.choice.in_(FILLING), Vote.surplus.is_(False)
            )
        ).all()
        each = select(func.count(Vote.id)).where(Vote.retracted_at.is_(None))
        once = set(s.scalars(each.group_by(Vote.pair_id, Vote.annotator)))
        owners = s.execute(
            select(Slot.annotator, Vote.annotator).join(Vote, Vote.id == Slot.vote_id)
        ).all()
    assert sorted(str(each) for each in filled) == sorted(standing)
    assert once <= {1}
    assert all(owner == voter for owner, voter in owners)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_slots_and_votes_agree_after_any_sequence(database: Database, seed: int) -> None:
    project_id = make_project(database, open_pairs(5), wanted_votes=2)
    walk = _Walk(database, project_id, seed)
    for number in range(90):
        walk.step()
        if number % 10 == 0:
            _check_slots(database)
    _check_slots(database)
    with database.read() as s:
        assert sorted(s.scalars(select(Vote.id))) == sorted(walk.acknowledged)
    for who in walk.on_screen:
        while labelling.undo(database, project_id, who, now=walk.now)["retracted"]:
            _check_slots(database)
    with database.read() as s:
        assert s.scalar(select(func.count()).where(Vote.retracted_at.is_(None))) == 0
        assert s.scalar(select(func.count()).where(Slot.vote_id.is_not(None))) == 0
