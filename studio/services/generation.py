"""Answers written for the playground, by the backbone itself or by the project's endpoint.

    wanted = generation.wish({"source": "backbone", "messages": messages, "temperature": 0.7})
    for event in generation.stream(database, settings, environ, project_id, wanted, cancel): ...

One answer is written at a time: several would only take turns on the same cores. The backbone's
whole model is loaded for it and freed a little after the last one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from db import projects
from studio.services import backbones, endpoint, scoring
from studio.services.backbones import told_plainly
from studio.services.errors import NotFound, StudioError, UsageError

if TYPE_CHECKING:
    from db.engine import Database
    from rm_core.generation import Sampling, Writer
    from studio.settings import Settings

SOURCES = ("backbone", "endpoint")
MAX_NEW_TOKENS = 2048
KEEP_S = 60.0  # the whole model, after the last answer: people write several in a row


@dataclass(frozen=True)
class Wish:
    """A checked request: who writes, what it answers, how tokens are drawn."""

    source: str
    messages: list[dict[str, str]]
    sampling: Sampling


class _Shelf:
    """The writing model, held between answers for a while and then let go."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # held while an answer is written
        self._kept: tuple[str, Writer] | None = None
        self._timer: threading.Timer | None = None

    def take(self, settings: Settings, spec: str) -> Writer:
        from rm_core.generation import Writer

        if self._timer is not None:
            self._timer.cancel()
        info = backbones.prepare(settings, spec)
        key = f"{info.directory} {info.revision} {settings.device}"
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            with told_plainly():
                self._kept = (key, Writer.load(info, device=settings.device))
        return self._kept[1]

    def put_back(self) -> None:
        self._timer = threading.Timer(KEEP_S, self.let_go)
        self._timer.daemon = True
        self._timer.start()

    def let_go(self) -> None:
        """Free the model unless an answer is being written."""
        if self.lock.acquire(blocking=False):
            try:
                self._kept = None
            finally:
                self.lock.release()

    @property
    def is_loaded(self) -> bool:
        return self._kept is not None


shelf = _Shelf()


def wish(body: Mapping[str, Any]) -> Wish:
    """The request, checked."""
    from rm_core.generation import Sampling

    source = body.get("source", "backbone")
    if source not in SOURCES:
        raise UsageError(f"source is {source!r:.60}: use one of {', '.join(SOURCES)}.")
    messages = scoring.check_prompt(body.get("messages"))
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not scoring.is_encodable(messages):
        raise UsageError("the prompt holds a lone surrogate, which is no character: leave it out.")
    seed = body.get("seed")
    sampling = Sampling(
        temperature=_number(body, "temperature", 0.7, 0.0, 2.0),
        top_p=_number(body, "top_p", 0.95, 0.01, 1.0),
        max_new_tokens=int(_number(body, "max_new_tokens", 256, 1, MAX_NEW_TOKENS)),
        seed=None if seed in (None, "") else int(_number(body, "seed", 0, 0, 2**31 - 1)),
    )
    return Wish(source, messages, sampling)


def _number(body: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise UsageError(f"{name} is {value!r:.40}: give a number from {low:g} to {high:g}.")
    return float(value)


def stream(
    database: Database,
    settings: Settings,
    environ: Mapping[str, str],
    project_id: int,
    wanted: Wish,
    cancel: threading.Event,
) -> Iterator[dict[str, Any]]:
    """Events, JSON-ready: {"state"} while it waits or loads, {"text"}, then {"done"} or {"error"}.

    A {"note"} is to be told when it is over. Setting `cancel` ends it after the token at hand.
    """
    try:
        if wanted.source == "endpoint":
            found = endpoint.endpoint_of(database, project_id)
            if found is None:
                raise UsageError("this project has no endpoint: a lead can set one up.")
            yield from _by_endpoint(found, wanted, environ, cancel)
        else:
            yield from _by_backbone(database, settings, project_id, wanted, cancel)
        yield {"done": True, "cancelled": cancel.is_set()}
    except StudioError as error:
        yield {"error": str(error)}


def _by_endpoint(
    found: endpoint.Endpoint, wanted: Wish, environ: Mapping[str, str], cancel: threading.Event
) -> Iterator[dict[str, Any]]:
    yield {"state": f"asking {found.name}"}
    is_writing = False
    for event in endpoint.stream(found, wanted.messages, wanted.sampling, environ, cancel.is_set):
        if "text" in event and not is_writing:
            is_writing = True
            yield {"state": f"{found.name} is writing"}
        yield event


def _by_backbone(
    database: Database,
    settings: Settings,
    project_id: int,
    wanted: Wish,
    cancel: threading.Event,
) -> Iterator[dict[str, Any]]:
    with database.read() as s:
        project = projects.get_project(s, project_id)
        if project is None:
            raise NotFound(f"there is no project {project_id}: choose one above.")
    if not shelf.lock.acquire(blocking=False):
        yield {"state": "waiting for another answer to be written"}
        while not shelf.lock.acquire(timeout=0.2):
            if cancel.is_set():
                return
    try:
        if not shelf.is_loaded:
            yield {"state": "loading the backbone"}
        writer = shelf.take(settings, project.backbone)
        yield {"state": f"{writer.info.name} is writing"}
        with told_plainly():
            for piece in writer.stream(wanted.messages, wanted.sampling, cancel.is_set):
                yield {"text": piece}
    finally:
        shelf.put_back()
        shelf.lock.release()
