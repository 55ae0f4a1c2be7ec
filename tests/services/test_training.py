"""Training as the page and the console see it: what is asked, what is stored, what is shown."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import pytest

from db import checkpoints, runs, snapshots
from db import projects as project_queries
from db.models import utc_now
from studio.services import projects, run_queue, train_job, training
from studio.services.errors import NotFound, StudioError, UsageError
from studio.services.live_run import LiveRun, RunStopped
from tests.workspace import Workspace, kindness


def test_a_run_leaves_a_checkpoint_with_its_figures(trained: Workspace) -> None:
    status = training.status(trained.database, trained.project_id)
    newest = status["checkpoint"]
    assert status["new_judged"] == 0
    assert status["active"] is None
    assert status["why_not_trainable"] is None
    assert newest["accuracy"] > 0.9
    assert newest["accuracy_ci"][0] <= newest["accuracy"] <= newest["accuracy_ci"][1]
    assert newest["evaluation"] == "cross-validation"
    assert 0 <= newest["length_only_accuracy"] <= 1
    assert status["recent"][0]["checkpoint_id"] == newest["id"]
    json.dumps(status)


def test_a_checkpoint_says_on_which_votes_it_stands(trained: Workspace) -> None:
    with trained.database.read() as s:
        checkpoint = checkpoints.newest_promoted(s, trained.project_id)
        assert checkpoint is not None
        snapshot = snapshots.newest_trained(s, trained.project_id)
        assert snapshot is not None
    directory = trained.settings.checkpoints_dir / checkpoint.directory
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["snapshot"]["digest"] == snapshot.digest
    assert manifest["project"] == "kindness"
    assert manifest["run"] == checkpoint.run_id
    assert not list(trained.settings.checkpoints_dir.glob(".*"))


def test_curves_are_the_seeds_figures_step_by_step(trained: Workspace) -> None:
    newest = training.status(trained.database, trained.project_id)["checkpoint"]
    rows = training.curves(trained.database, newest["run_id"])
    names = {row["name"] for row in rows}
    assert {"loss", "reward_chosen", "reward_rejected", "reward_gap"} <= names
    losses = [row["value"] for row in rows if row["name"] == "loss"]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses[-1] < losses[0]


def test_new_judgements_are_counted_since_the_newest_checkpoint(
    judged_workspace: Workspace,
) -> None:
    here = judged_workspace
    assert training.status(here.database, here.project_id)["new_judged"] == 60
    here.run_here(training.request_run(here.database, here.project_id, "test"))
    here.add(kindness(3, first=100))
    status = training.status(here.database, here.project_id)
    assert status["new_judged"] == 3
    assert status["checkpoint"]["num_pairs"] == 60


@pytest.mark.parametrize("count", [0, 1])
def test_too_little_to_train_on_is_said_before_anything_starts(
    empty_workspace: Workspace, count: int
) -> None:
    here = empty_workspace
    project_id = here.add(kindness(1), purpose="votes" if count else "unlabelled")
    wanted = "no pair is judged" if count == 0 else "only one pair is judged"
    with pytest.raises(StudioError, match=wanted):
        training.request_run(here.database, project_id, "click")
    status = training.status(here.database, project_id)
    assert wanted in status["why_not_trainable"]
    assert status["recent"] == []


def test_clicking_twice_asks_for_one_run_but_the_console_gets_its_own(
    judged_workspace: Workspace,
) -> None:
    database, project_id = judged_workspace.database, judged_workspace.project_id
    first = training.request_run(database, project_id, "click")
    assert training.request_run(database, project_id, "click") == first
    assert training.request_run(database, project_id, "console", {"layers": [1]}) != first


def test_an_unknown_setting_or_project_is_named(judged_workspace: Workspace) -> None:
    database = judged_workspace.database
    with pytest.raises(UsageError, match="'laiers'"):
        training.request_run(database, judged_workspace.project_id, "click", {"laiers": [1]})
    with pytest.raises(NotFound, match="77"):
        training.request_run(database, 77, "click")


def test_an_archived_project_is_not_trained(judged_workspace: Workspace) -> None:
    here = judged_workspace
    projects.archive(here.database, here.project_id)
    with pytest.raises(StudioError, match="'kindness' is archived"):
        training.request_run(here.database, here.project_id, "click")


def test_a_run_that_was_cancelled_at_the_last_moment_leaves_no_checkpoint(
    judged_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = judged_workspace
    run_id = training.request_run(here.database, here.project_id, "click")
    save = train_job._save

    def save_then_cancel(*arguments: object) -> str:
        sha256 = save(*arguments)  # type: ignore[arg-type]
        run_queue.cancel(here.database, run_id)
        return sha256

    monkeypatch.setattr(train_job, "_save", save_then_cancel)
    with pytest.raises(RunStopped):
        here.run_here(run_id)
    assert list(here.settings.checkpoints_dir.iterdir()) == []
    assert training.status(here.database, here.project_id)["checkpoint"] is None


def test_a_stop_during_encoding_ends_the_run(judged_workspace: Workspace) -> None:
    here = judged_workspace
    run_id = training.request_run(here.database, here.project_id, "click")
    here.begin(run_id)
    stop = threading.Event()
    stop.set()
    with pytest.raises(RunStopped), LiveRun(here.database, run_id, stop) as live:
        train_job.execute(here.database, here.settings, run_id, live)


def test_a_backbone_that_is_gone_fails_with_a_sentence(judged_workspace: Workspace) -> None:
    here = judged_workspace
    with here.database.write() as s:
        project = project_queries.get_project(s, here.project_id)
        assert project is not None
        project.backbone = "/no/such/backbone"
    run_id = training.request_run(here.database, here.project_id, "click")
    with pytest.raises(StudioError, match="/no/such/backbone"):
        here.run_here(run_id)


def test_the_log_is_shown_from_its_end(judged_workspace: Workspace) -> None:
    here = judged_workspace
    run_id = training.request_run(here.database, here.project_id, "click")
    assert training.log_tail(here.database, here.settings, run_id) == ""
    here.settings.log_path(run_id).write_text("".join(f"line {n}\n" for n in range(100)))
    tail = training.log_tail(here.database, here.settings, run_id, lines=2)
    assert tail == "line 98\nline 99\n"
    with pytest.raises(NotFound, match="99"):
        training.log_tail(here.database, here.settings, 99)


def test_progress_and_time_left_come_from_the_row(judged_workspace: Workspace) -> None:
    here = judged_workspace
    run_id = training.request_run(here.database, here.project_id, "click")
    here.begin(run_id)
    with here.database.write() as s:
        soon = utc_now() + timedelta(seconds=90)
        runs.heartbeat(s, run_id, stage="encoding", done=50, total=100, eta_at=soon)
    active = training.status(here.database, here.project_id)["active"]
    assert (active["stage"], active["done"], active["total"]) == ("encoding", 50, 100)
    assert active["eta_s"] == pytest.approx(90, abs=5)


def test_only_a_run_of_the_project_is_cancelled_for_its_lead(judged_workspace: Workspace) -> None:
    here = judged_workspace
    run_id = training.request_run(here.database, here.project_id, "click")
    with pytest.raises(NotFound, match="the project has no run"):
        training.cancel(here.database, run_id, here.project_id + 1)
    assert training.cancel(here.database, run_id, here.project_id) == "cancelled"
