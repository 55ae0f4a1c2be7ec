"""Which data directory the rows' files lie in, checkpoints whose files are gone, time left.

Revision: 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("data_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_installation"),
    )
    op.add_column("training_run", sa.Column("eta_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("checkpoint", sa.Column("thinned_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("checkpoint", "thinned_at")
    op.drop_column("training_run", "eta_at")
    op.drop_table("installation")
