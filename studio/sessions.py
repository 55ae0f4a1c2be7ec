"""Sessions: a signed cookie that says whose browser this is, checked against the account.

The cookie carries the account's number, the account's epoch at sign-in and a random number of the
session, signed with a secret that lies in the data directory. It holds no rights: those are read
from the database, at most `FRESH_S` old, so that a deactivated account, a changed password or a
taken role counts within seconds, whichever process changed it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio.to_thread
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy.exc import SQLAlchemyError

from studio.network import Refusal, Scope, read_headers
from studio.services import accounts
from studio.services.accounts import SignedIn
from studio.services.errors import StudioError, UsageError
from studio.services.people import Person

if TYPE_CHECKING:
    from db.engine import Database
    from studio.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

DAY_S = 24 * 3600
IDLE_S = 14 * DAY_S  # unused for so long, a session ends
WHOLE_S = 90 * DAY_S  # and so does every session after so long
RENEW_S = DAY_S  # a cookie older than this is replaced while it is used
FRESH_S = 2.0
MAX_REMEMBERED = 10_000
MIN_SECRET = 32
# The prefix makes browsers refuse a cookie that another host or an unencrypted page has set.
SECURE_NAME = "__Host-reward-studio"
PLAIN_NAME = "reward-studio"


@dataclass(frozen=True)
class Ticket:
    """What a cookie says."""

    account_id: int
    epoch: int
    session_id: str
    began_s: int
    issued_s: int


@dataclass(frozen=True)
class Session:
    """A request's session: whose it is, and what its cookie says."""

    person: Person
    ticket: Ticket


class Sessions:
    """Begins, reads and ends sessions over one database."""

    def __init__(
        self,
        database: Database,
        secret: str,
        *,
        clock: Callable[[], float] = time.time,
        fresh_s: float = FRESH_S,
    ) -> None:
        self.database = database
        self.clock = clock
        self.fresh_s = fresh_s
        self._signer = URLSafeSerializer(
            secret,
            salt="reward-studio session",
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )
        self._has_accounts = False
        self._looked_at = float("-inf")
        self._people: dict[Ticket, tuple[float, Person | None]] = {}

    async def have_accounts(self) -> bool:
        """Whether anybody has an account; accounts are never deleted, so yes stays yes."""
        if not self._has_accounts and self.clock() - self._looked_at >= self.fresh_s:
            self._has_accounts = await _in_thread(lambda: accounts.exist(self.database))
            self._looked_at = self.clock()
        return self._has_accounts

    async def read(self, scope: Scope) -> Session | None:
        """The session of a request, or None where there is none or it is over.

        Whoever loads the page again sees what they may do now, not two seconds ago.
        """
        ticket = self._ticket(_cookie(scope, _name(scope)))
        if ticket is None:
            return None
        now = self.clock()
        read_at, person = self._people.get(ticket, (float("-inf"), None))
        if now - read_at >= self.fresh_s or scope.get("path") == "/":
            person = await _in_thread(
                lambda: accounts.person(
                    self.database, ticket.account_id, ticket.epoch, ticket.session_id
                )
            )
            if len(self._people) >= MAX_REMEMBERED:
                self._people.clear()
            self._people[ticket] = (now, person)
        return Session(person, ticket) if person else None

    def begin(self, signed_in: SignedIn, scope: Scope) -> str:
        """The Set-Cookie header of a new session; nothing of an earlier one goes into it."""
        now = int(self.clock())
        session_id = secrets.token_hex(32)
        return self._set_cookie(
            Ticket(signed_in.account_id, signed_in.epoch, session_id, now, now), scope
        )

    def renewed(self, session: Session, scope: Scope) -> str | None:
        """The Set-Cookie header that keeps a session in use alive, where it is time for one."""
        now = int(self.clock())
        ticket = session.ticket
        if now - ticket.issued_s < RENEW_S:
            return None
        return self._set_cookie(
            Ticket(ticket.account_id, ticket.epoch, ticket.session_id, ticket.began_s, now), scope
        )

    def end(self, session: Session, scope: Scope) -> str:
        """End the session for good; the Set-Cookie header that takes its cookie away."""
        ticket = session.ticket
        accounts.sign_out(
            self.database,
            ticket.account_id,
            session.person.name,
            ticket.session_id,
            datetime.fromtimestamp(ticket.began_s + WHOLE_S, UTC),
        )
        self.forget()
        return _header(_name(scope), "", scope, max_age_s=0)

    def forget(self) -> None:
        """Read everybody's rights anew: this process has just changed some."""
        self._people.clear()

    def _set_cookie(self, ticket: Ticket, scope: Scope) -> str:
        value = self._signer.dumps(
            [ticket.account_id, ticket.epoch, ticket.session_id, ticket.began_s, ticket.issued_s]
        )
        return _header(_name(scope), str(value), scope, max_age_s=IDLE_S)

    def _ticket(self, value: str | None) -> Ticket | None:
        if not value:
            return None
        try:
            ticket = Ticket(*self._signer.loads(value))
        except (BadData, TypeError):
            return None
        now = self.clock()
        is_over = now - ticket.issued_s > IDLE_S or now - ticket.began_s > WHOLE_S
        return None if is_over else ticket


def read_secret(settings: Settings) -> str:
    """The secret that signs cookies: STUDIO_SESSION_SECRET, or made once in the data directory."""
    given = settings.session_secret
    if given is not None:
        if len(given) < MIN_SECRET:
            raise UsageError(
                f"STUDIO_SESSION_SECRET has {len(given)} characters; use at least {MIN_SECRET} "
                "random ones, or leave it out"
            )
        return given
    path = settings.data_dir / "session.key"
    try:
        return _kept_secret(path)
    except OSError as error:
        raise StudioError(
            f"the key of the sessions, {str(path)!r}, cannot be used ({error.strerror}): "
            "make it readable and writable for this user alone"
        ) from error


def _kept_secret(path: Path) -> str:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            log.warning("%s could be read by others on this machine; now it cannot", path)
            path.chmod(0o600)
        kept = path.read_text(encoding="ascii", errors="replace").strip()
        if len(kept) >= MIN_SECRET:
            return kept
        raise StudioError(
            f"the key of the sessions, {str(path)!r}, is damaged: delete it, and everybody signs "
            "in again"
        ) from None
    made = secrets.token_hex(32)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(file.fileno())
    return made


async def _in_thread(read: Callable[[], T]) -> T:
    try:
        return await anyio.to_thread.run_sync(read)
    except SQLAlchemyError as error:
        log.error("the session could not be looked up: %s", error)
        raise Refusal(
            503, "the database did not answer just now; nothing was stored: send it again."
        ) from error


def _name(scope: Scope) -> str:
    return SECURE_NAME if scope.get("scheme") == "https" else PLAIN_NAME


def _cookie(scope: Scope, name: str) -> str | None:
    for line in read_headers(scope).get("cookie", []):
        for part in line.split(";"):
            found, _, value = part.strip().partition("=")
            if found == name:
                return value
    return None


def _header(name: str, value: str, scope: Scope, *, max_age_s: int) -> str:
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    return f"{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}"
