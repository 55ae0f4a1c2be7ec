"""Work that is done again every second, and what is logged when it fails every time.

    looking = Recurring("the retrain rules could not be looked at")
    with looking.tried():
        ...                     # what it raises is logged and goes no further

A full disk or a lost database may be back at the next tick, so a failure ends nothing. Its
traceback is logged once; the same failure again is only counted, since a log of one traceback a
second hides everything else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class Recurring:
    """The failures of one piece of work; for one thread at a time."""

    def __init__(self, failure: str) -> None:
        self._failure = failure
        self._last: str | None = None
        self._count = 0

    @contextmanager
    def tried(self) -> Iterator[None]:
        """Run the block; log what it raises, with its traceback where that is news."""
        try:
            yield
        except Exception as error:
            first = str(error).strip().partition("\n")[0]  # what follows may hold the time, or ids
            if self._is_new(f"{type(error).__name__}: {first}"):
                log.exception("%s; it is tried again at the next tick", self._failure)
            elif _is_power_of_ten(self._count):
                log.error("%s, %d times by now: %s", self._failure, self._count, self._last)
        else:
            self._worked()

    def _is_new(self, seen: str) -> bool:
        is_new = seen != self._last
        self._last, self._count = seen, 1 if is_new else self._count + 1
        return is_new

    def _worked(self) -> None:
        if self._count:
            log.warning("it works again after %d failures: %s", self._count, self._failure)
        self._last, self._count = None, 0


def _is_power_of_ten(number: int) -> bool:
    return str(number).strip("0") == "1"
