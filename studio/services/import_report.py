"""What became of an imported file's rows: counted, listed, and as a person reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import IO, Any

MAX_LISTED = 1000  # refused rows that the report lists; all are counted


@dataclass
class ImportReport:
    """What became of a file's rows: rows = imported + merged + duplicate + refused."""

    project: str
    file: str
    purpose: str
    dry_run: bool = False
    answers_rule: str = "all"
    project_id: int | None = None
    rows: int = 0
    imported: int = 0  # brought a pair that was not there
    merged: int = 0  # brought new votes to a pair that was there
    duplicate: int = 0  # brought nothing new
    pairs: int = 0  # new pairs
    votes: int = 0  # new votes
    adjudications: int = 0  # new last words of leads
    repeated_votes: int = 0  # the annotator had given that verdict on that pair already
    contradicting_votes: int = 0  # the annotator had given another verdict, which stands
    control_tokens: int = 0  # rows whose text spells a control token
    control_token_counts: dict[str, int] = field(default_factory=dict)
    ignored_columns: dict[str, int] = field(default_factory=dict)
    refused: list[tuple[int, str]] = field(default_factory=list)
    refused_counts: dict[str, int] = field(default_factory=dict)
    refused_file: IO[str] | None = field(default=None, repr=False)

    @property
    def num_refused(self) -> int:
        return sum(self.refused_counts.values())

    def refuse(self, number: int, reason: str, seen: str, row: Any = None) -> None:
        """Count a refused row; where a file for them is open, write it there, to be mended."""
        self.refused_counts[reason] = self.refused_counts.get(reason, 0) + 1
        if self.refused_file is not None:
            line = {"row": number, "reason": reason, "seen": seen, "content": row}
            json.dump(line, self.refused_file, ensure_ascii=True, default=str)
            self.refused_file.write("\n")
        if len(self.refused) < MAX_LISTED:
            self.refused.append((number, f"{reason} ({seen})" if seen else reason))

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object."""
        shown = {name: getattr(self, name) for name in self.__dataclass_fields__}
        del shown["refused_file"]
        shown["num_refused"] = self.num_refused
        shown["refused"] = [{"row": number, "reason": why} for number, why in self.refused]
        return shown

    def as_text(self) -> str:
        """The report as a person reads it."""
        did = "Would import" if self.dry_run else "Imported"
        lines = [
            f"{did} {self.file} into project {self.project!r} as {self.purpose}: {self.rows} rows",
            f"  {self.imported} imported ({self.pairs} new pairs), {self.merged} added votes to "
            f"known pairs, {self.duplicate} duplicate, {self.num_refused} refused",
            f"  {self.votes} new votes, {self.repeated_votes} given before, "
            f"{self.contradicting_votes} against the annotator's earlier verdict (not counted)",
        ]
        if self.adjudications:
            lines.append(f"  new last words by leads, which override votes: {self.adjudications}")
        if self.control_tokens:
            listed = ", ".join(f"{name} {n}" for name, n in self.control_token_counts.items())
            lines.append(f"  {self.control_tokens} rows spell control tokens: {listed}")
        if self.ignored_columns:
            lines.append(f"  columns not kept: {', '.join(sorted(self.ignored_columns))}")
        for reason, number in sorted(self.refused_counts.items(), key=lambda each: -each[1]):
            lines.append(f"  refused {number}: {reason}")
        lines += [f"    row {number}: {why}" for number, why in self.refused[:10]]
        if self.num_refused > 10:
            lines.append(f"    and {self.num_refused - 10} more")
        return "\n".join(lines)
