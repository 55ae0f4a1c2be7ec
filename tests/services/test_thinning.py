"""Checkpoints that rules made do not pile up; those that matter to people stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from db import checkpoints as queries
from db import runs, snapshots
from db.models import Checkpoint
from studio.services import (
    checkpoint_files,
    checkpoints,
    curve_job,
    reproduce_job,
    scoring,
    thinning,
    training,
)
from studio.services.errors import NotFound, StudioError
from tests.workspace import Workspace


@pytest.fixture
def here(empty_workspace: Workspace) -> Workspace:
    from tests.workspace import kindness

    empty_workspace.project_id = empty_workspace.add(kindness(4))
    return empty_workspace


def make(here: Workspace, trigger: str, *, promoted: bool = True, **metrics: object) -> int:
    """A checkpoint with a directory, as a run with this trigger leaves it; its id."""
    with here.database.write() as s:
        run = runs.enqueue(s, here.project_id, "train", {}, trigger)
        snapshot = snapshots.take(s, here.project_id)
        runs.set_snapshot(s, run.id, snapshot.id)
        name = f"run-{run.id}-{run.id:06x}"
        directory = here.settings.checkpoints_dir / name
        directory.mkdir()
        (directory / "manifest.json").write_text(
            '{"snapshot": {"digest": "' + snapshot.digest + '"}}'
        )
        made = queries.add_checkpoint(
            s, run.id, here.project_id, name, "0" * 64, metrics, promoted=promoted
        )
        runs.finish(s, run.id, "succeeded")
        return made.id


def row(here: Workspace, checkpoint_id: int) -> Checkpoint:
    with here.database.read() as s:
        found = queries.get_checkpoint(s, checkpoint_id)
    assert found is not None
    return found


def directory(here: Workspace, checkpoint_id: int) -> Path:
    return here.settings.checkpoints_dir / row(here, checkpoint_id).directory


def thin(here: Workspace) -> list[int]:
    return thinning.thin(here.database, here.settings, here.project_id)


def test_the_newest_of_a_rule_stay_and_the_superseded_keep_their_rows(here: Workspace) -> None:
    clicked = make(here, "click")
    made = [make(here, "after_vote") for _ in range(thinning.KEEP + 3)]
    assert thin(here) == made[2::-1]
    for gone in made[:3]:
        assert row(here, gone).thinned_at is not None
        assert not directory(here, gone).exists()
        with here.database.read() as s:
            run = runs.get_run(s, row(here, gone).run_id)
            assert run is not None
            assert run.status == "succeeded"
            assert run.snapshot_id is not None
    assert all(directory(here, kept).is_dir() for kept in [clicked, *made[3:]])
    assert thin(here) == []
    listed = checkpoints.listed(here.database, here.project_id)
    assert (listed["total"], listed["thinned"]) == (thinning.KEEP + 1, 3)
    assert {each["id"] for each in listed["checkpoints"]} == {clicked, *made[3:]}
    assert checkpoint_files.look(here.database, here.settings).leftovers == []


def test_what_is_in_use_and_what_a_person_touched_stays(here: Workspace) -> None:
    rolled_back_to, retired, reproduced, curve, awaited, plain = (
        make(here, "after_vote") for _ in range(6)
    )
    later = [make(here, "after_vote") for _ in range(thinning.KEEP)]
    checkpoints.promote(here.database, here.project_id, rolled_back_to, actor="mara")
    checkpoints.promote(here.database, here.project_id, later[-1], actor="mara")
    checkpoints.retire(here.database, here.project_id, retired, actor="mara")
    with here.database.write() as s:
        for checkpoint_id, name in ((reproduced, "reproduced"), (curve, "learning_curve")):
            found = queries.get_checkpoint(s, checkpoint_id)
            assert found is not None
            queries.add_metrics(s, found, **{name: {"same": True}})
    curve_job.request(here.database, awaited)
    assert thin(here) == [plain]


def test_a_rule_that_only_makes_worse_heads_does_not_cost_the_one_in_use(here: Workspace) -> None:
    in_use = make(here, "after_vote")
    made = [make(here, "after_vote", promoted=False) for _ in range(thinning.KEEP + 1)]
    assert thin(here) == made[:1]
    assert checkpoints.listed(here.database, here.project_id)["in_use"] == in_use


def test_a_thinned_checkpoint_is_not_used_again(here: Workspace) -> None:
    made = [make(here, "after_vote") for _ in range(thinning.KEEP + 1)]
    thin(here)
    with pytest.raises(NotFound, match="its files were thinned"):
        checkpoints.promote(here.database, here.project_id, made[0], actor="mara")
    with pytest.raises(NotFound, match="the ones there are"):
        scoring.find_checkpoint(here.database, here.project_id, made[0])
    with pytest.raises(StudioError, match="was thinned"):
        reproduce_job.request(here.database, row(here, made[0]).run_id)
    recent = training.status(here.database, here.project_id)["recent"]
    assert not recent[0]["is_thinned"]
    for _ in range(thinning.KEEP):  # whatever is retired, a thinned one never takes its place
        in_use = checkpoints.listed(here.database, here.project_id)["in_use"]
        checkpoints.retire(here.database, here.project_id, in_use, actor="mara")
    assert checkpoints.listed(here.database, here.project_id)["in_use"] is None


def test_files_that_a_crash_left_of_a_thinned_one_go_with_the_next_training(
    here: Workspace,
) -> None:
    made = [make(here, "after_vote") for _ in range(thinning.KEEP + 1)]
    folder = directory(here, made[0])
    content = (folder / "manifest.json").read_text()
    thin(here)
    folder.mkdir()
    (folder / "manifest.json").write_text(content)
    assert checkpoint_files.clear_leftovers(here.database, here.settings) == [folder]
