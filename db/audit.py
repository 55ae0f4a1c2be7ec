"""The audit trail: who did what to which row when."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from db.models import AuditEvent


def record(
    s: Session, actor: str, action: str, subject: str, subject_id: object, **details: Any
) -> None:
    """Add an event, in the same transaction as what it tells of."""
    s.add(
        AuditEvent(
            actor=actor,
            action=action,
            subject=subject,
            subject_id=str(subject_id),
            details=details,
        )
    )
