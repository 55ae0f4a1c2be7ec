"""Encoding a project's answers ahead of time, so that *Train* finds the work done.

encoding.enqueue(database, settings, project_id, trigger="import")     # a run of kind encode
encoding.execute(database, settings, run_id, live)                     # in the job process

The order is that of need: the pairs that annotators see next (a queue that ranks, and the
playground, want their features), then judged pairs (training wants theirs), then the rest. It is
asked for anew every few hundred answers, since people go on. A training run that is queued
meanwhile has the job stopped between two forwards and goes first (run_queue.make_way).
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from db import pair_texts, projects, runs, upcoming, votes
from db.models import Pair
from studio.services import backbones, wakeup
from studio.services.errors import StudioError
from studio.services.run_queue import ENCODE_KEY

if TYPE_CHECKING:
    from db.engine import Database
    from rm_core.backbone import BackboneInfo
    from rm_core.conversation import Answer
    from rm_core.encoding import EncodeProgress
    from rm_core.features import FeatureStore
    from rm_core.transformer import Backbone
    from studio.services.live_run import LiveRun
    from studio.settings import Settings

log = logging.getLogger(__name__)

# The page and people's votes come first on a machine with few cores.
NICENESS = 10
# Encoded before the judged pairs: what a few annotators go through in an hour.
NUM_UPCOMING = 200
# Then the order is asked for again.
ROUND_ANSWERS = 256


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
    from rm_core.encoding import pending
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
            left = pending(
                store, info, answers, layers=layers, limits=config.limits, dtype=config.dtype
            )
            is_missing = bool(left.todo)
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
    from rm_core.features import FeatureStore

    live.stage("loading")
    with backbones.told_plainly():
        info = backbones.prepare(settings, project.backbone, log.info)
        with FeatureStore(settings.features_path) as store:
            job = _EncodingJob(settings, info, store, live)
            while job.encode_some(_answers(database, project.id)):
                live.stop_if_asked()
            keep_within_limit(settings, store)


class _EncodingJob:
    """One job's backbone, loaded when the first answer needs it, and its counts."""

    def __init__(
        self, settings: Settings, info: BackboneInfo, store: FeatureStore, live: LiveRun
    ) -> None:
        from rm_core.config import TrainConfig

        self.settings, self.info, self.store, self.live = settings, info, store, live
        self.config = TrainConfig()
        self.layers = self.config.candidate_layers(info)
        self._backbone: Backbone | None = None
        self._num_done = 0

    def encode_some(self, answers: list[Answer]) -> bool:
        """Encode the first few that are missing; False when none is."""
        from rm_core.encoding import encode_missing, pending

        config = self.config
        left = pending(
            self.store,
            self.info,
            answers,
            layers=self.layers,
            limits=config.limits,
            dtype=config.dtype,
        )
        if not left.todo:
            log.info("%d answers are encoded, %d refused", left.num_cached, len(left.refused))
            return False
        total = self._num_done + len(left.todo)

        def on_progress(progress: EncodeProgress) -> None:
            self.live.progress(self._num_done + progress.done, total)

        some = [answers[i] for i in _first_prompts(answers, list(left.todo.values()))]
        report = encode_missing(
            self.store,
            self.info,
            some,
            layers=self.layers,
            limits=config.limits,
            dtype=config.dtype,
            on_progress=on_progress,
            should_stop=self.live.should_stop,
            backbone=self._loaded(),
        )
        self._num_done += report.num_encoded + len(report.refused)
        log.info("%d answers encoded in %.1f s", report.num_encoded, report.elapsed_s)
        for index, reason in report.refused:
            log.info("refused: %r… %s", some[index].response[:40], reason)
        return True

    def _loaded(self) -> Backbone:
        from rm_core.transformer import load

        if self._backbone is None:
            self._backbone = load(
                self.info,
                device=self.settings.device,
                dtype=self.config.dtype,
                num_layers=max(self.layers),
            )
            self.live.device(self._backbone.device)
            self.live.stage("encoding")
        return self._backbone


def _first_prompts(answers: list[Answer], positions: list[int]) -> list[int]:
    """The first ROUND_ANSWERS positions, and what else is missing of the last one's prompt."""
    end = ROUND_ANSWERS
    while 0 < end < len(positions) and (
        answers[positions[end]].prompt == answers[positions[end - 1]].prompt
    ):
        end += 1
    return positions[:end]


def keep_within_limit(settings: Settings, store: FeatureStore) -> None:
    """Drop the whole-token states used longest ago where the store is over its limit; tells so.

    At a job's end only: while it runs, it may need all that it encoded.
    """
    if settings.features_max_gb is None:
        return
    done = store.evict(int(settings.features_max_gb * 10**9))
    if done.num_evicted:
        log.info(
            "the feature store was over its limit of %g GB: %d records of whole token states were "
            "dropped; they are encoded again when a run wants them",
            settings.features_max_gb,
            done.num_evicted,
        )
    if not done.is_within:
        log.warning("%s", over_limit(settings.features_max_gb, done.num_bytes, done.num_kept))


def over_limit(limit_gb: float, num_bytes: int, num_summaries: int) -> str:
    """One sentence for a limit that the summaries alone are over."""
    return (
        f"the feature store takes {num_bytes / 1e9:.2f} GB and its limit is {limit_gb:g} GB, but "
        f"all that is left are the {num_summaries} summaries that training reads, which are kept: "
        "raise STUDIO_FEATURES_MAX_GB, or move features.db away to encode anew what is still used"
    )


def _answers(database: Database, project_id: int) -> list[Answer]:
    """Both answers of every pair in the order of need, those to one prompt together."""
    from rm_core.conversation import Answer

    with database.read() as s:
        soon = {pair: i for i, pair in enumerate(upcoming.pair_ids(s, project_id, NUM_UPCOMING))}
        merged = votes.merged(s, project_id)
        judged = set(merged.pair[merged.has_target].tolist())
        rows = s.execute(
            pair_texts.select_pairs().where(Pair.project_id == project_id).order_by(Pair.prompt_id)
        )
        pairs = [pair_texts.PairText(*row) for row in rows]
    last = len(soon)
    by_prompt: dict[int, list[pair_texts.PairText]] = {}
    for pair in sorted(
        pairs, key=lambda each: (soon.get(each.pair_id, last), each.pair_id not in judged)
    ):
        by_prompt.setdefault(pair.prompt_id, []).append(pair)
    return [
        Answer(pair.messages, text)
        for group in by_prompt.values()
        for pair in group
        for text in (pair.response_a, pair.response_b)
    ]
