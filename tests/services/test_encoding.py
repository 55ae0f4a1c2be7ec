"""Encoding ahead of time: queued once, only what is missing, in the order of need, and in the way
of nobody."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from db import pair_texts, runs, upcoming
from db import projects as project_queries
from db.models import Selection, Slot
from rm_core.features import FeatureStore, Record
from studio.services import encoding
from studio.services.live_run import RunStopped
from studio.settings import Settings
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


def test_what_people_see_next_is_encoded_first_then_judged_pairs(
    empty_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "NUM_UPCOMING", 2)
    here = empty_workspace
    project_id = here.add(kindness(4), purpose="unlabelled")
    here.add(kindness(4, first=50))
    answers = encoding._answers(here.database, project_id)
    assert len(answers) == 16
    with here.database.read() as s:
        queue = list(
            s.scalars(sa.select(Slot.pair_id).where(Slot.vote_id.is_(None)).order_by(Slot.position))
        )
        texts = pair_texts.get_pairs(s, project_id, queue)
    assert [a.response for a in answers[:4:2]] == [texts[i].response_a for i in queue[:2]]
    judged = [row["chosen"] for row in kindness(4, first=50)]
    assert {answer.response for answer in answers[4:12]} >= set(judged)

    # A pair on somebody's screen goes first, then what lies behind it in the queue.
    with here.database.write() as s:
        slot = s.scalar(sa.select(Slot).where(Slot.pair_id == queue[2]))
        assert slot is not None
        s.add(
            Selection(
                project_id=project_id,
                pair_id=slot.pair_id,
                annotator="mara",
                slot_id=slot.id,
                position=slot.position,
                left_side="a",
                strategy="random",
                created_at=datetime.now(UTC),
            )
        )
        s.flush()
        assert upcoming.pair_ids(s, project_id, 3) == [queue[2], queue[0], queue[3]]


def test_answers_to_one_prompt_stay_together(empty_workspace: Workspace) -> None:
    here = empty_workspace
    rows = kindness(6)
    for row in rows[3:]:
        row["prompt"] = rows[0]["prompt"]
    project_id = here.add(rows, purpose="unlabelled")
    prompts = [str(answer.prompt) for answer in encoding._answers(here.database, project_id)]
    changes = sum(a != b for a, b in itertools.pairwise(prompts))
    assert changes == len(set(prompts)) - 1


def test_the_job_encodes_in_rounds_and_counts_over_all_of_them(
    judged_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = judged_workspace
    monkeypatch.setattr(encoding, "ROUND_ANSWERS", 10)
    monkeypatch.setattr("os.nice", lambda _by: 0)
    live = Recorded()
    encoding.execute(here.database, here.settings, queued(here), live)  # type: ignore[arg-type]
    done = [count for count, _ in live.progressed]
    assert done == sorted(done)
    total = live.progressed[-1][1]
    assert live.progressed[-1] == (total, total)
    assert total > 20
    assert not encoding.enqueue_if_missing(here.database, here.settings, here.project_id, "start")


def test_a_stop_between_two_forwards_keeps_what_is_done(
    judged_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = judged_workspace
    monkeypatch.setattr("rm_core.encoding._TOKEN_BUDGET", {"cpu": 1, "cuda": 1})
    monkeypatch.setattr("os.nice", lambda _by: 0)
    live = Recorded(stop_after=3)
    with pytest.raises(RunStopped):
        encoding.execute(here.database, here.settings, queued(here), live)  # type: ignore[arg-type]
    stopped_at, total = live.progressed[-1]
    assert 0 < stopped_at < total
    rest = Recorded()
    encoding.execute(here.database, here.settings, queued(here), rest)  # type: ignore[arg-type]
    assert rest.progressed[0] == (0, total - stopped_at)


def test_the_store_is_kept_within_its_limit_as_far_as_possible(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.read({"STUDIO_DATA_DIR": str(tmp_path), "STUDIO_FEATURES_MAX_GB": "0.001"})
    assert Settings.read(settings.as_environment()) == settings
    states = np.ones((2000, 32), np.float32)
    with FeatureStore(settings.features_path) as store, caplog.at_level(logging.INFO):
        store.put(Record(str(i), 1, 2000, np.ones((2, 32), np.float32), states) for i in range(8))
        encoding.keep_within_limit(settings, store)
        report = store.check()
        assert 0 < report.num_token_records < 8
        assert f"{8 - report.num_token_records} records of whole token states" in caplog.text
        encoding.keep_within_limit(replace(settings, features_max_gb=1e-6), store)
        assert store.check().num_token_records == 0
    assert "the 8 summaries that training reads, which are kept" in caplog.text


class Recorded:
    """What a job tells, in place of the run's row."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.progressed: list[tuple[int, int]] = []
        self.asked, self.stop_after = 0, stop_after

    def stage(self, _name: str) -> None: ...

    def device(self, _name: str) -> None: ...

    def progress(self, done: int, total: int) -> None:
        self.progressed.append((done, total))

    def should_stop(self) -> bool:
        self.asked += 1
        return self.asked > self.stop_after

    def stop_if_asked(self) -> None:
        if self.asked > self.stop_after:
            raise RunStopped


def queued(here: Workspace) -> int:
    return encoding.enqueue(here.database, here.settings, here.project_id, "import")


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
