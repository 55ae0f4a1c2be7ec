"""Which judged pairs take part in a run, and whether they allow one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rm_core.config import TrainConfig
from rm_core.encoding import EncodeReport
from rm_core.errors import TrainingDataError
from rm_core.pairs import PreferencePair


@dataclass
class TrainingData:
    """The pairs that take part, split, with what was left out counted."""

    train: list[PreferencePair]
    heldout: list[PreferencePair]
    evaluation: Literal["heldout", "cross-validation"]
    left_out: dict[str, int] = field(default_factory=dict)


def check_enough(pairs: Sequence[PreferencePair]) -> None:
    """Two prompts and a winner are the least that a fit needs; raises TrainingDataError."""
    prompts = len({p.group for p in pairs})
    if len(pairs) < 2 or prompts < 2:
        raise TrainingDataError(
            f"Training needs judged pairs of at least two prompts and there "
            f"{'is' if len(pairs) == 1 else 'are'} {len(pairs)} judged pair"
            f"{'' if len(pairs) == 1 else 's'} of {prompts} prompt{'' if prompts == 1 else 's'}; "
            "judge more pairs first."
        )
    if all(p.target == 0.5 for p in pairs):
        raise TrainingDataError(
            f"All {len(pairs)} judged pairs are ties, which say nothing of what is better; judge "
            "pairs with a winner."
        )


def check_apart(pairs: Sequence[PreferencePair]) -> None:
    """A held-out pair whose prompt is trained on is not unseen; raises TrainingDataError."""
    trained = {p.group for p in pairs if p.split != "heldout"}
    heldout = [p for p in pairs if p.split == "heldout"]
    seen = [p for p in heldout if p.group in trained]
    if seen:
        prompts = len({p.group for p in seen})
        raise TrainingDataError(
            f"{len(seen)} of {len(heldout)} held-out pairs are of {prompts} "
            f"prompt{'' if prompts == 1 else 's'} that other pairs train on, so their figures "
            "would be too good; give all pairs of a prompt (PreferencePair.group) one split, as "
            "rm_core.pairs.split_of does."
        )


def check_enough_encoded(
    encoded: Sequence[PreferencePair], num_pairs: int, report: EncodeReport
) -> None:
    """Where refused answers are the reason for too few pairs, that is what has to be said."""
    try:
        check_enough(encoded)
    except TrainingDataError as error:
        raise TrainingDataError(
            f"Of {num_pairs} judged pairs only {len(encoded)} could be encoded, too few to train "
            f"on; the first reason: {report.refused[0][1]}"
        ) from error


def split_pairs(
    encoded: list[PreferencePair], config: TrainConfig, report: EncodeReport
) -> TrainingData:
    """Held-out pairs apart, or all together where too few prompts are held out."""
    check_enough(encoded)
    heldout = [p for p in encoded if p.split == "heldout"]
    train_pairs = [p for p in encoded if p.split != "heldout"]
    prompts = len({p.group for p in heldout})
    trainable = len({p.group for p in train_pairs}) >= 2 and any(
        p.target != 0.5 for p in train_pairs
    )
    refused = {"answers_refused": len(report.refused)} if report.refused else {}
    if prompts >= config.min_heldout_prompts and trainable:
        return TrainingData(train_pairs, heldout, "heldout", refused)
    return TrainingData(encoded, [], "cross-validation", refused)
