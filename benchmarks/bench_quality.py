"""The Quality page and the merge rules with 100,000 pairs and a million votes: how long, how much?

    python benchmarks/bench_quality.py --pairs 100000 --votes-a-pair 10

Measured through the services that the page calls: the figures for the first time, after one more
vote (all is counted anew), and unchanged (from memory); merging by each method; taking a snapshot;
streaming every judged pair with its texts; and each export, in a process of its own for its peak
memory. Beside them, as a yardstick on the same machine in
the same minute, votes counted from rows of objects, which is how it was done before. Wall and
processor seconds. Exit code 1 if the figures after one more vote take two processor seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from bench_queue import _fill
from databases import NAMES, checked_names, fresh_database
from record import record
from sqlalchemy import select

from db import snapshots, votes
from db.aggregation import METHODS, Rules
from db.engine import Database, open_database
from db.models import Vote
from studio.services import exporting, quality
from tests.judging import give
from tests.rows import make_project

LIMIT_S = 2.0
EXPORTS = (("votes", "jsonl"), ("votes", "parquet"), ("pairs", "jsonl"), ("pairs", "trl"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--votes-a-pair", type=int, default=10)
    parser.add_argument("--annotators", type=int, default=200)
    parser.add_argument("--database", nargs="+", default=list(NAMES))
    parser.add_argument(
        "--export", nargs=4, metavar=("URL", "PROJECT", "KIND", "FORMAT"), help=argparse.SUPPRESS
    )  # the process of one export
    options = parser.parse_args()
    if options.export:
        return _export(*options.export)
    results = {name: _run(name, options) for name in checked_names(options.database)}
    for name, result in results.items():
        for what, figures in result["exports"].items():
            print(
                f"{name:12} export {what:27} " + "  ".join(f"{k} {v}" for k, v in figures.items())
            )
        for what, figures in result["seconds"].items():
            print(f"{name:12} {what:34} wall {figures['wall']:7.2f}  cpu {figures['cpu']:7.2f}")
    record("quality", {"options": vars(options), "results": results}, "sqlalchemy", "psycopg")
    worst = max(r["seconds"]["figures after one more vote"]["cpu"] for r in results.values())
    return 1 if worst >= LIMIT_S else 0


def _run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    with fresh_database(name) as database:
        project_id = make_project(database, wanted_votes=options.votes_a_pair + 2)
        _fill(database, project_id, options)
        _vary(database)
        before = _peak_mib()
        seconds = _measure(database, project_id)
        found = quality.overview(database, project_id)
        exports = {f"{kind} {fmt}": _exported(database.url, project_id, kind, fmt)
                   for kind, fmt in EXPORTS}  # fmt: skip
    return {
        "exports": exports,
        "pairs": found.num_pairs,
        "votes": found.num_votes,
        "annotators": len(found.annotators),
        "couples": found.num_couples,
        "seconds": seconds,
        "peak_mib_before": before,
        "peak_mib_after_figures": seconds.pop("peak"),
    }


def _exported(url: str, project_id: int, kind: str, fmt: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--export", url, str(project_id), kind, fmt]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _export(url: str, project_id: str, kind: str, fmt: str) -> int:
    """One export; prints its time, and the memory before and at the most."""
    database = open_database(url)
    before, cpu = _peak_mib(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        suffix = "jsonl" if fmt == "trl" else fmt
        out = Path(folder) / f"out.{suffix}"
        exporting.export(database, int(project_id), kind, fmt, out)
        size = out.stat().st_size >> 20
    print(json.dumps({"cpu_s": round(time.process_time() - cpu, 1), "file_mib": size,
                      "peak_mib_before": before, "peak_mib": _peak_mib()}))  # fmt: skip
    return 0


def _vary(database: Database) -> None:
    """Verdicts that differ by pair and person, with times and strengths."""
    draw = "abs(random() % 1000)" if database.is_sqlite else "floor(random() * 1000)::int"
    statement = f"""UPDATE vote SET duration_ms = 2000 + 20 * {draw}, strength = NULL,
        left_side = CASE WHEN {draw} < 500 THEN 'a' ELSE 'b' END,
        choice = CASE WHEN {draw} < 60 THEN 'tie' WHEN {draw} < 20 THEN 'both_bad'
            WHEN {draw} < 20 THEN 'skip' WHEN {draw} < 720 THEN
            CASE WHEN pair_id % 2 = 0 THEN 'a' ELSE 'b' END
            ELSE CASE WHEN pair_id % 2 = 0 THEN 'b' ELSE 'a' END END"""
    for each in (statement, "UPDATE vote SET strength = 2 WHERE choice IN ('a', 'b')", "ANALYZE"):
        with database.write() as s:
            s.execute(sa.text(each))


def _measure(database: Database, project_id: int) -> dict[str, Any]:
    seconds: dict[str, Any] = {}

    def measured(what: str, work: Callable[[], Any]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        seconds[what] = {
            "wall": round(time.perf_counter() - wall, 3),
            "cpu": round(time.process_time() - cpu, 3),
        }

    measured("figures, the first time", lambda: quality.overview(database, project_id))
    give(database, project_id, 1, "one more", "a")
    measured("figures after one more vote", lambda: quality.overview(database, project_id))
    measured("figures, unchanged", lambda: quality.overview(database, project_id))
    seconds["peak"] = _peak_mib()
    with database.read() as s:
        for method in METHODS:
            rules = Rules(method=method)
            measured(
                f"merged by {method}", lambda rules=rules: votes.merged(s, project_id, rules=rules)
            )
        found = votes.merged(s, project_id)
        measured("judged pairs with texts, streamed",
                 lambda: sum(1 for _ in votes.iter_judged_pairs(s, project_id, found)))  # fmt: skip
        measured("counted from rows (yardstick)", lambda: _from_rows(s, project_id))
    with database.write() as s:
        measured("a snapshot taken", lambda: snapshots.take(s, project_id))
    return seconds


def _from_rows(s: Any, project_id: int) -> None:
    by_pair: dict[int, Counter[str]] = {}
    rows = select(Vote.id, Vote.pair_id, Vote.choice).where(
        Vote.project_id == project_id, Vote.retracted_at.is_(None)
    )
    for _, pair_id, choice in s.execute(rows.execution_options(yield_per=5000)):
        by_pair.setdefault(pair_id, Counter())[choice] += 1


def _peak_mib() -> int:
    """Of this program: `ru_maxrss` would hold what its parent had when it started it, too."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    sys.exit(main())
