"""First light: projects, content, judgements, runs and checkpoints.

Revision: 0001, the first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_event"),
    )
    op.create_index("ix_audit_event_subject", "audit_event", ["subject", "subject_id"])
    op.create_table(
        "project",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("guidelines", sa.Text(), nullable=False),
        sa.Column("guidelines_version", sa.Integer(), nullable=False),
        sa.Column("wanted_votes", sa.Integer(), nullable=False),
        sa.Column("queue_strategy", sa.Text(), nullable=False),
        sa.Column("retrain_rules", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("backbone", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("wanted_votes >= 1", name="ck_project_wanted_votes"),
        sa.PrimaryKeyConstraint("id", name="pk_project"),
        sa.UniqueConstraint("name", name="uq_project_name"),
    )
    op.create_table(
        "prompt",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("messages", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name="fk_prompt_project_id_project"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_prompt"),
        sa.UniqueConstraint("content_hash", "project_id", name="uq_prompt_content_hash_project_id"),
    )
    op.create_table(
        "snapshot",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("counts", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("vote_ids", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name="fk_snapshot_project_id_project"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_snapshot"),
    )
    op.create_index("ix_snapshot_project_id", "snapshot", ["project_id"])
    op.create_table(
        "response",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["response.id"], name="fk_response_parent_id_response"
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name="fk_response_prompt_id_prompt"),
        sa.PrimaryKeyConstraint("id", name="pk_response"),
        sa.UniqueConstraint("content_hash", "prompt_id", name="uq_response_content_hash_prompt_id"),
    )
    op.create_index("ix_response_prompt_id", "response", ["prompt_id"])
    op.create_table(
        "training_run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("config", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("snapshot_id", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("trigger_key", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("pid_started", sa.Text(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("progress_done", sa.BigInteger(), nullable=True),
        sa.Column("progress_total", sa.BigInteger(), nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("log_path", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('train', 'encode')", name="ck_training_run_kind"),
        sa.CheckConstraint(
            "status IN ('queued', 'starting', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')",
            name="ck_training_run_status",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name="fk_training_run_project_id_project"
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshot.id"], name="fk_training_run_snapshot_id_snapshot"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_training_run"),
    )
    op.create_index("ix_training_run_project_id", "training_run", ["project_id", "id"])
    op.create_index("ix_training_run_status", "training_run", ["status"])
    op.create_index(
        "uq_training_run_trigger_key",
        "training_run",
        ["project_id", "kind", "trigger_key"],
        unique=True,
        sqlite_where=sa.text("status IN ('queued', 'starting', 'running')"),
        postgresql_where=sa.text("status IN ('queued', 'starting', 'running')"),
    )
    op.create_table(
        "checkpoint",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name="fk_checkpoint_project_id_project"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["training_run.id"], name="fk_checkpoint_run_id_training_run"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoint"),
    )
    op.create_index("ix_checkpoint_project_id", "checkpoint", ["project_id", "id"])
    op.create_table(
        "pair",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("response_a_id", sa.Integer(), nullable=False),
        sa.Column("response_b_id", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("gold_choice", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("meta", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("gold_choice IN ('a', 'b', 'tie')", name="ck_pair_gold_choice"),
        sa.CheckConstraint("split IN ('train', 'heldout')", name="ck_pair_split"),
        sa.CheckConstraint("status IN ('open', 'paused')", name="ck_pair_status"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_pair_project_id_project"),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name="fk_pair_prompt_id_prompt"),
        sa.ForeignKeyConstraint(
            ["response_a_id"], ["response.id"], name="fk_pair_response_a_id_response"
        ),
        sa.ForeignKeyConstraint(
            ["response_b_id"], ["response.id"], name="fk_pair_response_b_id_response"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_pair"),
        sa.UniqueConstraint("content_hash", "project_id", name="uq_pair_content_hash_project_id"),
    )
    op.create_index("ix_pair_project_id", "pair", ["project_id", "status"])
    op.create_index("ix_pair_prompt_id", "pair", ["prompt_id"])
    op.create_table(
        "run_metric",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["training_run.id"], name="fk_run_metric_run_id_training_run"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_run_metric"),
        sa.UniqueConstraint("run_id", "step", "name", name="uq_run_metric_run_id_step_name"),
    )
    op.create_table(
        "selection",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("slot_id", sa.Integer(), nullable=True),
        sa.Column("position", sa.Double(), nullable=False),
        sa.Column("left_side", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("acquisition_score", sa.Double(), nullable=True),
        sa.Column("propensity", sa.Double(), nullable=True),
        sa.Column("checkpoint_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("left_side IN ('a', 'b')", name="ck_selection_left_side"),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name="fk_selection_pair_id_pair"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name="fk_selection_project_id_project"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_selection"),
    )
    op.create_index("ix_selection_annotator", "selection", ["project_id", "annotator", "id"])
    op.create_index(
        "ix_selection_open",
        "selection",
        ["project_id", "annotator", "id"],
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "vote",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("showing_id", sa.Integer(), nullable=True),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("imported", sa.Boolean(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("strength", sa.Integer(), nullable=True),
        sa.Column("left_side", sa.Text(), nullable=True),
        sa.Column("reasons", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("aspects", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("guidelines_version", sa.Integer(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("surplus", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revises", sa.String(length=36), nullable=True),
        sa.Column("retracted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "choice IN ('a', 'b', 'tie', 'both_bad', 'skip', 'flag')", name="ck_vote_choice"
        ),
        sa.CheckConstraint("left_side IN ('a', 'b')", name="ck_vote_left_side"),
        sa.CheckConstraint(
            "purpose IN ('label', 'gold', 'repeat', 'adjudication')", name="ck_vote_purpose"
        ),
        sa.CheckConstraint("strength BETWEEN 1 AND 3", name="ck_vote_strength"),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name="fk_vote_pair_id_pair"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_vote_project_id_project"),
        sa.ForeignKeyConstraint(["revises"], ["vote.id"], name="fk_vote_revises_vote"),
        sa.ForeignKeyConstraint(
            ["showing_id"], ["selection.id"], name="fk_vote_showing_id_selection"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_vote"),
    )
    op.create_index("ix_vote_annotator", "vote", ["project_id", "annotator", "created_at"])
    op.create_index("ix_vote_created", "vote", ["project_id", "created_at"])
    op.create_index(
        "ix_vote_pair",
        "vote",
        ["project_id", "pair_id", "choice"],
        sqlite_where=sa.text("retracted_at IS NULL"),
        postgresql_where=sa.text("retracted_at IS NULL"),
    )
    op.create_index("ix_vote_showing_id", "vote", ["showing_id"])
    op.create_index(
        "ix_vote_tally",
        "vote",
        ["project_id", "imported", "choice", "surplus", "pair_id"],
        sqlite_where=sa.text("retracted_at IS NULL"),
        postgresql_where=sa.text("retracted_at IS NULL"),
    )
    op.create_index(
        "uq_vote_label",
        "vote",
        ["pair_id", "annotator"],
        unique=True,
        sqlite_where=sa.text("retracted_at IS NULL AND purpose = 'label'"),
        postgresql_where=sa.text("retracted_at IS NULL AND purpose = 'label'"),
    )
    op.create_table(
        "slot",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("position", sa.Double(), nullable=False),
        sa.Column("annotator", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("vote_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name="fk_slot_pair_id_pair"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_slot_project_id_project"),
        sa.ForeignKeyConstraint(["vote_id"], ["vote.id"], name="fk_slot_vote_id_vote"),
        sa.PrimaryKeyConstraint("id", name="pk_slot"),
        sa.UniqueConstraint("pair_id", "n", name="uq_slot_pair_id_n"),
    )
    op.create_index(
        "ix_slot_open",
        "slot",
        ["project_id", "position", "id"],
        sqlite_where=sa.text("vote_id IS NULL"),
        postgresql_where=sa.text("vote_id IS NULL"),
    )
    op.create_index(
        "ix_slot_unfilled",
        "slot",
        ["project_id", "pair_id"],
        sqlite_where=sa.text("vote_id IS NULL"),
        postgresql_where=sa.text("vote_id IS NULL"),
    )
    op.create_index(
        "ix_slot_leased",
        "slot",
        ["project_id", "lease_until"],
        sqlite_where=sa.text("lease_until IS NOT NULL"),
        postgresql_where=sa.text("lease_until IS NOT NULL"),
    )
    op.create_index("ix_slot_vote_id", "slot", ["vote_id"])
    op.create_index(
        "uq_slot_annotator",
        "slot",
        ["pair_id", "annotator"],
        unique=True,
        sqlite_where=sa.text("annotator IS NOT NULL"),
        postgresql_where=sa.text("annotator IS NOT NULL"),
    )


def downgrade() -> None:
    for table in (
        "slot",
        "vote",
        "selection",
        "run_metric",
        "pair",
        "checkpoint",
        "training_run",
        "response",
        "snapshot",
        "prompt",
        "project",
        "audit_event",
    ):
        op.drop_table(table)
