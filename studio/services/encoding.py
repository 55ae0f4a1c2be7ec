"""Encoding a project's answers ahead of time, so that *Train* finds the work done.

encoding.enqueue(database, settings, project_id, trigger="import")     # a run of kind encode
encoding.execute(database, settings, run_id, live)                     # in the job process
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from db import content, projects, runs, votes
from db.models import Pair
from studio.services import backbones, wakeup
from studio.services.errors import StudioError
from studio.services.run_queue import ENCODE_KEY

if TYPE_CHECKING:
    from db.engine import Database
    from rm_core.conversation import Answer
    from rm_core.encoding import EncodeProgress
    from studio.services.live_run import LiveRun
    from studio.settings import Settings

log = logging.getLogger(__name__)

# The page and people's votes come first on a machine with few cores.
NICENESS = 10


def enqueue(database: Database, settings: Settings, project_id: int, trigger: str) -> int:
    """Queue the encoding of whatever the project holds that is not encoded yet; the run's id.

    One at a time a project: while one is unfinished, that one is meant.
    """
    with database.write() as s:
        run = runs.enqueue(s, project_id, "encode", {}, trigger, ENCODE_KEY)
        runs.set_log_path(s, run.id, str(settings.log_path(run.id)))
        run_id = run.id
    wakeup.announce()
    return run_id


def enqueue_if_missing(
    database: Database, settings: Settings, project_id: int, trigger: str
) -> bool:
    """Queue an encoding only where something is not encoded; whether it was queued.

    Looking takes a second for some ten thousand answers and loads no model.
    """
    from rm_core.config import TrainConfig
    from rm_core.errors import RewardModelError
    from rm_core.features import FeatureStore

    with database.read() as s:
        project = projects.get_project(s, project_id)
        assert project is not None
    answers = _answers(database, project_id)
    if not answers:
        return False
    config = TrainConfig()
    try:
        info = backbones.prepare(settings, project.backbone)
        layers = config.candidate_layers(info)
        with FeatureStore(settings.features_path) as store:
            keys = store.keys_for(info, config.dtype, config.limits, answers)
            is_missing = bool(store.missing(keys, layers))
    except (StudioError, RewardModelError) as error:
        # The server starts all the same: labelling needs no backbone, and the job will say it.
        log.warning("project %r cannot be encoded: %s", project.name, error)
        return False
    if is_missing:
        enqueue(database, settings, project_id, trigger)
    return is_missing


def execute(database: Database, settings: Settings, run_id: int, live: LiveRun) -> None:
    """The job's body: encode what is missing, and again what was imported meanwhile."""
    os.nice(NICENESS)
    with database.read() as s:
        run = runs.get_run(s, run_id)
        assert run is not None
        project = projects.get_project(s, run.project_id)
        assert project is not None
    live.stage("loading")
    seen = -1
    while True:
        answers = _answers(database, project.id)
        if len(answers) == seen:
            return
        seen = len(answers)
        _encode(settings, project.backbone, answers, live)
        live.stop_if_asked()


def _encode(settings: Settings, backbone: str, answers: list[Answer], live: LiveRun) -> None:
    from rm_core.config import TrainConfig
    from rm_core.encoding import encode_missing
    from rm_core.features import FeatureStore

    def on_progress(progress: EncodeProgress) -> None:
        if progress.done == 0:
            live.device(backbones.device(settings))
        live.progress(progress.done, progress.total)

    config = TrainConfig()
    with backbones.told_plainly():
        info = backbones.prepare(settings, backbone, log.info)
        live.stage("encoding")
        store = FeatureStore(settings.features_path)
        try:
            report = encode_missing(
                store,
                info,
                answers,
                layers=config.candidate_layers(info),
                limits=config.limits,
                device=settings.device,
                dtype=config.dtype,
                on_progress=on_progress,
                should_stop=live.should_stop,
            )
        finally:
            store.close()
    log.info(
        "%d answers encoded in %.1f s, %d had been before, %d refused",
        report.num_encoded,
        report.elapsed_s,
        report.num_cached,
        len(report.refused),
    )
    for index, reason in report.refused[:20]:
        log.info("refused: %r… %s", answers[index].response[:40], reason)


def _answers(database: Database, project_id: int) -> list[Answer]:
    """Both answers of every pair: judged pairs first, since training needs them soonest."""
    from rm_core.conversation import Answer

    with database.read() as s:
        judged = {pair.pair_id for pair in votes.judged_pairs(s, project_id)}
        rows = s.execute(
            content.select_pairs().where(Pair.project_id == project_id).order_by(Pair.prompt_id)
        )
        pairs = [content.PairText(*row) for row in rows]
    pairs.sort(key=lambda pair: pair.pair_id not in judged)
    return [
        Answer(pair.messages, text) for pair in pairs for text in (pair.response_a, pair.response_b)
    ]
