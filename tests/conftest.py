"""Fixtures that every part of the suite shares; each part adds its own beside its tests."""

from __future__ import annotations

import os
import random

import pytest

# Set before any third party reads them: no test may leave the machine.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

pytest_plugins = ["tests.postgres", "tests.tiny_backbone"]


@pytest.fixture(autouse=True)
def _drawn_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process draws is the same in every run: no test fails by chance once in eighty."""
    for drawing in ("labelling", "selection"):
        monkeypatch.setattr(f"studio.services.{drawing}._chance", random.Random(0))
