"""One database, one data directory: checkpoints lie in a directory and rows hold only their names.

    ownership.settle(database, settings)              # when a command opens the database
    ownership.is_ours(s, settings)                    # before a run is started or recorded

A data directory has an id in a file of its own, so that it can be moved; the database remembers
whose it is. Without this, two servers with directories of their own on one database would each
write checkpoints that the other one cannot read.
"""

from __future__ import annotations

import secrets
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import sqlalchemy as sa

from db import installation
from studio.services.errors import StudioError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.engine import Database
    from studio.settings import Settings

ID_BYTES = 16
PATIENCE_S = 2.0


def id_of(settings: Settings) -> str:
    """The data directory's id, made at the first use; of several that make it at once, one wins."""
    path = settings.id_path
    with suppress(FileExistsError), path.open("x") as file:
        file.write(secrets.token_hex(ID_BYTES))
    deadline = time.monotonic() + PATIENCE_S
    while len(found := path.read_text().strip()) < 2 * ID_BYTES:  # it is just being written
        if time.monotonic() > deadline:
            raise StudioError(
                f"{path} holds {found!r} and should hold {2 * ID_BYTES} letters and digits: delete "
                "it, and take the database over with `reward-studio serve --adopt-database`."
            )
        time.sleep(0.02)
    return found


def is_ours(s: Session, data_id: str) -> bool:
    """Whether the database still belongs to the directory with this id."""
    found = installation.owner(s)
    return found is None or found.data_id == data_id


def settle(database: Database, settings: Settings, *, adopt: bool = False) -> None:
    """Claim an unclaimed database for the data directory; StudioError when it is another one's.

    A database file inside the data directory is the directory's, whatever it says: it was put
    there. So is any database with `adopt`.
    """
    data_id = id_of(settings)
    place = f"{settings.data_dir} on {socket.gethostname()}"
    with database.read() as s:
        found = installation.owner(s)
        if found is not None and (found.data_id, found.place) == (data_id, place):
            return
    with database.write() as s:
        found = installation.claim(s, data_id, place)
        if found.data_id == data_id or adopt or _is_inside(settings):
            installation.hand_over(s, data_id, place)
            return
        shown = database.engine.url.render_as_string(hide_password=True)
        raise StudioError(
            f"the database {shown} belongs to the data directory {found.place}, where its "
            f"checkpoints are, and not to {settings.data_dir}: name that directory with "
            "--data-dir, or copy its checkpoints/ here and take the database over with "
            "`reward-studio serve --adopt-database`."
        )


def _is_inside(settings: Settings) -> bool:
    url = sa.make_url(settings.db_url)
    return url.get_backend_name() == "sqlite" and url.database == str(
        settings.data_dir / "studio.db"
    )
