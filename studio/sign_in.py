"""The pages by which one comes in and goes: sign in, join by invitation, change password, sign out.

    GET POST /sign-in      GET POST /join/{token}      GET POST /password      POST /sign-out
    GET /api/me            who is signed in, for the page's own scripts

Plain forms without a script. The guard lets a form through only when it says that it comes from a
page of ours. Hashing is slow on purpose, so only two passwords are looked at at a time; others wait
their turn without holding a thread.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from studio import pages
from studio.attempts import Attempts
from studio.identity import current_person
from studio.request_body import limited_body
from studio.services import accounts, invitations
from studio.services.errors import StudioError
from studio.services.names import name_key
from studio.services.passwords import MIN_LENGTH, STANDARD, Cost
from studio.wall import STRICT

if TYPE_CHECKING:
    from studio.services.accounts import SignedIn
    from studio.sessions import Session, Sessions

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_FORM_BYTES = 20_000
HASHING_AT_ONCE = 2
MAX_WAITING = 50
WRONG = "This user name and password do not belong together. Check both, then try again."


def router(sessions: Sessions, attempts: Attempts, cost: Cost = STANDARD) -> APIRouter:
    """The routes over one set of sessions."""
    routes = APIRouter()
    door = _Door(sessions, attempts, cost)
    routes.add_api_route("/sign-in.css", _stylesheet, methods=["GET"])
    routes.add_api_route("/sign-in", door.sign_in_page, methods=["GET"])
    routes.add_api_route("/sign-in", door.sign_in, methods=["POST"])
    routes.add_api_route("/sign-out", door.sign_out, methods=["POST"])
    routes.add_api_route("/join/{token}", door.join_page, methods=["GET"])
    routes.add_api_route("/join/{token}", door.join, methods=["POST"])
    routes.add_api_route("/password", door.password_page, methods=["GET"])
    routes.add_api_route("/password", door.change_password, methods=["POST"])
    routes.add_api_route("/api/me", _me, methods=["GET"])
    return routes


class _Door:
    """What the pages share: sessions, the count of attempts, the queue for hashing."""

    def __init__(self, sessions: Sessions, attempts: Attempts, cost: Cost) -> None:
        self.sessions = sessions
        self.attempts = attempts
        self.cost = cost
        self.database = sessions.database
        self._turns: anyio.CapacityLimiter | None = None

    async def sign_in_page(self, request: Request) -> Response:
        target = local_path(request.query_params.get("next", ""))
        if await self._is_in(request):
            return _go(target)
        note = "You are signed out." if "out" in request.query_params else ""
        return _sign_in_page(next=target, note=note)

    async def sign_in(self, request: Request) -> Response:
        if not await self.sessions.have_accounts():
            return _go("/")
        form = await read_form(request)
        name, password = form.get("name", ""), form.get("password", "")
        target = local_path(form.get("next", ""))
        wait_s = self.attempts.begin(name_key(name), _address(request))
        if wait_s > 0:
            log.warning("sign-in refused for a while: from %s", _address(request))
            return _sign_in_page(
                429, wait_s, next=target, name=name[:100], error=_wait_sentence(wait_s)
            )
        found = await self._hashing(
            lambda: accounts.sign_in(self.database, name, password, self.cost)
        )
        if found is None:
            log.warning("sign-in failed from %s", _address(request))
            return _sign_in_page(403, next=target, name=name[:100], error=WRONG)
        self.attempts.succeeded(name_key(name), _address(request))
        return self._begin(request, found, target)

    async def sign_out(self, request: Request) -> Response:
        session = _session(request)
        if session is None:
            return _go("/")
        cookie = await anyio.to_thread.run_sync(self.sessions.end, session, request.scope)
        return _go("/sign-in?out=1", cookie)

    async def join_page(self, request: Request, token: str) -> Response:
        if not await self.sessions.have_accounts():
            return _go("/")
        return await self._join_page(request, token)

    async def join(self, request: Request, token: str) -> Response:
        form = await read_form(request)
        session = _session(request)
        if session is not None:
            return await self._accept(request, token, session)
        wait_s = self.attempts.begin(None, _address(request))
        if wait_s > 0:
            return await self._join_page(
                request, token, form, error=_wait_sentence(wait_s), status=429
            )
        if form.get("password") != form.get("again"):
            error = "The two passwords are not the same. Type them again."
            return await self._join_page(request, token, form, error=error, status=400)
        try:
            made = await self._hashing(
                lambda: invitations.join(
                    self.database, token, form.get("name", ""), form.get("password", ""), self.cost
                )
            )
        except StudioError as error:
            return await self._join_page(request, token, form, error=_sentence(error), status=400)
        self.attempts.succeeded(None, _address(request))
        return self._begin(request, made, "/")

    async def password_page(self, request: Request) -> Response:
        if _session(request) is None:
            return _go("/")
        return _password_page(current_person(request).name)

    async def change_password(self, request: Request) -> Response:
        session = _session(request)
        if session is None:
            return _go("/")
        form = await read_form(request)
        name = session.person.name
        wait_s = self.attempts.begin(name_key(name), _address(request))
        if wait_s > 0:
            return _password_page(name, 429, error=_wait_sentence(wait_s))
        if form.get("password") != form.get("again"):
            error = "The two new passwords are not the same. Type them again."
            return _password_page(name, 400, error=error)
        try:
            changed = await self._hashing(
                lambda: accounts.change_password(
                    self.database,
                    session.ticket.account_id,
                    form.get("current", ""),
                    form.get("password", ""),
                    self.cost,
                )
            )
        except StudioError as error:
            return _password_page(name, 400, error=_sentence(error))
        self.attempts.succeeded(name_key(name), _address(request))
        page = _password_page(name, note="Your password is changed.")
        page.headers["set-cookie"] = self.sessions.begin(changed, request.scope)
        return page

    # --- parts ---

    async def _accept(self, request: Request, token: str, session: Session) -> Response:
        account_id = session.ticket.account_id
        try:
            found = await anyio.to_thread.run_sync(
                lambda: invitations.accept(self.database, token, account_id)
            )
        except StudioError as error:
            return _page("told.html", 400, title="Invitation", text=_sentence(error))
        self.sessions.forget()
        return _go(f"/?project={found.project_id}")

    async def _join_page(
        self,
        request: Request,
        token: str,
        form: dict[str, str] | None = None,
        *,
        error: str = "",
        status: int = 200,
    ) -> Response:
        try:
            found = await anyio.to_thread.run_sync(lambda: invitations.look(self.database, token))
        except StudioError as problem:
            return _page("told.html", 404, title="Invitation", text=_sentence(problem))
        session = _session(request)
        return _page(
            "join.html",
            status,
            title="Join the studio",
            invitation=found,
            error=error,
            name=(form or {}).get("name", "")[:100],
            signed_in=session.person.name if session else "",
            here=quote(f"/join/{quote(token, safe='')}", safe=""),
            min_length=MIN_LENGTH,
        )

    def _begin(self, request: Request, signed_in: SignedIn, target: str) -> Response:
        return _go(target, self.sessions.begin(signed_in, request.scope))

    async def _is_in(self, request: Request) -> bool:
        return _session(request) is not None or not await self.sessions.have_accounts()

    async def _hashing(self, work: Callable[[], T]) -> T:
        if self._turns is None:
            self._turns = anyio.CapacityLimiter(HASHING_AT_ONCE)
        if self._turns.statistics().tasks_waiting >= MAX_WAITING:
            raise HTTPException(503, "too many people sign in at this moment; try again.")
        return await anyio.to_thread.run_sync(work, limiter=self._turns)


# --- what is sent and read -------------------------------------------------------------------


def _stylesheet() -> Response:
    return Response(
        pages.stylesheet(), media_type="text/css", headers={"cache-control": "max-age=3600"}
    )


def _me(request: Request) -> dict[str, Any]:
    person = current_person(request)
    return {
        "name": person.name,
        "is_admin": person.is_admin,
        "roles": dict(person.roles),
        "has_account": _session(request) is not None,
    }


def _session(request: Request) -> Session | None:
    return getattr(request.state, "session", None)


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form of ours."""
    received = await limited_body(request, MAX_FORM_BYTES)
    try:
        fields = parse_qsl(received.decode("utf-8"), keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise HTTPException(400, "the form cannot be read: send it again.") from error
    return dict(fields)


def local_path(target: str) -> str:
    """Where to go on to: a path of this server, and never another's address."""
    is_local = target.startswith("/") and not target.startswith(("//", "/\\", "/sign-"))
    return target if is_local and target.isprintable() and "\\" not in target else "/"


def _go(target: str, cookie: str = "") -> Response:
    headers = {"cache-control": "no-store"} | ({"set-cookie": cookie} if cookie else {})
    return RedirectResponse(target, 303, headers=headers)


def _page(template: str, status: int = 200, **values: Any) -> Response:
    headers = {"cache-control": "no-store", "content-security-policy": STRICT.decode()}
    return HTMLResponse(pages.render(template, **values), status, headers=headers)


def _sign_in_page(status: int = 200, wait_s: float = 0.0, **values: Any) -> Response:
    shown = {"title": "Sign in", "next": "/", "name": "", "error": "", "note": ""} | values
    page = _page("sign_in.html", status, **shown)
    if wait_s > 0:
        page.headers["retry-after"] = str(math.ceil(wait_s))
    return page


def _password_page(name: str, status: int = 200, *, error: str = "", note: str = "") -> Response:
    return _page(
        "password.html",
        status,
        title="Change password",
        name=name,
        error=error,
        note=note,
        min_length=MIN_LENGTH,
    )


def _wait_sentence(wait_s: float) -> str:
    seconds = math.ceil(wait_s)
    minutes, rest = divmod(seconds, 60)
    shown = f"{seconds} seconds" if minutes == 0 else f"{minutes} min {rest:02d} s"
    return f"Too many attempts for this name or from your address. Wait {shown}, then try again."


def _sentence(error: StudioError) -> str:
    text = str(error).strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
