"""The next pair out of 100,000 with a million votes: how long does the server take?

    python benchmarks/bench_queue.py --pairs 100000 --votes-a-pair 10

The database is filled by SQL alone: every pair has that many votes of --annotators people, each
with its showing, and two slots left to fill. Then these people ask for pairs and vote, one after
another, through the service that the routes call: `next` hands out one pair, rendered, with the
progress. Under each strategy, p50, p95 and the slowest; what each person's first request counts is
among them. SQLite is measured with the statistics of an ANALYZE and without, as a database that
has grown by use: its planner chooses by them. `--clock cpu` counts this process's CPU time instead
of the wall's: the choice for a machine that others use too (all of the work on SQLite; on
PostgreSQL the server's own is left out). PostgreSQL's tables are vacuumed after they were filled,
as it does by itself within minutes.
Exit code 1 if the p95 of `next` is not under 50 ms.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import uuid
from typing import Any

import sqlalchemy as sa
from databases import NAMES, checked_names, fresh_database
from record import record

from db.engine import Database
from studio.services import labelling
from tests.rows import make_project

LIMIT_MS = 50
RANKED = 500
OPEN_SLOTS = 2
TEXT = "**An answer** in Markdown, with `code` and some length to it. " * 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--votes-a-pair", type=int, default=10)
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--database", nargs="+", default=list(NAMES))
    options = parser.parse_args()
    results = {name: _run(name, options) for name in checked_names(options.database)}
    worst = 0.0
    for name, result in results.items():
        for state, strategies in result["states"].items():
            for strategy, figures in strategies.items():
                print(f"{name:10} {state:11} {strategy:11} " + "  ".join(
                    f"{what} p50 {f['p50']} p95 {f['p95']} max {f['max']} ms"
                    for what, f in figures.items()))  # fmt: skip
                worst = max(worst, figures["next"]["p95"])
    record("queue", {"options": vars(options), "results": results}, "sqlalchemy", "psycopg")
    return 1 if worst >= LIMIT_MS else 0


def _run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    with fresh_database(name) as database:
        project_id = make_project(database, wanted_votes=options.votes_a_pair + OPEN_SLOTS)
        begin = time.monotonic()
        _fill(database, project_id, options)
        filled_s = time.monotonic() - begin
        counts = labelling.progress(database, project_id, "voter 1")
        states = {}
        for state in ("analyzed", "as it grew") if database.is_sqlite else ("analyzed",):
            if state == "as it grew":
                _forget_statistics(database)
            states[state] = {
                strategy: _measure(database, project_id, strategy, options)
                for strategy in ("random", "in_order", "information")
            }
    return {
        "pairs": counts["total"],
        "votes": counts["votes_by_people"],
        "fill_s": round(filled_s),
        "states": states,
    }


def _fill(database: Database, project_id: int, options: argparse.Namespace) -> None:
    """Prompts, responses, pairs, showings, votes and slots, made by the database itself."""
    is_sqlite = database.is_sqlite
    values = {
        "project": project_id, "pairs": options.pairs, "votes": options.votes_a_pair,
        "people": options.annotators, "text": TEXT, "slots": options.votes_a_pair + OPEN_SLOTS,
        "ranked": RANKED,
    }  # fmt: skip
    series = (
        "WITH RECURSIVE {0}(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM {0} WHERE i < :{1}) "
        if is_sqlite
        else "WITH {0}(i) AS (SELECT * FROM generate_series(1, :{1})) "
    )
    pairs, votes = series.format("n", "pairs"), series.format("k", "votes")
    both = pairs + votes.replace("WITH RECURSIVE", ",").replace("WITH", ",")
    slots = pairs + series.format("k", "slots").replace("WITH RECURSIVE", ",").replace("WITH", ",")
    hex_of = "printf('%064x', {0})" if is_sqlite else "lpad(to_hex({0}), 64, '0')"
    new_id = "printf('%08x-0000-4000-8000-%012x', n.i, k.i)" if is_sqlite else (
        "lpad(to_hex(n.i), 8, '0') || '-0000-4000-8000-' || lpad(to_hex(k.i), 12, '0')"
    )  # fmt: skip
    now = "CURRENT_TIMESTAMP"
    who = "'voter ' || ((n.i + k.i * 7) % :people)"
    false, empty = ("0", "'[]'") if is_sqlite else ("false", "'[]'::json")
    meta = "'{}'" if is_sqlite else "'{}'::json"
    messages = '\'[{"role": "user", "content": "question \' || n.i || \'"}]\''
    messages = messages if is_sqlite else f"({messages})::json"
    place = "((n.i * 7919) % :pairs) * 1.0 / :pairs"
    priority = "CASE WHEN n.i % 5 <> 0 AND n.i % 40 = 1 THEN n.i END"
    statements = [
        f"INSERT INTO prompt (id, project_id, content_hash, messages, meta, created_at) {pairs}"
        f"SELECT n.i, :project, {hex_of.format('n.i')}, {messages}, {meta}, {now} FROM n",
        f"INSERT INTO response (id, prompt_id, content_hash, text, created_at) {pairs}"
        f"SELECT 2 * n.i, n.i, {hex_of.format('2 * n.i')}, :text || n.i, {now} FROM n "
        f"UNION ALL SELECT 2 * n.i + 1, n.i, {hex_of.format('2 * n.i + 1')}, "
        f"n.i || :text, {now} FROM n",
        f"INSERT INTO pair (id, project_id, prompt_id, response_a_id, response_b_id, content_hash, "
        f"split, status, meta, created_at) {pairs}SELECT n.i, :project, n.i, 2 * n.i, 2 * n.i + 1, "
        f"{hex_of.format('n.i')}, CASE WHEN n.i % 5 = 0 THEN 'heldout' ELSE 'train' END, 'open', "
        f"{meta}, {now} FROM n",
        f"INSERT INTO selection (id, project_id, pair_id, annotator, purpose, position, left_side, "
        f"strategy, propensity, created_at, closed_at) {both}SELECT (n.i - 1) * :votes + k.i, "
        f":project, n.i, {who}, 'label', {place}, 'a', 'random', 0.5, {now}, {now} FROM n, k",
        f"INSERT INTO vote (id, project_id, pair_id, showing_id, annotator, imported, purpose, "
        f"choice, left_side, reasons, aspects, comment, surplus, created_at) {both}SELECT "
        f"{new_id}, :project, n.i, (n.i - 1) * :votes + k.i, {who}, {false}, 'label', "
        f"CASE WHEN (n.i + k.i) % 3 = 0 THEN 'b' ELSE 'a' END, 'a', {empty}, {meta}, '', {false}, "
        f"{now} FROM n, k",
        f"INSERT INTO slot (project_id, pair_id, n, position, annotator, vote_id, priority, "
        f"acquisition_score) {slots}SELECT :project, n.i, k.i, {place}, "
        f"CASE WHEN k.i <= :votes THEN {who} END, CASE WHEN k.i <= :votes THEN {new_id} END, "
        f"{priority}, CASE WHEN {priority} IS NOT NULL THEN 0.5 END FROM n, k",
    ]
    for statement in statements:
        with database.write() as s:
            s.execute(sa.text(statement), values)
    with database.write() as s:
        s.execute(sa.text("ANALYZE"))
        if not is_sqlite:
            _move_sequences(s)
    if not is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
            c.execute(sa.text("VACUUM"))


def _forget_statistics(database: Database) -> None:
    with database.write() as s:
        s.execute(sa.text("DELETE FROM sqlite_stat1"))
    database.dispose()  # connections read statistics when they open the file


def _move_sequences(s: Any) -> None:
    """Ids were given by hand; the next ones must follow."""
    for table in ("prompt", "response", "pair", "selection"):
        s.execute(
            sa.text(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), "
                f"(SELECT max(id) FROM {table}))"
            )
        )


def _measure(
    database: Database, project_id: int, strategy: str, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    ranking = '{"strategy": "information", "checkpoint_id": 1}'
    with database.write() as s:
        s.execute(
            sa.text("UPDATE project SET queue_strategy = :strategy, ranking = :ranking"
                    if database.is_sqlite else
                    "UPDATE project SET queue_strategy = :strategy, ranking = (:ranking)::json"),
            {"strategy": strategy, "ranking": ranking},
        )  # fmt: skip
    spent: dict[str, list[float]] = {"next": [], "vote": []}
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    for number in range(options.requests):
        who = f"voter {number % options.annotators}"
        begin = clock()
        (shown,) = labelling.next_pairs(database, project_id, who, count=1)["pairs"]
        spent["next"].append(clock() - begin)
        vote = {
            "vote_id": str(uuid.uuid4()), "showing_id": shown["showing_id"], "choice": "left",
        }  # fmt: skip
        begin = clock()
        labelling.cast_vote(database, project_id, who, vote)
        spent["vote"].append(clock() - begin)
    return {what: _quantiles(times) for what, times in spent.items()}


def _quantiles(times_s: list[float]) -> dict[str, float]:
    ordered = sorted(times_s)
    at = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {
        name: round(1000 * ordered[math.ceil(share * len(ordered)) - 1], 1)
        for name, share in at.items()
    }


if __name__ == "__main__":
    sys.exit(main())
