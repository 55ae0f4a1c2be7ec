"""The rule after every vote fits the head alone, says so, and chooses anew when it should."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from db import projects, runs
from db.models import TrainingRun, utc_now
from rm_core.uncertainty import Posterior
from studio.services import checkpoints, head_alone, reproduce_job, retrain, training
from tests.workspace import Workspace, kindness

SOON = timedelta(seconds=20)


@pytest.fixture
def here(judged_workspace: Workspace) -> Workspace:
    """A full run's checkpoint on 60 pairs, and the rule."""
    here = judged_workspace
    here.run_here(training.request_run(here.database, here.project_id, "click"))
    retrain.set_rules(here.database, here.project_id, {"after_vote": True}, actor="lead")
    return here


def vote(here: Workspace, count: int, first: int) -> None:
    here.add(kindness(count, first=first))


def asked(here: Workspace, after: timedelta = SOON) -> TrainingRun:
    """The run that the rule asks for now."""
    (run_id,) = retrain.look(here.database, utc_now() + after)
    with here.database.read() as s:
        run = runs.get_run(s, run_id)
    assert run is not None
    return run


def detail(here: Workspace, checkpoint_id: int) -> dict[str, Any]:
    return checkpoints.detail(here.database, here.settings, here.project_id, checkpoint_id)


def test_after_a_vote_the_head_alone_is_fitted_and_its_figures_are_its_own(here: Workspace) -> None:
    full = detail(here, 1)
    vote(here, 2, first=100)
    run = asked(here)
    assert run.reason == "2 judged pairs after a vote; the head alone, as checkpoint 1 chose"
    here.run_here(run.id)
    shown = detail(here, 2)
    for name in ("layer", "readout", "penalty", "objective"):
        assert shown[name] == full[name]
    assert (shown["head_of"], full["head_of"]) == (1, None)
    assert len(shown["candidates"]) == 1
    assert shown["figures"]["num_pairs"] == full["figures"]["num_pairs"] + 2
    assert shown["figures"]["pairs"] == full["figures"]["pairs"] + 2  # evaluated on all again
    assert shown["comparison"]["against"] == 1
    assert shown["weights_sha256"] != full["weights_sha256"]
    assert Posterior.load(here.settings.checkpoints_dir / shown["directory"]) is not None
    assert "were not chosen anew: they are those of checkpoint 1" in shown["model_card"]
    assert checkpoints.listed(here.database, here.project_id)["in_use"] == 2


def test_a_head_fitted_alone_is_reproduced_to_the_bit(here: Workspace) -> None:
    vote(here, 1, first=100)
    run = asked(here)
    here.run_here(run.id)
    here.run_here(reproduce_job.request(here.database, run.id))
    assert detail(here, 2)["reproduced"]["because"] == (
        "The same votes and settings gave the same head to the bit."
    )


def test_heads_alone_follow_one_full_run_until_enough_is_new(here: Workspace) -> None:
    for number in range(3):
        vote(here, 3, first=100 + 10 * number)
        run = asked(here)
        assert run.config[head_alone.HEAD_OF] == 1
        here.run_here(run.id)
    vote(here, 1, first=200)
    run = asked(here)
    assert run.config == {}
    assert run.reason == (
        "1 judged pair after a vote; layer, readout and penalty are chosen anew: "
        "10 judged pairs are new since checkpoint 1"
    )
    here.run_here(run.id)
    assert detail(here, 5)["head_of"] is None
    vote(here, 1, first=300)
    assert asked(here).config[head_alone.HEAD_OF] == 5


def test_all_is_chosen_anew_when_the_choice_is_a_day_old(here: Workspace) -> None:
    vote(here, 1, first=100)
    run = asked(here, after=timedelta(days=1, minutes=1))
    assert run.config == {}
    assert "a day has gone by since checkpoint 1" in str(run.reason)


def test_all_is_chosen_anew_when_votes_count_otherwise(here: Workspace) -> None:
    with here.database.write() as s:
        project = projects.get_project(s, here.project_id)
        assert project is not None
        project.aggregation = {"method": "majority"}
    vote(here, 1, first=100)
    assert "votes count otherwise since checkpoint 1" in str(asked(here).reason)


def test_the_settings_of_the_last_full_run_are_kept(here: Workspace) -> None:
    config = {"length_column": True, "num_folds": 3}
    here.run_here(training.request_run(here.database, here.project_id, "console", config))
    vote(here, 1, first=100)
    run = asked(here)
    assert run.config["length_column"]
    assert run.config[head_alone.HEAD_OF] == 2
    settings, base = head_alone.split(run.config)
    training.check_config(settings)
    assert base == 2


def test_without_a_choice_to_go_by_a_full_run_is_asked_for(judged_workspace: Workspace) -> None:
    here = judged_workspace
    retrain.set_rules(here.database, here.project_id, {"after_vote": True}, actor="lead")
    run = asked(here)
    assert (run.config, run.trigger) == ({}, "after_vote")
    here.run_here(run.id)
    with here.database.write() as s:
        project = projects.get_project(s, here.project_id)
        assert project is not None
        project.backbone = "another"  # what the head was fitted on is no guide
    vote(here, 1, first=100)
    assert asked(here).config == {}
