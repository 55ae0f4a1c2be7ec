"""docs/library.md is a program: it runs, block after block, as a reader would type it."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from tests.rm_core.conftest import planted_pairs

PAGE = Path(__file__).parent.parent / "docs/library.md"


def test_the_library_page_runs(
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with gzip.open("pairs.jsonl.gz", "wt", encoding="utf-8") as lines:
        for p in planted_pairs(60):
            sides = [p.answer_a.response, p.answer_b.response]
            chosen, rejected = sides if p.target == 1 else sides[::-1]
            row = {"id": p.pair_id, "prompt": p.answer_a.prompt}
            lines.write(json.dumps(row | {"chosen": chosen, "rejected": rejected}) + "\n")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    code = "\n".join(blocks).replace('prepare("embedded"', f'prepare("{tiny_backbone}"')
    exec(compile(code, str(PAGE), "exec"), {"__name__": "library"})
    assert "mean" in capsys.readouterr().out
