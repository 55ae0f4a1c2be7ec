"""Accounts: who may sign in, with which password, and what each may do.

    account = accounts.create(database, "Mara", password, is_admin=True)
    signed_in = accounts.sign_in(database, "mara", password)      # None when that is not right
    person = accounts.person(database, signed_in.account_id, signed_in.epoch, session_id)

Hashes are computed outside transactions: they take a third of a second, and votes must not wait.
A change of password raises the account's epoch, which ends every session that was begun before.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.exc import OperationalError

from db import accounts as queries
from db import audit
from db import projects as project_queries
from db.models import Account, utc_now
from studio.services import passwords
from studio.services.errors import Conflict, NotFound, UsageError
from studio.services.names import checked_name, name_key
from studio.services.passwords import STANDARD, Cost
from studio.services.people import Person
from studio.services.projects import is_storable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

    from db.engine import Database

log = logging.getLogger(__name__)

PROJECT_ROLES = ("annotator", "lead")
SEEN_EVERY = timedelta(minutes=5)


@dataclass(frozen=True)
class AccountInfo:
    """An account as pages and the console show it; `roles` by project id."""

    id: int
    name: str
    is_admin: bool
    active: bool
    created_at: datetime
    last_seen_at: datetime | None
    roles: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SignedIn:
    """What a session's cookie says: whose it is, and of which epoch."""

    account_id: int
    name: str
    epoch: int


def exist(database: Database) -> bool:
    """Whether anybody has an account; from then on everybody has to sign in."""
    with database.read() as s:
        return queries.exist(s)


def create(
    database: Database,
    name: str,
    password: str,
    *,
    is_admin: bool = False,
    project_id: int | None = None,
    role: str | None = None,
    actor: str = "local",
    cost: Cost = STANDARD,
) -> AccountInfo:
    """A new account, with a role in a project if one is named. The first is an admin's."""
    name = checked_name(name)
    passwords.check_rules(password, name)
    if not is_admin and not exist(database):
        raise UsageError(
            f"{name!r} would be the first account, and nobody could manage the others: "
            "make it an admin's"
        )
    hashed = passwords.hash_password(password, cost)
    with database.write() as s:
        account = add(s, name, hashed, is_admin=is_admin, actor=actor)
        if role is not None and project_id is not None:
            give_role(s, account.id, project_id, role, actor)
        return _info(s, account)


def add(s: Session, name: str, hashed: str, *, is_admin: bool, actor: str) -> Account:
    """Make an account of a checked name inside the caller's transaction."""
    account = queries.add(s, name, name_key(name), hashed, is_admin=is_admin)
    if account is None:
        raise Conflict(f"there is an account named {name!r} already; choose another name")
    audit.record(s, actor, "create", "account", account.id, name=name, is_admin=is_admin)
    return account


# --- signing in ------------------------------------------------------------------------------


def sign_in(database: Database, name: str, password: str, cost: Cost = STANDARD) -> SignedIn | None:
    """Whose name and password these are, or None. An unknown name takes as long as a wrong one."""
    with database.read() as s:
        account = _by_name(s, name)
    if account is None or not account.active:
        passwords.spend_time_on(password, cost)
        return None
    if not passwords.matches(password, account.password_hash):
        return None
    renewed = None
    if passwords.is_outdated(account.password_hash, cost):
        renewed = passwords.hash_password(password, cost)
    with database.write() as s:
        row = queries.get(s, account.id)
        assert row is not None
        if row.session_epoch != account.session_epoch or not row.active:
            return None  # changed while we computed
        if renewed:
            row.password_hash = renewed
        row.last_seen_at = utc_now()
        audit.record(s, row.name, "sign_in", "account", row.id)
        return SignedIn(row.id, row.name, row.session_epoch)


def person(database: Database, account_id: int, epoch: int, session_id: str) -> Person | None:
    """The person of a session, with their roles as they are now; None when it is over."""
    now = utc_now()
    with database.read() as s:
        found = queries.session(s, account_id, session_id)
    if found is None or found.is_ended:
        return None
    account = found.account
    if not account.active or account.session_epoch != epoch:
        return None
    if account.last_seen_at is None or now - account.last_seen_at > SEEN_EVERY:
        _note_seen(database, account_id, now)
    return Person(account.name, account.is_admin, found.roles)


def _note_seen(database: Database, account_id: int, now: datetime) -> None:
    """When somebody was last here is worth a write, but no failed request."""
    try:
        with database.write() as s:
            queries.seen(s, account_id, now)
    except OperationalError as error:
        log.warning("it was not noted that account %s was here: %s", account_id, error)


def sign_out(
    database: Database, account_id: int, name: str, session_id: str, expires_at: datetime
) -> None:
    """End one session: a copy of its cookie is worth nothing from now on."""
    with database.write() as s:
        queries.end_session(s, session_id, expires_at, utc_now())
        audit.record(s, name, "sign_out", "account", account_id)


# --- passwords -------------------------------------------------------------------------------


def change_password(
    database: Database, account_id: int, current: str, new: str, cost: Cost = STANDARD
) -> SignedIn:
    """Change one's own password; every other session of the account ends."""
    with database.read() as s:
        account = _by_id(s, account_id)
    if not passwords.matches(current, account.password_hash):
        raise UsageError("the present password is not right; type it again")
    if current == new:
        raise UsageError("the new password is the present one; choose another")
    return _store_password(database, account, new, actor=account.name, cost=cost)


def reset_password(database: Database, account_id: int, *, actor: str) -> str:
    """A new random password for somebody who has forgotten theirs, to be handed on to them."""
    with database.read() as s:
        account = _by_id(s, account_id)
    password = passwords.generate()
    _store_password(database, account, password, actor=actor)
    return password


def set_password(
    database: Database, name: str, password: str, *, actor: str = "local", cost: Cost = STANDARD
) -> AccountInfo:
    """Give the account of this name another password; all its sessions end."""
    account = find(database, name)
    with database.read() as s:
        row = _by_id(s, account.id)
    _store_password(database, row, password, actor=actor, cost=cost)
    return account


def _store_password(
    database: Database, account: Account, password: str, *, actor: str, cost: Cost = STANDARD
) -> SignedIn:
    passwords.check_rules(password, account.name)
    hashed = passwords.hash_password(password, cost)
    with database.write() as s:
        row = _by_id(s, account.id)
        row.password_hash = hashed
        row.session_epoch += 1
        audit.record(s, actor, "password", "account", row.id, name=row.name)
        return SignedIn(row.id, row.name, row.session_epoch)


# --- what an account may do ------------------------------------------------------------------


def set_active(database: Database, account_id: int, active: bool, *, actor: str) -> AccountInfo:
    """Let the account sign in, or no longer; nothing that it did is touched."""
    with database.write() as s:
        account = _by_id(s, account_id)
        if account.active != active:
            if not active:
                _keep_an_admin(s, account)
                account.session_epoch += 1
            account.active = active
            action = "activate" if active else "deactivate"
            audit.record(s, actor, action, "account", account.id, name=account.name)
        return _info(s, account)


def set_admin(database: Database, account_id: int, is_admin: bool, *, actor: str) -> AccountInfo:
    """Make the account an admin's, or no longer."""
    with database.write() as s:
        account = _by_id(s, account_id)
        if account.is_admin != is_admin:
            if not is_admin:
                _keep_an_admin(s, account)
            account.is_admin = is_admin
            audit.record(
                s, actor, "admin", "account", account.id, name=account.name, is_admin=is_admin
            )
        return _info(s, account)


def set_role(
    database: Database, account_id: int, project_id: int, role: str | None, *, actor: str
) -> AccountInfo:
    """Give the account a role in the project; None takes it out of the project."""
    with database.write() as s:
        account = _by_id(s, account_id)
        give_role(s, account.id, project_id, role, actor)
        return _info(s, account)


def give_role(s: Session, account_id: int, project_id: int, role: str | None, actor: str) -> None:
    """The same inside the caller's transaction."""
    if role is not None and role not in PROJECT_ROLES:
        raise UsageError(f"there is no role {role!r}; use annotator or lead")
    if project_queries.get_project(s, project_id) is None:
        raise NotFound(f"no project {project_id!r}; choose another")
    queries.set_role(s, account_id, project_id, role)
    audit.record(s, actor, "role", "account", account_id, project_id=project_id, role=role)


# --- looking up ------------------------------------------------------------------------------


def list_all(database: Database) -> list[AccountInfo]:
    """Every account, by name."""
    with database.read() as s:
        found = queries.list_all(s)
        roles = queries.roles(s, [account.id for account in found])
        return [_info(s, account, roles[account.id]) for account in found]


def find(database: Database, name: str) -> AccountInfo:
    """The account of this name, however it is spelt."""
    with database.read() as s:
        account = _by_name(s, name)
        if account is None:
            raise NotFound(
                f"no account named {name[:80]!r}; `reward-studio user list` shows who has one"
            )
        return _info(s, account)


def _by_name(s: Session, name: str) -> Account | None:
    key = name_key(name)
    return queries.find(s, key) if is_storable(key) else None


def _by_id(s: Session, account_id: int) -> Account:
    account = queries.get(s, account_id)
    if account is None:
        raise NotFound(f"no account with the number {account_id}; load the page again")
    return account


def _keep_an_admin(s: Session, account: Account) -> None:
    if account.is_admin and queries.lock_admins(s) == [account.id]:
        raise Conflict(
            f"{account.name!r} is the only admin left; make somebody else an admin first"
        )


def _info(s: Session, account: Account, roles: Mapping[int, str] | None = None) -> AccountInfo:
    return AccountInfo(
        id=account.id,
        name=account.name,
        is_admin=account.is_admin,
        active=account.active,
        created_at=account.created_at,
        last_seen_at=account.last_seen_at,
        roles=queries.roles(s, [account.id])[account.id] if roles is None else roles,
    )
