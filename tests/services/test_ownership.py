"""A database belongs to one data directory, on both databases, and can be handed over."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from pathlib import Path

import pytest

from db.engine import Database
from studio.jobs.dispatcher import Dispatcher
from studio.jobs.launcher import LocalSubprocess
from studio.services import backup, ownership, run_queue, train_job, training, workspace
from studio.services.errors import StudioError
from studio.services.live_run import LiveRun
from studio.settings import Settings
from tests.rows import make_project, new_pair
from tests.workspace import Workspace


def directory(folder: Path, database: Database) -> Settings:
    """A data directory whose database lies elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings.read({}, data_dir=str(folder))
    return dataclasses.replace(settings, db_url=database.url)


def open_and_close(settings: Settings, **options: bool) -> None:
    workspace.open_database(settings, create=True, **options).dispose()


def test_a_second_data_directory_is_refused_until_it_is_told_to_take_over(
    database: Database, tmp_path: Path
) -> None:
    one, other = (directory(tmp_path / name, database) for name in ("one", "other"))
    open_and_close(one)
    open_and_close(one)  # as often as one likes
    with pytest.raises(StudioError, match=r"belongs to the data directory .*one on .*--adopt-d"):
        open_and_close(other)
    open_and_close(other, adopt=True)
    open_and_close(other)
    with pytest.raises(StudioError, match=r"belongs to the data directory .*other on"):
        open_and_close(one)


def test_a_directory_that_is_moved_keeps_its_database(database: Database, tmp_path: Path) -> None:
    open_and_close(directory(tmp_path / "here", database))
    (tmp_path / "here").rename(tmp_path / "there")
    open_and_close(directory(tmp_path / "there", database))


def test_a_database_file_in_the_directory_belongs_to_it(tmp_path: Path) -> None:
    first, copy = (Settings.read({}, data_dir=str(tmp_path / name)) for name in ("first", "copy"))
    open_and_close(first)
    copy.data_dir.mkdir()
    shutil.copy(first.data_dir / "studio.db", copy.data_dir / "studio.db")  # nothing else
    open_and_close(copy)
    open_and_close(first)


def test_directories_that_open_a_new_database_at_once_do_not_both_get_it(
    database: Database, tmp_path: Path
) -> None:
    settings = [directory(tmp_path / f"d{number}", database) for number in range(4)]
    outcomes: list[str] = []

    def run(each: Settings) -> None:
        try:
            open_and_close(each)
            outcomes.append("has it")
        except StudioError:
            outcomes.append("refused")

    threads = [threading.Thread(target=run, args=(each,)) for each in settings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["has it", *["refused"] * 3]


def test_threads_that_ask_for_the_id_at_once_agree(tmp_path: Path) -> None:
    settings = Settings.read({}, data_dir=str(tmp_path))
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(ownership.id_of(settings))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_server_starts_nothing_in_a_database_that_was_taken_over(
    database: Database, tmp_path: Path
) -> None:
    one, other = (directory(tmp_path / name, database) for name in ("one", "other"))
    open_and_close(one)
    project_id = make_project(database, [new_pair(n, "a") for n in range(3)])
    run_id = training.request_run(database, project_id, "click")
    open_and_close(other, adopt=True)  # while the first server goes on
    Dispatcher(database, LocalSubprocess(one)).step()
    assert run_queue.status_of(database, run_id) == "queued"
    assert run_queue.claim(database, ownership.id_of(other)) == run_id


def test_a_run_that_works_when_the_database_is_taken_over_leaves_no_checkpoint(
    judged_workspace: Workspace, tmp_path: Path
) -> None:
    here = judged_workspace
    run_id = training.request_run(here.database, here.project_id, "click")
    here.begin(run_id)
    open_and_close(directory(tmp_path / "other", here.database), adopt=True)
    with (
        pytest.raises(StudioError, match="took the database over"),
        LiveRun(here.database, run_id) as live,
    ):
        train_job.execute(here.database, here.settings, run_id, live)
    assert list(here.settings.checkpoints_dir.iterdir()) == []
    assert training.status(here.database, here.project_id)["checkpoint"] is None


def test_what_is_restored_belongs_to_the_directory_it_is_restored_into(
    database: Database, tmp_path: Path
) -> None:
    one = directory(tmp_path / "one", database)
    open_and_close(one)
    make_project(database, [new_pair(1, "a")])
    backup.back_up(database, one, tmp_path / "backup.tar.gz")
    other = dataclasses.replace(
        directory(tmp_path / "other", database), db_url=f"sqlite:///{tmp_path / 'elsewhere.db'}"
    )
    backup.restore(other, tmp_path / "backup.tar.gz")
    open_and_close(other)
    stranger = dataclasses.replace(directory(tmp_path / "third", database), db_url=other.db_url)
    with pytest.raises(StudioError, match=r"belongs to the data directory .*other on"):
        open_and_close(stranger)
