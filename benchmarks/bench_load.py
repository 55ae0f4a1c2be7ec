"""Fifty people vote at once over HTTP: latencies, votes a second, errors, doubles, over-assignment.

    python benchmarks/bench_load.py --voters 50 --seconds 60

Two runs a database: people who come one after another within ten seconds and look at a pair for
some seconds each (log-normal, median --think), and people who all come at once and do not think at
all, for the most that one server takes. Each holds three
preloaded pairs, as the page does, and sends one vote in ten twice. One server process with the real
routes; clients and server share this machine, so latencies are upper bounds. Exit code 1 on any
error, double or over-assignment.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from databases import NAMES, checked_names, fresh_database
from record import record

from db.content import refresh_statistics
from tests.load.label_server import nursery
from tests.load.rounds import faults_of
from tests.load.voters import Voter
from tests.rows import make_project, new_pair

NUM_PAIRS = 6000
WANTED_VOTES = 3
ARRIVING_S = 10.0
SPREAD = 0.6  # of the logarithm of the time that people look at a pair
WORDS = ("the", "answer", "explains", "how", "letters", "are", "folded", "and", "why", "paper")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--voters", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think", type=float, default=5.0, help="median seconds a pair")
    parser.add_argument("--database", nargs="+", default=list(NAMES))
    options = parser.parse_args()
    results = {
        f"{name}, {run}": _run(name, options, think, arriving_s)
        for name in checked_names(options.database)
        for run, think, arriving_s in (
            ("thinking", _looks(options.think), ARRIVING_S),
            ("not thinking", lambda _: 0.0, 0.0),
        )
    }
    for name, result in results.items():
        latency = result["latency_ms"]
        print(f"{name:26} {result['votes_a_second']:6} votes/s  "
              + "  ".join(f"{route} p50 {l['p50']} p95 {l['p95']} ms" for route, l in
                          latency.items())
              + f"  failures {result['failures']}  faults {len(result['faults'])}")  # fmt: skip
    record("load", {"options": vars(options), "results": results}, "sqlalchemy", "uvicorn", "httpx")
    return 1 if any(r["faults"] or r["failures"] for r in results.values()) else 0


def _looks(median_s: float) -> Callable[[random.Random], float]:
    return lambda chance: chance.lognormvariate(math.log(median_s), SPREAD)


def _pairs() -> list[Any]:
    """Pairs with answers as long as people see them: a hundred words or so, in Markdown."""
    chance = random.Random(1)
    pairs = []
    for number in range(NUM_PAIRS):
        pair = new_pair(number)
        texts = [
            f"**{number}** " + " ".join(chance.choices(WORDS, k=chance.randrange(60, 160)))
            for _ in range(2)
        ]
        pairs.append(type(pair)(pair.messages, *texts))
    return pairs


def _run(name: str, options: argparse.Namespace, think: Any, arriving_s: float) -> dict[str, Any]:
    with fresh_database(name) as database:
        project_id = make_project(database, _pairs(), wanted_votes=WANTED_VOTES)
        with database.write() as s:
            refresh_statistics(s)  # as an import does
        with nursery(database.url, [project_id]) as servers:
            server = servers.start()
            voters = [
                Voter(f"voter {n}", server.url, project_id, random.Random(n), think_s=think)
                for n in range(options.voters)
            ]
            begin = time.monotonic()
            asyncio.run(_work(voters, options.seconds, arriving_s))
            elapsed_s = time.monotonic() - begin
        faults = faults_of(database, project_id, voters)
    statuses = sum((voter.statuses for voter in voters), Counter())
    failures = sum((voter.failures for voter in voters), Counter())
    return {
        "votes": statuses["stored"],
        "statuses": dict(statuses),
        "votes_a_second": round(statuses["stored"] / elapsed_s, 1),
        "elapsed_s": round(elapsed_s, 1),
        "latency_ms": {
            route: _quantiles([x for v in voters for x in v.latencies_s.get(route, [])])
            for route in ("next", "vote")
        },
        "failures": dict(failures),
        "faults": faults + [each for voter in voters for each in voter.refusals],
    }


async def _work(voters: Sequence[Voter], seconds: float, arriving_s: float) -> None:
    stopped = asyncio.Event()
    work = []
    for voter in voters:
        work.append(asyncio.create_task(voter.work(stopped)))
        await asyncio.sleep(arriving_s / len(voters))
    await asyncio.sleep(seconds)
    stopped.set()
    await asyncio.gather(*work)


def _quantiles(latencies_s: list[float]) -> dict[str, Any]:
    ordered = sorted(latencies_s)
    return {
        "requests": len(ordered),
        **{
            f"p{share}": round(1000 * ordered[int(share / 100 * (len(ordered) - 1))], 1)
            for share in (50, 95, 99)
        },
    }


if __name__ == "__main__":
    sys.exit(main())
