"""Rules by which a project trains by itself: what they ask for, and that they ask once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db import checkpoints, runs, snapshots
from db.engine import Database
from db.models import AuditEvent, TrainingRun, Vote, utc_now
from studio.services import retrain, run_queue
from studio.services.cron import Times
from studio.services.errors import UsageError
from tests.rows import make_project, open_pairs

# The snapshots of these tests are of the present, so their votes have to be as well.
NOW = utc_now().replace(second=30, microsecond=0)
SUNDAY = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def project_id(database: Database) -> int:
    return make_project(database, open_pairs(30))


@pytest.fixture
def votes(database: Database, project_id: int) -> Iterator[Any]:
    """Judge `count` further pairs at a time; pairs are taken in order."""
    taken = iter(range(1, 31))

    def judge(count: int, at: datetime = NOW - timedelta(minutes=5)) -> None:
        with database.write() as s:
            for _ in range(count):
                s.add(
                    Vote(
                        id=str(uuid.uuid4()),
                        project_id=project_id,
                        pair_id=next(taken),
                        annotator="mara",
                        choice="a",
                        created_at=at,
                    )
                )

    return judge


def set_rules(database: Database, project_id: int, **rules: Any) -> dict[str, Any]:
    return retrain.set_rules(database, project_id, rules, actor="lead")


def end(database: Database, run_id: int, status: str = "succeeded") -> None:
    """End a run as its job would: with a checkpoint on a snapshot, if it succeeded."""
    with database.write() as s:
        run = runs.get_run(s, run_id)
        assert run is not None
        if status == "succeeded":
            snapshot = snapshots.take(s, run.project_id)
            runs.set_snapshot(s, run_id, snapshot.id)
            checkpoints.add_checkpoint(s, run_id, run.project_id, f"run-{run_id}", "0" * 64, {})
        runs.finish(s, run_id, status)


def run_of(database: Database, run_id: int) -> TrainingRun:
    with database.read() as s:
        run = runs.get_run(s, run_id)
    assert run is not None
    return run


def test_without_rules_nothing_is_queued(database: Database, votes: Any) -> None:
    votes(20)
    assert retrain.look(database, NOW) == []


def test_enough_new_pairs_ask_for_one_run_that_says_why(
    database: Database, project_id: int, votes: Any
) -> None:
    set_rules(database, project_id, new_pairs=5)
    votes(4)
    assert retrain.look(database, NOW) == []
    votes(2)
    [run_id] = retrain.look(database, NOW)
    run = run_of(database, run_id)
    assert (run.kind, run.trigger, run.actor) == ("train", "new_pairs", None)
    assert run.reason == "6 judged pairs are new, the rule says 5"
    assert retrain.look(database, NOW) == []  # while it is unfinished
    end(database, run_id)
    assert retrain.look(database, NOW) == []  # its checkpoint has seen them
    votes(5)
    assert len(retrain.look(database, NOW)) == 1


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_rule_does_not_repeat_a_run_that_ended_badly_until_there_are_new_votes(
    database: Database, project_id: int, votes: Any, status: str
) -> None:
    set_rules(database, project_id, new_pairs=3)
    votes(3)
    [run_id] = retrain.look(database, NOW)
    end(database, run_id, status)
    assert retrain.look(database, NOW) == []
    votes(3, at=utc_now() + timedelta(seconds=1))
    assert len(retrain.look(database, utc_now())) == 1


def test_after_a_vote_it_waits_for_a_pause_but_not_for_ever(
    database: Database, project_id: int, votes: Any
) -> None:
    set_rules(database, project_id, after_vote=True)
    votes(2, at=NOW)
    assert retrain.look(database, NOW + timedelta(seconds=1)) == []
    votes(1, at=NOW + timedelta(seconds=14))
    assert retrain.look(database, NOW + timedelta(seconds=14.5)) == []
    [run_id] = retrain.look(database, NOW + timedelta(seconds=15.5))
    assert run_of(database, run_id).trigger == "after_vote"
    end(database, run_id)
    votes(1, at=NOW + timedelta(seconds=60))
    assert len(retrain.look(database, NOW + timedelta(seconds=63))) == 1


def test_after_a_vote_it_does_not_interrupt_an_encoding(
    database: Database, project_id: int, votes: Any
) -> None:
    set_rules(database, project_id, after_vote=True)
    votes(3)
    with database.write() as s:
        encode = runs.enqueue(s, project_id, "encode", {}, "import").id
    assert retrain.look(database, NOW) == []
    run_queue.finish(database, encode, "succeeded")
    assert len(retrain.look(database, NOW)) == 1


def test_a_schedule_asks_once_a_time_and_only_for_something_new(
    database: Database, project_id: int, votes: Any
) -> None:
    set_rules(database, project_id, cron=f"{NOW.minute} * * * *", timezone="UTC")
    _set_since(database, project_id, NOW - timedelta(hours=3))
    assert retrain.look(database, NOW) == []  # nothing is judged
    votes(3)
    [run_id] = retrain.look(database, NOW)
    run = run_of(database, run_id)
    assert run.trigger_key == f"cron:{NOW.replace(second=0).isoformat()}"
    assert run.reason == f"the schedule says {NOW:%H:%M} (UTC)"
    end(database, run_id, "failed")
    assert retrain.look(database, NOW + timedelta(minutes=5)) == []  # once a time, whatever came
    votes(1, at=NOW + timedelta(minutes=10))
    assert len(retrain.look(database, NOW + timedelta(hours=1))) == 1


def _set_since(database: Database, project_id: int, since: datetime) -> None:
    from db import projects

    with database.write() as s:
        project = projects.get_project(s, project_id)
        assert project is not None
        project.retrain_rules = {**project.retrain_rules, "since": since.isoformat()}


def test_a_schedule_does_not_reach_back_before_it_was_set(
    database: Database, project_id: int, votes: Any
) -> None:
    votes(3, at=utc_now() - timedelta(hours=2))
    set_rules(database, project_id, cron="* * * * *")
    assert retrain.look(database, utc_now()) == []
    assert len(retrain.look(database, utc_now() + timedelta(minutes=2))) == 1


def test_many_servers_queue_a_run_once(database: Database, project_id: int, votes: Any) -> None:
    set_rules(database, project_id, new_pairs=3, after_vote=True, cron="* * * * *")
    votes(6)
    queued: list[int] = []
    threads = [
        threading.Thread(target=lambda: queued.extend(retrain.look(database, NOW)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(queued) == 1


def test_setting_rules_is_told_and_recorded(database: Database, project_id: int) -> None:
    told = retrain.set_rules(
        database,
        project_id,
        {"new_pairs": 50, "cron": "30 3 * * 1-5", "timezone": "Europe/Berlin"},
        actor="mara",
        promotion_rule="manual",
    )
    assert (told["new_pairs"], told["cron"], told["after_vote"]) == (50, "30 3 * * 1-5", False)
    assert told["next_time"].endswith(("+01:00", "+02:00"))
    assert told["promotion_rule"] == "manual"
    with database.read() as s:
        [event] = s.query(AuditEvent).filter_by(action="rules").all()
    assert event.actor == "mara"
    assert event.details["promotion_rule"] == {"from": "unless_worse", "to": "manual"}
    assert set_rules(database, project_id)["new_pairs"] is None


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"new_pairs": -1}, "-1"),
        ({"new_pairs": "many"}, "'many'"),
        ({"cron": "0 3 * *"}, "has 4 fields"),
        ({"cron": "0 25 * * *"}, "'0 25 \\* \\* \\*' is none"),
        ({"cron": "0 3 1 * 1"}, "read differently"),
        ({"cron": "0 0 31 2 *"}, "never comes"),
        ({"cron": "0 3 * * 8"}, "no weekday"),
        ({"cron": "0 3 * * *", "timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"sometimes": True}, "'sometimes'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_a_sentence(
    database: Database, project_id: int, rules: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        set_rules(database, project_id, **rules)
    assert retrain.told(database, project_id)["cron"] == ""


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 3 * * 0", "2026-11-29"),  # Sunday, as in every crontab
        ("0 3 * * 7", "2026-11-29"),
        ("0 3 * * 1-5", "2026-11-23"),
        ("0 3 * * 5-7", "2026-11-27"),
        ("0 3 * * sat", "2026-11-28"),
        ("0 3 1 * *", "2026-12-01"),
    ],
)
def test_days_count_as_in_a_crontab(expression: str, expected: str) -> None:
    found = Times.parse(expression, "UTC").next_after(SUNDAY)
    assert found is not None
    assert found.date().isoformat() == expected


def test_times_are_meant_in_their_zone() -> None:
    times = Times.parse("30 2 * * *", "Europe/Berlin")
    found = times.next_after(datetime(2026, 7, 1, tzinfo=UTC))
    assert found is not None
    assert found.astimezone(UTC).hour == 0
    late = found + timedelta(minutes=50)
    assert times.last_before(late, timedelta(hours=1)) == found
    assert times.last_before(found + timedelta(hours=2), timedelta(hours=1)) is None
