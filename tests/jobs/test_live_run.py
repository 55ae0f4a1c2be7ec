"""A running job's row: what it says is stored, and a cancel reaches it."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from db import runs
from studio.services import run_queue, training
from studio.services.live_run import LiveRun, RunStopped
from tests.workspace import Workspace


@pytest.fixture
def run_id(judged_workspace: Workspace) -> int:
    here = judged_workspace
    number = training.request_run(here.database, here.project_id, "test")
    here.begin(number)
    return number


def test_everything_said_is_stored_by_the_end(judged_workspace: Workspace, run_id: int) -> None:
    database = judged_workspace.database
    with LiveRun(database, run_id) as live:
        live.stage("encoding")
        for done in range(100):
            live.progress(done + 1, 100)
            live.metrics(done, {"loss": done / 100})
        live.device("cuda:0")
    run = training.run_status(database, run_id)
    assert (run["stage"], run["done"], run["total"]) == ("encoding", 100, 100)
    assert run["device"] == "cuda:0"
    assert len(training.curves(database, run_id)) == 100


def test_a_new_stage_starts_its_progress_anew(judged_workspace: Workspace, run_id: int) -> None:
    with LiveRun(judged_workspace.database, run_id) as live:
        live.stage("encoding")
        live.progress(5, 10)
        live.stage("fitting")
    run = training.run_status(judged_workspace.database, run_id)
    assert (run["stage"], run["done"], run["total"]) == ("fitting", None, None)


def test_the_time_left_is_by_the_pace_of_the_stage_and_not_of_what_went_before(
    judged_workspace: Workspace, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=500.0)  # loading the backbone took its time
    monkeypatch.setattr(
        "studio.services.live_run.time", SimpleNamespace(monotonic=lambda: clock.now)
    )

    def left_s() -> float | None:
        live.flush()
        left: float | None = training.run_status(judged_workspace.database, run_id)["eta_s"]
        return left

    with LiveRun(judged_workspace.database, run_id) as live:
        live.stage("encoding")
        live.progress(40, 240)  # an encoding that goes on counts what is done already
        assert left_s() is None
        clock.now += 1
        live.progress(45, 240)
        assert left_s() is None  # too early to tell
        clock.now += 9
        live.progress(90, 240)
        assert left_s() == pytest.approx(30, abs=2)
        live.stage("fitting")
        assert left_s() is None


def test_a_cancel_reaches_a_job_that_says_nothing(
    judged_workspace: Workspace, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.services.live_run.HEARTBEAT_EVERY_S", 0.1)
    monkeypatch.setattr("studio.services.live_run.WRITE_EVERY_S", 0.05)
    with LiveRun(judged_workspace.database, run_id) as live:
        live.stop_if_asked()
        run_queue.cancel(judged_workspace.database, run_id)
        assert live.stopped.wait(timeout=5)
        with pytest.raises(RunStopped):
            live.stop_if_asked()


def test_a_quiet_job_still_has_a_heartbeat(
    judged_workspace: Workspace, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.services.live_run.HEARTBEAT_EVERY_S", 0.1)
    monkeypatch.setattr("studio.services.live_run.WRITE_EVERY_S", 0.05)

    def beat() -> object:
        with judged_workspace.database.read() as s:
            run = runs.get_run(s, run_id)
        assert run is not None
        return run.heartbeat_at

    with LiveRun(judged_workspace.database, run_id):
        before = beat()
        time.sleep(0.5)
        assert beat() > before  # type: ignore[operator]


def test_a_database_that_fails_for_a_while_does_not_end_the_job(
    judged_workspace: Workspace, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.services.live_run.WRITE_EVERY_S", 0.02)
    with LiveRun(judged_workspace.database, run_id) as live:
        with monkeypatch.context() as broken:
            broken.setattr(runs, "heartbeat", lambda *_a, **_k: 1 / 0)
            live.progress(1, 2)
            time.sleep(0.2)
        live.progress(2, 2)
    assert training.run_status(judged_workspace.database, run_id)["done"] == 2
