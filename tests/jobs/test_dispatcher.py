"""The dispatcher's decisions, on both databases, with a launcher that only pretends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from db import runs
from db.engine import Database
from db.models import TrainingRun, utc_now
from studio.jobs import dispatcher as module
from studio.jobs import scheduler
from studio.jobs.dispatcher import Dispatcher
from studio.jobs.launcher import Job
from studio.jobs.recurring import Recurring
from studio.services import run_queue, wakeup
from tests.rows import make_project

MARK = "1@test"


@dataclass
class PretendLauncher:
    """Keeps what it was asked for; a test says which jobs are alive."""

    started: list[int] = field(default_factory=list)
    alive: dict[int, bool | None] = field(default_factory=dict)
    signals: list[tuple[str, int]] = field(default_factory=list)
    error: OSError | None = None
    data_id: str | None = None

    def start(self, run_id: int) -> None:
        if self.error:
            raise self.error
        self.started.append(run_id)
        self.alive[run_id] = True

    def is_alive(self, job: Job) -> bool | None:
        return self.alive.get(job.run_id)

    def exit_reason(self, job: Job) -> str:
        return "its process was ended by SIGKILL"

    def terminate(self, job: Job) -> None:
        self.signals.append(("terminate", job.run_id))

    def kill(self, job: Job) -> None:
        self.signals.append(("kill", job.run_id))
        self.alive[job.run_id] = False


@pytest.fixture
def launcher() -> PretendLauncher:
    return PretendLauncher()


@pytest.fixture
def queue(database: Database) -> Callable[..., int]:
    project_id = make_project(database)

    def enqueue(kind: str = "train") -> int:
        with database.write() as s:
            return runs.enqueue(s, project_id, kind, {}, "test").id

    return enqueue


def read(database: Database, run_id: int) -> TrainingRun:
    with database.read() as s:
        run = runs.get_run(s, run_id)
    assert run is not None
    return run


def mark_running(database: Database, run_id: int) -> None:
    with database.write() as s:
        assert runs.mark_running(s, run_id, 4242, MARK, "cpu")


def test_one_job_at_a_time_training_first(
    database: Database, launcher: PretendLauncher, queue: Callable[..., int]
) -> None:
    encode, first, second = queue("encode"), queue(), queue()
    here = Dispatcher(database, launcher)
    here.step()
    here.step()
    assert launcher.started == [first]
    run_queue.finish(database, first, "succeeded")
    here.step()
    run_queue.finish(database, second, "succeeded")
    here.step()
    assert launcher.started == [first, second, encode]


def test_an_encoding_makes_way_for_training_and_goes_on_afterwards(
    database: Database, launcher: PretendLauncher, queue: Callable[..., int]
) -> None:
    encode = queue("encode")
    here = Dispatcher(database, launcher)
    here.step()
    mark_running(database, encode)
    train = queue()
    here.step()
    assert read(database, encode).status == "cancelling"
    launcher.alive[encode] = False
    here.step()
    here.step()
    assert read(database, encode).status == "cancelled"
    assert launcher.started == [encode, train]
    run_queue.finish(database, train, "succeeded")
    here.step()
    resumed = launcher.started[-1]
    assert resumed not in {encode, train}
    assert read(database, resumed).kind == "encode"
    assert read(database, resumed).trigger == "resumed"


@pytest.mark.parametrize("kind", ["reproduce", "curve"])
def test_an_encoding_makes_way_for_whatever_somebody_waits_for(
    database: Database, launcher: PretendLauncher, queue: Callable[..., int], kind: str
) -> None:
    encode = queue("encode")
    here = Dispatcher(database, launcher)
    here.step()
    mark_running(database, encode)
    waited_for = queue(kind)
    here.step()
    launcher.alive[encode] = False
    here.step()
    here.step()
    assert launcher.started == [encode, waited_for]


def test_a_dead_job_is_failed_with_how_it_ended(
    database: Database, launcher: PretendLauncher, queue: Callable[..., int]
) -> None:
    run_id = queue()
    here = Dispatcher(database, launcher)
    here.step()
    mark_running(database, run_id)
    with database.write() as s:
        runs.heartbeat(s, run_id, stage="fitting")
    launcher.alive[run_id] = False
    here.step()
    run = read(database, run_id)
    assert run.status == "failed"
    assert run.error is not None
    assert "SIGKILL" in run.error
    assert "while fitting the reward head" in run.error


def test_a_dead_jobs_own_last_word_stands(
    database: Database, launcher: PretendLauncher, queue: Callable[..., int]
) -> None:
    run_id = queue()
    here = Dispatcher(database, launcher)
    here.step()
    mark_running(database, run_id)
    begun = run_queue.begun(database)
    run_queue.finish(database, run_id, "succeeded")  # between the look at the row and at the pid
    launcher.alive[run_id] = False
    here._look_after(begun[0])
    assert read(database, run_id).status == "succeeded"


def test_cancelling_is_polite_first_and_certain_soon(
    database: Database,
    launcher: PretendLauncher,
    queue: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_id = queue()
    here = Dispatcher(database, launcher)
    here.step()
    mark_running(database, run_id)
    assert run_queue.cancel(database, run_id) == "cancelling"
    here.step()
    here.step()
    assert launcher.signals == [("terminate", run_id)]
    monkeypatch.setattr(module, "CANCEL_GRACE_S", 0)
    here.step()
    assert launcher.signals == [("terminate", run_id), ("kill", run_id)]
    here.step()
    assert read(database, run_id).status == "cancelled"


def test_a_queued_run_is_cancelled_at_once(
    database: Database, launcher: PretendLauncher, queue: Callable[..., int]
) -> None:
    run_id = queue()
    assert run_queue.cancel(database, run_id) == "cancelled"
    Dispatcher(database, launcher).step()
    assert launcher.started == []


def test_a_job_that_cannot_be_started_fails_with_the_reason(
    database: Database, launcher: PretendLauncher, queue: Callable[..., int]
) -> None:
    launcher.error = OSError(12, "Cannot allocate memory")
    run_id = queue()
    Dispatcher(database, launcher).step()
    run = read(database, run_id)
    assert run.status == "failed"
    assert "Cannot allocate memory" in (run.error or "")


def age(database: Database, run_id: int, **times: timedelta) -> None:
    with database.write() as s:
        run = runs.get_run(s, run_id)
        assert run is not None
        for name, by in times.items():
            setattr(run, name, utc_now() - by)


def test_a_launch_that_a_dead_server_left_behind_is_given_time_and_then_up(
    database: Database, launcher: PretendLauncher, queue: Callable[..., int]
) -> None:
    run_id = queue()
    assert run_queue.claim(database) == run_id  # by a server that died before starting it
    here = Dispatcher(database, launcher)
    here.step()
    assert read(database, run_id).status == "starting"
    age(database, run_id, started_at=timedelta(minutes=2))
    here.step()
    assert read(database, run_id).status == "failed"


def test_a_job_of_another_machine_lives_by_its_heartbeat(
    database: Database, launcher: PretendLauncher, queue: Callable[..., int]
) -> None:
    run_id = queue()
    assert run_queue.claim(database) == run_id
    mark_running(database, run_id)
    here = Dispatcher(database, launcher)  # its launcher answers None: not ours to see
    age(database, run_id, started_at=timedelta(hours=1))
    here.step()
    assert read(database, run_id).status == "running"
    age(database, run_id, heartbeat_at=timedelta(minutes=5))
    here.step()
    assert read(database, run_id).status == "failed"


def test_many_dispatchers_start_every_run_once(
    database: Database, queue: Callable[..., int]
) -> None:
    wanted = [queue() for _ in range(6)]
    launchers = [PretendLauncher() for _ in range(4)]
    finished = threading.Event()

    def work(launcher: PretendLauncher) -> None:
        here = Dispatcher(database, launcher)
        while not finished.is_set():
            before = len(launcher.started)
            here.step()
            for run_id in launcher.started[before:]:
                time.sleep(0.01)  # the others look while this one is at work
                run_queue.finish(database, run_id, "succeeded")

    threads = [threading.Thread(target=work, args=(each,)) for each in launchers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if sum(len(each.started) for each in launchers) >= len(wanted):
            break
        time.sleep(0.05)
    finished.set()
    for thread in threads:
        thread.join()
    assert sorted(i for each in launchers for i in each.started) == wanted


def test_a_click_is_taken_up_at_once(
    database: Database,
    launcher: PretendLauncher,
    queue: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler, "TICK_S", 3600)
    here = Dispatcher(database, launcher)
    with scheduler.running(here):
        time.sleep(0.2)
        run_id = queue()
        begin = time.monotonic()
        wakeup.announce()
        while launcher.started != [run_id] and time.monotonic() - begin < 5:
            time.sleep(0.01)
        assert launcher.started == [run_id]
        assert time.monotonic() - begin < 1


def test_a_failing_step_does_not_end_the_dispatcher(
    database: Database,
    launcher: PretendLauncher,
    queue: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    claim = run_queue.claim
    faults = iter([RuntimeError("the disk is full")])

    def fail_once(database: Database, data_id: str | None) -> int | None:
        for fault in faults:
            raise fault
        return claim(database, data_id)

    monkeypatch.setattr(run_queue, "claim", fail_once)
    run_id = queue()
    with scheduler.running(Dispatcher(database, launcher)):
        deadline = time.monotonic() + 10
        while launcher.started != [run_id] and time.monotonic() < deadline:
            time.sleep(0.02)
    assert launcher.started == [run_id]
    assert "the disk is full" in caplog.text


def test_the_same_failure_again_is_counted_and_its_traceback_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looking = Recurring("it failed")
    for _ in range(25):
        with looking.tried():
            raise OSError("the disk is full")
    assert caplog.text.count("Traceback") == 1
    assert [r.getMessage() for r in caplog.records][1:] == [
        "it failed, 10 times by now: OSError: the disk is full"
    ]
    with looking.tried():
        pass
    assert "works again after 25 failures" in caplog.text
    for fault in ("the disk is full", "the disk is gone"):  # each is news
        with looking.tried():
            raise OSError(fault)
    assert caplog.text.count("Traceback") == 3
