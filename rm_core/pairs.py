"""What the fit and the evaluation work on: judged pairs with soft targets."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from rm_core.conversation import Answer, Message


@dataclass(frozen=True)
class PreferencePair:
    """Two answers to one prompt and what people said of them.

    Attributes:
        pair_id: for messages and for lists of pairs to read.
        answer_a, answer_b: their order carries no meaning (see `from_chosen`).
        target: wanted probability that a is better, in [0, 1]; 0.5 is a tie.
        weight: of the pair in the fit.
        group: pairs of one prompt share it: they are left out, drawn and split together.
        category: slice in the evaluation.
        split: "train", or "heldout": never fitted.
        num_votes: how many judgements stand behind `target`.
        tie_share: how many of them were ties, in [0, 1]; `target` counts each as half a win.
        target_margin: by how much the better answer's reward should at least lead (reward units,
            >= 0), from the strength of the votes.
    """

    pair_id: str
    answer_a: Answer
    answer_b: Answer
    target: float
    group: str
    weight: float = 1.0
    category: str | None = None
    split: Literal["train", "heldout"] = "train"
    num_votes: int = 1
    tie_share: float = 0.0
    target_margin: float = 0.0


def prompt_group(prompt: list[Message]) -> str:
    """sha256 hex of a prompt's turns."""
    turns = [[m["role"], m["content"]] for m in prompt]
    return hashlib.sha256(json.dumps(turns).encode()).hexdigest()


def split_of(prompt: list[Message], share: float = 0.2) -> Literal["train", "heldout"]:
    """Which split a prompt's pairs belong to: "heldout" for about `share` of prompts, by hash.

    The same for every pair of a prompt, in every file and at any time.
    """
    return "heldout" if int(prompt_group(prompt)[:8], 16) < share * 16**8 else "train"


def from_chosen(
    pair_id: str,
    prompt: list[Message],
    chosen: str,
    rejected: str,
    *,
    category: str | None = None,
    split: Literal["train", "heldout"] = "train",
) -> PreferencePair:
    """A pair with a known winner, its sides ordered by the answers' hashes: no side betrays it."""
    chosen_first = _text_order(chosen) <= _text_order(rejected)
    a, b = (chosen, rejected) if chosen_first else (rejected, chosen)
    return PreferencePair(
        pair_id=pair_id,
        answer_a=Answer(prompt, a),
        answer_b=Answer(prompt, b),
        target=1.0 if chosen_first else 0.0,
        group=prompt_group(prompt),
        category=category,
        split=split,
    )


def _text_order(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
