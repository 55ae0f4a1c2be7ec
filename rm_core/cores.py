"""How many cores there are, and who uses them: fits side by side, or BLAS within one fit."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Limit:
    """Blocks of several threads may overlap: the first one limits, the last one lifts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._restore = lambda: None

    def enter(self) -> None:
        from threadpoolctl import ThreadpoolController

        with self._lock:
            self._num_inside += 1
            if self._num_inside == 1:
                # numpy's own; torch has its threads for itself.
                numpys = ThreadpoolController().select(internal_api="openblas")
                self._restore = numpys.limit(limits=1).restore_original_limits

    def leave(self) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._restore()


_limit = _Limit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let numpy's BLAS use one thread, in the whole process.

    For work that is divided by itself: small products are hardly faster on two threads, which wait
    for each other. Sums are then the same to the bit whatever the number of cores.
    """
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()
