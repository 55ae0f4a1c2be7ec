"""Checkpoints as the page shows them: the list, one in detail, promote and retire, where from.

checkpoints.listed(database, project_id)
checkpoints.detail(database, settings, project_id, checkpoint_id)
checkpoints.promote(database, project_id, checkpoint_id, actor="mara")
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from db import audit, pair_texts, runs, snapshots
from db import checkpoints as queries
from db.models import Checkpoint, Pair, Snapshot, TrainingRun
from studio.services import curve_job, predictions, reproduce_job, slices
from studio.services.errors import NotFound, StudioError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session

    from db.engine import Database
    from studio.settings import Settings

# Rows of the list unless more are asked for.
LISTED = 50
# Pairs to read; more than that nobody reads, and the page says how many there are.
MAX_FLIPPED = 30
LISTED_FIGURES = (
    "accuracy",
    "accuracy_ci",
    "log_loss",
    "ece",
    "ece_noise_floor",
    "evaluation",
    "pairs",
    "prompts",
    "length_only_accuracy",
    "length_only_accuracy_ci",
    "length_only_rule",
    "majority_accuracy",
    "vote_agreement",
    "reward_length_correlation",
    "by_length",
    "layer",
    "readout",
    "objective",
    "penalty",
    "head_of",
    "num_train_pairs",
    "comparison",
    "votes",
)


# --- the list --------------------------------------------------------------------------------


def listed(database: Database, project_id: int, limit: int = LISTED) -> dict[str, Any]:
    """The newest checkpoints of the project with the figures of their rows, newest first.

    `total` counts all that have their files; the one in use is among the rows wherever it stands.
    """
    with database.read() as s:
        in_use = queries.newest_promoted(s, project_id)
        found = queries.snapshots_of(s, project_id, limit)
        if in_use is not None and all(in_use.id != checkpoint.id for checkpoint, _ in found):
            run = runs.get_run(s, in_use.run_id)
            snapshot_id = run.snapshot_id if run else None
            found.append((in_use, snapshots.get_snapshot(s, snapshot_id) if snapshot_id else None))
        rows = [
            _row(checkpoint, snapshot, runs.get_run(s, checkpoint.run_id))
            for checkpoint, snapshot in found
        ]
        total, thinned = queries.count(s, project_id)
        working = _working(s, project_id)
    return {
        "in_use": in_use.id if in_use else None,
        "checkpoints": rows,
        "total": total,
        "thinned": thinned,
        "working": working,
    }


def _working(s: Session, project_id: int) -> list[dict[str, Any]]:
    """The looks into checkpoints that have not ended."""
    return [
        {"id": run.id, "kind": run.kind, "status": run.status, "config": run.config}
        for run in runs.unfinished_runs(s, project_id)
        if run.kind in ("reproduce", "curve")
    ]


def list_tag(database: Database, project_id: int, limit: int = LISTED) -> str:
    """Another one whenever `listed` says something else; reads no figures."""
    with database.read() as s:
        seen = (*queries.marks(s, project_id), _working(s, project_id), limit, LISTED_FIGURES)
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:20]


def _row(
    checkpoint: Checkpoint, snapshot: Snapshot | None, run: TrainingRun | None
) -> dict[str, Any]:
    figures = {name: checkpoint.metrics.get(name) for name in LISTED_FIGURES}
    return {
        **figures,
        "id": checkpoint.id,
        "run_id": checkpoint.run_id,
        "created_at": checkpoint.created_at.isoformat(),
        "status": status_of(checkpoint),
        "because": (checkpoint.promotion or {}).get("because", ""),
        "trigger": run.trigger if run else None,
        "actor": run.actor if run else None,
        "reason": run.reason if run else None,
        "snapshot": _snapshot(snapshot),
    }


def status_of(checkpoint: Checkpoint) -> str:
    """promoted, retired, or held back."""
    if checkpoint.retired_at is not None:
        return "retired"
    return "promoted" if checkpoint.promoted_at is not None else "held back"


def _snapshot(snapshot: Snapshot | None) -> dict[str, Any] | None:
    if snapshot is None:
        return None
    return {
        "id": snapshot.id,
        "digest": snapshot.digest,
        "created_at": snapshot.created_at.isoformat(),
        "rule_version": snapshot.rule_version,
        "counts": snapshot.counts,
    }


# --- one in detail ---------------------------------------------------------------------------


def detail(
    database: Database, settings: Settings, project_id: int, checkpoint_id: int
) -> dict[str, Any]:
    """All that is known of a checkpoint, JSON-ready."""
    from rm_core.model_card import left_out

    with database.read() as s:
        checkpoint = _find(s, project_id, checkpoint_id)
        run = runs.get_run(s, checkpoint.run_id)
        assert run is not None
        snapshot = snapshots.get_snapshot(s, run.snapshot_id) if run.snapshot_id else None
        votes = checkpoint.metrics.get("votes")
        if votes is None and snapshot is not None:  # made before they were counted in the run
            votes = slices.votes_by_annotator(queries.votes_of(s, project_id, snapshot))
        unseen = predictions.read(settings.checkpoints_dir / checkpoint.directory)
        flipped = _flipped(s, unseen) if unseen and unseen.compared() else None
        in_use = queries.newest_promoted(s, project_id)
        reproduction = runs.newest_finished(
            s, project_id, "reproduce", reproduce_job.key_of(checkpoint.run_id)
        )
        curve_run = runs.newest_finished(s, project_id, "curve", curve_job.key_of(checkpoint.id))
    directory = settings.checkpoints_dir / checkpoint.directory
    manifest = _manifest(directory)
    curve = checkpoint.metrics.get("learning_curve")
    return {
        **_row(checkpoint, snapshot, run),
        "in_use": in_use is not None and in_use.id == checkpoint.id,
        "figures": checkpoint.metrics,
        "left_out_told": left_out(checkpoint.metrics),
        "votes": votes,
        "flipped": flipped,
        "candidates": manifest.get("candidates", []),
        "layer": manifest.get("layer"),
        "readout": manifest.get("readout"),
        "objective": manifest.get("objective"),
        "penalty": manifest.get("penalty"),
        "backbone": manifest.get("backbone"),
        "config": manifest.get("config"),
        "weights_sha256": checkpoint.sha256,
        "directory": checkpoint.directory,
        "is_there": bool(manifest),
        "model_card": _text(directory / "model_card.md"),
        "reproduced": checkpoint.metrics.get("reproduced"),
        "reproduction": _ended(reproduction),
        "learning_curve": curve,
        "curve_run": _ended(curve_run),
        "more_votes": curve_job.all_in_words(curve) if curve else None,
        "run": {
            "id": run.id,
            "elapsed_s": _elapsed_s(run),
            "device": run.device,
            "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        },
    }


def _ended(run: TrainingRun | None) -> dict[str, Any] | None:
    """How the newest look into a checkpoint ended; its log is a route of its own."""
    if run is None:
        return None
    finished_at = run.finished_at.isoformat() if run.finished_at else None
    return {"id": run.id, "status": run.status, "error": run.error, "finished_at": finished_at}


def _find(s: Session, project_id: int, checkpoint_id: int) -> Checkpoint:
    found = queries.get_checkpoint(s, checkpoint_id)
    if found is None or found.project_id != project_id or found.thinned_at is not None:
        raise NotFound(
            f"the project has no checkpoint {checkpoint_id}, or its files were thinned: the "
            "Checkpoints tab lists the ones there are."
        )
    return found


def _elapsed_s(run: TrainingRun) -> float | None:
    if run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at).total_seconds()


def _manifest(directory: Path) -> dict[str, Any]:
    """What the directory says of itself; nothing where it is gone or damaged."""
    import json

    try:
        manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _flipped(s: Session, unseen: predictions.Unseen) -> dict[str, Any]:
    """Unseen pairs that one of the two heads gets right and the other wrong, clearest first."""
    pairs = []
    for row in unseen.compared():
        if row.target == 0.5 or row.old_logit is None:
            continue
        is_right = (row.logit > 0) == (row.target > 0.5)
        was_right = (row.old_logit > 0) == (row.target > 0.5)
        if is_right != was_right:
            pairs.append((abs(row.logit - row.old_logit), is_right, row))
    pairs.sort(key=lambda entry: (-entry[0], entry[2].pair))
    shown = pairs[:MAX_FLIPPED]
    texts = _texts(s, [row.pair for _, _, row in shown])
    return {
        "against": unseen.against,
        "now_right": sum(is_right for _, is_right, _ in pairs),
        "now_wrong": sum(not is_right for _, is_right, _ in pairs),
        "pairs": [
            {
                **texts[row.pair],
                "pair": row.pair,
                "now_right": is_right,
                "target": row.target,
                "logit": row.logit,
                "old_logit": row.old_logit,
                "rewards": row.rewards,
                "old_rewards": row.old_rewards,
            }
            for _, is_right, row in shown
            if row.pair in texts
        ],
    }


def _texts(s: Session, pair_ids: list[int]) -> dict[int, dict[str, Any]]:
    statement = pair_texts.select_pairs().where(Pair.id.in_(pair_ids))
    found = [pair_texts.PairText(*row) for row in s.execute(statement)]
    return {
        pair.pair_id: {
            "messages": pair.messages,
            "response_a": pair.response_a,
            "response_b": pair.response_b,
        }
        for pair in found
    }


# --- promote and retire ----------------------------------------------------------------------


def promote(database: Database, project_id: int, checkpoint_id: int, *, actor: str) -> None:
    """Use this checkpoint from now on; an older one is a roll-back."""
    with database.write() as s:
        checkpoint = _find(s, project_id, checkpoint_id)
        before = queries.newest_promoted(s, project_id)
        if before is not None and before.id == checkpoint.id:
            raise StudioError(f"checkpoint {checkpoint_id} is in use already.")
        word = "Rolled back to" if before and before.id > checkpoint.id else "Promoted"
        because = f"{word} by {actor}."
        promotion_ = {"rule": "by hand", "promoted": True, "because": because, "by": actor}
        queries.promote(s, checkpoint, promotion_)
        audit.record(
            s, actor, "promote", "checkpoint", checkpoint_id, before=before.id if before else None
        )


def retire(database: Database, project_id: int, checkpoint_id: int, *, actor: str) -> None:
    """Take this checkpoint out of use; the newest promoted one that is left takes its place."""
    with database.write() as s:
        checkpoint = _find(s, project_id, checkpoint_id)
        if checkpoint.retired_at is not None:
            raise StudioError(f"checkpoint {checkpoint_id} is retired already.")
        because = f"Retired by {actor}."
        queries.retire(
            s,
            checkpoint,
            {"rule": "by hand", "promoted": False, "because": because, "by": actor},
        )
        after = queries.newest_promoted(s, project_id)
        audit.record(
            s, actor, "retire", "checkpoint", checkpoint_id, after=after.id if after else None
        )


# --- from a pair to the checkpoints ----------------------------------------------------------


def used_by(database: Database, project_id: int, pair_id: int) -> dict[str, Any]:
    """Which checkpoints were trained with votes on this pair, and whether it was fitted at all."""
    with database.read() as s:
        pair = s.get(Pair, pair_id)
        if pair is None or pair.project_id != project_id:
            raise NotFound(f"the project has no pair {pair_id}: give a number such as 12.")
        used = queries.which_used(s, project_id, pair_id)
    return {
        "pair": pair_id,
        "split": pair.split,
        "checkpoints": [
            {"id": checkpoint_id, "votes": votes} for checkpoint_id, votes in used.items()
        ],
    }
