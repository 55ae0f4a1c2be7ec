"""Tells whoever dispatches jobs in this process that there is something new to do.

    stop_listening = wakeup.listen(dispatcher.wake)
    wakeup.announce()          # after the transaction that queued or cancelled a run

The rows are the truth and the dispatcher looks at them every second anyway; this only makes a
click take effect at once. Another process (the console) relies on the tick.
"""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[], None]] = []


def listen(callback: Callable[[], None]) -> Callable[[], None]:
    """Call `callback` at every announcement, from the announcing thread; returns its undoing."""
    _listeners.append(callback)
    return lambda: _listeners.remove(callback)


def announce() -> None:
    """Something was queued or cancelled, and the transaction that says so is committed."""
    for callback in list(_listeners):
        callback()
