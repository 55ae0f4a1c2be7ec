"""The guard in front of every request: who may speak to this server, and in which form.

Without accounts the only identity is "whoever sits at this machine", so the guard admits
nothing that could come from elsewhere: another Host (DNS rebinding), a proxy's forwarded
headers, a request that another site's page made the browser send. Gradio by itself parses a
cross-origin `text/plain` POST as JSON and runs it; here a body is JSON only when it says so,
which a foreign page cannot say without a preflight, and preflights are refused.

A pure ASGI middleware: server-sent events stream through it untouched.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from studio import identity
from studio.services.people import LOCAL

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FORWARDED = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
)
# Gradio's upload is the one route whose body is not JSON.
UPLOAD_PATHS = frozenset({"/gradio_api/upload", "/gradio_api/upload/"})
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
SECURITY_HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Refusal(Exception):
    """Why a request is turned away: a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class Guard:
    """Wraps an ASGI application; answers what it refuses itself, and dresses every response."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        try:
            check(scope)
        except Refusal as refusal:
            await _refuse(scope, send, refusal)
            return
        identity.remember(scope, LOCAL)
        await self.app(scope, receive, _with_security_headers(send))


def is_loopback(host: str) -> bool:
    """Whether a host name or address always means this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check(scope: Scope) -> None:
    """Raise Refusal for a request that must not reach the application."""
    headers: dict[str, list[str]] = {}
    for raw_name, raw_value in scope["headers"]:
        headers.setdefault(raw_name.decode("latin-1").lower(), []).append(
            raw_value.decode("latin-1").strip()
        )
    host = _check_host(headers)
    _check_forwarded(headers)
    _check_peer(scope)
    _check_origin(headers, host, scope)
    if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
        _check_content_type(headers, scope["path"])


def _check_host(headers: dict[str, list[str]]) -> str:
    hosts = headers.get("host", [])
    if len(hosts) != 1:
        raise Refusal(400, f"a request needs exactly one Host header, this one had {len(hosts)}.")
    host = hosts[0].lower()
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if not is_loopback(name) or "@" in host or "/" in host:
        raise Refusal(
            403,
            f"the Host {host[:200]!r} is not this machine: this server has no accounts and answers "
            "only to localhost and 127.0.0.1. From elsewhere, tunnel to it with ssh -L.",
        )
    return host


def _check_forwarded(headers: dict[str, list[str]]) -> None:
    for name in FORWARDED:
        if name in headers:
            raise Refusal(
                403,
                f"the header {name!r} says that a proxy forwarded this request: this server has no "
                "accounts and serves only the person at this machine.",
            )


def _check_peer(scope: Scope) -> None:
    client = scope.get("client")
    if client and not is_loopback(client[0]):
        raise Refusal(403, f"the request came from {client[0]!r}, not from this machine.")


def _check_origin(headers: dict[str, list[str]], host: str, scope: Scope) -> None:
    for origin in headers.get("origin", []):
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or parts.netloc.lower() != host:
            raise Refusal(403, f"a page of {origin[:200]!r} may not use this server at {host!r}.")
    site = headers.get("sec-fetch-site", ["none"])[0].lower()
    if site in {"same-origin", "none"}:
        return
    # Following a link to the page from elsewhere is fine; anything else from there is not.
    is_navigation = (
        scope["type"] == "http"
        and scope["method"] in {"GET", "HEAD"}
        and headers.get("sec-fetch-mode", [""])[0].lower() == "navigate"
        and not scope["path"].startswith(("/api/", "/gradio_api/"))
    )
    if not is_navigation:
        raise Refusal(403, "a page of another site may not use this server.")


def _check_content_type(headers: dict[str, list[str]], path: str) -> None:
    content_type = headers.get("content-type", [""])[0]
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json":
        return
    if media_type == "multipart/form-data" and path in UPLOAD_PATHS:
        return
    raise Refusal(
        415, f"the content type {content_type[:200]!r} is not accepted: send application/json."
    )


def _with_security_headers(send: Send) -> Send:
    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            ours = {name for name, _ in SECURITY_HEADERS}
            kept = [(n, v) for n, v in message.get("headers", []) if n.lower() not in ours]
            message["headers"] = [*kept, *SECURITY_HEADERS]
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
