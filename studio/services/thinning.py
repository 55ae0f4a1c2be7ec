"""Checkpoints that rules made and newer ones replaced: their files go, so that they cannot pile up.

    thinning.thin(database, settings, project_id)      # after every run that a rule asked for

Kept are the newest of them, the one in use, and every one that a person touched: promoted,
retired, reproduced, asked for its learning curve. What people asked for is never thinned. A thinned
one's row keeps its figures; its run, its snapshot and the votes stay as they are.
"""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

from db import checkpoints, runs
from db.models import Checkpoint

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.engine import Database
    from studio.settings import Settings

log = logging.getLogger(__name__)

# Runs that no person asked for; some megabytes each.
RULES = ("after_vote", "new_pairs", "cron")
KEEP = 20


def thin(database: Database, settings: Settings, project_id: int) -> list[int]:
    """Thin what is superseded; the checkpoints' ids.

    Rows first: a directory that is still there after a crash is cleared away as a leftover.
    """
    with database.write() as s:
        found = superseded(s, project_id)
        for checkpoint in found:
            checkpoints.thin(s, checkpoint)
    for checkpoint in found:
        shutil.rmtree(settings.checkpoints_dir / checkpoint.directory, ignore_errors=True)
    if found:
        log.info("thinned %s", ", ".join(f"checkpoint {each.id}" for each in reversed(found)))
    return [checkpoint.id for checkpoint in found]


def superseded(s: Session, project_id: int) -> list[Checkpoint]:
    """What may go, newest first."""
    in_use = checkpoints.newest_promoted(s, project_id)
    awaited = {
        value
        for run in runs.unfinished_runs(s, project_id)
        for value in (run.config.get("checkpoint"), run.config.get("run"))
    }
    return [
        checkpoint
        for checkpoint in checkpoints.of_triggers(s, project_id, RULES)[KEEP:]
        if (in_use is None or checkpoint.id != in_use.id)
        and not {checkpoint.id, checkpoint.run_id} & awaited
        and not _is_touched(checkpoint)
    ]


def _is_touched(checkpoint: Checkpoint) -> bool:
    """Whether a person promoted, retired or looked into it."""
    looked_into = {"reproduced", "learning_curve"} & set(checkpoint.metrics)
    return bool(looked_into) or "by" in (checkpoint.promotion or {})
