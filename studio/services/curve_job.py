"""What would more votes bring? Heads fitted to parts of a checkpoint's votes, and where that leads.

    run_id = curve_job.request(database, checkpoint_id, actor="mara")
    curve_job.execute(database, settings, run_id, live)        # in the job process
    curve_job.in_words(curve, more=200)

The curve is stored with the checkpoint (`metrics["learning_curve"]`). It takes seconds, and makes
way for training.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from db import checkpoints, runs, snapshots
from studio.services import backbones, head_alone, train_job, wakeup
from studio.services.errors import NotFound
from studio.services.live_run import RunStopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.engine import Database
    from db.models import Checkpoint
    from rm_core.pairs import PreferencePair
    from studio.services.live_run import LiveRun
    from studio.settings import Settings

log = logging.getLogger(__name__)

BUDGET_S = 20.0
ASKED = 200  # the number of further pairs that the page asks about first


def request(database: Database, checkpoint_id: int, *, actor: str | None = None) -> int:
    """Queue the learning curve of a checkpoint; the run's id."""
    with database.write() as s:
        checkpoint = checkpoints.get_checkpoint(s, checkpoint_id)
        if checkpoint is None or checkpoint.thinned_at is not None:
            raise NotFound(f"there is no checkpoint {checkpoint_id}: choose one that exists.")
        config = {"checkpoint": checkpoint_id}
        key = key_of(checkpoint_id)
        run = runs.enqueue(s, checkpoint.project_id, "curve", config, "page", key, actor=actor)
        run_id = run.id
    wakeup.announce()
    return run_id


def key_of(checkpoint_id: int) -> str:
    """What tells the curves of one checkpoint from those of others."""
    return f"checkpoint-{checkpoint_id}"


def execute(database: Database, settings: Settings, run_id: int, live: LiveRun) -> None:
    """Fit, extrapolate, store."""
    live.stage("loading")
    with database.read() as s:
        asked = runs.get_run(s, run_id)
        assert asked is not None
        checkpoint = checkpoints.get_checkpoint(s, int(asked.config["checkpoint"]))
        assert checkpoint is not None
        original = runs.get_run(s, checkpoint.run_id)
        assert original is not None
        assert original.snapshot_id is not None
        snapshot = snapshots.get_snapshot(s, original.snapshot_id)
        assert snapshot is not None
        runs_snapshot = snapshot.id
    work = train_job.work_of(database, original, snapshot)
    live.stage("learning curve")
    live.device("cpu")
    curve = _curve(settings, checkpoint, work.pairs, live)
    curve["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    log.info("%s", in_words(curve, ASKED))
    live.flush()
    live.stop_if_asked()
    with database.write() as s:
        runs.set_snapshot(s, run_id, runs_snapshot)
        row = checkpoints.get_checkpoint(s, checkpoint.id)
        assert row is not None
        checkpoints.add_metrics(s, row, learning_curve=curve)


def _curve(
    settings: Settings, checkpoint: Checkpoint, pairs: Sequence[PreferencePair], live: LiveRun
) -> dict[str, Any]:
    from rm_core import checkpoint as core
    from rm_core.config import TrainConfig
    from rm_core.errors import Stopped
    from rm_core.learning_curve import learning_curve
    from rm_core.training import load_features, recipe_for

    with backbones.told_plainly():
        saved = core.load(settings.checkpoints_dir / checkpoint.directory)
    config = TrainConfig.from_dict(saved.manifest["config"])
    layer = saved.head.layer
    with train_job.opened(settings, saved.manifest["backbone"]["spec"]) as (info, store):
        kept = train_job.encoded_pairs(pairs, layer, config, info, store)
        is_heldout = saved.manifest["metrics"]["evaluation"] == "heldout"
        fitted = [p for p in kept if not is_heldout or p.split != "heldout"]
        held = [p for p in kept if is_heldout and p.split == "heldout"]
        test = (held, load_features(held, layer, info, store, config)) if held else None
        recipe = recipe_for(config, saved.head.readout)
        if saved.manifest.get(head_alone.HEAD_OF) is not None:
            # Chosen by a full run for all its pairs: fewer of them want a penalty of their own.
            recipe = replace(recipe, penalty=None)
        try:
            return learning_curve(
                fitted,
                load_features(fitted, layer, info, store, config),
                recipe,
                test,
                seed=config.seed,
                budget_s=BUDGET_S,
                on_progress=live.progress,
                should_stop=live.should_stop,
            )
        except Stopped as stopped:
            raise RunStopped from stopped


def in_words(curve: dict[str, Any], more: int) -> str:
    """What the curve says of `more` further judged pairs, in a sentence.

    Where it was not worked out for so many, of the most that it was.
    """
    gain = next((each for each in curve["gains"] if each["more"] == more), curve["gains"][-1])
    figures = [100 * each for each in (gain["accuracy"], *gain["accuracy_ci"])]
    points, low, high = (_signed(each, _decimals(figures)) for each in figures)
    sentence = (
        f"{gain['more']:,} more judged pairs would bring about {points} points of accuracy "
        f"(95 %: {low} to {high})"
    )
    if figures[1] <= 0 <= figures[2]:
        return f"{sentence}: so far the curve shows no gain to count on."
    return f"{sentence}, if the curve goes on as it has."


def all_in_words(curve: dict[str, Any]) -> dict[str, str]:
    """The sentence for every number of further pairs that was asked about."""
    return {str(each["more"]): in_words(curve, each["more"]) for each in curve["gains"]}


def _decimals(figures: Sequence[float]) -> int:
    """One, or as many as it takes that none which is not 0 reads as 0: at most three."""
    return next((n for n in (1, 2) if all(not each or round(each, n) for each in figures)), 3)


def _signed(figure: float, decimals: int) -> str:
    text = f"{abs(figure):.{decimals}f}"
    if not float(text):
        return text
    return f"{'−' if figure < 0 else '+'}{text}"
