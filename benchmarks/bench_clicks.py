"""A hundred clicks on Train in a row: no orphan, no leak of memory, processes, threads or files.

    python benchmarks/bench_clicks.py [--clicks 100]

A real server on a tiny random backbone and sixty judged pairs; each click is queued as the page
does it, and waited for. Measured from outside, in /proc: the server's memory, threads and open
files, and every process that a run left behind.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import record  # noqa: E402
from studio.services import checkpoints, training  # noqa: E402
from tests.serving import running_studio  # noqa: E402
from tests.tiny_backbone import build_tiny_backbone  # noqa: E402
from tests.workspace import kindness, make_workspace  # noqa: E402

PATIENCE_S = 120.0


def server_state(pid: int) -> dict[str, float]:
    """Resident memory in MiB, threads and open files of the server."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return {
        "rss_mib": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "threads": int(status["Threads"]),
        "open_files": len(os.listdir(f"/proc/{pid}/fd")),
    }


def jobs_alive(data_dir: Path) -> int:
    """Processes of this data directory's jobs, zombies too."""
    count = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        count += b"studio.jobs.run" in command and str(data_dir).encode() in environment
    return count


def click(here: Any) -> dict[str, Any]:
    """One click, waited for."""
    run_id = training.request_run(here.database, here.project_id, "click", actor="bench")
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        run = training.run_status(here.database, run_id)
        if run["status"] in ("succeeded", "failed", "cancelled"):
            return run
        time.sleep(0.02)
    raise SystemExit(f"run {run_id} did not end within {PATIENCE_S:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=100)
    wanted = parser.parse_args().clicks
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        backbone = build_tiny_backbone(Path(folder) / "tiny")
        here = make_workspace(Path(folder) / "data", backbone)
        here.project_id = here.add(kindness(60))
        with running_studio(here.settings.data_dir, backbone) as studio:
            result = measure(here, studio.process.pid, wanted)
        here.database.dispose()
    record("clicks", result, "sqlalchemy")


def measure(here: Any, pid: int, wanted: int) -> dict[str, Any]:
    states: dict[int, dict[str, float]] = {}
    outcomes: dict[str, int] = {}
    begin = time.monotonic()
    for number in range(1, wanted + 1):
        status = click(here)["status"]
        outcomes[status] = outcomes.get(status, 0) + 1
        if number in (1, 10, 25, 50, 75, wanted):
            states[number] = server_state(pid)
            print(f"{number:4d} clicks: {states[number]}", flush=True)
    elapsed_s = time.monotonic() - begin
    time.sleep(2)  # the last process is being reaped
    listed = checkpoints.listed(here.database, here.project_id)["checkpoints"]
    directories = list(here.settings.checkpoints_dir.iterdir())
    return {
        "clicks": wanted,
        "seconds_a_click": round(elapsed_s / wanted, 2),
        "outcomes": outcomes,
        "checkpoints": len(listed),
        "directories": len(directories),
        "half_written": sum(each.name.startswith(".") for each in directories),
        "jobs_left_running": jobs_alive(here.settings.data_dir),
        "server_by_clicks": states,
    }


if __name__ == "__main__":
    main()
