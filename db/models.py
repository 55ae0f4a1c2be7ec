"""The tables: immutable content, append-only judgements, and the rows that jobs are made of.

Content (prompt, response, pair) is addressed by sha256 hex digests and never changes. A vote is
never updated except to be retracted, and never deleted. What a page shows (progress, the number
of new pairs) is counted from these rows, not kept beside them.

A snapshot's votes are kept as one compressed column: a row for each vote and snapshot would make
the table grow by the whole project at every training.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import JSON, DateTime, LargeBinary, String, Text, TypeDecorator

CONVENTION = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

CHOICES = ("a", "b", "tie", "both_bad", "skip", "flag")
JUDGING = ("a", "b", "tie")  # choices that say which answer is better, and so can train
FILLING = ("a", "b", "tie", "both_bad")  # choices that use up a slot
PURPOSES = ("label", "gold", "repeat", "adjudication")  # only labels and adjudications train
# Fit a head; encode ahead; train a run's snapshot again and compare; how figures grow with labels.
RUN_KINDS = ("train", "encode", "reproduce", "curve")
STRATEGIES = ("in_order", "random", "uncertainty", "information")  # which pair comes next
UNFINISHED = ("queued", "starting", "running", "cancelling")
FINISHED = ("succeeded", "failed", "cancelled")
DIGEST = String(64)


def utc_now() -> datetime:
    """The present time, aware, in UTC."""
    return datetime.now(UTC)


class UTCDateTime(TypeDecorator[datetime]):
    """Aware datetimes, stored as UTC; SQLite keeps no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value!r}; pass an aware datetime")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention=CONVENTION)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own name for it
        datetime: UTCDateTime(),
        str: Text(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


def _one_of(column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


class Project(Base):
    __tablename__ = "project"
    __table_args__ = (
        UniqueConstraint("name"),
        sa.CheckConstraint("wanted_votes >= 1", name="wanted_votes"),
        _one_of("queue_strategy", STRATEGIES),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    guidelines: Mapped[str]
    guidelines_version: Mapped[int] = mapped_column(default=1)
    wanted_votes: Mapped[int]
    queue_strategy: Mapped[str] = mapped_column(default="random")
    ranking: Mapped[dict[str, Any]] = mapped_column(default=dict)  # what slot.priority came from
    random_share: Mapped[float] = mapped_column(default=0.1)  # showings drawn at random regardless
    gold_rate: Mapped[float] = mapped_column(
        default=0.0
    )  # showings that test against a known verdict
    repeat_rate: Mapped[float] = mapped_column(default=0.0)  # ... and that repeat an own old pair
    reasons: Mapped[list[Any]] = mapped_column(default=list)  # chips offered beside a verdict
    aspects: Mapped[list[Any]] = mapped_column(default=list)  # what is rated besides the verdict
    aggregation: Mapped[dict[str, Any]] = mapped_column(default=dict)  # how votes become targets
    retrain_rules: Mapped[dict[str, Any]] = mapped_column(default=dict)
    promotion_rule: Mapped[str] = mapped_column(default="unless_worse")
    generator: Mapped[dict[str, Any]] = mapped_column(default=dict)  # endpoint; never a key
    backbone: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    archived_at: Mapped[datetime | None]


class Guidelines(Base):
    """Every version of a project's guidelines: a vote names the one it was given under."""

    __tablename__ = "guidelines"
    __table_args__ = (UniqueConstraint("project_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    version: Mapped[int]
    text: Mapped[str]
    author: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Account(Base):
    """Somebody who may sign in. The name is what their votes carry, so it never changes."""

    __tablename__ = "account"
    __table_args__ = (UniqueConstraint("name_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str]  # case-folded and normalised: no two names that look alike
    password_hash: Mapped[str]
    is_admin: Mapped[bool] = mapped_column(default=False)
    active: Mapped[bool] = mapped_column(default=True)
    session_epoch: Mapped[int] = mapped_column(default=0)  # raised to end every session at once
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    last_seen_at: Mapped[datetime | None]


class Membership(Base):
    """What an account may do in a project."""

    __tablename__ = "membership"
    __table_args__ = (
        UniqueConstraint("account_id", "project_id"),
        Index("ix_membership_project_id", "project_id"),
        _one_of("role", ("annotator", "lead")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Invitation(Base):
    """A link by which people make their account; only a digest of its token is kept."""

    __tablename__ = "invitation"
    __table_args__ = (UniqueConstraint("token_hash"), _one_of("role", ("annotator", "lead")))

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(DIGEST)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    role: Mapped[str]
    author: Mapped[str]
    max_uses: Mapped[int] = mapped_column(default=1)
    num_uses: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class EndedSession(Base):
    """A session that was signed out before its cookie expires: the cookie alone would not know."""

    __tablename__ = "ended_session"

    id: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    expires_at: Mapped[datetime]


class Prompt(Base):
    __tablename__ = "prompt"
    __table_args__ = (UniqueConstraint("content_hash", "project_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    content_hash: Mapped[str] = mapped_column(DIGEST)
    messages: Mapped[list[Any]]
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Response(Base):
    __tablename__ = "response"
    __table_args__ = (
        UniqueConstraint("content_hash", "prompt_id"),
        Index("ix_response_prompt_id", "prompt_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    content_hash: Mapped[str] = mapped_column(DIGEST)
    text: Mapped[str]
    source: Mapped[str | None]  # the model or person that wrote it; never shown while judging
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("response.id"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Pair(Base):
    """Two answers to a prompt; `response_a` is the one with the smaller content hash."""

    __tablename__ = "pair"
    __table_args__ = (
        UniqueConstraint("content_hash", "project_id"),
        Index("ix_pair_project_id", "project_id", "status"),
        Index("ix_pair_prompt_id", "prompt_id"),
        Index(
            "ix_pair_gold",
            "project_id",
            "id",
            sqlite_where=text("gold_choice IS NOT NULL"),
            postgresql_where=text("gold_choice IS NOT NULL"),
        ),
        _one_of("split", ("train", "heldout")),
        _one_of("status", ("open", "paused")),
        _one_of("gold_choice", ("a", "b", "tie")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    response_a_id: Mapped[int] = mapped_column(ForeignKey("response.id"))
    response_b_id: Mapped[int] = mapped_column(ForeignKey("response.id"))
    content_hash: Mapped[str] = mapped_column(DIGEST)
    split: Mapped[str]
    gold_choice: Mapped[str | None]
    status: Mapped[str] = mapped_column(default="open")
    category: Mapped[str | None]
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Selection(Base):
    """A showing: this pair to this annotator, on which sides, and why it was chosen."""

    __tablename__ = "selection"
    __table_args__ = (
        Index(  # of three equal columns: taken before the one below, whatever is known of the sizes
            "ix_selection_open",
            "project_id",
            "annotator",
            "closed_at",
            "id",
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index(
            "ix_selection_in_order",
            "project_id",
            "annotator",
            "strategy",
            "id",
            sqlite_where=text("strategy = 'in_order'"),
            postgresql_where=text("strategy = 'in_order'"),
        ),
        Index("ix_selection_annotator", "project_id", "annotator", "id"),
        Index("ix_selection_pair", "pair_id", "annotator"),
        _one_of("left_side", ("a", "b")),
        _one_of("purpose", PURPOSES),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    pair_id: Mapped[int] = mapped_column(ForeignKey("pair.id"))
    annotator: Mapped[str]
    purpose: Mapped[str] = mapped_column(default="label")
    slot_id: Mapped[int | None]  # no foreign key: an import may take an open slot away
    position: Mapped[float]  # in the queue: the annotator's next pair is looked for behind it
    left_side: Mapped[str]
    strategy: Mapped[str]
    acquisition_score: Mapped[float | None]
    propensity: Mapped[float | None]
    checkpoint_id: Mapped[int | None]  # the head used, if any
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    closed_at: Mapped[datetime | None]


class Vote(Base):
    __tablename__ = "vote"
    __table_args__ = (
        Index(
            "uq_vote_label",
            "pair_id",
            "annotator",
            unique=True,
            sqlite_where=text("retracted_at IS NULL AND purpose = 'label'"),
            postgresql_where=text("retracted_at IS NULL AND purpose = 'label'"),
        ),
        Index(  # the last word on a pair is one
            "uq_vote_adjudication",
            "pair_id",
            unique=True,
            sqlite_where=text("retracted_at IS NULL AND purpose = 'adjudication'"),
            postgresql_where=text("retracted_at IS NULL AND purpose = 'adjudication'"),
        ),
        Index(
            "ix_vote_tally",
            "project_id",
            "imported",
            "choice",
            "surplus",
            "pair_id",
            sqlite_where=text("retracted_at IS NULL AND purpose = 'label'"),
            postgresql_where=text("retracted_at IS NULL AND purpose = 'label'"),
        ),
        Index(
            "ix_vote_pair",
            "project_id",
            "pair_id",
            "choice",
            sqlite_where=text("retracted_at IS NULL AND purpose = 'label'"),
            postgresql_where=text("retracted_at IS NULL AND purpose = 'label'"),
        ),
        Index(  # what an annotator has given, counted from the index alone
            "ix_vote_own",
            "project_id",
            "annotator",
            "purpose",
            "choice",
            "showing_id",
            sqlite_where=text("retracted_at IS NULL"),
            postgresql_where=text("retracted_at IS NULL"),
        ),
        Index(  # a gold pair or a repeat is judged once a showing
            "uq_vote_check",
            "showing_id",
            unique=True,
            sqlite_where=text("retracted_at IS NULL AND purpose IN ('gold', 'repeat')"),
            postgresql_where=text("retracted_at IS NULL AND purpose IN ('gold', 'repeat')"),
        ),
        Index("ix_vote_annotator", "project_id", "annotator", "created_at"),
        Index(  # all that db/vote_table.py reads: statistics never touch the table itself
            "ix_vote_columns",
            "project_id",
            "annotator",
            "pair_id",
            "choice",
            "purpose",
            "left_side",
            "strength",
            "imported",
            "duration_ms",
            "retracted_at",
            sqlite_where=text("retracted_at IS NULL"),
            postgresql_where=text("retracted_at IS NULL"),
        ),
        Index("ix_vote_created", "project_id", "created_at"),
        Index("ix_vote_showing_id", "showing_id"),
        Index(  # what an annotator took back, to say what a new vote revises
            "ix_vote_withdrawn",
            "pair_id",
            "annotator",
            sqlite_where=text("retracted_at IS NOT NULL"),
            postgresql_where=text("retracted_at IS NOT NULL"),
        ),
        _one_of("choice", CHOICES),
        _one_of("purpose", PURPOSES),
        _one_of("left_side", ("a", "b")),
        sa.CheckConstraint("strength BETWEEN 1 AND 3", name="strength"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)  # a UUID made by the client
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    pair_id: Mapped[int] = mapped_column(ForeignKey("pair.id"))
    showing_id: Mapped[int | None] = mapped_column(ForeignKey("selection.id"))
    annotator: Mapped[str]
    imported: Mapped[bool] = mapped_column(default=False)
    purpose: Mapped[str] = mapped_column(default="label")
    choice: Mapped[str]
    strength: Mapped[int | None]
    left_side: Mapped[str | None]
    reasons: Mapped[list[Any]] = mapped_column(default=list)
    aspects: Mapped[dict[str, Any]] = mapped_column(default=dict)
    comment: Mapped[str] = mapped_column(default="")
    guidelines_version: Mapped[int | None]
    duration_ms: Mapped[int | None] = mapped_column(sa.BigInteger)
    surplus: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    revises: Mapped[str | None] = mapped_column(ForeignKey("vote.id"), type_=String(36))
    retracted_at: Mapped[datetime | None]


class Slot(Base):
    """One wanted vote of a pair: free, leased to an annotator until a time, or filled by a vote."""

    __tablename__ = "slot"
    __table_args__ = (
        UniqueConstraint("pair_id", "n"),
        Index(  # one filled or leased slot a person and pair
            "uq_slot_annotator",
            "pair_id",
            "annotator",
            unique=True,
            sqlite_where=text("annotator IS NOT NULL"),
            postgresql_where=text("annotator IS NOT NULL"),
        ),
        Index(
            "ix_slot_open",
            "project_id",
            "position",
            "id",
            sqlite_where=text("vote_id IS NULL"),
            postgresql_where=text("vote_id IS NULL"),
        ),
        Index(
            "ix_slot_priority",
            "project_id",
            "priority",
            "id",
            sqlite_where=text("vote_id IS NULL AND priority IS NOT NULL"),
            postgresql_where=text("vote_id IS NULL AND priority IS NOT NULL"),
        ),
        Index(
            "ix_slot_unfilled",
            "project_id",
            "pair_id",
            sqlite_where=text("vote_id IS NULL"),
            postgresql_where=text("vote_id IS NULL"),
        ),
        Index(
            "ix_slot_leased",
            "project_id",
            "lease_until",
            sqlite_where=text("lease_until IS NOT NULL"),
            postgresql_where=text("lease_until IS NOT NULL"),
        ),
        Index(  # of filled ones alone: no planner may look for the unfilled ones here
            "ix_slot_filled",
            "vote_id",
            sqlite_where=text("vote_id IS NOT NULL"),
            postgresql_where=text("vote_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    pair_id: Mapped[int] = mapped_column(ForeignKey("pair.id"))
    n: Mapped[int]
    position: Mapped[float]  # in [0, 1): where the pair stands in the queue
    priority: Mapped[int | None]  # its place among the pairs that the newest ranking chose
    acquisition_score: Mapped[float | None]  # by which it was ranked
    annotator: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    vote_id: Mapped[str | None] = mapped_column(ForeignKey("vote.id"), type_=String(36))

    @property
    def done(self) -> bool:
        return self.vote_id is not None


class Snapshot(Base):
    """The votes that a run was trained on, for ever."""

    __tablename__ = "snapshot"
    __table_args__ = (Index("ix_snapshot_project_id", "project_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    digest: Mapped[str] = mapped_column(DIGEST)
    rule_version: Mapped[int]
    aggregation: Mapped[dict[str, Any]] = mapped_column(default=dict)  # the project's, at the time
    counts: Mapped[dict[str, Any]]
    vote_ids: Mapped[bytes] = mapped_column(LargeBinary)  # sorted UUIDs, 16 bytes each, zlib
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class TrainingRun(Base):
    __tablename__ = "training_run"
    __table_args__ = (
        Index(
            "uq_training_run_trigger_key",
            "project_id",
            "kind",
            "trigger_key",
            unique=True,
            sqlite_where=text("status IN ('queued', 'starting', 'running')"),
            postgresql_where=text("status IN ('queued', 'starting', 'running')"),
        ),
        Index("ix_training_run_status", "status"),
        Index("ix_training_run_project_id", "project_id", "id"),
        _one_of("kind", RUN_KINDS),
        _one_of("status", UNFINISHED + FINISHED),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    kind: Mapped[str]
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    snapshot_id: Mapped[int | None] = mapped_column(ForeignKey("snapshot.id"))
    status: Mapped[str] = mapped_column(default="queued")
    trigger: Mapped[str]  # what asked: a click, the console, a rule's name, ...
    trigger_key: Mapped[str | None]
    actor: Mapped[str | None]  # who asked, where a person did
    reason: Mapped[str | None]  # in words, where a rule did
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    pid: Mapped[int | None]
    pid_started: Mapped[str | None]  # the process's start in clock ticks: a pid may be used again
    stage: Mapped[str | None]
    progress_done: Mapped[int | None] = mapped_column(sa.BigInteger)
    progress_total: Mapped[int | None] = mapped_column(sa.BigInteger)
    eta_at: Mapped[datetime | None]  # when the stage should end, by the pace measured so far
    device: Mapped[str | None]
    error: Mapped[str | None]
    log_path: Mapped[str | None]


class RunMetric(Base):
    __tablename__ = "run_metric"
    __table_args__ = (UniqueConstraint("run_id", "step", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("training_run.id"))
    step: Mapped[int]
    name: Mapped[str]
    value: Mapped[float]


class Checkpoint(Base):
    __tablename__ = "checkpoint"
    __table_args__ = (Index("ix_checkpoint_project_id", "project_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("training_run.id"))
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    directory: Mapped[str]
    sha256: Mapped[str] = mapped_column(DIGEST)
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    promoted_at: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]
    thinned_at: Mapped[datetime | None]  # when its files were deleted, to make room
    promotion: Mapped[dict[str, Any]] = mapped_column(default=dict)  # why it was promoted, or not


class Installation(Base):
    """The data directory that holds the files which the rows name; there is one row at most."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(primary_key=True)
    data_id: Mapped[str]  # as in the directory's own file
    place: Mapped[str]  # machine and path, for people
    since: Mapped[datetime] = mapped_column(default=utc_now)


class AuditEvent(Base):
    """Who did what to which row when."""

    __tablename__ = "audit_event"
    __table_args__ = (Index("ix_audit_event_subject", "subject", "subject_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=utc_now)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    subject_id: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
