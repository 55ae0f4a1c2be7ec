"""Invitations: links by which people make an account of their own, with a role in one project.

made = invitations.invite(database, project_id, "annotator", actor="mara", days=7, max_uses=5)
made.token                 # shown once: only its digest is kept
invitations.join(database, made.token, "Bo", password)
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from db import accounts as account_queries
from db import audit
from db import invitations as queries
from db import projects as project_queries
from db.models import Account, Invitation, utc_now
from studio.services import accounts, passwords
from studio.services.accounts import SignedIn
from studio.services.errors import Conflict, NotFound, UsageError
from studio.services.names import checked_name
from studio.services.passwords import STANDARD, Cost
from studio.services.people import RANK

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.engine import Database

MAX_DAYS = 90
MAX_USES = 1000
TOKEN_BYTES = 24
State = Literal["open", "used up", "expired", "revoked"]


@dataclass(frozen=True)
class InvitationInfo:
    """An invitation as pages show it; its link cannot be shown again."""

    id: int
    project_id: int
    project_name: str
    role: str
    author: str
    num_uses: int
    max_uses: int
    expires_at: datetime
    state: State


@dataclass(frozen=True)
class NewInvitation:
    """An invitation just made, with the token of its link."""

    info: InvitationInfo
    token: str


def invite(
    database: Database,
    project_id: int,
    role: str,
    *,
    actor: str,
    days: int = 7,
    max_uses: int = 1,
    now: datetime | None = None,
) -> NewInvitation:
    """Make an invitation to a project."""
    if role not in accounts.PROJECT_ROLES:
        raise UsageError(f"there is no role {role!r}; use annotator or lead")
    if not 1 <= days <= MAX_DAYS:
        raise UsageError(f"a link cannot hold for {days} days; give a number from 1 to {MAX_DAYS}")
    if not 1 <= max_uses <= MAX_USES:
        raise UsageError(
            f"a link cannot be for {max_uses} people; give a number from 1 to {MAX_USES}"
        )
    token = secrets.token_urlsafe(TOKEN_BYTES)
    now = now or utc_now()
    with database.write() as s:
        if not account_queries.exist(s):
            raise Conflict(
                "nobody has an account on this server yet; make the first with "
                "`reward-studio user add NAME --admin`"
            )
        if project_queries.get_project(s, project_id) is None:
            raise NotFound(f"no project {project_id!r}; choose another")
        invitation = queries.add(
            s,
            _digest(token),
            project_id=project_id,
            role=role,
            author=actor,
            max_uses=max_uses,
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        audit.record(
            s, actor, "invite", "invitation", invitation.id,
            project_id=project_id, role=role, days=days, max_uses=max_uses,
        )  # fmt: skip
        return NewInvitation(_info(s, invitation, now), token)


def of_project(database: Database, project_id: int) -> list[InvitationInfo]:
    """The project's invitations, newest first, whatever became of them."""
    with database.read() as s:
        now = utc_now()
        return [_info(s, invitation, now) for invitation in queries.of_project(s, project_id)]


def revoke(database: Database, project_id: int, invitation_id: int, *, actor: str) -> None:
    """Make the link worthless; whoever came by it stays."""
    with database.write() as s:
        invitation = queries.get(s, invitation_id)
        if invitation is None or invitation.project_id != project_id:
            raise NotFound(f"no invitation {invitation_id} in this project; load the page again")
        if invitation.revoked_at is None:
            queries.revoke(s, invitation_id, utc_now())
            audit.record(s, actor, "revoke", "invitation", invitation_id)


def look(database: Database, token: str) -> InvitationInfo:
    """The open invitation of a link, or an error that says what became of it."""
    with database.read() as s:
        return _info(s, _open(s, token), utc_now())


def join(
    database: Database, token: str, name: str, password: str, cost: Cost = STANDARD
) -> SignedIn:
    """Make the account that the invitation is for."""
    look(database, token)
    name = checked_name(name)
    passwords.check_rules(password, name)
    hashed = passwords.hash_password(password, cost)
    with database.write() as s:
        invitation = _open(s, token)
        _take(s, invitation)
        account = accounts.add(s, name, hashed, is_admin=False, actor=name)
        _give(s, invitation, account)
        return SignedIn(account.id, account.name, account.session_epoch)


def accept(database: Database, token: str, account_id: int) -> InvitationInfo:
    """Let somebody who has an account into the project; a higher role that they have stays."""
    with database.write() as s:
        invitation = _open(s, token)
        account = account_queries.get(s, account_id)
        assert account is not None
        present = account_queries.roles(s, [account_id])[account_id].get(invitation.project_id, "")
        if RANK.get(present, 0) < RANK[invitation.role]:
            _take(s, invitation)
            _give(s, invitation, account)
        return _info(s, invitation, utc_now())


def _take(s: Session, invitation: Invitation) -> None:
    if not queries.use(s, invitation.id, utc_now()):
        raise Conflict(_closed("used up"))


def _give(s: Session, invitation: Invitation, account: Account) -> None:
    accounts.give_role(s, account.id, invitation.project_id, invitation.role, account.name)
    audit.record(s, account.name, "join", "invitation", invitation.id, account_id=account.id)


def _open(s: Session, token: str) -> Invitation:
    invitation = queries.find(s, _digest(token))
    if invitation is None:
        raise NotFound("there is no such invitation; check that the link was copied whole")
    state = _state(invitation, utc_now())
    if state != "open":
        raise Conflict(_closed(state))
    return invitation


def _closed(state: State) -> str:
    what = {"used up": "has been used up", "expired": "has expired", "revoked": "was withdrawn"}
    return f"this invitation {what[state]}; ask whoever sent it for another"


def _state(invitation: Invitation, now: datetime) -> State:
    if invitation.revoked_at is not None:
        return "revoked"
    if invitation.num_uses >= invitation.max_uses:
        return "used up"
    return "open" if invitation.expires_at > now else "expired"


def _info(s: Session, invitation: Invitation, now: datetime) -> InvitationInfo:
    project = project_queries.get_project(s, invitation.project_id)
    assert project is not None
    return InvitationInfo(
        id=invitation.id,
        project_id=project.id,
        project_name=project.name,
        role=invitation.role,
        author=invitation.author,
        num_uses=invitation.num_uses,
        max_uses=invitation.max_uses,
        expires_at=invitation.expires_at,
        state=_state(invitation, now),
    )


def _digest(token: str) -> str:
    # The token is random and long: a plain digest gives nothing away.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
