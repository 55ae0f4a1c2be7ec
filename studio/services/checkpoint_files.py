"""Checkpoints' directories beside the rows that name them: what was left over may be deleted.

    checkpoint_files.clear_leftovers(database, settings)      # when a training begins
    checkpoint_files.look(database, settings)                 # for doctor

A run renames its directory into place first and writes its row second; killed in between, it
leaves a whole directory that no row will ever name. Such a one is deleted once its run has ended:
from then on nobody can register it. A directory that cannot be told to be of a run in this
database (of another one, or put there by somebody) is left alone.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db import checkpoints, runs, snapshots
from db.models import FINISHED

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session

    from db.engine import Database
    from studio.settings import Settings

log = logging.getLogger(__name__)

# As train_job names them.
OF_A_RUN = re.compile(r"run-(\d+)-[0-9a-f]{6}")


@dataclass(frozen=True)
class Found:
    """Directories that no row needs.

    Attributes:
        leftovers: of runs of this database that ended without them; they may go.
        unknown: of nobody that the database knows; they stay.
    """

    leftovers: list[Path]
    unknown: list[Path]


def look(database: Database, settings: Settings) -> Found:
    """Compare what lies there with the rows, changing nothing."""
    leftovers: list[Path] = []
    unknown: list[Path] = []
    # In this order: a directory that is there before the rows are read has its row, or a run that
    # has not ended.
    there = sorted(path for path in settings.checkpoints_dir.glob("[!.]*") if path.is_dir())
    with database.read() as s:
        named = set(checkpoints.directories(s))
        for path in there:
            if path.name not in named:
                is_ours, has_ended = _of_our_run(s, path)
                if not is_ours:
                    unknown.append(path)
                elif has_ended:
                    leftovers.append(path)
    return Found(leftovers, unknown)


def _of_our_run(s: Session, path: Path) -> tuple[bool, bool]:
    """Whether the directory is of a run in this database, and whether that run has ended.

    Run numbers begin anew in another database: the digest of the run's votes must agree too.
    """
    match = OF_A_RUN.fullmatch(path.name)
    run = runs.get_run(s, int(match[1])) if match else None
    if run is None or run.snapshot_id is None:
        return False, False
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
        digest = manifest["snapshot"]["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return False, False
    snapshot = snapshots.get_snapshot(s, run.snapshot_id)
    is_ours = snapshot is not None and snapshot.digest == digest
    return is_ours, run.status in FINISHED


def clear_leftovers(database: Database, settings: Settings) -> list[Path]:
    """Delete what runs of this database left behind; the directories deleted."""
    found = look(database, settings).leftovers
    for path in found:
        log.info("deleting %s, which a run left without a row", path.name)
        shutil.rmtree(path, ignore_errors=True)
    return found
