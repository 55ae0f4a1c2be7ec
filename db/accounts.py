"""Accounts, their roles in projects, and the sessions that were signed out early."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Account, EndedSession, Membership


@dataclass(frozen=True)
class SessionRow:
    """What a request's session stands on: the account as it is now, and its roles."""

    account: Account
    roles: Mapping[int, str]
    is_ended: bool


def exist(s: Session) -> bool:
    """Whether there is any account, active or not."""
    return s.scalar(select(Account.id).limit(1)) is not None


def add(
    s: Session, name: str, name_key: str, password_hash: str, *, is_admin: bool
) -> Account | None:
    """A new account, or None when the name is taken."""
    account = Account(
        name=name, name_key=name_key, password_hash=password_hash, is_admin=is_admin, active=True
    )
    try:
        with s.begin_nested():
            s.add(account)
    except sa.exc.IntegrityError:
        return None
    return account


def get(s: Session, account_id: int) -> Account | None:
    return s.get(Account, account_id)


def find(s: Session, name_key: str) -> Account | None:
    return s.scalar(select(Account).where(Account.name_key == name_key))


def list_all(s: Session) -> list[Account]:
    return list(s.scalars(select(Account).order_by(Account.name_key)))


def lock_admins(s: Session) -> list[int]:
    """The ids of the active admins; nobody else changes who they are until this one is done."""
    statement = (
        select(Account.id)
        .where(Account.is_admin.is_(True), Account.active.is_(True))
        .order_by(Account.id)
        .with_for_update()
    )
    return list(s.scalars(statement))


def roles(s: Session, account_ids: Iterable[int]) -> dict[int, dict[int, str]]:
    """The role in each project, by account."""
    found: dict[int, dict[int, str]] = {account_id: {} for account_id in account_ids}
    statement = select(Membership).where(Membership.account_id.in_(found))
    for membership in s.scalars(statement):
        found[membership.account_id][membership.project_id] = membership.role
    return found


def set_role(s: Session, account_id: int, project_id: int, role: str | None) -> None:
    """Give the account this role in the project; None takes it out of the project."""
    membership = s.scalar(
        select(Membership)
        .where(Membership.account_id == account_id, Membership.project_id == project_id)
        .with_for_update()
    )
    if role is None:
        if membership is not None:
            s.delete(membership)
    elif membership is None:
        s.add(Membership(account_id=account_id, project_id=project_id, role=role))
    else:
        membership.role = role


def session(s: Session, account_id: int, session_id: str) -> SessionRow | None:
    """What the session stands on, or None where there is no such account."""
    account = s.get(Account, account_id)
    if account is None:
        return None
    ended = s.get(EndedSession, session_id) is not None
    return SessionRow(account, roles(s, [account_id])[account_id], ended)


def end_session(s: Session, session_id: str, expires_at: datetime, now: datetime) -> None:
    """Remember until its cookie expires that the session is over; forget those that have."""
    s.execute(sa.delete(EndedSession).where(EndedSession.expires_at < now))
    if s.get(EndedSession, session_id) is None:
        s.add(EndedSession(id=session_id, expires_at=expires_at))


def seen(s: Session, account_id: int, now: datetime) -> None:
    s.execute(sa.update(Account).where(Account.id == account_id).values(last_seen_at=now))
