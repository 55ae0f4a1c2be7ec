"""What a file would bring, before anything is imported: its columns, and its first rows as read.

seen = preview(Path("arena.csv"))
seen.mapping          # {"prompt": "question", "answer_a": "answer_1", ...}: a proposal
preview(path, columns=mapping).samples
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.services import import_mapping
from studio.services.errors import StudioError
from studio.services.import_files import RowRefused, UnreadableRow, read_rows
from studio.services.import_rows import RowPairs, row_pairs

LOOKED_AT = 50  # rows, for the names of the columns
SHOWN = 5
MAX_CHARACTERS = 220
VERDICTS = {
    "a": "first is better",
    "b": "second is better",
    "tie": "tie",
    "both_bad": "both bad",
    "skip": "skipped",
    "flag": "flagged",
}


@dataclass(frozen=True)
class Sample:
    """A row as it would be imported, or why it would be refused."""

    row: int
    prompt: str = ""
    answers: tuple[str, ...] = ()
    verdict: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Preview:
    """A file's columns, what each of our fields would be read from, and the first rows so read.

    `mapping` is empty where the file is in the studio's own form and needs none.
    """

    columns: tuple[str, ...]
    mapping: dict[str, str]
    samples: tuple[Sample, ...]


def preview(path: Path, columns: Mapping[str, str] | None = None) -> Preview:
    """Read the file's first rows; with `columns`, by that mapping."""
    first = list(itertools.islice(read_rows(Path(path)), LOOKED_AT))
    if not first:
        raise StudioError(f"{Path(path).name!r} holds no rows")
    rows = [row for _, row in first if isinstance(row, dict)]
    names = tuple(dict.fromkeys(str(name) for row in rows for name in row))
    if columns:
        mapping = import_mapping.checked(columns, names)
    elif import_mapping.is_own_form(names):
        mapping = {}
    else:
        mapping = import_mapping.propose(names)
    samples = tuple(_sample(number, row, mapping) for number, row in first[:SHOWN])
    return Preview(names, mapping, samples)


def _sample(number: int, row: dict[str, Any] | UnreadableRow, mapping: Mapping[str, str]) -> Sample:
    if isinstance(row, UnreadableRow):
        return Sample(number, refused=f"{row.reason} {row.seen}".strip())
    try:
        parsed = row_pairs(import_mapping.mapped_row(row, mapping) if mapping else row)
    except RowRefused as refused:
        seen = f" ({refused.seen})" if refused.seen else ""
        return Sample(number, refused=f"{refused.reason}{seen}")
    return Sample(
        number,
        prompt=_short(parsed.messages[-1]["content"] if parsed.messages else ""),
        answers=tuple(_short(answer) for answer in parsed.answers),
        verdict=_verdict(parsed),
    )


def _verdict(parsed: RowPairs) -> str:
    if parsed.scores:
        return "scores " + ", ".join(f"{score:g}" for score in parsed.scores)
    if parsed.adjudication is not None:
        return f"adjudicated: {VERDICTS[parsed.adjudication.choice]}"
    counted: dict[str, int] = {}
    for vote in parsed.votes:
        counted[VERDICTS[vote.choice]] = counted.get(VERDICTS[vote.choice], 0) + 1
    if len(parsed.votes) <= 1:
        return next(iter(counted), "none: to be judged")
    return ", ".join(f"{number} × {verdict}" for verdict, number in counted.items())


def _short(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"
