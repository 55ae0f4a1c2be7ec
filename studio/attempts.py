"""How often one may try to sign in: counted by name and by address, in memory.

    wait_s = attempts.begin("mara", "10.0.0.9")      # 0.0, or how long to wait
    attempts.succeeded("mara", "10.0.0.9")           # the name's failures are forgiven then

An attempt counts when it begins, so that a thousand at once are not all let in; one that has to
wait does not count, so that waiting helps. Nothing is checked while one waits.
"""

from __future__ import annotations

import ipaddress
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MAX_KEYS = 20_000


@dataclass(frozen=True)
class Limit:
    """So many attempts in any stretch of so many seconds."""

    count: int
    window_s: float


PER_NAME = Limit(10, 15 * 60)
PER_ADDRESS = Limit(60, 15 * 60)  # an office may share one


class Attempts:
    """The attempts of the last minutes; for one process, which is all there is."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        per_name: Limit = PER_NAME,
        per_address: Limit = PER_ADDRESS,
    ) -> None:
        self._clock = clock
        self._limits = {"name": per_name, "address": per_address}
        self._times: dict[tuple[str, str], deque[float]] = {}

    def begin(self, name_key: str | None, address: str) -> float:
        """Count an attempt and return 0.0, or the seconds to wait before the next is allowed."""
        keys = [("address", _group(address))]
        if name_key is not None:
            keys.append(("name", name_key))
        wait_s = max(self._wait_s(key) for key in keys)
        if wait_s > 0:
            return wait_s
        if len(self._times) > MAX_KEYS:
            self._forget_old()
        for key in keys:
            self._times.setdefault(key, deque()).append(self._clock())
        return 0.0

    def succeeded(self, name_key: str | None, address: str) -> None:
        """Count the newest attempt no longer: an office of fifty may all come in."""
        if name_key is not None:
            self._times.pop(("name", name_key), None)
        times = self._times.get(("address", _group(address)))
        if times:
            times.pop()

    def _wait_s(self, key: tuple[str, str]) -> float:
        limit, times = self._limits[key[0]], self._times.get(key)
        if not times:
            return 0.0
        now = self._clock()
        while times and now - times[0] >= limit.window_s:
            times.popleft()
        return times[0] + limit.window_s - now if len(times) >= limit.count else 0.0

    def _forget_old(self) -> None:
        for key in list(self._times):
            self._wait_s(key)
            if not self._times[key]:
                del self._times[key]


def _group(address: str) -> str:
    """An IPv6 network of 64 bits is one household's: its addresses count as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
