"""Slots and votes taken back are found by index, whatever a database's statistics say.

Revision: 0004, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_slot_vote_id", "slot")
    op.create_index(
        "ix_slot_filled",
        "slot",
        ["vote_id"],
        sqlite_where=sa.text("vote_id IS NOT NULL"),
        postgresql_where=sa.text("vote_id IS NOT NULL"),
    )
    op.create_index(
        "ix_vote_withdrawn",
        "vote",
        ["pair_id", "annotator"],
        sqlite_where=sa.text("retracted_at IS NOT NULL"),
        postgresql_where=sa.text("retracted_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_vote_withdrawn", "vote")
    op.drop_index("ix_slot_filled", "slot")
    op.create_index("ix_slot_vote_id", "slot", ["vote_id"])
