"""The tiny backbone, prepared, and pairs with a preference that a head can learn."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rm_core.backbone import BackboneInfo, prepare
from rm_core.features import FeatureStore
from rm_core.pairs import PreferencePair, from_chosen


@pytest.fixture(scope="session")
def info(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> BackboneInfo:
    return prepare(str(tiny_backbone), tmp_path_factory.mktemp("backbones"))


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """One store for the tests that only read what training encoded."""
    return FeatureStore(tmp_path_factory.mktemp("store") / "features.sqlite")


def planted_pairs(count: int, seed: int = 0, heldout_every: int = 0) -> list[PreferencePair]:
    """Pairs whose better answer is the one with more of the letter e."""
    draw = random.Random(seed)
    pairs = []
    for i in range(count):
        prompt = [{"role": "user", "content": f"Question {i}?"}]
        good = "".join(draw.choice("eeeb ") for _ in range(draw.randint(8, 16)))
        bad = "".join(draw.choice("zzzb ") for _ in range(draw.randint(8, 16)))
        split = "heldout" if heldout_every and i % heldout_every == 0 else "train"
        pairs.append(from_chosen(f"p{i}", prompt, good, bad, split=split))
    return pairs
