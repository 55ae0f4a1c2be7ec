"""The engine: durable settings, transactions that hold, readers that cannot write."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from db.engine import Database, open_database
from db.models import Project, utc_now


def _project(name: str) -> Project:
    return Project(name=name, guidelines="", wanted_votes=1, backbone="embedded")


def _names(database: Database) -> list[str]:
    with database.read() as s:
        return list(s.scalars(select(Project.name).order_by(Project.name)))


def test_sqlite_is_durable_and_keeps_its_references(sqlite_database: Database) -> None:
    with sqlite_database.write() as s:
        found = {
            name: s.scalar(sa.text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000,
    }  # fmt: skip


def test_a_write_is_kept_whole_or_not_at_all(database: Database) -> None:
    with database.write() as s:
        s.add(_project("kept"))

    def fail_halfway() -> None:
        with database.write() as s:
            s.add(_project("lost"))
            s.flush()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_halfway()
    assert _names(database) == ["kept"]


def test_a_reader_cannot_write(database: Database) -> None:
    def write_anyway() -> None:
        with database.read() as s:
            s.add(_project("sneaked in"))
            s.flush()

    with pytest.raises(sa.exc.DBAPIError, match=r"(?i)read.?only"):
        write_anyway()
    with database.write() as s:
        s.add(_project("after"))
    assert _names(database) == ["after"]


def test_a_reader_sees_one_moment(database: Database) -> None:
    with database.read() as reader:
        assert list(reader.scalars(select(Project.name))) == []
        with database.write() as s:
            s.add(_project("meanwhile"))
        assert list(reader.scalars(select(Project.name))) == []
    assert _names(database) == ["meanwhile"]


def test_a_write_inside_a_write_is_an_error_not_a_deadlock(database: Database) -> None:
    with database.write(), pytest.raises(RuntimeError, match="inside"), database.write():
        pass
    with database.write() as s:
        s.add(_project("after"))
    assert _names(database) == ["after"]


def test_writers_that_read_first_never_meet_a_locked_database(database_url: str) -> None:
    """Two engines on one file, as a server and a job are: reading first must not fail writing."""
    with (opened := open_database(database_url)).write() as s:
        s.add(Project(name="n", guidelines="0", wanted_votes=1, backbone="embedded"))
    engines = [opened, open_database(database_url)]
    errors: list[Exception] = []

    def add(database: Database) -> None:
        for _ in range(25):
            try:
                with database.write() as s:
                    project = s.scalars(select(Project).with_for_update()).one()
                    project.guidelines = str(int(project.guidelines) + 1)
            except sa.exc.DBAPIError as error:
                errors.append(error)

    threads = [threading.Thread(target=add, args=(engines[n % 2],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with opened.read() as s:
        assert (errors, s.scalars(select(Project.guidelines)).one()) == ([], "100")
    for each in engines:
        each.dispose()


def test_times_come_back_aware_and_in_utc(database: Database) -> None:
    there = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=8)))
    with database.write() as s:
        s.add(_project("p"))
        s.flush()
        s.scalars(select(Project)).one().archived_at = there
    with database.read() as s:
        found = s.scalars(select(Project.archived_at)).one()
    assert found == there
    assert found is not None
    assert found.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    naive = utc_now().replace(tzinfo=None)
    project = _project("p")
    project.archived_at = naive

    def store() -> None:
        with database.write() as s:
            s.add(project)

    with pytest.raises(sa.exc.StatementError, match="without a zone"):
        store()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://u@h/n"])
def test_an_unusable_url_is_refused_with_a_remedy(url: str) -> None:
    with pytest.raises(ValueError, match="use sqlite:///PATH"):
        open_database(url)


def test_now_is_aware() -> None:
    assert utc_now().tzinfo is UTC
