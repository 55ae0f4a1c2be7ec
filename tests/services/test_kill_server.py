"""Every vote that the server acknowledged survives its death, exactly once, on both databases.

benchmarks/bench_kill.py does the same for hundreds of rounds.
"""

from __future__ import annotations

from db.engine import Database
from tests.load.label_server import nursery
from tests.load.rounds import kill_rounds
from tests.rows import make_project, open_pairs

ROUNDS = 30


def test_no_acknowledged_vote_is_lost_or_doubled_by_sigkill(database: Database) -> None:
    project_id = make_project(database, open_pairs(1500), wanted_votes=2)
    with nursery(database.url, [project_id]) as servers:
        outcome = kill_rounds(
            database, servers, project_id, rounds=ROUNDS, num_voters=6, seed=len(database.url)
        )
    assert outcome.faults == []
    assert outcome.rounds == ROUNDS
    assert outcome.num_acknowledged == outcome.num_stored > 20
    assert outcome.num_failures > 0  # it was in the middle of things
