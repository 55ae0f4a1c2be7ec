"""What a request may reach: nothing without a session, and not everything with one.

Gradio's own sign-in leaves some of its routes open (cancel, reset, heartbeat, streams) and keys
everything of a browser by a `session_hash` that the browser makes up: whoever sends another
person's would read what is theirs. Here every route is behind the session, a `session_hash` belongs
to the first account that used it, and routes of Gradio that the studio has no use for are closed.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from studio.network import Refusal, Scope, read_headers

if TYPE_CHECKING:
    from studio.services.people import Person
    from studio.sessions import Session

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

# The pages by which one comes by a session; a probe's route, which tells nothing.
# The theme's colours and Gradio's own scripts and styles are everybody's: a page whose session ends
# while it loads still asks for them, and would stand there half drawn.
PUBLIC = re.compile(r"/sign-in|/sign-in\.css|/theme\.css|/assets/[\w.-]+|/join/[^/]+|/api/health")
FORMS = re.compile(r"/sign-in|/sign-out|/password|/join/[^/]+")
# Parts of Gradio that no page of ours uses; some of them have no sign-in of their own.
CLOSED = re.compile(
    r"/gradio_api/(stream|call|runs?-history|runs|vibe-|undo-vibe|process_recording|deep_link|dev"
    r"|proxy=|profiling|token|openapi)|/openapi\.json|/(monitoring|login|logout)(/|$)"
)
FOR_LEADS = re.compile(r"/gradio_api/(upload|file)")
HEARTBEAT = re.compile(r"/gradio_api/heartbeat/([^/]+)")
MAX_JSON_BYTES = 20_000_000
MAX_OWNERS = 20_000
# Of the pages that have no script.
STRICT = (
    b"default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    b"base-uri 'none'; frame-ancestors 'none'"
)


class SignInNeeded(Exception):
    """A page was asked for without a session: the browser is sent to sign in first."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


class Owners:
    """Which account each of Gradio's browser sessions belongs to; in memory, as they are."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, str] = OrderedDict()

    def belongs_to(self, session_hash: str, name: str) -> bool:
        """Whether it is this person's; one that nobody has used yet becomes theirs."""
        owner = self._names.setdefault(session_hash, name)
        self._names.move_to_end(session_hash)
        if len(self._names) > MAX_OWNERS:
            self._names.popitem(last=False)
        return owner == name


def takes_forms(path: str) -> bool:
    return FORMS.fullmatch(path) is not None


def check_path(scope: Scope) -> None:
    """Refuse, with or without accounts, what the studio has no use for."""
    if CLOSED.match(scope["path"]) or "//" in scope["path"]:
        raise Refusal(404, "there is no such route here.")


def check_public(scope: Scope) -> None:
    """Let a request without a session through to the sign-in pages alone."""
    if PUBLIC.fullmatch(scope["path"]):
        return
    if scope["type"] == "http" and _asks_for_a_page(scope):
        target = quote(scope["path"])
        if scope.get("query_string"):
            target += "?" + scope["query_string"].decode("latin-1")
        raise SignInNeeded("/sign-in" if target == "/" else f"/sign-in?next={quote(target)}")
    raise Refusal(401, "nobody is signed in: sign in, then try again.")


async def check_session(
    scope: Scope, receive: Receive, session: Session, owners: Owners
) -> Receive:
    """Refuse what this person's session does not open; the way to read the request's body."""
    path = scope["path"]
    if FOR_LEADS.match(path) and not _leads_anything(session.person):
        raise Refusal(403, "files are for leads and admins; ask one of them.")
    if not path.startswith("/gradio_api/") or scope["type"] != "http":
        return receive
    claimed = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", [])
    heartbeat = HEARTBEAT.match(path)
    if heartbeat:
        claimed.append(heartbeat[1])
    if scope["method"] == "POST" and _is_json(scope):
        body, receive = await _read_body(receive)
        claimed += _session_hashes(body)
    if all(owners.belongs_to(each, session.person.name) for each in claimed):
        return receive
    raise Refusal(403, "this page was opened by somebody else: load it again.")


def _asks_for_a_page(scope: Scope) -> bool:
    accepts = ",".join(read_headers(scope).get("accept", []))
    is_data = scope["path"].startswith(("/api/", "/gradio_api/", "/config", "/info"))
    return scope["method"] in {"GET", "HEAD"} and "text/html" in accepts and not is_data


def _leads_anything(person: Person) -> bool:
    return person.is_admin or "lead" in person.roles.values()


def _is_json(scope: Scope) -> bool:
    return read_headers(scope).get("content-type", [""])[0].lower().startswith("application/json")


def _session_hashes(body: bytes) -> list[str]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return []  # Gradio says what is wrong with it
    found = value.get("session_hash") if isinstance(value, dict) else None
    return [found] if isinstance(found, str) else []


async def _read_body(receive: Receive) -> tuple[bytes, Receive]:
    """The whole body, and a `receive` that gives it again before it goes on."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break  # the browser went away
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_JSON_BYTES:
            raise Refusal(413, f"the body is longer than {MAX_JSON_BYTES} bytes.")
    pending: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return bytes(body), again
