"""The clock: every second APScheduler wakes the dispatcher and has the retrain rules looked at.

Its jobs are kept in memory and are added again at every start: what must survive is in the
`training_run` rows and in `project.retrain_rules`, so a schedule needs no job of its own here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from apscheduler.schedulers.background import BackgroundScheduler

from studio.jobs.dispatcher import Dispatcher
from studio.jobs.recurring import Recurring
from studio.services import retrain, selection, wakeup

if TYPE_CHECKING:
    from studio.settings import Settings

TICK_S = 1
RANK_EVERY_S = 5  # a look at whether any queue needs ranking anew, which takes milliseconds


@contextmanager
def running(
    dispatcher: Dispatcher, settings: Settings | None = None
) -> Iterator[BackgroundScheduler]:
    """Dispatch jobs until the block ends; with `settings`, rank the queues that want it too."""
    # On a busy machine a tick comes while the last one still works: it is left out, by design.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    scheduler = BackgroundScheduler(
        timezone="UTC",
        job_defaults={"coalesce": True, "misfire_grace_time": 3600, "max_instances": 1},
    )
    scheduler.add_job(dispatcher.wake, "interval", seconds=TICK_S, id="dispatch")
    looking = Recurring("the retrain rules could not be looked at")
    scheduler.add_job(_look_at_rules, "interval", [dispatcher, looking], seconds=TICK_S, id="rules")
    if settings is not None:
        ranking = Recurring("the queues could not be ranked")
        scheduler.add_job(
            _rank_queues,
            "interval",
            [dispatcher, settings, ranking],
            seconds=RANK_EVERY_S,
            id="rank",
        )
    stop_listening = wakeup.listen(dispatcher.wake)
    dispatcher.start()
    scheduler.start()
    try:
        yield scheduler
    finally:
        stop_listening()
        scheduler.shutdown(wait=False)
        dispatcher.stop()


def _look_at_rules(dispatcher: Dispatcher, looking: Recurring) -> None:
    """Queue what is due; a database that fails now is asked again at the next tick."""
    with looking.tried():
        retrain.look(dispatcher.database)


def _rank_queues(dispatcher: Dispatcher, settings: Settings, ranking: Recurring) -> None:
    """Rank what needs it; until then a queue goes on by its old ranking, or at random."""
    with ranking.tried():
        selection.rank_all(dispatcher.database, settings)
