"""Opening the database for a command: what is refused before anything is done."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from studio.services import workspace
from studio.services.errors import StudioError
from studio.settings import Settings


def test_a_database_that_can_only_be_read_is_refused_by_what_writes_and_by_nothing_else(
    tmp_path: Path,
) -> None:
    settings = Settings.read({}, data_dir=str(tmp_path))
    workspace.open_database(settings, create=True).dispose()
    # As a file without permission to write, which does not stop the administrator.
    url = f"sqlite:///file:{tmp_path}/studio.db?mode=ro&uri=true"
    read_only = dataclasses.replace(settings, db_url=url)
    workspace.open_database(read_only).dispose()
    for create in (True, False):
        with pytest.raises(StudioError, match=r"cannot be written: .*readonly.*--data-dir"):
            workspace.open_database(read_only, create=create, writes=True)
