"""Exports a checkpoint as Hugging Face directories, with the `last` head that one of them needs.

    report = model_export.export_model(database, settings, directory, Path("out"), print)

The standard classes read the last token only. For a checkpoint with another readout a `last` head
is fitted to the very votes that it was trained on (its run's snapshot), at the same candidate
layers, from the features that are stored already. A checkpoint that this database does not know is
exported with its exact directory alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from db import runs, snapshots, votes
from db.models import Checkpoint
from studio.services import backbones, training

if TYPE_CHECKING:
    from db.engine import Database
    from rm_core.checkpoint import Checkpoint as SavedHead
    from rm_core.export import ExportReport
    from rm_core.pairs import PreferencePair
    from studio.settings import Settings

Say = Callable[[str], None]


def export_model(
    database: Database, settings: Settings, directory: Path, out: Path, say: Say
) -> ExportReport:
    """Write `out`, which must not exist yet, and compare it with the studio's own scores.

    Args:
        directory: of the checkpoint.
        say: told each step, and what could not be done.
    """
    from rm_core import checkpoint
    from rm_core import export as core

    with backbones.told_plainly(), tempfile.TemporaryDirectory(prefix="last-head-") as scratch:
        core.check_absent(out)  # before the minute that a fit and the writing take
        saved = checkpoint.load(directory)
        last = None
        if saved.head.readout != "last":
            last = _fit_last(database, settings, saved, Path(scratch) / "head", say)
        return core.export_model(
            directory,
            out,
            backbones_dir=settings.backbones_dir,
            last_checkpoint=last,
            device=settings.device,
            report=say,
        )


def _fit_last(
    database: Database, settings: Settings, saved: SavedHead, target: Path, say: Say
) -> Path | None:
    """A checkpoint of the best `last` head on the same votes; None where they are not known."""
    from rm_core import checkpoint
    from rm_core.backbone import prepare
    from rm_core.config import TrainConfig
    from rm_core.features import FeatureStore
    from rm_core.training import train

    pairs = _judged_then(database, saved)
    if pairs is None:
        say(
            "This database does not know the checkpoint's votes, so no `last` head is fitted for "
            "the standard directory."
        )
        return None
    config = TrainConfig.from_dict({**saved.manifest["config"], "readouts": ["last"]})
    info = prepare(saved.manifest["backbone"]["spec"], settings.backbones_dir, say)
    say(f"fitting a `last` head to the same {len(pairs)} judged pairs")
    store = FeatureStore(settings.features_path)
    try:
        result = train(pairs, info=info, store=store, config=config, device=settings.device)
    finally:
        store.close()
    same = ("project", "run", "snapshot", "trained_at")
    extra = {name: saved.manifest[name] for name in same if name in saved.manifest}
    purpose = f"standard classes read the last token; the run's head is {saved.head.readout}"
    checkpoint.save(target, result, {**extra, "fitted_for_export": purpose})
    return target


def _judged_then(database: Database, saved: SavedHead) -> list[PreferencePair] | None:
    """The pairs that the checkpoint's run was given, from its snapshot."""
    with database.read() as s:
        # By name as well: heads of the same votes have the same weights.
        row = s.scalar(
            select(Checkpoint)
            .where(Checkpoint.sha256 == saved.manifest["weights_sha256"])
            .order_by((Checkpoint.directory == saved.directory.name).desc(), Checkpoint.id.desc())
            .limit(1)
        )
        run = runs.get_run(s, row.run_id) if row is not None else None
        if run is None or run.snapshot_id is None:
            return None
        snapshot = snapshots.get_snapshot(s, run.snapshot_id)
        judged = votes.judged_pairs(s, run.project_id, snapshot)
    return [training.preference_pair(pair) for pair in judged]
