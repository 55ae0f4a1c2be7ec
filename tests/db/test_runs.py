"""Runs: one at a time, never claimed twice, never changed after their end."""

from __future__ import annotations

import threading

import pytest

from db import checkpoints, runs
from db.engine import Database
from db.models import utc_now
from tests.rows import make_project


def _enqueue(database: Database, project_id: int, kind: str = "train", **more: object) -> int:
    with database.write() as s:
        run = runs.enqueue(s, project_id, kind, {"seed": 1}, "click", **more)  # type: ignore[arg-type]
        return run.id


def _claim(database: Database) -> int | None:
    with database.write() as s:
        run = runs.claim_next(s, utc_now())
        return None if run is None else run.id


def _finish(database: Database, run_id: int, status: str = "succeeded") -> bool:
    with database.write() as s:
        return runs.finish(s, run_id, status)


def _status(database: Database, run_id: int) -> str:
    with database.read() as s:
        run = runs.get_run(s, run_id)
        assert run is not None
        return run.status


def test_training_goes_before_encoding_and_one_run_at_a_time(database: Database) -> None:
    project_id = make_project(database)
    encode, first, second = (_enqueue(database, project_id, kind) for kind in
                             ("encode", "train", "train"))  # fmt: skip
    order = []
    while (run_id := _claim(database)) is not None:
        assert _claim(database) is None
        order.append(run_id)
        assert _status(database, run_id) == "starting"
        _finish(database, run_id)
    assert order == [first, second, encode]


def test_many_dispatchers_claim_a_run_once(database: Database) -> None:
    project_id = make_project(database)
    for _ in range(3):
        _enqueue(database, project_id)
    claimed: list[int | None] = []
    threads = [threading.Thread(target=lambda: claimed.append(_claim(database))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([each for each in claimed if each is not None]) == 1


def test_a_trigger_key_queues_one_unfinished_run(database: Database) -> None:
    project_id, other_id = make_project(database), make_project(database, name="other")
    first = _enqueue(database, project_id, trigger_key="k")
    assert _enqueue(database, project_id, trigger_key="k") == first
    assert _enqueue(database, other_id, trigger_key="k") != first
    assert _enqueue(database, project_id, "encode", trigger_key="k") != first
    assert _enqueue(database, project_id) != _enqueue(database, project_id)
    _finish(database, first)
    assert _enqueue(database, project_id, trigger_key="k") != first


def test_a_run_being_cancelled_does_not_stop_a_new_one(database: Database) -> None:
    project_id = make_project(database)
    first = _enqueue(database, project_id, trigger_key="k")
    _claim(database)
    with database.write() as s:
        assert runs.request_cancel(s, first) == "cancelling"
    assert _enqueue(database, project_id, trigger_key="k") != first
    assert _claim(database) is None


def test_many_clicks_at_once_queue_one_run(database: Database) -> None:
    project_id = make_project(database)
    ids: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: ids.append(_enqueue(database, project_id, trigger_key="click"))
        )
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 10
    assert len(set(ids)) == 1


def test_a_job_reports_and_reads_its_status_back(database: Database) -> None:
    run_id = _enqueue(database, make_project(database))
    _claim(database)
    with database.write() as s:
        assert runs.mark_running(s, run_id, 4711, "123456", "cpu")
        assert runs.heartbeat(s, run_id, stage="encoding", done=3, total=9) == "running"
        runs.heartbeat(s, run_id, done=4)
        runs.set_log_path(s, run_id, "logs/1.log")
    with database.read() as s:
        (run,) = runs.active_runs(s)
    seen = (run.pid, run.pid_started, run.device, run.stage, run.progress_done, run.progress_total)
    assert seen == (4711, "123456", "cpu", "encoding", 4, 9)
    assert (run.log_path, run.config) == ("logs/1.log", {"seed": 1})
    with database.write() as s:
        runs.request_cancel(s, run_id)
        assert runs.heartbeat(s, run_id, stage="fitting") == "cancelling"
    with database.read() as s:
        again = runs.get_run(s, run_id)
    assert again is not None
    assert (again.stage, again.progress_done, again.progress_total) == ("fitting", None, None)


def test_a_cancelled_start_is_told_to_the_job(database: Database) -> None:
    run_id = _enqueue(database, make_project(database))
    _claim(database)
    with database.write() as s:
        runs.request_cancel(s, run_id)
        assert not runs.mark_running(s, run_id, 1, "1", None)
    assert _status(database, run_id) == "cancelling"


def test_a_queued_run_is_cancelled_at_once(database: Database) -> None:
    run_id = _enqueue(database, make_project(database))
    with database.write() as s:
        assert runs.request_cancel(s, run_id) == "cancelled"
        assert runs.request_cancel(s, 999) is None
    assert _claim(database) is None


def test_a_run_that_has_ended_never_changes(database: Database) -> None:
    run_id = _enqueue(database, make_project(database))
    _claim(database)
    assert _finish(database, run_id, "failed")
    assert not _finish(database, run_id)
    with database.write() as s:
        assert runs.request_cancel(s, run_id) == "failed"
        assert runs.heartbeat(s, run_id, stage="late") == "failed"
        assert not runs.mark_running(s, run_id, 1, "1", "cpu")
        run = runs.get_run(s, run_id)
    assert run is not None
    assert (run.stage, run.pid) == (None, None)
    with database.write() as s, pytest.raises(ValueError, match="cannot end as 'running'"):
        runs.finish(s, run_id, "running")


def test_metrics_come_back_in_order_and_the_newest_value_counts(database: Database) -> None:
    run_id = _enqueue(database, make_project(database))
    with database.write() as s:
        runs.add_metrics(s, run_id, 1, {"loss": 0.6, "gap": 0.1})
        runs.add_metrics(s, run_id, 0, {"loss": 0.7})
        runs.add_metrics(s, run_id, 1, {"loss": 0.5})
        runs.add_metrics(s, run_id, 2, {})
    with database.read() as s:
        assert runs.metrics(s, run_id) == [(0, "loss", 0.7), (1, "gap", 0.1), (1, "loss", 0.5)]


def test_recent_and_unfinished_runs_are_the_projects_own(database: Database) -> None:
    project_id, other_id = make_project(database), make_project(database, name="other")
    ids = [_enqueue(database, project_id) for _ in range(3)]
    _enqueue(database, other_id)
    _finish(database, ids[0])
    with database.read() as s:
        assert [run.id for run in runs.recent_runs(s, project_id, 2)] == ids[:0:-1]
        assert [run.id for run in runs.unfinished_runs(s, project_id)] == ids[1:]


def test_the_newest_checkpoint_is_the_projects_own(database: Database) -> None:
    project_id, other_id = make_project(database), make_project(database, name="other")
    run_id = _enqueue(database, project_id)
    made = []
    for owner in (project_id, project_id, other_id):
        with database.write() as s:
            metrics = {"accuracy": 0.7}
            made.append(checkpoints.add_checkpoint(s, run_id, owner, "0001", "f" * 64, metrics).id)
    with database.read() as s:
        newest = checkpoints.newest_promoted(s, project_id)
        assert newest is not None
        assert (newest.id, newest.metrics) == (made[1], {"accuracy": 0.7})
        assert [c.id for c in checkpoints.list_checkpoints(s, project_id)] == made[1::-1]
        assert checkpoints.get_checkpoint(s, made[2]) is not None
        assert checkpoints.newest_promoted(s, 999) is None
