"""What a killed run leaves on disk goes away; nothing that somebody may still want does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from db import checkpoints
from studio.services import (
    checkpoint_files,
    doctor,
    run_queue,
    train_job,
    training,
)
from tests.workspace import Workspace


class Killed(BaseException):
    """The process is gone: no clean-up of its own runs."""


@pytest.fixture
def here(judged_workspace: Workspace) -> Workspace:
    judged_workspace.run_here(ask(judged_workspace))
    return judged_workspace


def ask(here: Workspace) -> int:
    return training.request_run(here.database, here.project_id, "click")


def killed_before_its_row(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Path]:
    """A run that dies between the directory's rename and its row; its number and directory."""
    before = set(here.settings.checkpoints_dir.iterdir())

    def die(*_arguments: object) -> None:
        raise Killed

    run_id = ask(here)
    with monkeypatch.context() as patched:
        patched.setattr(train_job, "_record", die)
        patched.setattr(shutil, "rmtree", lambda *_a, **_k: None)
        with pytest.raises(Killed):
            here.run_here(run_id)
    (left,) = set(here.settings.checkpoints_dir.iterdir()) - before
    return run_id, left


def named(here: Workspace) -> list[str]:
    with here.database.read() as s:
        return checkpoints.directories(s)


def on_disk(here: Workspace) -> list[str]:
    return sorted(path.name for path in here.settings.checkpoints_dir.iterdir())


def test_the_next_training_deletes_what_a_killed_one_left(
    here: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, left = killed_before_its_row(here, monkeypatch)
    assert left.name not in named(here)
    run_queue.finish(here.database, run_id, "failed", "killed")  # as the dispatcher finds it
    here.run_here(ask(here))
    assert on_disk(here) == sorted(named(here))
    assert len(named(here)) == 2


def test_what_a_running_job_may_still_register_is_left_alone(
    here: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, left = killed_before_its_row(here, monkeypatch)
    assert checkpoint_files.clear_leftovers(here.database, here.settings) == []
    assert left.is_dir()
    run_queue.finish(here.database, run_id, "failed", "killed")
    assert checkpoint_files.clear_leftovers(here.database, here.settings) == [left]
    assert on_disk(here) == named(here)


def test_directories_of_another_database_or_of_nobody_stay(here: Workspace) -> None:
    folder = here.settings.checkpoints_dir
    (made,) = named(here)
    number = made.split("-")[1]
    shutil.copytree(folder / made, folder / f"run-{number}-aaaaaa")  # of a run that succeeded
    other = folder / f"run-{number}-bbbbbb"
    shutil.copytree(folder / made, other)
    manifest = (other / "manifest.json").read_text()
    (other / "manifest.json").write_text(manifest.replace('"digest": "', '"digest": "0'))
    (folder / "kept by hand").mkdir()
    (folder / "run-999-cccccc").mkdir()
    found = checkpoint_files.look(here.database, here.settings)
    assert [path.name for path in found.leftovers] == [f"run-{number}-aaaaaa"]
    assert [path.name for path in found.unknown] == sorted(
        ["kept by hand", other.name, "run-999-cccccc"]
    )
    checkpoint_files.clear_leftovers(here.database, here.settings)
    assert on_disk(here) == sorted([made, *(path.name for path in found.unknown)])


def test_doctor_tells_of_leftovers_and_repair_deletes_them(
    here: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, left = killed_before_its_row(here, monkeypatch)
    run_queue.finish(here.database, run_id, "failed", "killed")
    (here.settings.checkpoints_dir / "kept by hand").mkdir()

    def told(repair: bool = False) -> str:
        found = {check["name"]: check for check in doctor.run(here.settings, repair=repair)}
        assert found["checkpoints"]["ok"]
        return str(found["checkpoints"]["detail"])

    detail = told()
    assert detail.startswith("1, all with their files; 1 left by killed runs, first ")
    assert left.name in detail
    assert "1 that this database does not know, first kept by hand: left alone" in detail
    assert left.is_dir()
    assert "1 left by killed runs deleted" in told(repair=True)
    assert not left.exists()
    assert (here.settings.checkpoints_dir / "kept by hand").is_dir()
