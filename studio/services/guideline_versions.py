"""Past versions of a project's guidelines: every vote names the one that its page showed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from db import projects
from studio.services.errors import NotFound
from studio.services.rendering import render_markdown

if TYPE_CHECKING:
    from db.engine import Database


def read(database: Database, project_id: int, version: int) -> dict[str, Any]:
    """One version with the moment from which it was in force; NotFound where there is none."""
    with database.read() as s:
        found = projects.find_guidelines(s, project_id, version)
    if found is None:
        raise NotFound(f"there is no version {version} of the guidelines; reload the page")
    return {
        "version": found.version,
        "created_at": found.created_at.isoformat(),
        "text": found.text,
        "html": render_markdown(found.text, is_document=True),
    }
