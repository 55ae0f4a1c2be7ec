"""What the merge rules leave out, for every place that shows a count of pairs.

    counts = left_out(database, project_id)      # {"pairs_skip_only": 3, "votes_skip": 5, ...}
    pairs_told(counts)                           # "3 pairs do not train: 3 only skipped"

The rules are in docs/training-rules.md. A large project is counted every minute or two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from db import votes
from studio.services import progress

if TYPE_CHECKING:
    from db.engine import Database

WORDS = {
    "pairs_flag_only": "flagged and not judged",
    "pairs_both_bad_only": "judged as both bad only",
    "pairs_skip_only": "only skipped",
    "pairs_tie_only": "with ties only",
    "pairs_excluded_only": "judged by excluded annotators only",
    "pairs_too_few_votes": "with too few votes",
    "pairs_adjudicated_both_bad": "adjudicated as both bad",
}


def left_out(database: Database, project_id: int) -> dict[str, int]:
    """As db.votes.left_out, from memory where counting takes long."""
    with database.read() as s:
        return progress.counted(
            database, s, project_id, "left out", lambda own: votes.left_out(own, project_id)
        )


def num_pairs(counts: Mapping[str, int]) -> int:
    """Pairs that people have looked at and that do not train."""
    return sum(counts.get(reason, 0) for reason in WORDS)


def pairs_told(counts: Mapping[str, int]) -> str:
    """One line, or nothing where every judged pair trains."""
    number = num_pairs(counts)
    if not number:
        return ""
    parts = [f"{counts[reason]:,} {words}" for reason, words in WORDS.items() if reason in counts]
    does = "pair does" if number == 1 else "pairs do"
    return f"{number:,} {does} not train: {', '.join(parts)}"
