"""What the benchmarks read: preference pairs, and where prepared backbones and features are kept.

The pairs are Anthropic's HH-RLHF, `harmless-base/test` (MIT), 1,499 for training and 400 of other
conversations for tests, in the project's row format (docs/engineer.md). They are not in the
repository: their text is offensive in places. Put the two files into benchmarks/data, or name their
folder: `make bench BENCH_DATA=DIR`.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DATA = Path(os.environ.get("BENCH_DATA", HERE / "data"))
HH_TRAIN = DATA / "hh_train.jsonl.gz"
HH_TEST = DATA / "hh_test.jsonl.gz"
SCRATCH = HERE.parent / "studio-data"
BACKBONES = SCRATCH / "backbones"


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a file, those with two equal answers left out."""
    if not file.exists():
        raise SystemExit(
            f"{file} does not exist: the benchmarks' pairs are not in the repository; put them "
            "there, or name their folder with BENCH_DATA (benchmarks/material.py says what they "
            "are)."
        )
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["chosen"] != row["rejected"]]
