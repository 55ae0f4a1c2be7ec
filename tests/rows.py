"""Makes projects with generated pairs for the database and service tests."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from db import content, projects
from db.content import NewPair, NewVote
from db.engine import Database
from db.models import utc_now


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def new_pair(number: int, *choices: str, prompt: str | None = None) -> NewPair:
    """The pair of this number, with an imported vote for each choice (`a`: the first answer)."""
    votes = tuple(
        NewVote(id=str(uuid.uuid4()), annotator=f"import:f:{index}", choice=choice)
        for index, choice in enumerate(choices)
    )
    messages = user(prompt or f"prompt {number}")
    return NewPair(messages, f"first {number}", f"second {number}", votes=votes)


def make_project(
    database: Database, pairs: Iterable[NewPair] = (), *, wanted_votes: int = 1, name: str = "p",
    **settings: Any,
) -> int:  # fmt: skip
    """A project with these pairs, and these columns set; its id."""
    with database.write() as s:
        project = projects.add_project(
            s, name, backbone="embedded", guidelines="", wanted_votes=wanted_votes
        )
        assert project is not None
        for column, value in settings.items():
            setattr(project, column, value)
        content.add_pairs(s, project.id, list(pairs), wanted_votes=wanted_votes, now=utc_now())
        return project.id


def open_pairs(number: int) -> list[NewPair]:
    return [new_pair(index) for index in range(number)]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    """The rows as JSON lines; a text is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
    return path


def preference(number: int, **more: Any) -> dict[str, Any]:
    """A row with prompt, chosen and rejected."""
    row = {
        "id": f"row-{number}",
        "prompt": user(f"question {number}"),
        "chosen": f"good {number}",
        "rejected": f"bad {number}",
    }
    return row | more
