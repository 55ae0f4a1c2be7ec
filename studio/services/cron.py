"""Times of the day and week, written as in a crontab: five fields and a time zone by name.

    times = cron.Times.parse("0 3 * * 1-5", "Europe/Berlin")
    times.last_before(now, within=timedelta(hours=1))       # a datetime, or None
    times.next_after(now)

The days of the week count as in every crontab, 0 and 7 being Sunday: APScheduler, which does the
calendar's work, counts from Monday, so the field is written out in names for it. A day of the month
and a day of the week together mean "either" to some programs and "both" to others: refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.cron import CronTrigger

from studio.services.errors import UsageError

FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
HOW = 'write five fields as in a crontab, such as "0 3 * * *" for every night at three'
FAR = timedelta(days=366 * 4)


@dataclass(frozen=True)
class Times:
    """An expression that has been checked."""

    expression: str
    timezone: str
    trigger: CronTrigger

    @classmethod
    def parse(cls, expression: str, timezone: str) -> Times:
        """Check and build; UsageError names the field that cannot be."""
        fields = expression.split()
        if len(fields) != len(FIELDS):
            raise UsageError(f"the schedule {expression!r} has {len(fields)} fields: {HOW}.")
        for name, field in zip(FIELDS, fields, strict=True):
            if not re.fullmatch(r"[0-9a-zA-Z*/,-]+", field):
                raise UsageError(f"the schedule's {name} is {field!r}: {HOW}.")
        minute, hour, day, month, weekday = fields
        if day != "*" and weekday != "*":
            raise UsageError(
                f"the schedule {expression!r} names a day of the month and one of the week, which "
                "is read differently by different programs: name one, and leave the other *."
            )
        try:
            trigger = CronTrigger(
                minute=minute,
                hour=hour,
                day=day,
                month=month,
                day_of_week=_weekdays(weekday),
                timezone=zone(timezone),
            )
        except ValueError as error:
            raise UsageError(f"the schedule {expression!r} is none ({error}): {HOW}.") from error
        times = cls(" ".join(fields), timezone, trigger)
        if times.next_after(datetime.now(zone(timezone))) is None:
            raise UsageError(f"the schedule {expression!r} never comes: {HOW}.")
        return times

    def next_after(self, now: datetime) -> datetime | None:
        """The first time after `now`, if one comes within four years."""
        # Bounded, since the calendar would be searched to the year 9999 for a 31 February.
        self.trigger.end_date = now.astimezone(zone(self.timezone)) + FAR
        found: datetime | None = self.trigger.get_next_fire_time(
            None, now.astimezone(zone(self.timezone)) + timedelta(microseconds=1)
        )
        return found

    def last_before(self, now: datetime, within: timedelta) -> datetime | None:
        """The newest time that is not after `now`, if it lies `within` that long of it."""
        last = None
        at = self.next_after(now - within)
        while at is not None and at <= now:
            last, at = at, self.next_after(at)
        return last


def zone(name: str) -> ZoneInfo:
    """The time zone of this name; UsageError when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"there is no time zone {name!r}: use a name such as UTC or Europe/Berlin."
        ) from error


def _weekdays(field: str) -> str:
    """The field in names: "1-5" becomes "mon,tue,wed,thu,fri"."""
    if field == "*":
        return "*"
    days: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, dash, last = ("0", "-", "6") if span == "*" else span.partition("-")
        low = _weekday(first)
        high = _weekday(last) if dash else (6 if step else low)
        if dash and high == 0 and low > 0:
            high = 7  # "5-0" and "5-7": up to Sunday
        if low > high or not (step or "1").isdigit() or int(step or "1") == 0:
            raise ValueError(f"{part!r} is no range of weekdays")
        days |= {day % 7 for day in range(low, high + 1, int(step or "1"))}
    return ",".join(DAYS[day] for day in sorted(days))


def _weekday(text: str) -> int:
    if text.isdigit() and int(text) <= 7:
        return int(text) % 7
    if text.lower()[:3] in DAYS and len(text) == 3:
        return DAYS.index(text.lower())
    raise ValueError(f"{text!r} is no weekday: 0 to 7, or sun to sat")
