"""The guard in front of every request: who may speak to this server, and in which form.

Without accounts the only identity is "whoever sits at this machine", so the guard admits
nothing that could come from elsewhere: another Host (DNS rebinding), a proxy's forwarded
headers, a request that another site's page made the browser send. As soon as there are accounts,
every request needs a session, whatever it asks for, except the pages by which one gets one.
Gradio by itself parses a cross-origin `text/plain` POST as JSON and runs it; here a body is JSON
only when it says so, which a foreign page cannot say without a preflight, and preflights are
refused.

A pure ASGI middleware: server-sent events stream through it untouched. What a request meets, in
this order: hosts and origins (network.py), the form of its body (here), its session (sessions.py),
what a session alone does not open (wall.py).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from studio import identity, wall
from studio.network import Headers, Network, Refusal, is_loopback, read_headers
from studio.services.people import LOCAL
from studio.sessions import Session, Sessions

__all__ = ["Guard", "Refusal", "is_loopback"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Gradio's upload is the one route of its whose body is not JSON.
UPLOAD_PATHS = frozenset({"/gradio_api/upload", "/gradio_api/upload/"})
FORM_TYPE = "application/x-www-form-urlencoded"
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        # Gradio's page starts from inline scripts and compiles event handlers given as text.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
POLICY_HEADER = b"content-security-policy"
SECURITY_HEADERS = (
    (POLICY_HEADER, CONTENT_SECURITY_POLICY.encode()),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Guard:
    """Wraps an ASGI application; answers what it refuses itself, and dresses every response.

    Without `sessions` there are no accounts, whatever the database holds: for tests of routes.
    """

    def __init__(
        self, app: App, sessions: Sessions | None = None, network: Network | None = None
    ) -> None:
        self.app = app
        self.sessions = sessions
        self.network = network or Network()
        self.owners = wall.Owners()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        try:
            scope, receive, cookie = await self._admitted(scope, receive)
        except Refusal as refusal:
            await _refuse(scope, send, refusal)
            return
        except wall.SignInNeeded as needed:
            await _send_to_sign_in(send, needed.location)
            return
        await self.app(scope, receive, _dressed(send, cookie))

    async def _admitted(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive, str | None]:
        """The request as the application gets it, and the cookie that its answer renews."""
        has_accounts = self.sessions is not None and await self.sessions.have_accounts()
        scope = self.network.admitted(scope, has_accounts=has_accounts)
        wall.check_path(scope)
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            _check_content_type(read_headers(scope), scope["path"])
        if not has_accounts or self.sessions is None:
            identity.remember(scope, LOCAL)
            return scope, receive, None
        session = await self.sessions.read(scope)
        if session is None:
            wall.check_public(scope)
            return scope, receive, None
        receive = await wall.check_session(scope, receive, session, self.owners)
        identity.remember(scope, session.person)
        scope["state"]["session"] = session
        return scope, receive, self._renewal(session, scope)

    def _renewal(self, session: Session, scope: Scope) -> str | None:
        assert self.sessions is not None
        is_page = scope["type"] == "http" and scope["method"] == "GET"
        return self.sessions.renewed(session, scope) if is_page else None


def _check_content_type(headers: Headers, path: str) -> None:
    content_type = headers.get("content-type", [""])[0]
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json":
        return
    if media_type == "multipart/form-data" and path in UPLOAD_PATHS:
        return
    if media_type == FORM_TYPE and wall.takes_forms(path):
        # Any page can send a form: this one must say that it is ours, as every browser does.
        if "origin" in headers:
            return
        raise Refusal(
            403, "a form must say which page it comes from: the Origin header is missing."
        )
    raise Refusal(
        415, f"the content type {content_type[:200]!r} is not accepted: send application/json."
    )


def _dressed(send: Send, cookie: str | None) -> Send:
    """Put our headers on the response; the stricter policy of a page without scripts stands."""
    ours = {name for name, _ in SECURITY_HEADERS}

    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            sent = list(message.get("headers", []))
            added = dict(SECURITY_HEADERS)
            if (POLICY_HEADER, wall.STRICT) in sent:
                added[POLICY_HEADER] = wall.STRICT
            kept = [(name, value) for name, value in sent if name.lower() not in ours]
            if cookie and not any(name.lower() == b"set-cookie" for name, _ in kept):
                added[b"set-cookie"] = cookie.encode("latin-1")
            message["headers"] = [*kept, *added.items()]
        await send(message)

    return dressed


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.sentence[:120]})
        return
    body = json.dumps({"error": refusal.sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # The body was not read; keeping the connection would take it for the next request.
        (b"connection", b"close"),
        *SECURITY_HEADERS,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_to_sign_in(send: Send, location: str) -> None:
    headers = [
        (b"location", location.encode("ascii")),
        (b"content-length", b"0"),
        (b"cache-control", b"no-store"),
        *SECURITY_HEADERS,
    ]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
