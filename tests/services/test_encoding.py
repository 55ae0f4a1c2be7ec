"""Encoding ahead of time: queued once, only where something is missing, judged pairs first."""

from __future__ import annotations

import logging

import pytest

from db import projects as project_queries
from db import runs
from studio.services import encoding
from tests.workspace import Workspace, kindness


def test_it_is_queued_once_while_unfinished(judged_workspace: Workspace) -> None:
    here = judged_workspace
    first = encoding.enqueue(here.database, here.settings, here.project_id, "import")
    assert encoding.enqueue(here.database, here.settings, here.project_id, "import") == first
    with here.database.read() as s:
        run = runs.get_run(s, first)
    assert run is not None
    assert run.log_path == str(here.settings.log_path(first))


def test_nothing_is_queued_where_nothing_is_missing(
    trained: Workspace, empty_workspace: Workspace
) -> None:
    here = trained
    assert not encoding.enqueue_if_missing(here.database, here.settings, here.project_id, "start")
    here = empty_workspace
    project_id = here.add(kindness(3), purpose="unlabelled")
    assert encoding.enqueue_if_missing(here.database, here.settings, project_id, "start")


def test_judged_pairs_are_encoded_before_open_ones(empty_workspace: Workspace) -> None:
    here = empty_workspace
    project_id = here.add(kindness(4), purpose="unlabelled")
    here.add(kindness(4, first=50))
    answers = encoding._answers(here.database, project_id)
    assert len(answers) == 16
    judged = [row["chosen"] for row in kindness(4, first=50)]
    assert {answer.response for answer in answers[:8]} >= set(judged)


def test_a_project_whose_backbone_is_gone_does_not_keep_the_server_from_starting(
    judged_workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    here = judged_workspace
    with here.database.write() as s:
        project = project_queries.get_project(s, here.project_id)
        assert project is not None
        project.backbone = "/no/such/backbone"
    with caplog.at_level(logging.WARNING):
        found = encoding.enqueue_if_missing(here.database, here.settings, here.project_id, "start")
    assert found is False
    assert "/no/such/backbone" in caplog.text
