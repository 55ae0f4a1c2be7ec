"""When a project trains by itself: its rules, and the runs that they ask for.

    retrain.set_rules(database, project_id, {"new_pairs": 50}, actor="mara")
    retrain.look(database)            # every second, from the scheduler of every server

`project.retrain_rules` holds what of these is on; {} is nothing:

    {"new_pairs": 50,                  retrain when 50 judged pairs are new
     "cron": "0 3 * * *",              at these times, if anything is new then
     "timezone": "Europe/Berlin",      where those times are meant
     "after_vote": true,               as soon as voting pauses; the head alone (head_alone.py)
     "since": "2026-11-22T20:00:00Z"}  when the schedule was set: earlier times do not count

Every rule looks and queues in one transaction that holds the project's row, and never while a
training of the project is unfinished, so that any number of servers queue a run once. After a run
that failed or was cancelled a rule waits for votes that are newer than that run: a broken backbone
is tried once, not every second.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from db import audit, projects, runs, unseen
from db.models import Project, utc_now
from studio.services import head_alone, promotion, training, wakeup
from studio.services.cron import Times
from studio.services.errors import NotFound, UsageError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.engine import Database
    from db.unseen import News

log = logging.getLogger(__name__)

KEYS = ("new_pairs", "cron", "timezone", "after_vote", "since")
MAX_NEW_PAIRS = 1_000_000
# A server that was down at three in the morning still trains when it is up again by four.
LATE = timedelta(hours=1)
# "After every vote": once nobody has voted for so long, or at the latest so long after a vote.
QUIET = timedelta(seconds=2)
PATIENCE = timedelta(seconds=15)


@dataclass(frozen=True)
class Rules:
    """A project's rules, checked."""

    new_pairs: int | None = None
    times: Times | None = None
    after_vote: bool = False
    since: datetime | None = None

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Rules:
        """From `project.retrain_rules`; UsageError names what cannot be."""
        unknown = sorted(set(stored) - set(KEYS))
        if unknown:
            raise UsageError(f"unknown retrain rule {unknown[0]!r}: use {', '.join(KEYS)}.")
        count = stored.get("new_pairs")
        is_whole = isinstance(count, int) and not isinstance(count, bool)
        if count is not None and not (is_whole and 1 <= count <= MAX_NEW_PAIRS):
            raise UsageError(
                f"the number of new judged pairs is {count!r}: give a whole number of at least 1."
            )
        expression, timezone = stored.get("cron"), stored.get("timezone") or "UTC"
        if not isinstance(expression or "", str) or not isinstance(timezone, str):
            raise UsageError(f"the schedule {expression!r} in {timezone!r} is not text.")
        if not isinstance(stored.get("after_vote", False), bool):
            raise UsageError(f"after_vote is {stored['after_vote']!r}: use true or false.")
        since = stored.get("since")
        return cls(
            count,
            Times.parse(expression, timezone) if expression else None,
            bool(stored.get("after_vote")),
            datetime.fromisoformat(since) if since else None,
        )


@dataclass(frozen=True)
class Due:
    """A run that a rule asks for."""

    trigger: str
    key: str
    reason: str


# --- setting them ----------------------------------------------------------------------------


def set_rules(
    database: Database,
    project_id: int,
    values: Mapping[str, Any],
    *,
    actor: str,
    promotion_rule: str | None = None,
) -> dict[str, Any]:
    """Put these rules in force (all of them; what is not named is off) and tell them as `told`."""
    given = {key: value for key, value in values.items() if key != "since" and value}
    Rules.read(given)
    if not given.get("cron"):
        given.pop("timezone", None)
    with database.write() as s:
        project = projects.get_project(s, project_id)
        if project is None:
            raise NotFound(f"there is no project {project_id}: choose one that exists.")
        before = project.retrain_rules or {}
        if given.get("cron"):
            same = all(before.get(key) == given.get(key) for key in ("cron", "timezone"))
            now = utc_now().isoformat(timespec="seconds")
            given["since"] = before["since"] if same and "since" in before else now
        changes: dict[str, Any] = {}
        if given != before:
            project.retrain_rules = given
            changes["retrain_rules"] = {"from": before, "to": given}
        if promotion_rule is not None and promotion_rule != project.promotion_rule:
            promotion.check_rule(promotion_rule)
            changes["promotion_rule"] = {"from": project.promotion_rule, "to": promotion_rule}
            project.promotion_rule = promotion_rule
        if changes:
            audit.record(s, actor, "rules", "project", project_id, **changes)
    wakeup.announce()
    return told(database, project_id)


def told(database: Database, project_id: int) -> dict[str, Any]:
    """The rules as the page shows them, with the next time that the schedule names."""
    with database.read() as s:
        project = projects.get_project(s, project_id)
    if project is None:
        raise NotFound(f"there is no project {project_id}: choose one that exists.")
    stored = project.retrain_rules or {}
    rules = Rules.read(stored)
    following = rules.times.next_after(utc_now()) if rules.times else None
    return {
        "new_pairs": rules.new_pairs,
        "cron": rules.times.expression if rules.times else "",
        "timezone": stored.get("timezone", "UTC"),
        "after_vote": rules.after_vote,
        "next_time": following.isoformat() if following else None,
        "promotion_rule": project.promotion_rule,
    }


# --- applying them ---------------------------------------------------------------------------


def look(database: Database, now: datetime | None = None) -> list[int]:
    """Queue whatever the rules of any project ask for now; the runs' ids."""
    now = now or utc_now()
    with database.read() as s:
        ruled = [project for project in projects.list_projects(s) if project.retrain_rules]
        asked = [project.id for project in ruled if _due(s, project, now)]
    queued = [run_id for project_id in asked if (run_id := _queue(database, project_id, now))]
    if queued:
        wakeup.announce()
    return queued


def _queue(database: Database, project_id: int, now: datetime) -> int | None:
    """Look again with the project's row held, and queue the run."""
    with database.write() as s:
        project = runs.lock_project(s, project_id)
        due = _due(s, project, now) if project is not None else None
        if due is None:
            return None
        config, reason = {}, due.reason
        if due.trigger == "after_vote":
            assert project is not None
            plan = head_alone.plan(s, project, now)
            config, reason = plan.config, f"{reason}; {plan.what}"
        run = runs.enqueue(s, project_id, "train", config, due.trigger, due.key, reason=reason)
        log.info("run %d queued: %s", run.id, reason)
        return run.id


def _due(s: Session, project: Project, now: datetime) -> Due | None:
    """The first of the project's rules that asks for a run."""
    try:
        rules = Rules.read(project.retrain_rules)
    except UsageError as error:  # written by another version, or by hand
        log.warning("the retrain rules of project %r are not followed: %s", project.name, error)
        return None
    # First whether one is unfinished, then what is new: in this order a run that ends in between
    # has its votes counted as seen.
    unfinished = runs.unfinished_runs(s, project.id)
    if any(run.kind == "train" for run in unfinished) or training.why_not(s, project.id):
        return None
    news = unseen.judgements(s, project.id)
    if not news.judgements:
        return None
    due = _due_by_clock(s, project.id, rules, news, now)
    last = runs.newest_run(s, project.id, "train")
    if last is not None and last.status in ("failed", "cancelled"):
        news = news.since(last.created_at)
    due = due or _due_by_count(rules, news)
    if due is None and not any(run.kind == "encode" for run in unfinished):
        due = _due_by_vote(rules, news, now)
    return due


def _due_by_clock(
    s: Session, project_id: int, rules: Rules, news: News, now: datetime
) -> Due | None:
    if rules.times is None:
        return None
    at = rules.times.last_before(now, LATE)
    if at is None or (rules.since is not None and at <= rules.since):
        return None
    key = f"cron:{at.astimezone(UTC).isoformat(timespec='seconds')}"
    if not news.until(at).judgements or runs.has_trigger_key(s, project_id, "train", key):
        return None
    return Due("cron", key, f"the schedule says {at:%H:%M} ({rules.times.timezone})")


def _due_by_count(rules: Rules, news: News) -> Due | None:
    count = len(news.pairs)
    if rules.new_pairs is None or count < rules.new_pairs:
        return None
    reason = f"{count} judged pair{' is' if count == 1 else 's are'} new, the rule says "
    return Due("new_pairs", "rule", f"{reason}{rules.new_pairs}")


def _due_by_vote(rules: Rules, news: News, now: datetime) -> Due | None:
    if not rules.after_vote or news.newest is None or news.oldest is None:
        return None
    if now - news.newest < QUIET and now - news.oldest < PATIENCE:
        return None
    count = len(news.pairs)
    return Due("after_vote", "rule", f"{count} judged pair{'' if count == 1 else 's'} after a vote")
