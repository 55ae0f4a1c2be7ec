"""The seed's training loop, written anew from its description: the cost to beat.

Every epoch runs the whole causal model, language-model head and all hidden states included, over
every answer padded to 256 tokens, and trains one vector on the last layer by the mean of
-logsigmoid(v_chosen - v_rejected) over the positions from where the answers differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import logsigmoid

MAX_TOKENS = 256
Pair = tuple[list[int], list[int]]


def plain_ids(tokenizer: Any, prompt: Sequence[dict[str, str]], response: str) -> list[int]:
    """`instruction ⊕ bos ⊕ answer`, cut right, then an end token only where room is left."""
    question = "\n".join(turn["content"] for turn in prompt)
    head = tokenizer(f"指令:{question}\n输出:", add_special_tokens=False)["input_ids"]
    body = tokenizer(response, add_special_tokens=False)["input_ids"]
    ids = [*head, tokenizer.bos_token_id, *body][:MAX_TOKENS]
    return [*ids, tokenizer.eos_token_id] if len(ids) < MAX_TOKENS else ids


def first_difference(a: list[int], b: list[int]) -> int | None:
    """The first position at which two rows differ; None for equal rows (the seed raises there)."""
    for position, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return position
    return min(len(a), len(b)) if len(a) != len(b) else None


def token_loss(values: torch.Tensor, pairs: Sequence[Pair]) -> torch.Tensor:
    """values: [2B, L], chosen rows first. Mean over pairs of the mean over positions."""
    losses = []
    for row, (chosen, rejected) in enumerate(pairs):
        start = first_difference(chosen, rejected)
        if start is None:
            continue
        end = max(len(chosen), len(rejected))
        difference = values[row, start:end] - values[row + len(pairs), start:end]
        losses.append(-logsigmoid(difference).mean())
    return torch.stack(losses).mean()


def train_epoch(model: Any, head: torch.nn.Linear, pairs: Sequence[Pair], batch_size: int) -> None:
    """One pass; the backbone stays frozen and is run nevertheless."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-4)
    for begin in range(0, len(pairs), batch_size):
        batch = pairs[begin : begin + batch_size]
        rows = [chosen for chosen, _ in batch] + [rejected for _, rejected in batch]
        ids = torch.zeros(len(rows), MAX_TOKENS, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
        with torch.no_grad():
            out = model(
                input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
            )
        values = head(out.hidden_states[-1].float()).squeeze(-1)
        optimizer.zero_grad()
        token_loss(values, batch).backward()
        optimizer.step()
