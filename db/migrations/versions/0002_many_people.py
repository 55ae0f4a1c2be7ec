"""Many people: accounts, guidelines by version, what a lead decides per project.

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("session_epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.UniqueConstraint("name_key", name="uq_account_name_key"),
    )
    op.create_table(
        "membership",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('annotator', 'lead')", name="ck_membership_role"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name="fk_membership_account_id_account"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name="fk_membership_project_id_project"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_membership"),
        sa.UniqueConstraint(
            "account_id", "project_id", name="uq_membership_account_id_project_id"
        ),
    )
    op.create_index("ix_membership_project_id", "membership", ["project_id"])
    op.create_table(
        "invitation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("max_uses", sa.Integer(), nullable=False),
        sa.Column("num_uses", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('annotator', 'lead')", name="ck_invitation_role"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name="fk_invitation_project_id_project"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_invitation"),
        sa.UniqueConstraint("token_hash", name="uq_invitation_token_hash"),
    )
    op.create_table(
        "ended_session",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ended_session"),
    )
    op.create_table(
        "guidelines",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name="fk_guidelines_project_id_project"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_guidelines"),
        sa.UniqueConstraint("project_id", "version", name="uq_guidelines_project_id_version"),
    )
    _add("project", sa.Column("random_share", sa.Double(), nullable=False, server_default="0.1"))
    _add("project", sa.Column("gold_rate", sa.Double(), nullable=False, server_default="0"))
    _add("project", sa.Column("repeat_rate", sa.Double(), nullable=False, server_default="0"))
    for name, empty in (("reasons", "[]"), ("aspects", "[]"), ("aggregation", "{}")):
        _add("project", _json(name, empty))
    _add(
        "project",
        sa.Column("promotion_rule", sa.Text(), nullable=False, server_default="unless_worse"),
    )
    _add("project", _json("generator", "{}"))
    _add("checkpoint", _json("promotion", "{}"))
    with op.batch_alter_table("selection") as table:
        table.add_column(sa.Column("purpose", sa.Text(), nullable=False, server_default="label"))
        table.create_check_constraint(
            "ck_selection_purpose", "purpose IN ('label', 'gold', 'repeat', 'adjudication')"
        )
    with op.batch_alter_table("training_run") as table:
        table.add_column(sa.Column("actor", sa.Text(), nullable=True))
        table.add_column(sa.Column("reason", sa.Text(), nullable=True))
        table.drop_constraint("ck_training_run_kind", type_="check")
        table.create_check_constraint(
            "ck_training_run_kind", "kind IN ('train', 'encode', 'reproduce', 'curve')"
        )
    # The guidelines that are in force are the first known version of each project.
    op.execute(
        "INSERT INTO guidelines (project_id, version, text, author, created_at) "
        "SELECT id, guidelines_version, guidelines, 'local', CURRENT_TIMESTAMP FROM project"
    )


def _json(name: str, empty: str) -> sa.Column:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=False, server_default=empty)


def _add(table: str, column: sa.Column) -> None:
    op.add_column(table, column)


def downgrade() -> None:
    # Their outcomes stand in the checkpoints; the older schema has no word for such runs.
    new_kinds = "('reproduce', 'curve')"
    runs_of_them = f"SELECT id FROM training_run WHERE kind IN {new_kinds}"
    op.execute(f"DELETE FROM run_metric WHERE run_id IN ({runs_of_them})")
    op.execute(f"DELETE FROM training_run WHERE kind IN {new_kinds}")
    with op.batch_alter_table("training_run") as table:
        table.drop_constraint("ck_training_run_kind", type_="check")
        table.create_check_constraint("ck_training_run_kind", "kind IN ('train', 'encode')")
        table.drop_column("reason")
        table.drop_column("actor")
    with op.batch_alter_table("selection") as table:
        table.drop_constraint("ck_selection_purpose", type_="check")
        table.drop_column("purpose")
    op.drop_column("checkpoint", "promotion")
    names = ("random_share", "gold_rate", "repeat_rate", "reasons", "aspects", "aggregation")
    for name in (*names, "promotion_rule", "generator"):
        op.drop_column("project", name)
    for name in ("guidelines", "ended_session", "invitation", "membership", "account"):
        op.drop_table(name)
