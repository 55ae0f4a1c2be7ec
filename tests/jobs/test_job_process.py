"""Real job processes: they survive what they should, end when they must, and leave nothing half."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from db import checkpoints, runs
from rm_core import checkpoint as core_checkpoint
from studio.jobs import scheduler
from studio.jobs.dispatcher import Dispatcher
from studio.jobs.launcher import LocalSubprocess
from studio.services import (
    curve_job,
    encoding,
    reproduce_job,
    retrain,
    run_queue,
    training,
)
from tests.serving import end_jobs
from tests.workspace import Workspace, kindness

FINISHED = ("succeeded", "failed", "cancelled")


@pytest.fixture
def here(judged_workspace: Workspace) -> Iterator[Workspace]:
    yield judged_workspace
    end_jobs(judged_workspace.settings.data_dir)


@pytest.fixture
def encoded(here: Workspace, trained: Workspace) -> Workspace:
    """The same pairs encoded before, so that a run only fits."""
    for path in trained.settings.features_path.parent.glob(
        trained.settings.features_path.name + "*"
    ):
        shutil.copy(path, here.settings.data_dir / path.name)
    return here


@pytest.fixture
def dispatching(here: Workspace) -> Iterator[Dispatcher]:
    launcher = LocalSubprocess(here.settings)
    dispatcher = Dispatcher(here.database, launcher)
    launcher.on_exit = dispatcher.wake
    with scheduler.running(dispatcher):
        yield dispatcher


def wait(here: Workspace, run_id: int, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 180  # on a machine that does much else
    while time.monotonic() < deadline:
        run = training.run_status(here.database, run_id)
        if until(run):
            return run
        time.sleep(0.02)
    raise AssertionError(f"waited in vain: {run}\n{log_of(here, run_id)}")


def log_of(here: Workspace, run_id: int) -> str:
    return training.log_tail(here.database, here.settings, run_id)


def is_finished(run: dict[str, Any]) -> bool:
    return run["status"] in FINISHED


def is_running(run: dict[str, Any]) -> bool:
    return run["status"] == "running"


def train(here: Workspace) -> int:
    return training.request_run(here.database, here.project_id, "test")


def pid_of(here: Workspace, run_id: int) -> int:
    with here.database.read() as s:
        run = runs.get_run(s, run_id)
    assert run is not None
    assert run.pid is not None
    return run.pid


def suspend(here: Workspace, run_id: int) -> None:
    """Stop the process at a moment when it does not hold the database's write lock."""
    path = here.settings.data_dir / "studio.db"
    while True:
        os.kill(pid_of(here, run_id), signal.SIGSTOP)
        with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as probe:
            try:
                probe.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError:
                os.kill(pid_of(here, run_id), signal.SIGCONT)
                time.sleep(0.01)


@pytest.mark.usefixtures("dispatching")
def test_training_in_its_own_process_ends_with_a_checkpoint_and_a_log(here: Workspace) -> None:
    run_id = train(here)
    run = wait(here, run_id, is_finished)
    assert run["status"] == "succeeded", log_of(here, run_id)
    assert run["checkpoint"]["num_pairs"] == 60
    assert run["device"] == "cpu"
    assert pid_of(here, run_id) != os.getpid()
    assert f"run {run_id} succeeded" in log_of(here, run_id)
    assert training.curves(here.database, run_id)
    [events] = (here.settings.tensorboard_dir / f"run-{run_id}").iterdir()
    assert "tfevents" in events.name
    assert events.stat().st_size > 500


@pytest.mark.usefixtures("dispatching")
def test_encoding_ahead_leaves_training_nothing_to_encode(here: Workspace) -> None:
    ahead = encoding.enqueue(here.database, here.settings, here.project_id, "import")
    assert wait(here, ahead, is_finished)["status"] == "succeeded"
    assert not encoding.enqueue_if_missing(here.database, here.settings, here.project_id, "start")
    run = wait(here, train(here), is_finished)
    assert run["checkpoint"]["encoding"]["num_encoded"] == 0


def test_a_job_goes_on_without_its_server_and_the_next_one_adopts_it(here: Workspace) -> None:
    first = Dispatcher(here.database, LocalSubprocess(here.settings))
    with scheduler.running(first):
        run_id = train(here)
        wait(here, run_id, is_running)
    suspend(here, run_id)  # so that it cannot end before it is adopted
    second = Dispatcher(here.database, LocalSubprocess(here.settings))
    with scheduler.running(second):
        time.sleep(0.5)
        assert training.run_status(here.database, run_id)["status"] == "running"
        os.kill(pid_of(here, run_id), signal.SIGCONT)
        run = wait(here, run_id, is_finished)
        assert run["status"] == "succeeded", (run["error"], log_of(here, run_id))


@pytest.mark.usefixtures("dispatching")
def test_cancelling_takes_less_than_two_seconds_even_when_the_job_does_not_listen(
    here: Workspace,
) -> None:
    run_id = train(here)
    wait(here, run_id, is_running)
    suspend(here, run_id)
    begin = time.monotonic()
    training.cancel(here.database, run_id)
    run = wait(here, run_id, is_finished)
    assert run["status"] == "cancelled"
    assert time.monotonic() - begin < 2
    assert run["checkpoint"] is None


@pytest.mark.usefixtures("dispatching")
def test_a_failing_job_says_why_on_the_page_and_in_its_log(here: Workspace) -> None:
    run_id = training.request_run(here.database, here.project_id, "test", {"layers": [77]})
    run = wait(here, run_id, is_finished)
    assert run["status"] == "failed"
    assert "layer 77" in run["error"]
    assert "layer 77" in log_of(here, run_id)


@pytest.mark.usefixtures("encoded", "dispatching")
def test_a_job_killed_at_any_moment_leaves_no_half_checkpoint_and_is_found_dead(
    here: Workspace,
) -> None:
    moments = ["loading", "fitting", "evaluating", "comparing", "saving", 0.0, 0.1, 0.25, 0.4, 0.6]
    for moment in moments:
        run_id = train(here)
        if isinstance(moment, str):
            wait(here, run_id, lambda run, at=moment: run["stage"] == at or is_finished(run))
        else:
            wait(here, run_id, lambda run: run["status"] not in ("queued", "starting"))
            time.sleep(moment)
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.killpg(pid_of(here, run_id), signal.SIGKILL)
        run = wait(here, run_id, is_finished)
        assert run["status"] in {"failed", "succeeded"}
        assert (run["checkpoint"] is not None) == (run["status"] == "succeeded")
        if run["status"] == "failed":
            assert "SIGKILL" in run["error"]
    for directory in here.settings.checkpoints_dir.glob("run-*"):
        core_checkpoint.load(directory)  # raises when it is not whole
    with here.database.read() as s:
        for checkpoint in checkpoints.list_checkpoints(s, here.project_id):
            assert (here.settings.checkpoints_dir / checkpoint.directory).is_dir()
    # The next run clears away what was half written.
    assert wait(here, train(here), is_finished)["status"] == "succeeded"
    assert not list(here.settings.checkpoints_dir.glob(".*"))


@pytest.mark.usefixtures("dispatching")
def test_a_train_click_does_not_wait_for_a_long_encoding(here: Workspace) -> None:
    other = here.add(kindness(1500, first=1000), name="large")
    ahead = encoding.enqueue(here.database, here.settings, other, "import")
    wait(here, ahead, lambda run: run["stage"] == "encoding")
    run = wait(here, train(here), is_finished)
    assert run["status"] == "succeeded"
    assert training.run_status(here.database, ahead)["status"] == "cancelled"
    with here.database.read() as s:
        resumed = runs.unfinished_runs(s, other) or runs.recent_runs(s, other, 1)
    assert resumed[0].trigger == "resumed"


def test_a_process_for_a_run_that_does_not_wait_does_nothing(here: Workspace) -> None:
    run_id = train(here)
    run_queue.cancel(here.database, run_id)
    launcher = LocalSubprocess(here.settings)
    launcher.start(run_id)
    launcher._children[run_id].wait(timeout=60)
    assert training.run_status(here.database, run_id)["status"] == "cancelled"
    assert "nothing to do" in log_of(here, run_id)


@pytest.mark.usefixtures("encoded")
def test_click_after_click_leaves_no_orphan_no_process_and_no_thread(
    here: Workspace, dispatching: Dispatcher
) -> None:
    """The hundred are in benchmarks/bench_clicks.py."""
    before = None
    for number in range(1, 6):
        run_id = training.request_run(here.database, here.project_id, "click", actor="mara")
        run = wait(here, run_id, is_finished)
        assert (run["status"], run["actor"]) == ("succeeded", "mara"), run["error"]
        assert run["checkpoint"]["id"] == number
        launcher = dispatching.launcher
        assert isinstance(launcher, LocalSubprocess)
        for child in launcher._children.values():
            child.wait(timeout=30)
        if before is None:
            before = threading.active_count()
    assert len(launcher._children) == 1  # of those that ended, only the last is still known
    time.sleep(0.2)
    assert threading.active_count() <= before
    assert not list(here.settings.checkpoints_dir.glob(".*"))


@pytest.mark.usefixtures("encoded", "dispatching")
def test_reproducing_and_the_learning_curve_are_runs_like_any_other(here: Workspace) -> None:
    run_id = train(here)
    made = wait(here, run_id, is_finished)["checkpoint"]["id"]
    again = reproduce_job.request(here.database, run_id, actor="mara")
    curve = curve_job.request(here.database, made, actor="mara")
    assert wait(here, again, is_finished)["status"] == "succeeded", log_of(here, again)
    assert "the same head to the bit" in log_of(here, again)
    wait(here, curve, lambda run: run["stage"] == "learning curve" or is_finished(run))
    training.cancel(here.database, curve)
    assert wait(here, curve, is_finished)["status"] in ("cancelled", "succeeded")
    assert reproduce_job.outcome_of(here.database, run_id)["same"]


@pytest.mark.usefixtures("encoded", "dispatching")
def test_a_rule_is_followed_by_the_clock_without_any_click(here: Workspace) -> None:
    retrain.set_rules(here.database, here.project_id, {"new_pairs": 60}, actor="lead")
    deadline = time.monotonic() + 30
    while not (recent := training.status(here.database, here.project_id)["recent"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    run = wait(here, recent[0]["id"], is_finished)
    assert (run["status"], run["trigger"]) == ("succeeded", "new_pairs")
    assert run["reason"] == "60 judged pairs are new, the rule says 60"
