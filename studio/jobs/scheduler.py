"""The clock: APScheduler wakes the dispatcher every second, and does nothing else.

Its jobs are kept in memory and are added again at every start: what must survive is in the
`training_run` rows. Rules and cron expressions will become further ticks here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from apscheduler.schedulers.background import BackgroundScheduler

from studio.jobs.dispatcher import Dispatcher
from studio.services import wakeup

TICK_S = 1


@contextmanager
def running(dispatcher: Dispatcher) -> Iterator[BackgroundScheduler]:
    """Dispatch jobs until the block ends."""
    scheduler = BackgroundScheduler(
        timezone="UTC",
        job_defaults={"coalesce": True, "misfire_grace_time": 3600, "max_instances": 1},
    )
    scheduler.add_job(dispatcher.wake, "interval", seconds=TICK_S, id="dispatch")
    stop_listening = wakeup.listen(dispatcher.wake)
    dispatcher.start()
    scheduler.start()
    try:
        yield scheduler
    finally:
        stop_listening()
        scheduler.shutdown(wait=False)
        dispatcher.stop()
