"""Seeds the demo project: real pairs, two thirds of the prompts judged, the rest open to label.

    info = seed_demo(database)          # again: the same project, untouched

The data, its licence and whom it is owed to are in studio/demo/README.md. Every held-out prompt is
judged, so that the first checkpoint is measured on as many pairs as there are; the prompts left
open are training prompts, chosen by the order of their hashes and so always the same.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable
from importlib import resources
from typing import Any

from db import content
from db import projects as project_queries
from db.engine import Database
from studio.services import importing, projects
from studio.services.import_files import parse_json
from studio.services.projects import ProjectInfo

DEMO_NAME = "demo"
FILE_NAME = "oasst.jsonl.gz"
JUDGED_SHARE = 2 / 3


def seed_demo(database: Database, backbone: str = "embedded") -> ProjectInfo:
    """The demo project, made if there is none; one that is there is left as it is."""
    with database.write() as s:
        project = project_queries.find_project(s, DEMO_NAME)
        if project is None:
            project = projects.add(
                s, DEMO_NAME, backbone=backbone, guidelines=_packaged("guidelines.md").decode()
            )
            rows = demo_rows()
            judged = judged_prompts(map(_prompt_hash, rows))
            for purpose, wanted in (("votes", True), ("unlabelled", False)):
                chosen = [row for row in rows if (_prompt_hash(row) in judged) is wanted]
                importing.add_rows(s, project, enumerate(chosen, start=1), FILE_NAME, purpose)
        project_id = project.id
    return projects.get(database, project_id)


def demo_rows() -> list[dict[str, Any]]:
    """The pairs that come with the package."""
    lines = gzip.decompress(_packaged(FILE_NAME)).splitlines()
    rows = [parse_json(line) for line in lines]
    return [row for row in rows if isinstance(row, dict)]


def judged_prompts(prompt_hashes: Iterable[str]) -> set[str]:
    """The prompts that are judged from the start: all held-out ones, then training ones by hash."""
    distinct = sorted(set(prompt_hashes))
    heldout = [each for each in distinct if content.split_of(each) == "heldout"]
    training = [each for each in distinct if content.split_of(each) == "train"]
    wanted = max(0, math.ceil(JUDGED_SHARE * len(distinct)) - len(heldout))
    return {*heldout, *training[:wanted]}


def _prompt_hash(row: dict[str, Any]) -> str:
    return content.prompt_hash(row["prompt"])


def _packaged(name: str) -> bytes:
    return resources.files("studio").joinpath("demo", name).read_bytes()
