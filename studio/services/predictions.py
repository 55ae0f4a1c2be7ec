"""What a checkpoint's head says of pairs it has not seen, beside what the one in use says of them.

    unseen = predictions.collect(settings, result, pairs, info=info, store=store, current=current)
    unseen.as_bytes()                               # unseen.json in the checkpoint's directory
    unseen = predictions.read(directory)

Held-out pairs are never fitted, so that any earlier head can be asked about them from the feature
store. Where the figures come from cross-validation there is no such set: then what both heads
said of the same pair while it was left out is compared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rm_core.backbone import BackboneInfo
    from rm_core.checkpoint import Checkpoint as SavedHead
    from rm_core.config import TrainConfig
    from rm_core.features import FeatureStore
    from rm_core.pairs import PreferencePair
    from rm_core.training import TrainResult

FILE = "unseen.json"


@dataclass
class UnseenPair:
    """One pair of the evaluation.

    Attributes:
        pair: its id.
        target: wanted probability that a is better.
        group: of its prompt.
        logit: calibrated log odds that a is better, by a head that never saw the prompt.
        rewards: of a and b by the checkpoint's head; None in a cross-validation.
        old_logit, old_rewards: the same of the checkpoint that was in use, where it can be told.
    """

    pair: int
    target: float
    group: str
    logit: float
    rewards: tuple[float, float] | None = None
    old_logit: float | None = None
    old_rewards: tuple[float, float] | None = None


@dataclass
class Unseen:
    """All of them, and with which checkpoint they were compared.

    Attributes:
        against: the other checkpoint's id; None where there was none.
        problem: why no pair could be compared with it; None where some could.
    """

    pairs: list[UnseenPair] = field(default_factory=list)
    against: int | None = None
    problem: str | None = None

    def as_bytes(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    def compared(self) -> list[UnseenPair]:
        """Those of which the other checkpoint's opinion is known."""
        return [pair for pair in self.pairs if pair.old_logit is not None]


def read(directory: Path) -> Unseen | None:
    """What lies in a checkpoint's directory; None in one that was made without it."""
    path = directory / FILE
    if not path.exists():
        return None
    stored = json.loads(path.read_text())
    pairs = [UnseenPair(**pair) for pair in stored["pairs"]]
    return Unseen(pairs, stored["against"], stored["problem"])


@dataclass(frozen=True)
class InUse:
    """The checkpoint that the project uses before this one."""

    id: int
    directory: Path


def collect(
    result: TrainResult,
    pairs: Sequence[PreferencePair],
    *,
    info: BackboneInfo,
    store: FeatureStore,
    current: InUse | None,
) -> Unseen:
    """The new head's predictions, and those of the checkpoint in use, if any."""
    evaluated = [pair for pair in pairs if pair.pair_id in result.unseen_logits]
    unseen = Unseen(
        [
            UnseenPair(int(p.pair_id), p.target, p.group, result.unseen_logits[p.pair_id])
            for p in evaluated
        ],
        against=current.id if current else None,
    )
    is_heldout = result.metrics["evaluation"] == "heldout"
    if is_heldout:
        config = result.manifest["config"]
        rewards = _rewards(result.head, config, evaluated, info, store)
        for row, each in zip(unseen.pairs, rewards, strict=True):
            row.rewards = each
    if current is not None:
        unseen.problem = _add_old(unseen, evaluated, info, store, current, is_heldout=is_heldout)
    return unseen


def _add_old(
    unseen: Unseen,
    evaluated: Sequence[PreferencePair],
    info: BackboneInfo,
    store: FeatureStore,
    current: InUse,
    *,
    is_heldout: bool,
) -> str | None:
    """Fill in what the checkpoint in use says; a reason where that cannot be told of any pair."""
    from rm_core import checkpoint
    from rm_core.errors import RewardModelError

    try:
        saved = checkpoint.load(current.directory)
    except RewardModelError:
        return "its files cannot be read"
    if is_heldout and saved.manifest["metrics"]["evaluation"] == "heldout":
        return _score_again(unseen, evaluated, info, store, saved)
    # One of the two was fitted on all pairs: only what it said of those left out counts.
    before = read(current.directory)
    logits = {row.pair: row.logit for row in before.pairs} if before else {}
    for row in unseen.pairs:
        row.old_logit = logits.get(row.pair)
    return None if unseen.compared() else "the two were not evaluated on any common pair"


def _score_again(
    unseen: Unseen,
    evaluated: Sequence[PreferencePair],
    info: BackboneInfo,
    store: FeatureStore,
    saved: SavedHead,
) -> str | None:
    from rm_core.config import TrainConfig
    from rm_core.errors import RewardModelError

    manifest = saved.manifest
    if manifest["backbone"]["revision"] != info.revision:
        return "it has another backbone"
    settings = TrainConfig.from_dict(manifest["config"])
    # Its own limits may refuse an answer that the new run takes: that pair is not compared.
    known = encoded(evaluated, saved.head.layer, settings, info, store)
    if not known:
        return f"these answers are not encoded at its layer {saved.head.layer}"
    try:
        rewards = _rewards(saved.head, manifest["config"], known, info, store)
    except RewardModelError as error:
        return str(error).rstrip(".")
    scale = float(manifest.get("calibration_scale", 1.0))
    rows = {row.pair: row for row in unseen.pairs}
    for pair, (a, b) in zip(known, rewards, strict=True):
        row = rows[int(pair.pair_id)]
        row.old_rewards = (a, b)
        row.old_logit = scale * (a - b)
    return None


def encoded(
    pairs: Sequence[PreferencePair],
    layer: int,
    config: TrainConfig,
    info: BackboneInfo,
    store: FeatureStore,
) -> list[PreferencePair]:
    """The pairs whose answers are both in the store under a run's limits.

    Of the others an answer was refused, in that run as well.
    """
    answers = [answer for pair in pairs for answer in (pair.answer_a, pair.answer_b)]
    keys = store.keys_for(info, config.dtype, config.limits, answers)
    absent = {position // 2 for position in store.missing(keys, [layer], config.needs_token_states)}
    return [pair for number, pair in enumerate(pairs) if number not in absent]


def _rewards(
    head: Any,
    config: dict[str, Any],
    pairs: Sequence[PreferencePair],
    info: BackboneInfo,
    store: FeatureStore,
) -> list[tuple[float, float]]:
    """Both rewards of every pair, from the feature store."""
    from rm_core.config import TrainConfig
    from rm_core.training import load_features

    settings = TrainConfig.from_dict(config)
    features = load_features(pairs, head.layer, info, store, settings)
    rewards_a = head.rewards(features.mean_a, features.end_a)
    rewards_b = head.rewards(features.mean_b, features.end_b)
    return [(float(a), float(b)) for a, b in zip(rewards_a, rewards_b, strict=True)]
