"""From a vote to the checkpoint that has learned from it, by the rule "after every vote".

    python benchmarks/bench_after_vote.py [--data-dir DIR] [--votes 6]

DIR holds the demo project with all answers encoded; without one a directory is made for the
occasion, which takes minutes. It is changed: votes are cast over HTTP on the label page's routes,
and the rule is set while it runs. Full runs stand beside: what the rule asked for before it fitted
the head alone. The waiting for a pause in voting (two seconds) is part of the first figure, and
named by itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
from record import record  # noqa: E402

from db import runs  # noqa: E402
from db.engine import Database  # noqa: E402
from studio.services import head_alone, projects, retrain, training, workspace  # noqa: E402
from studio.settings import Settings  # noqa: E402
from tests.serving import running_studio  # noqa: E402

POLL_S = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--votes", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = options.data_dir or Path(folder) / "data"
        with running_studio(directory, "embedded", "--demo") as studio:
            measure(studio.url, Settings.read({}, data_dir=str(directory)), options.votes)


def measure(url: str, settings: Settings, num_votes: int) -> None:
    database = workspace.open_database(settings)
    project = projects.get(database, "demo")
    while training.status(database, project.id)["unfinished"]:
        time.sleep(1)  # encoding ahead
    full = []
    for _ in range(3):
        asked_at = time.monotonic()
        run_id = training.request_run(database, project.id, "benchmark")
        full.append(follow(database, run_id, asked_at))
        print("full", full[-1], flush=True)
    retrain.set_rules(database, project.id, {"after_vote": True}, actor="benchmark")
    votes = []
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            for _ in range(num_votes):
                votes.append(one_vote(client, database, project.id))
                print("vote", votes[-1], flush=True)
            pages = lists(client, project.id)
    finally:
        retrain.set_rules(database, project.id, {}, actor="benchmark")
    alone = [each for each in votes if each["head_alone"]]
    result = {
        "judged_pairs": project.num_judged,
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "median_s": {
            "full run, from its row to its checkpoint": median(full, "run"),
            "head alone, from its row to its checkpoint": median(alone, "run"),
            "from the vote to the run's row": median(alone, "waited"),
            "from the vote to the checkpoint": median(alone, "vote_to_checkpoint"),
        },
        "list": pages,
        "full": full,
        "votes": votes,
    }
    database.dispose()
    record("after_vote", result)


def median(measured: list[dict[str, Any]], name: str) -> float | None:
    return round(statistics.median(each[name] for each in measured), 2) if measured else None


def one_vote(client: httpx.Client, database: Database, project_id: int) -> dict[str, Any]:
    """Cast a vote and wait for the checkpoint that the rule makes of it."""
    before = training.status(database, project_id)["recent"][0]["id"]
    base = f"/api/projects/{project_id}/label"
    (showing,) = client.get(f"{base}/next?count=1").raise_for_status().json()["pairs"]
    vote = {"vote_id": str(uuid.uuid4()), "showing_id": showing["showing_id"], "choice": "left"}
    client.post(f"{base}/vote", json=vote).raise_for_status()
    voted_at = time.monotonic()
    while (newest := training.status(database, project_id)["recent"][0])["id"] == before:
        time.sleep(POLL_S)
    waited = time.monotonic() - voted_at
    return follow(database, newest["id"], time.monotonic()) | {
        "waited": round(waited, 2),
        "vote_to_checkpoint": round(time.monotonic() - voted_at, 2),
    }


def follow(database: Database, run_id: int, asked_at: float) -> dict[str, Any]:
    """Wait for the run's end; seconds, and whether it fitted the head alone."""
    while (run := training.run_status(database, run_id))["status"] not in (
        "succeeded", "failed", "cancelled",
    ):  # fmt: skip
        time.sleep(POLL_S)
    seconds = round(time.monotonic() - asked_at, 2)
    if run["status"] != "succeeded":
        raise SystemExit(f"run {run_id} {run['status']}: {run['error']}")
    with database.read() as s:
        row = runs.get_run(s, run_id)
    assert row is not None
    return {"run": seconds, "head_alone": head_alone.HEAD_OF in row.config}


def lists(client: httpx.Client, project_id: int) -> dict[str, Any]:
    """What an open Checkpoints tab asks for every three seconds."""
    path = f"/api/projects/{project_id}/checkpoints?limit=50"
    first = client.get(path).raise_for_status()
    begin = time.monotonic()
    again = client.get(path, headers={"if-none-match": first.headers["etag"]})
    unchanged_ms = 1000 * (time.monotonic() - begin)
    return {
        "checkpoints": first.json()["total"],
        "bytes": len(first.content),
        "unchanged_status": again.status_code,
        "unchanged_bytes": len(again.content),
        "unchanged_ms": round(unchanged_ms, 1),
    }


if __name__ == "__main__":
    main()
