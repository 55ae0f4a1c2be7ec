"""What is known of pairs besides their votes, as columns of numbers; beside db/vote_table.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Text, case, cast, func, literal_column, select
from sqlalchemy.orm import Session, aliased

from db.models import Pair, Response
from db.vote_table import CHOICE_CODE

if TYPE_CHECKING:
    import numpy as np


def answer_lengths(s: Session, project_id: int, after: int = 0) -> np.ndarray:
    """The characters of both answers of every pair with a larger id than `after`.

    int64 [M, 3]: pair id, of `response_a`, of `response_b`; in order of id. The database counts:
    the texts themselves never leave it.
    """
    import numpy as np

    a, b = aliased(Response), aliased(Response)
    triple = (
        cast(Pair.id, Text)
        + literal_column("' '")
        + cast(func.length(a.text), Text)
        + literal_column("' '")
        + cast(func.length(b.text), Text)
    )
    text = s.scalar(
        select(func.aggregate_strings(triple, " "))
        .join(a, a.id == Pair.response_a_id)
        .join(b, b.id == Pair.response_b_id)
        .where(Pair.project_id == project_id, Pair.id > after)
    )
    found = np.fromstring(text or "", dtype=np.int64, sep=" ").reshape(-1, 3)
    return found[np.argsort(found[:, 0])]


def gold_choices(s: Session, project_id: int) -> np.ndarray:
    """(pair id, code of the known verdict) of the gold pairs, int64 [G, 2], in order of id."""
    import numpy as np

    code = case({name: CHOICE_CODE[name] for name in ("a", "b", "tie")}, value=Pair.gold_choice)
    rows = s.execute(
        select(Pair.id, code)
        .where(Pair.project_id == project_id, Pair.gold_choice.is_not(None))
        .order_by(Pair.id)
    )
    return np.array([tuple(row) for row in rows], dtype=np.int64).reshape(-1, 2)
