"""An OpenAI-compatible endpoint that a lead has set up for a project: kept, checked, called.

    fields = {"name": "vLLM", "base_url": "http://10.0.0.5:8000/v1", "model": "qwen3"}
    set_endpoint(database, project_id, "mara", fields | {"key_env": "STUDIO_GENERATOR_KEY"})
    for event in stream(endpoint, messages, sampling, environ): ...  # {"text"} or {"note"}

The database keeps the *name* of the environment variable with the key, never the key, and only
names that begin with STUDIO_GENERATOR_KEY: whoever may name a variable and an address could
otherwise have any secret of the server sent to themselves. Only a lead sets the address; it is
called without redirects, proxies or .netrc, and never at a link-local address, where clouds keep
their credentials.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from db import audit, projects
from studio.services.errors import NotFound, StudioError, UsageError

if TYPE_CHECKING:
    import httpx

    from db.engine import Database
    from rm_core.generation import Sampling

KEY_PREFIX = "STUDIO_GENERATOR_KEY"
CONNECT_S, READ_S, TOTAL_S = 10.0, 60.0, 300.0
MAX_CHARACTERS = 100_000
MAX_LINE = 1_000_000
FIELDS = ("name", "base_url", "model", "key_env")
# As the page calls them.
FIELD_WORDS = {
    "name": "the name",
    "base_url": "the address",
    "model": "the model",
    "key_env": "the variable with the key",
}
# The limit's first name, and the one that some servers want instead.
LIMIT_NAMES = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, for what model, and which environment variable holds the key ("" for none)."""

    name: str
    base_url: str
    model: str
    key_env: str = ""

    @property
    def url(self) -> str:
        return f"{self.base_url.rstrip('/')}/chat/completions"


def endpoint_of(database: Database, project_id: int) -> Endpoint | None:
    """The project's endpoint, if a lead has set one up."""
    with database.read() as s:
        project = projects.get_project(s, project_id)
        if project is None:
            raise NotFound(f"there is no project {project_id}: choose one above.")
        kept = project.generator or {}
    if not kept.get("base_url"):
        return None
    return Endpoint(**{field: str(kept.get(field, "")) for field in FIELDS})


def set_endpoint(
    database: Database, project_id: int, person: str, fields: Mapping[str, Any]
) -> Endpoint | None:
    """Keep the endpoint for the project (or none, with an empty base_url)."""
    given = {field: fields.get(field) or "" for field in FIELDS}
    endpoint = _checked(given) if given["base_url"] else None
    with database.write() as s:
        project = projects.get_project(s, project_id)
        if project is None:
            raise NotFound(f"there is no project {project_id}: choose one above.")
        project.generator = asdict(endpoint) if endpoint else {}
        audit.record(s, person, "set_generator", "project", project_id, **project.generator)
    return endpoint


def _checked(given: Mapping[str, Any]) -> Endpoint:
    for field, value in given.items():
        if not isinstance(value, str) or len(value) > 500 or re.search(r"[\x00-\x1f]", value):
            raise UsageError(f"{FIELD_WORDS[field]} is {value!r:.60}: give one line of text.")
    trimmed = {field: value.strip() for field, value in given.items()}
    address = trimmed["base_url"]
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as error:
        raise UsageError(f"the address is {address!r:.80}: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"the address is {address!r:.80}: give an http or https address such as "
            "http://localhost:8000/v1."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            "the address carries a name, a key or parameters: give it alone, and the key in "
            f"an environment variable whose name begins with {KEY_PREFIX}."
        )
    if not trimmed["model"]:
        raise UsageError("the model is empty: give the name under which the endpoint serves it.")
    key_env = trimmed["key_env"]
    if key_env and not re.fullmatch(rf"{KEY_PREFIX}[A-Z0-9_]*", key_env):
        raise UsageError(
            f"the variable with the key is {key_env!r:.20}: name an environment variable of the "
            f"server that begins with {KEY_PREFIX} (never the key itself), or leave it empty."
        )
    return Endpoint(trimmed["name"] or parts.hostname, address, trimmed["model"], key_env)


def stream(
    endpoint: Endpoint,
    messages: list[dict[str, str]],
    sampling: Sampling,
    environ: Mapping[str, str],
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[dict[str, str]]:
    """The answer in pieces as the endpoint sends them, {"text"}, and what else there is to tell.

    A server that refuses `max_tokens` and wants `max_completion_tokens` is asked once more, which
    a {"note"} says.

    Raises:
        StudioError: it cannot be reached, refuses, or does not speak the protocol.
    """
    import httpx

    key = _key(endpoint, environ)
    _refuse_link_local(endpoint)
    timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
    try:
        with httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False) as client:
            for limit in LIMIT_NAMES:
                body = _request(endpoint, messages, sampling, limit)
                headers = {"authorization": f"Bearer {key}"} if key else {}
                with client.stream("POST", endpoint.url, json=body, headers=headers) as answer:
                    if answer.status_code == 200:
                        for piece in _pieces(endpoint, answer, key, should_stop):
                            yield {"text": piece}
                        return
                    said = _said(answer, key)
                if limit == LIMIT_NAMES[-1] or not _wants_other_limit(answer.status_code, said):
                    raise StudioError(_refusal(endpoint, answer.status_code, said))
                yield {
                    "note": f"{endpoint.name} refused {limit} and was asked a second time with "
                    f"{LIMIT_NAMES[-1]}."
                }
    except httpx.TimeoutException as error:
        raise StudioError(
            f"{endpoint.name} did not answer in time ({type(error).__name__}): try again, or check "
            "that it runs."
        ) from error
    except httpx.HTTPError as error:
        raise StudioError(
            f"{endpoint.name} at {endpoint.base_url} cannot be reached: {_hidden(str(error), key)}."
        ) from error


def _request(
    endpoint: Endpoint, messages: list[dict[str, str]], sampling: Sampling, limit: str
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": endpoint.model,
        "messages": messages,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        limit: sampling.max_new_tokens,
        "stream": True,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    return body


def _wants_other_limit(status: int, said: str) -> bool:
    """Whether the refusal is of the limit's name, not of its size."""
    if status not in (400, 422):
        return False
    is_unknown = re.search(r"max_tokens.*(unsupported|unknown|unrecogni|not permitted|extra)", said)
    return LIMIT_NAMES[-1] in said or is_unknown is not None


def _key(endpoint: Endpoint, environ: Mapping[str, str]) -> str:
    if not endpoint.key_env:
        return ""
    key = environ.get(endpoint.key_env, "")
    if not key:
        raise StudioError(
            f"the environment variable {endpoint.key_env} with the key for {endpoint.name} is not "
            "set: set it where the server starts, and start the server again."
        )
    if not key.isascii() or not key.isprintable():
        raise StudioError(f"the key in {endpoint.key_env} holds characters that no header takes.")
    return key


def _refuse_link_local(endpoint: Endpoint) -> None:
    parts = urlsplit(endpoint.base_url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise StudioError(
            f"the address of {endpoint.name}, {parts.hostname!r}, is not known here "
            f"({error.strerror or error}): check the address."
        ) from error
    for *_, (host, *_rest) in found:
        address = ipaddress.ip_address(str(host).partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified:
            raise StudioError(
                f"{endpoint.name} is at {mapped}, a link-local address, which the studio does not "
                "call: give another address."
            )


def _said(answer: httpx.Response, key: str) -> str:
    """What the endpoint said instead of an answer, on one line and without the key."""
    body = b""
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > 20_000:
            break
    said = body.decode(errors="replace")
    try:
        error = json.loads(said).get("error", said)
        said = error.get("message", said) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        pass  # not JSON: what it said stands
    return " ".join(_hidden(str(said), key).split())


def _refusal(endpoint: Endpoint, status: int, said: str) -> str:
    hint = " (redirects are not followed)" if 300 <= status < 400 else ""
    return f"{endpoint.name} answered {status}{hint}: {said[:200].rstrip('.') or 'nothing more'}."


def _hidden(text: str, key: str) -> str:
    return text.replace(key, "<key>") if key else text


def _pieces(
    endpoint: Endpoint, answer: httpx.Response, key: str, should_stop: Callable[[], bool]
) -> Iterator[str]:
    deadline = time.monotonic() + TOTAL_S
    size = 0
    has_spoken = False
    for line in _lines(endpoint, answer):
        if should_stop():
            return
        if time.monotonic() > deadline:
            raise StudioError(f"{endpoint.name} was cut off: longer than {TOTAL_S:.0f} s.")
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return
        piece = _delta(endpoint, data, key)
        has_spoken = True
        size += len(piece)
        if size > MAX_CHARACTERS:
            raise StudioError(
                f"{endpoint.name} was cut off: its answer has more than {MAX_CHARACTERS:,} "
                "characters."
            )
        if piece:
            yield piece
    if not has_spoken:
        raise StudioError(
            f"{endpoint.name} did not stream anything: check that {endpoint.url} is an "
            "OpenAI-compatible chat endpoint."
        )


def _lines(endpoint: Endpoint, answer: httpx.Response) -> Iterator[str]:
    """Lines of bounded length, however they come in."""
    rest = b""
    for chunk in answer.iter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE:
            raise StudioError(f"{endpoint.name} sends a line longer than {MAX_LINE:,} bytes.")
        for line in lines:
            yield line.decode(errors="replace").strip()
    if rest.strip():
        yield rest.decode(errors="replace").strip()


def _delta(endpoint: Endpoint, data: str, key: str) -> str:
    try:
        event = json.loads(data)
        if isinstance(event, dict) and event.get("error"):
            error = event["error"]
            said = error.get("message") if isinstance(error, dict) else error
            # Hidden before it is cut: a part of the key is a part too much.
            said = _hidden(str(said), key)[:200].rstrip(".")
            raise StudioError(f"{endpoint.name} stopped: {said}.")
        choices = event.get("choices") or [{}]
        piece = (choices[0].get("delta") or {}).get("content") or ""
    except (ValueError, AttributeError, IndexError, KeyError, TypeError) as error:
        raise StudioError(
            f"{endpoint.name} sent {_hidden(data, key)[:60]!r}, which is no event of a chat "
            "endpoint."
        ) from error
    return piece if isinstance(piece, str) else ""
