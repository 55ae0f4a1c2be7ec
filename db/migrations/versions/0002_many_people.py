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
        sa.UniqueConstraint("account_id", "project_id", name="uq_membership_account_id_project_id"),
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
    _add("project", _json("ranking", "{}"))
    _add("checkpoint", _json("promotion", "{}"))
    _add("snapshot", _json("aggregation", "{}"))
    columns = ("project_id", "annotator", "pair_id", "choice", "purpose", "left_side", "strength")
    op.create_index(
        "ix_vote_columns",
        "vote",
        [*columns, "imported", "duration_ms", "retracted_at"],
        sqlite_where=sa.text("retracted_at IS NULL"),
        postgresql_where=sa.text("retracted_at IS NULL"),
    )
    op.create_index(
        "uq_vote_adjudication",
        "vote",
        ["pair_id"],
        unique=True,
        sqlite_where=sa.text("retracted_at IS NULL AND purpose = 'adjudication'"),
        postgresql_where=sa.text("retracted_at IS NULL AND purpose = 'adjudication'"),
    )
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
    _queue_for_many()
    # The guidelines that are in force are the first known version of each project.
    op.execute(
        "INSERT INTO guidelines (project_id, version, text, author, created_at) "
        "SELECT id, guidelines_version, guidelines, 'local', CURRENT_TIMESTAMP FROM project"
    )


def _queue_for_many() -> None:
    """Which pair next: rankings, checks of quality, and the counts that a queue of a million needs."""
    with op.batch_alter_table("project") as table:
        table.create_check_constraint(
            "ck_project_queue_strategy",
            "queue_strategy IN ('in_order', 'random', 'uncertainty', 'information')",
        )
    _add("slot", sa.Column("priority", sa.Integer(), nullable=True))
    _add("slot", sa.Column("acquisition_score", sa.Double(), nullable=True))
    unfilled = "vote_id IS NULL AND priority IS NOT NULL"
    _index("ix_slot_priority", "slot", ["project_id", "priority", "id"], unfilled)
    _index("ix_pair_gold", "pair", ["project_id", "id"], "gold_choice IS NOT NULL")
    op.create_index("ix_selection_pair", "selection", ["pair_id", "annotator"])
    own = ["project_id", "annotator", "purpose", "choice", "showing_id"]
    _index("ix_vote_own", "vote", own, "retracted_at IS NULL")
    checks = "retracted_at IS NULL AND purpose IN ('gold', 'repeat')"
    _index("uq_vote_check", "vote", ["showing_id"], checks, unique=True)
    _label_indexes("retracted_at IS NULL AND purpose = 'label'")


def _label_indexes(which: str) -> None:
    """Gold and repeats are no labels: the counts of labels read indexes without them."""
    for name in ("ix_vote_pair", "ix_vote_tally"):
        op.drop_index(name, "vote")
    _index("ix_vote_pair", "vote", ["project_id", "pair_id", "choice"], which)
    tally = ["project_id", "imported", "choice", "surplus", "pair_id"]
    _index("ix_vote_tally", "vote", tally, which)


def _index(name: str, table: str, columns: list[str], which: str, unique: bool = False) -> None:
    condition = sa.text(which)
    op.create_index(
        name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition
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
    _label_indexes("retracted_at IS NULL")
    for name, where in (
        ("uq_vote_check", "vote"),
        ("ix_vote_own", "vote"),
        ("ix_pair_gold", "pair"),
    ):
        op.drop_index(name, where)
    op.drop_index("ix_selection_pair", "selection")
    op.drop_index("ix_slot_priority", "slot")
    op.drop_column("slot", "acquisition_score")
    op.drop_column("slot", "priority")
    with op.batch_alter_table("project") as table:
        table.drop_constraint("ck_project_queue_strategy", type_="check")
    op.drop_column("project", "ranking")
    with op.batch_alter_table("selection") as table:
        table.drop_constraint("ck_selection_purpose", type_="check")
        table.drop_column("purpose")
    for name in ("uq_vote_adjudication", "ix_vote_columns"):
        op.drop_index(name, table_name="vote")
    op.drop_column("snapshot", "aggregation")
    op.drop_column("checkpoint", "promotion")
    names = ("random_share", "gold_rate", "repeat_rate", "reasons", "aspects", "aggregation")
    for name in (*names, "promotion_rule", "generator"):
        op.drop_column("project", name)
    for name in ("guidelines", "ended_session", "invitation", "membership", "account"):
        op.drop_table(name)
