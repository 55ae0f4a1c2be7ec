"""What a command says: results on stdout, everything else on stderr.

With --json stdout carries JSON and nothing else, whatever a library prints meanwhile. Progress is
one line that moves on a terminal, and a line every few seconds elsewhere (a log, a CI job).
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from studio.services.projects import ProjectInfo

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_REDRAWS = 0.1


class Console:
    """Where one command's output goes."""

    def __init__(self, out: TextIO, err: TextIO, *, as_json: bool) -> None:
        self.out = out
        self.err = err
        self.as_json = as_json
        self._is_drawn = False
        self._drawn_at = 0.0
        self._drawn_text = ""

    def result(self, text: str, value: Any) -> None:
        """The command's result: the JSON value, or the text for people."""
        print(to_json(value) if self.as_json else text, file=self.out, flush=True)

    def line(self, value: Any) -> None:
        """One JSON line of a result that is a stream."""
        print(to_json(value), file=self.out, flush=True)

    def say(self, text: str) -> None:
        """A remark or a step, on stderr."""
        self._clear()
        print(text, file=self.err, flush=True)

    def progress(self, text: str, *, force: bool = False) -> None:
        """Show where the work stands; called as often as one likes."""
        is_terminal = self.err.isatty()
        pause = SECONDS_BETWEEN_REDRAWS if is_terminal else SECONDS_BETWEEN_LINES
        now = time.monotonic()
        if text == self._drawn_text or (not force and now - self._drawn_at < pause):
            return
        self._drawn_at, self._drawn_text = now, text
        if is_terminal:
            print(f"\r\x1b[K{text}", end="", file=self.err, flush=True)
            self._is_drawn = True
        else:
            print(text, file=self.err, flush=True)

    def _clear(self) -> None:
        if self._is_drawn:
            print("\r\x1b[K", end="", file=self.err)
            self._is_drawn = False

    def close(self) -> None:
        self._clear()


@contextlib.contextmanager
def opened(*, as_json: bool) -> Iterator[Console]:
    """The console of a command; while it is open, stray prints go to stderr."""
    console = Console(sys.stdout, sys.stderr, as_json=as_json)
    with contextlib.redirect_stdout(sys.stderr):
        try:
            yield console
        finally:
            console.close()


def say_if_by_id(output: Console, named: str, project: ProjectInfo) -> None:
    """`--project 12` is the project named "12" first, and else the twelfth: say when it is that."""
    if named.strip() != project.name:
        output.say(f"No project is named {named!r}: this is {project.name!r}, whose id it is.")


def to_json(value: Any) -> str:
    """Strict JSON: NaN and infinity have no place in it and become null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(value), ensure_ascii=False, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def duration(seconds: float | None) -> str:
    """`8 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def figure(value: Any) -> str:
    """A metric as people read it."""
    return "n/a" if value is None else f"{value:.3f}"
