"""A warm fit ends where a fit from nothing ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rm_core import checkpoint
from rm_core.backbone import BackboneInfo
from rm_core.config import TrainConfig
from rm_core.errors import CheckpointError, FeatureStoreError, TrainingDataError
from rm_core.features import FeatureStore
from rm_core.training import train
from rm_core.warm import WarmFit
from tests.rm_core.conftest import planted_pairs


def noisy_pairs(count: int) -> list:
    rng = np.random.default_rng(0)
    return [
        replace(p, target=p.target if rng.random() < 0.8 else 1 - p.target, tie_share=0.0)
        if i % 5
        else replace(p, target=0.5, tie_share=1.0)
        for i, p in enumerate(planted_pairs(count))
    ]


@pytest.mark.parametrize(
    "settings",
    [{}, {"ties": "davidson"}, {"ties": "rao-kupper", "length_column": True}],
    ids=["half", "davidson", "rao-kupper with length"],
)
@pytest.mark.parametrize(("before", "after"), [(100, 101), (20, 40)])
def test_a_warm_fit_from_disk_ends_where_a_fit_from_nothing_ends(
    info: BackboneInfo, shared_store: FeatureStore, tmp_path: Path, settings, before, after
) -> None:
    pairs = noisy_pairs(120)
    config = TrainConfig(layers=[2], **settings)
    train(pairs, info=info, store=shared_store, config=config, device="cpu")  # encodes all
    result = train(pairs[:before], info=info, store=shared_store, config=config, device="cpu")
    checkpoint.save(tmp_path / "one", result)
    warm = WarmFit.load(tmp_path / "one")
    again = warm.refit(pairs[:after], info=info, store=shared_store)
    cold = again.fit.refit(result.manifest["penalty"])
    size = np.abs(cold.weights).max()
    np.testing.assert_allclose(again.head.weights, cold.weights, atol=1e-6 * size)
    same = warm.refit(pairs[:before], info=info, store=shared_store)
    assert same.num_steps <= 3  # it stood there already
    np.testing.assert_allclose(same.head.weights, result.head.weights, atol=1e-6 * size)


def test_what_a_warm_fit_lacks_is_said(
    info: BackboneInfo, shared_store: FeatureStore, tmp_path: Path
) -> None:
    config = TrainConfig(layers=[2])
    result = train(planted_pairs(40), info=info, store=shared_store, config=config, device="cpu")
    checkpoint.save(tmp_path / "bare", replace(result, posterior=None))
    with pytest.raises(CheckpointError, match="saved without its posterior"):
        WarmFit.load(tmp_path / "bare")
    checkpoint.save(tmp_path / "one", result)
    warm = WarmFit.load(tmp_path / "one")
    with pytest.raises(TrainingDataError, match="no pair to fit"):
        warm.refit([], info=info, store=shared_store)
    with pytest.raises(FeatureStoreError, match="not encoded"):
        warm.refit(planted_pairs(5, seed=77), info=info, store=shared_store)
