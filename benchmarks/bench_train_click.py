"""From the click on Train to the new checkpoint on the page, stage by stage, in a real browser.

    python benchmarks/bench_train_click.py [--data-dir DIR] [--project P] [--clicks 5]

DIR holds a project whose answers are all encoded. Without one, a directory is made for the occasion
and the 1,499 pairs of hh_train are imported and encoded into it first, which takes minutes.

The clock starts at the click in the page and ends when the page shows the checkpoint's heading. The
stages between come from the run's row, which another process reads every 40 milliseconds (more
often would take a third of a core from the run). Between two clicks somebody reads for ten seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page, sync_playwright  # noqa: E402

from benchmarks.material import HH_TRAIN  # noqa: E402
from benchmarks.record import record  # noqa: E402
from studio.services import projects, training, workspace  # noqa: E402
from studio.settings import Settings  # noqa: E402
from tests.browser.conftest import ARGUMENTS, CHROMIUM  # noqa: E402
from tests.serving import running_studio  # noqa: E402


class Watch(threading.Thread):
    """Notes when the newest run enters each stage and ends, in seconds since `begin`."""

    def __init__(self, database: Any, project_id: int, after: int) -> None:
        super().__init__(daemon=True)
        self.database, self.project_id, self.after = database, project_id, after
        self.begin = time.monotonic()
        self.seen: dict[str, float] = {}

    def note(self, name: str) -> None:
        self.seen.setdefault(name, round(time.monotonic() - self.begin, 3))

    def run(self) -> None:
        while "done" not in self.seen and time.monotonic() - self.begin < 300:
            recent = training.status(self.database, self.project_id)["recent"]
            new = [r for r in recent if r["kind"] == "train" and r["id"] > self.after]
            if new:
                run = new[0]
                self.note("queued")
                if run["status"] != "queued":
                    self.note("process is being started")
                if run["stage"]:
                    self.note(run["stage"])
                if run["finished_at"]:
                    self.note("done")
            time.sleep(0.04)


def one_click(page: Page, database: Any, project_id: int, number: int) -> dict[str, float]:
    newest = training.status(database, project_id)["recent"]
    watch = Watch(database, project_id, newest[0]["id"] if newest else 0)
    watch.start()
    page.get_by_role("button", name="Train", exact=True).click()
    page.locator("#train-results").get_by_role("heading", name=f"Checkpoint {number}").wait_for(
        timeout=300_000
    )
    watch.note("on the page")
    watch.join(timeout=5)
    return watch.seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--project")
    parser.add_argument("--clicks", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(options, options.data_dir or imported(Path(folder)))


def imported(directory: Path) -> Path:
    """A data directory with the pairs of hh_train, judged and encoded."""
    command = [sys.executable, "-m", "studio.cli", "import", str(HH_TRAIN), "--project", "hh"]
    subprocess.run([*command, "--encode", "--data-dir", str(directory)], check=True, cwd=ROOT)
    return directory


def measure(options: argparse.Namespace, directory: Path) -> None:
    settings = Settings.read({}, data_dir=str(directory))
    database = workspace.open_database(settings)
    project = (
        projects.get(database, options.project)
        if options.project
        else projects.only_project(database)
    )
    status = training.status(database, project.id)
    first = (status["checkpoint"] or {"id": 0})["id"] + 1
    clicks = []
    with running_studio(settings.data_dir, "embedded") as studio, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = chromium.new_page()
        page.goto(f"{studio.url}/?project={project.id}")
        page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
        page.get_by_role("tab", name="Train", exact=True).click()
        page.wait_for_timeout(12_000)  # the server warms its playground up five seconds after start
        for number in range(first, first + options.clicks):
            clicks.append(one_click(page, database, project.id, number))
            print(clicks[-1], flush=True)
            page.wait_for_timeout(10_000)
        chromium.close()
    database.dispose()
    names = sorted({name for each in clicks for name in each}, key=lambda n: clicks[-1].get(n, 0))
    record(
        "train_click",
        {
            "judged_pairs": project.num_judged,
            "clicks": len(clicks),
            # Of all that ran on the machine: fitting competes for its cores.
            "load_average": [round(each, 1) for each in os.getloadavg()],
            "median_seconds_after_the_click": {
                name: round(statistics.median(e[name] for e in clicks if name in e), 2)
                for name in names
            },
            "all": clicks,
        },
    )


if __name__ == "__main__":
    main()
