"""Which data directory the database belongs to: the files that rows name lie there."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.models import Installation, utc_now

ONLY_ROW = 1


def owner(s: Session) -> Installation | None:
    """The data directory that the database belongs to; None before the first one has claimed it."""
    return s.scalar(select(Installation))


def claim(s: Session, data_id: str, place: str) -> Installation:
    """Give an unclaimed database to this directory; whom it belongs to then."""
    insert = sqlite.insert if s.get_bind().dialect.name == "sqlite" else postgresql.insert
    values = {"id": ONLY_ROW, "data_id": data_id, "place": place, "since": utc_now()}
    s.execute(insert(Installation).values(**values).on_conflict_do_nothing())
    return s.get_one(Installation, ONLY_ROW)


def hand_over(s: Session, data_id: str, place: str) -> None:
    """Give the database to this directory, whosever it was."""
    row = claim(s, data_id, place)
    if row.data_id != data_id:
        row.since = utc_now()
    row.data_id, row.place = data_id, place
    s.flush()
