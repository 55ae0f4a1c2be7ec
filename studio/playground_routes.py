"""The JSON routes of the playground, under /api/projects/{id}/playground.

    GET  options                 checkpoints, backbone, endpoint
    GET  loading                 {"loading", "loaded"}: whether a score waits for the backbone
    GET  pair?wanted=12          a pair: a number, `random`, or `disputed` for leads
    POST score                   {"messages", "answers", "checkpoint_id", "against_id"}
    POST generate                the same with "source" and sampling; server-sent events
    POST send                    {"messages", "first", "second"}: a pair to label; leads
    POST endpoint                {"name", "base_url", "model", "key_env"}; leads

`score` takes "client" and "sequence" too: while a newer request of the same client is there, an
older one is answered {"stale": true} and costs no more work.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from studio.components.token_heatmap import heatmap_columns
from studio.identity import current_person
from studio.request_body import Body
from studio.services import endpoint, generation, playground, playground_pairs
from studio.services.errors import UsageError
from studio.services.people import Person, require

if TYPE_CHECKING:
    from db.engine import Database
    from studio.settings import Settings

log = logging.getLogger(__name__)

MAX_CLIENTS = 1000


class LatestRequests:
    """The newest request of every open page: older ones are stale."""

    def __init__(self) -> None:
        self._latest: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._lock = threading.Lock()

    def staleness(self, person: str, client: Any, sequence: Any) -> Callable[[], bool]:
        """Note the request; the function says whether a newer one of the same page came since."""
        is_numbered = isinstance(sequence, int) and not isinstance(sequence, bool)
        if not is_numbered or not isinstance(client, str) or len(client) > 80:
            return lambda: False
        key = (person, client)
        with self._lock:
            self._latest[key] = max(sequence, self._latest.get(key, sequence))
            self._latest.move_to_end(key)
            while len(self._latest) > MAX_CLIENTS:
                self._latest.popitem(last=False)
        return lambda: self._latest.get(key, sequence) > sequence


def router(database: Database, settings: Settings, environ: Mapping[str, str]) -> APIRouter:
    """The routes; scoring runs in threads, so that the page stays quick."""
    routes = APIRouter(prefix="/api/projects/{project_id}/playground")
    latest = LatestRequests()

    def annotator(request: Request, project_id: int) -> Person:
        return require(current_person(request), project_id, "annotator")

    def lead(request: Request, project_id: int) -> Person:
        return require(current_person(request), project_id, "lead")

    Annotator, Lead = Depends(annotator), Depends(lead)

    @routes.get("/options")
    def options(project_id: int, who: Person = Annotator) -> dict[str, Any]:
        is_lead = who.may(project_id, "lead")
        return {
            **playground.options(database, project_id),
            "is_lead": is_lead,
            "has_pairs": playground_pairs.has_pairs(database, project_id, who),
            "endpoint": _shown(endpoint.endpoint_of(database, project_id), is_lead, environ),
            "key_prefix": endpoint.KEY_PREFIX,
        }

    @routes.get("/loading")
    def loading(project_id: int, who: Person = Annotator) -> dict[str, bool]:
        return playground.readiness(database, settings, project_id)

    @routes.get("/pair")
    def pair(project_id: int, wanted: str = "random", who: Person = Annotator) -> dict[str, Any]:
        wanted = wanted.strip()
        if wanted not in ("random", "disputed") and not re.fullmatch(r"[0-9]{1,9}", wanted):
            raise UsageError(f"{wanted!r:.40} is not a pair's number; give one such as 12.")
        return playground_pairs.open_pair(database, project_id, who, wanted)

    @routes.post("/score")
    def score(
        project_id: int, body: dict[str, Any] = Body, who: Person = Annotator
    ) -> dict[str, Any]:
        try:
            made = playground.compare(
                database,
                settings,
                project_id,
                _messages(body),
                _texts(body.get("answers")),
                _id(body, "checkpoint_id"),
                _id(body, "against_id"),
                latest.staleness(who.name, body.get("client"), body.get("sequence")),
            )
        except playground.Stale:
            return {"stale": True}
        return heatmap_columns(made)

    @routes.post("/generate")
    async def generate(
        project_id: int, request: Request, body: dict[str, Any] = Body, who: Person = Annotator
    ) -> StreamingResponse:
        wanted = generation.wish(body)
        if wanted.source == "endpoint":  # it costs the lead money and sends text elsewhere
            require(who, project_id, "lead")
        cancel = threading.Event()
        events = generation.stream(database, settings, environ, project_id, wanted, cancel)
        return StreamingResponse(
            _streamed(events, cancel),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    @routes.post("/send")
    def send(project_id: int, body: dict[str, Any] = Body, who: Person = Lead) -> dict[str, Any]:
        first, second = _texts([body.get("first"), body.get("second")])
        return playground_pairs.send(
            database, settings, project_id, who.name, _messages(body), first, second
        )

    @routes.post("/endpoint")
    def set_endpoint(
        project_id: int, body: dict[str, Any] = Body, who: Person = Lead
    ) -> dict[str, Any]:
        kept = endpoint.set_endpoint(database, project_id, who.name, body)
        return {"endpoint": _shown(kept, True, environ)}

    return routes


def _shown(
    found: endpoint.Endpoint | None, is_lead: bool, environ: Mapping[str, str]
) -> dict[str, Any] | None:
    """What a page may know of the endpoint: its address is the lead's business."""
    if found is None:
        return None
    shown: dict[str, Any] = {"name": found.name, "model": found.model}
    if is_lead:
        shown |= {"base_url": found.base_url, "key_env": found.key_env}
        shown["key_is_set"] = not found.key_env or bool(environ.get(found.key_env))
    return shown


def _messages(body: dict[str, Any]) -> list[dict[str, str]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise UsageError("the prompt is empty: write one or open a pair of the project.")
    last = messages[-1]
    if isinstance(last, dict) and not str(last.get("content", "")).strip():
        raise UsageError("the prompt's last turn is empty: write it, or remove the turn.")
    return messages


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UsageError("the answers are no list of texts.")
    return value


def _id(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise UsageError(f"{name} is {value!r:.40}: give a checkpoint's number.")
    return value


async def _streamed(
    events: Iterator[dict[str, Any]], cancel: threading.Event
) -> AsyncIterator[str]:
    """The events as they come; a browser that goes away cancels the writing.

    They are made in a thread of their own that always runs to its end, so that what it holds is
    given back whatever becomes of this response.
    """
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def put(event: dict[str, Any] | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, event)

    def work() -> None:
        try:
            for event in events:
                put(event)
        except Exception:
            log.exception("an answer could not be written")
            put({"error": "writing failed; the server's log has the details."})
        finally:
            put(None)

    threading.Thread(target=work, name="playground-writer", daemon=True).start()
    try:
        while (event := await queue.get()) is not None:
            yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
    finally:
        cancel.set()
