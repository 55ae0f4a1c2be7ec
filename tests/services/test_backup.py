"""Backup and restore: everything comes back, into either database, and a bad file harms nothing."""

from __future__ import annotations

import dataclasses
import shutil
import tarfile
import threading
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

from db import audit, dump
from db.engine import Database, make_engine, open_database
from db.models import Base, Response, Vote, utc_now
from studio import server_lock
from studio.services import backup, labelling, projects
from studio.services.errors import Conflict, NotFound, StudioError
from studio.settings import Settings
from tests.postgres import PostgresServer
from tests.rows import make_project, new_pair, open_pairs
from tests.workspace import Workspace


def _settings(folder: Path, url: str | None = None) -> Settings:
    settings = Settings.read({}, data_dir=folder)
    return dataclasses.replace(settings, db_url=url) if url else settings


def _all_rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    database = open_database(url)
    with database.read() as s:
        rows = {
            table.name: sorted(
                (tuple(row) for row in s.execute(sa.select(table))), key=lambda row: str(row[0])
            )
            for table in Base.metadata.sorted_tables
            if table.name != "installation"  # of the directory that it was restored into
        }
    database.dispose()
    return rows


@pytest.fixture
def filled(database: Database) -> Database:
    """Votes that revise others, an answer that refers to its parent, JSON, odd characters."""
    project_id = make_project(database, [*open_pairs(4), new_pair(9, "a", "tie")], name="žluť 🎉")
    for choice in ("left", "tie"):
        (showing,) = labelling.next_pairs(database, project_id, "local", count=1)["pairs"]
        vote = {"vote_id": str(uuid.uuid4()), "showing_id": showing["showing_id"], "choice": choice}
        labelling.cast_vote(database, project_id, "local", vote)
    with database.write() as s:
        votes = list(s.scalars(sa.select(Vote).where(Vote.annotator == "local")))
        votes[0].retracted_at = utc_now()
        # The revision's id sorts before the id of what it revises.
        s.add(
            Vote(
                id="00000000-0000-4000-8000-000000000000", project_id=project_id,
                pair_id=votes[0].pair_id, annotator="local", choice="b", revises=votes[0].id,
                comment="line\nbreak \"quoted\" \\ ✓",
            )
        )  # fmt: skip
        parent = s.scalars(sa.select(Response)).first()
        assert parent is not None
        s.add(
            Response(
                prompt_id=parent.prompt_id,
                content_hash="e" * 64,
                text="better",
                parent_id=parent.id,
            )
        )
        audit.record(s, "local", "test", "project", project_id, note=None, numbers=[1, 2.5])
    return database


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_everything_comes_back_in_either_database(
    filled: Database, target: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = _settings(tmp_path / "source", filled.url)
    source.create_directories()
    report = backup.back_up(filled, source, tmp_path / "b.tar.gz")
    assert report.rows["vote"] == 5
    url = request.getfixturevalue("other_postgres_url") if target == "postgresql" else None
    restored = _settings(tmp_path / "restored", url)
    assert backup.restore(restored, tmp_path / "b.tar.gz").rows == report.rows
    assert _all_rows(restored.db_url) == _all_rows(filled.url)
    # New rows get new numbers.
    again = open_database(restored.db_url)
    assert make_project(again, open_pairs(1), name="later") > 1
    again.dispose()


@pytest.fixture
def other_postgres_url(request: pytest.FixtureRequest) -> str:
    """An empty PostgreSQL database besides the one that `database` may be."""
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create()


def test_a_backup_under_voting_is_of_one_moment(database: Database, tmp_path: Path) -> None:
    project_id = make_project(database, open_pairs(40))
    settings = _settings(tmp_path, database.url)
    settings.create_directories()
    stop = threading.Event()

    def vote() -> None:
        while not stop.is_set():
            shown = labelling.next_pairs(database, project_id, "local", count=1)["pairs"]
            if not shown:
                return
            labelling.cast_vote(
                database,
                project_id,
                "local",
                {
                    "vote_id": str(uuid.uuid4()),
                    "showing_id": shown[0]["showing_id"],
                    "choice": "left",
                },
            )

    voter = threading.Thread(target=vote)
    voter.start()
    try:
        report = backup.back_up(database, settings, tmp_path / "b.tar.gz")
    finally:
        stop.set()
        voter.join()
    restored = _settings(tmp_path / "restored")
    backup.restore(restored, tmp_path / "b.tar.gz")
    rows = _all_rows(restored.db_url)
    filled = [row for row in rows["slot"] if row[-1] is not None]
    assert len(filled) == len(rows["vote"]) == report.rows["vote"]


def test_checkpoints_come_back_whole(trained: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "b.tar.gz"
    assert backup.back_up(trained.database, trained.settings, out).checkpoints >= 1
    settings = _settings(tmp_path / "restored")
    report = backup.restore(settings, out)
    assert report.missing_checkpoints == ()
    for directory in trained.settings.checkpoints_dir.iterdir():
        for file in directory.iterdir():
            copy = settings.checkpoints_dir / directory.name / file.name
            assert copy.read_bytes() == file.read_bytes()


def test_a_checkpoint_that_is_gone_is_told(trained: Workspace, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(trained.settings, data_dir=tmp_path / "moved")
    report = backup.back_up(trained.database, elsewhere, tmp_path / "b.tar.gz")
    assert report.checkpoints == 0
    assert "their directories are not there: run-" in report.as_text()


def test_nothing_is_overwritten(filled: Database, tmp_path: Path) -> None:
    settings = _settings(tmp_path / "data", filled.url)
    settings.create_directories()
    out = tmp_path / "b.tar.gz"
    out.write_bytes(b"mine")
    with pytest.raises(Conflict, match="exists already"):
        backup.back_up(filled, settings, out)
    assert out.read_bytes() == b"mine"
    good = tmp_path / "good.tar.gz"
    backup.back_up(filled, settings, good)
    restored = _settings(tmp_path / "restored")
    backup.restore(restored, good)
    before = _all_rows(restored.db_url)
    with pytest.raises(Conflict, match="there is studio data in"):
        backup.restore(restored, good)
    assert _all_rows(restored.db_url) == before


def test_a_running_server_is_not_restored_over(filled: Database, tmp_path: Path) -> None:
    settings = _settings(tmp_path / "data", filled.url)
    settings.create_directories()
    out = tmp_path / "b.tar.gz"
    backup.back_up(filled, settings, out)
    target = _settings(tmp_path / "served")
    target.create_directories()
    with (
        server_lock.acquire(target.lock_path, "http://127.0.0.1:1"),
        pytest.raises(Conflict, match="a server runs"),
    ):
        backup.restore(target, out)


@pytest.mark.parametrize("damage", ["cut", "other", "rows", "newer"])
def test_a_damaged_backup_is_refused_and_leaves_nothing(
    filled: Database, damage: str, tmp_path: Path
) -> None:
    settings = _settings(tmp_path / "data", filled.url)
    settings.create_directories()
    good = tmp_path / "good.tar.gz"
    backup.back_up(filled, settings, good)
    bad = tmp_path / "bad.tar.gz"
    if damage == "cut":
        bad.write_bytes(good.read_bytes()[:-2000])
    elif damage == "other":
        bad.write_text("not an archive")
    else:
        _rewrite(good, bad, damage)
    target = _settings(tmp_path / "target")
    with pytest.raises(StudioError, match=r"cannot be read|should hold|newer than"):
        backup.restore(target, bad)
    assert not (target.data_dir / "studio.db").exists()
    assert list(target.checkpoints_dir.iterdir()) == []
    backup.restore(target, good)  # and the directory is as usable as before


def _rewrite(good: Path, bad: Path, damage: str) -> None:
    folder = bad.parent / "unpacked"
    with tarfile.open(good) as tar:
        tar.extractall(folder, filter="data")
    if damage == "rows":
        lines = (folder / "tables/vote.jsonl").read_text().splitlines(keepends=True)
        (folder / "tables/vote.jsonl").write_text("".join(lines[:-1]))
    else:
        text = (folder / dump.DESCRIPTION).read_text()
        (folder / dump.DESCRIPTION).write_text(text.replace('"revision": "', '"revision": "9'))
    with tarfile.open(bad, "w:gz") as tar:
        for each in sorted(folder.iterdir()):
            tar.add(each, each.name)
    shutil.rmtree(folder)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        backup.restore(_settings(tmp_path), tmp_path / "none.tar.gz")


def test_an_upgrade_of_postgresql_is_backed_up_first(postgres_url: str, tmp_path: Path) -> None:
    from db import migrate as migrate_module

    database = open_database(postgres_url)
    make_project(database, open_pairs(2), name="kept")
    database.dispose()
    engine = make_engine(postgres_url)
    with engine.begin() as connection:
        copy = migrate_module._keep_a_copy(connection, tmp_path / "backups", "0001")
    engine.dispose()
    assert copy is not None
    restored = _settings(tmp_path / "restored")
    backup.restore(restored, copy)
    again = open_database(restored.db_url)
    assert [p.name for p in projects.list_all(again)] == ["kept"]
    again.dispose()
