"""Scores for the playground and the console: exact, in step with their lines, and forgiving."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.services import scoring
from studio.services.errors import NotFound, StudioError, UsageError
from tests.workspace import Workspace, kindness

PROMPT = [{"role": "user", "content": "How do I fold a letter?"}]


def test_without_a_checkpoint_the_error_says_what_to_do(empty_workspace: Workspace) -> None:
    here = empty_workspace
    project_id = here.add(kindness(2))
    with pytest.raises(StudioError, match="train it first"):
        scoring.newest_checkpoint(here.database, project_id)
    with pytest.raises(NotFound, match="none yet"):
        scoring.find_checkpoint(here.database, project_id, 3)
    with pytest.raises(NotFound, match="none yet"):
        scoring.any_checkpoint(here.database, 3)


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ([], "an empty list"),
        (3, "a number"),
        (None, "null"),
        ([{"role": "user"}], "role and a content"),
        ([{"role": "user", "content": 3}], "message 1"),
        (["hi"], "message 1"),
        ([{"role": "usr", "content": "hi"}], "unknown role 'usr'"),
    ],
)
def test_a_prompt_that_is_none_is_described(prompt: object, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        scoring.check_prompt(prompt)


def test_lines_out_stay_in_step_with_lines_in(trained: Workspace) -> None:
    model = scoring.load_model(
        trained.settings, scoring.newest_checkpoint(trained.database, trained.project_id)
    )
    good = json.dumps({"prompt": PROMPT, "response": "gladly"}).encode()
    lines = [
        good,
        b"",
        b"not json",
        b'{"prompt": "x"}',
        b'{"prompt": "x", "response": 4}',
        b'{"prompt": "x", "response": "\\ud800"}',
        b"\xff\xfe",
        b"[1]",
        good,
        b"\n",
    ]
    scored = list(scoring.score_lines(model, lines, tokens=False))
    assert len(scored) == 9
    assert scored[0] == scored[8]
    assert set(scored[0]) == {"reward"}
    for number, (line, part) in enumerate(
        zip(
            scored[1:8],
            [
                "empty",
                "not JSON",
                "response is missing",
                "a number",
                "surrogate",
                "UTF-8",
                "a list",
            ],
            strict=True,
        ),
        start=2,
    ):
        assert set(line) == {"error"}
        assert line["error"].startswith(f"line {number}: ")
        assert part in line["error"]


def test_a_warmed_checkpoint_is_in_memory_and_loading_is_told_while_it_lasts(
    trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same checkpoint by a path that no other test has loaded it from.
    (tmp_path / "data").symlink_to(trained.settings.data_dir)
    settings = replace(trained.settings, data_dir=tmp_path / "data")
    checkpoint = scoring.newest_checkpoint(trained.database, trained.project_id)
    told = []
    load_directory = scoring.load_directory

    def watched(*arguments: Any) -> Any:
        told.append(scoring.is_loading())
        return load_directory(*arguments)

    monkeypatch.setattr(scoring, "load_directory", watched)
    assert not scoring.is_warm(settings, checkpoint)
    scoring.warm_up(trained.database, settings)
    assert told == [True]
    assert not scoring.is_loading()
    assert scoring.is_warm(settings, checkpoint)
    scoring.warm_up(trained.database, settings)
    assert told == [True]  # it was there
