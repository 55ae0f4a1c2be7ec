"""Invitations: links by which people make their account. Only a digest of the token is kept."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Invitation


def add(
    s: Session,
    token_hash: str,
    *,
    project_id: int,
    role: str,
    author: str,
    max_uses: int,
    created_at: datetime,
    expires_at: datetime,
) -> Invitation:
    invitation = Invitation(
        token_hash=token_hash,
        project_id=project_id,
        role=role,
        author=author,
        max_uses=max_uses,
        num_uses=0,
        created_at=created_at,
        expires_at=expires_at,
    )
    s.add(invitation)
    s.flush()
    return invitation


def find(s: Session, token_hash: str) -> Invitation | None:
    return s.scalar(select(Invitation).where(Invitation.token_hash == token_hash))


def get(s: Session, invitation_id: int) -> Invitation | None:
    return s.get(Invitation, invitation_id)


def of_project(s: Session, project_id: int) -> list[Invitation]:
    """The project's invitations, newest first."""
    statement = select(Invitation).where(Invitation.project_id == project_id)
    return list(s.scalars(statement.order_by(Invitation.id.desc())))


def use(s: Session, invitation_id: int, now: datetime) -> bool:
    """Take one use of the invitation; False when none is left. Two at once never share one."""
    done = s.execute(
        sa.update(Invitation)
        .where(
            Invitation.id == invitation_id,
            Invitation.num_uses < Invitation.max_uses,
            Invitation.expires_at > now,
            Invitation.revoked_at.is_(None),
        )
        .values(num_uses=Invitation.num_uses + 1)
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]


def revoke(s: Session, invitation_id: int, now: datetime) -> None:
    s.execute(
        sa.update(Invitation)
        .where(Invitation.id == invitation_id, Invitation.revoked_at.is_(None))
        .values(revoked_at=now)
    )
