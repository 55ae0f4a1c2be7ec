"""Alembic's environment: runs on the connection that `db.migrate` hands over.

A new revision, from the repository root:
    python -m db.migrate revision "what changes"
"""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from db.models import Base, UTCDateTime


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A migration must not import the models, which will have moved on: plain types only."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=render_item,
    transactional_ddl=True,  # SQLite too: an interrupted upgrade leaves the old schema whole
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
