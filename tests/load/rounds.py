"""Rounds of killing: people vote, the server dies at a random moment, and is started again.

    outcome = kill_rounds(database, servers, project_id, rounds=30, num_voters=8, seed=1)
    assert outcome.faults == []

After every death each vote that was acknowledged must be in the database; at the end also each
exactly once, every pair with no more votes than wanted, and slots and votes agreeing.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, select, text

from db.models import FILLING, Project, Selection, Slot, Vote
from tests.load.voters import Voter

if TYPE_CHECKING:
    from db.engine import Database
    from tests.load.label_server import Nursery

LONGEST_LIFE_S = 0.3
WAITING_SHARE = 0.8  # of the lives that begin to be counted at the first vote they acknowledge


@dataclass
class Outcome:
    """What a run of rounds found; `faults` are sentences, none when all is well."""

    rounds: int = 0
    num_acknowledged: int = 0
    num_stored: int = 0
    num_resent: int = 0
    num_failures: int = 0
    faults: list[str] = field(default_factory=list)


def kill_rounds(
    database: Database, servers: Nursery, project_id: int, *, rounds: int, num_voters: int,
    seed: int, longest_life_s: float = LONGEST_LIFE_S,
) -> Outcome:  # fmt: skip
    """Let people vote through `rounds` deaths of the server, each after a random time."""
    return asyncio.run(
        _rounds(database, servers, project_id, rounds, num_voters, seed, longest_life_s)
    )


async def _rounds(
    database: Database, servers: Nursery, project_id: int, rounds: int, num_voters: int, seed: int,
    longest_life_s: float,
) -> Outcome:  # fmt: skip
    chance, outcome, stopped = random.Random(seed), Outcome(), asyncio.Event()
    server = await asyncio.to_thread(servers.start)
    voters = [
        Voter(f"voter {n}", server.url, project_id, random.Random(seed * 1000 + n))
        for n in range(num_voters)
    ]
    work = [asyncio.create_task(voter.work(stopped)) for voter in voters]
    for _ in range(rounds):
        if chance.random() < WAITING_SHARE:
            await _first_acknowledgement(voters)
        await asyncio.sleep(chance.uniform(0, longest_life_s))
        server.kill()
        acknowledged = [vote_id for voter in voters for vote_id in voter.acknowledged]
        outcome.rounds += 1
        outcome.faults += await asyncio.to_thread(lost_votes, database, acknowledged)
        server = await asyncio.to_thread(servers.start)
    stopped.set()
    await asyncio.wait_for(asyncio.gather(*work), timeout=60)
    _sum_up(outcome, voters)
    outcome.faults += lost_votes(database, [i for v in voters for i in v.acknowledged])
    outcome.faults += faults_of(database, project_id, voters)
    with database.read() as s:
        outcome.num_stored = s.scalar(select(func.count(Vote.id))) or 0
    return outcome


async def _first_acknowledgement(voters: list[Voter]) -> None:
    before = sum(len(voter.acknowledged) for voter in voters)
    for _ in range(1000):
        if sum(len(voter.acknowledged) for voter in voters) > before:
            return
        await asyncio.sleep(0.01)


def _sum_up(outcome: Outcome, voters: list[Voter]) -> None:
    for voter in voters:
        outcome.num_acknowledged += len(voter.acknowledged)
        outcome.num_resent += voter.statuses["duplicate"]
        outcome.num_failures += voter.failures.total()
        outcome.faults += [f"{voter.name} was refused: {each}" for each in voter.refusals]


def lost_votes(database: Database, acknowledged: list[str]) -> list[str]:
    """A sentence for each vote that was acknowledged and is not there."""
    with database.read() as s:
        stored = set(s.scalars(select(Vote.id)))
    return [f"vote {each} was acknowledged and is lost" for each in set(acknowledged) - stored]


def faults_of(database: Database, project_id: int, voters: list[Voter]) -> list[str]:
    """What does not hold once everybody has stopped."""
    faults = []
    acknowledged = {key: value for voter in voters for key, value in voter.acknowledged.items()}
    with database.write() as s:
        wanted = s.scalars(select(Project.wanted_votes).where(Project.id == project_id)).one()
        rows = s.execute(
            select(Vote.id, Vote.pair_id, Vote.annotator, Vote.choice, Vote.surplus,
                   Vote.showing_id, Vote.left_side)
        ).all()  # fmt: skip
        filled = s.scalars(select(Slot.vote_id).where(Slot.vote_id.is_not(None))).all()
        slots_each = Counter(s.scalars(select(Slot.pair_id)))
        shown = Counter(s.scalars(select(Selection.pair_id).where(Selection.purpose == "label")))
        if database.is_sqlite:
            faults += [t for t in s.scalars(text("PRAGMA integrity_check")) if t != "ok"]
    twice = [each for each, n in Counter((r[1], r[2]) for r in rows).items() if n > 1]
    faults += [f"pair {pair} was counted twice for {who}" for pair, who in twice]
    for vote_id, pair_id, who, choice, _, showing_id, left_side in rows:
        if vote_id not in acknowledged:
            faults.append(f"vote {vote_id} of {who} on pair {pair_id} was never acknowledged")
            continue
        seen = {"left": left_side, "right": "b" if left_side == "a" else "a"}
        given_showing, given_choice = acknowledged[vote_id]
        if (showing_id, choice) != (given_showing, seen.get(given_choice, given_choice)):
            faults.append(f"vote {vote_id} is stored as {choice} on showing {showing_id}")
    standing = sorted(r[0] for r in rows if r[3] in FILLING and not r[4])
    if sorted(str(each) for each in filled) != standing:
        faults.append(f"{len(filled)} slots are filled by {len(standing)} votes")
    counted = Counter(r[1] for r in rows if not r[4])
    for name, numbers in (("votes", counted), ("slots", slots_each), ("showings", shown)):
        over = [pair for pair, n in numbers.items() if n > wanted]
        faults += [f"pair {pair} has {numbers[pair]} {name}, wanted {wanted}" for pair in over]
    return faults
