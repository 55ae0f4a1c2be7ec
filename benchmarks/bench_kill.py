"""Kills the server with SIGKILL under voting load, again and again: is any vote lost or doubled?

    python benchmarks/bench_kill.py --rounds 200

Voters vote over HTTP through the label page's real routes. At a random moment the server process
is killed; every vote that it acknowledged must then be in the database. It is started again, and
what was not acknowledged is sent once more under its old id. In the end every acknowledged vote is
there exactly once as it was given, no pair has more votes than wanted, and slots and votes agree.
Exit code 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from typing import Any

from databases import NAMES, checked_names, fresh_database
from record import record

from tests.load.label_server import nursery
from tests.load.rounds import kill_rounds
from tests.rows import make_project, open_pairs

VOTES_A_ROUND = 150  # more than a life can hold: the queue must not run dry


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200, help="deaths of the server")
    parser.add_argument("--voters", type=int, default=8)
    parser.add_argument("--longest-life", type=float, default=1.5, help="seconds of a server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", nargs="+", default=list(NAMES))
    options = parser.parse_args()
    results = {name: _run(name, options) for name in checked_names(options.database)}
    for name, result in results.items():
        print(f"{name:12} {result['rounds']} deaths, {result['num_acknowledged']} votes "
              f"acknowledged, {result['num_stored']} stored, {len(result['faults'])} faults, "
              f"{result['elapsed_s']} s")  # fmt: skip
    record("kill", {"options": vars(options), "results": results}, "sqlalchemy", "uvicorn")
    return 1 if any(result["faults"] for result in results.values()) else 0


def _run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    begin = time.monotonic()
    with fresh_database(name) as database:
        pairs = open_pairs(min(30_000, options.rounds * VOTES_A_ROUND))
        project_id = make_project(database, pairs, wanted_votes=2)
        with nursery(database.url, [project_id]) as servers:
            outcome = kill_rounds(
                database, servers, project_id, rounds=options.rounds,
                num_voters=options.voters, seed=options.seed, longest_life_s=options.longest_life,
            )  # fmt: skip
    return {**asdict(outcome), "elapsed_s": round(time.monotonic() - begin)}


if __name__ == "__main__":
    sys.exit(main())
