"""A data directory with the tiny backbone and judged pairs, for tests of services, jobs and routes.

`workspace` is fresh for each test; `trained` is made once, has a checkpoint, and is not changed.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from db import runs
from db.engine import Database
from studio.jobs.run import EXECUTE
from studio.services import importing, run_queue, training, workspace
from studio.services.live_run import LiveRun
from studio.settings import Settings
from tests.rows import user, write_jsonl

KIND = ["please", "gladly", "thanks", "kindly", "certainly", "warmly"]
RUDE = ["never", "stupid", "whatever", "nonsense", "shut", "hate"]


@dataclass
class Workspace:
    """Settings, the open database, and the project that most tests need."""

    settings: Settings
    database: Database
    project_id: int = 0

    def add(self, rows: list[dict[str, Any]], name: str = "kindness", **options: Any) -> int:
        """Import rows into a project; its id."""
        path = write_jsonl(self.settings.data_dir / "rows.jsonl", rows)
        report = importing.import_file(
            self.database, path, project_name=name, backbone=self.settings.backbone, **options
        )
        assert report.project_id is not None
        return report.project_id

    def begin(self, run_id: int) -> None:
        """Claim a queued run and mark it running, as its process would."""
        assert run_queue.claim(self.database) == run_id
        with self.database.write() as s:
            assert runs.mark_running(s, run_id, os.getpid(), "test", "cpu")

    def run_here(self, run_id: int) -> None:
        """Do a queued run, of any kind but encoding, in this process."""
        self.begin(run_id)
        with LiveRun(self.database, run_id, threading.Event()) as live:
            with self.database.read() as s:
                run = runs.get_run(s, run_id)
            assert run is not None
            EXECUTE[run.kind](self.database, self.settings, run_id, live)
        # As studio.jobs.run does; a training has ended with its checkpoint's row.
        run_queue.finish(self.database, run_id, "succeeded")


def kindness(count: int, *, first: int = 0) -> list[dict[str, Any]]:
    """Rows in which the kind answer is chosen: learnable, even by a random backbone."""
    rows = []
    for number in range(first, first + count):
        draw = random.Random(number)
        words = [" ".join(draw.choices(each, k=8)) for each in (KIND, RUDE)]
        rows.append(
            {
                "id": f"kind-{number}",
                "prompt": user(f"How do I fold a letter, version {number}?"),
                "chosen": words[0],
                "rejected": words[1],
                "meta": {"category": "even" if number % 2 == 0 else "odd"},
            }
        )
    return rows


def make_workspace(data_dir: Path, backbone: Path) -> Workspace:
    settings = Settings.read({}, data_dir=str(data_dir), backbone=str(backbone), device="cpu")
    return Workspace(settings, workspace.open_database(settings, create=True))


@pytest.fixture
def empty_workspace(tmp_path: Path, tiny_backbone: Path) -> Iterator[Workspace]:
    made = make_workspace(tmp_path / "data", tiny_backbone)
    yield made
    made.database.dispose()


@pytest.fixture
def judged_workspace(empty_workspace: Workspace) -> Workspace:
    """Sixty judged pairs in the project `kindness`."""
    empty_workspace.project_id = empty_workspace.add(kindness(60))
    return empty_workspace


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Iterator[Workspace]:
    """A project with a checkpoint; tests read it and leave it as it is."""
    made = make_workspace(tmp_path_factory.mktemp("trained") / "data", tiny_backbone)
    made.project_id = made.add(kindness(60))
    made.run_here(training.request_run(made.database, made.project_id, "test"))
    yield made
    made.database.dispose()
