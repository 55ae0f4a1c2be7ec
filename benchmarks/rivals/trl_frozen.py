"""TRL's RewardTrainer with everything but `score` frozen, and the same on cached features.

When only the score layer trains, the trainer's mathematics is logistic regression on the
difference of two end states, by AdamW with a linear decay: `on_features` runs exactly that, in
TRL's order of rows and from TRL's initial weights if asked, so that many seeds and learning rates
can be compared without running the backbone again. `train_really` is the trainer itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class Settings:
    """TRL's defaults: RewardConfig of trl 1.16."""

    learning_rate: float = 1e-4
    num_epochs: int = 1
    batch_size: int = 8
    max_grad_norm: float = 1.0


def on_features(
    difference: np.ndarray, settings: Settings, seed: int, initial: np.ndarray | None = None
) -> np.ndarray:
    """The head that the trainer reaches.

    Args:
        difference: float32 [N, H], end state of the chosen minus that of the rejected answer, in
            the order of the first epoch if `initial` is given, shuffled by `seed` otherwise.
        initial: float32 [H], the score layer's initial weight.

    Returns:
        float32 [H].
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.from_numpy(np.ascontiguousarray(difference))
    weight = torch.randn(rows.shape[1], generator=generator) * 0.02
    if initial is not None:
        weight = torch.from_numpy(initial.copy())
    weight.requires_grad_(True)
    optimizer = torch.optim.AdamW([weight], lr=settings.learning_rate, weight_decay=0.0)
    steps = -(-len(rows) // settings.batch_size) * settings.num_epochs
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(settings.num_epochs):
        order = torch.randperm(len(rows), generator=generator)
        if initial is not None:
            order = torch.arange(len(rows))
        for batch in order.split(settings.batch_size):
            optimizer.zero_grad()
            (-logsigmoid(rows[batch] @ weight)).mean().backward()
            torch.nn.utils.clip_grad_norm_([weight], settings.max_grad_norm)
            optimizer.step()
            decay.step()
    return weight.detach().numpy()


def _model_and_tokenizer(directory: Path, scoring_template: str | None) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(
        directory, num_labels=1, dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(directory)
    if scoring_template is not None:
        tokenizer.chat_template = scoring_template
    # Padding must not be the end token, or Hugging Face's pooling reads the token before it.
    tokenizer.pad_token = "<|endoftext|>"
    model.config.pad_token_id = tokenizer.pad_token_id
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("score"))
    return model, tokenizer


@dataclass(frozen=True)
class RealRun:
    """What the trainer did: seconds in `train()`, and the score layer before and after."""

    seconds: float
    initial: np.ndarray
    final: np.ndarray


def train_really(
    directory: Path,
    rows: Sequence[dict[str, Any]],
    output: Path,
    settings: Settings,
    scoring_template: str | None,
) -> RealRun:
    """Run trl.RewardTrainer on preference rows (prompt turns, chosen, rejected), in their order."""
    import time

    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl import RewardConfig, RewardTrainer

    class InOrder(RewardTrainer):
        """The order of rows is ours, so that the features' version can take the same steps."""

        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    model, tokenizer = _model_and_tokenizer(directory, scoring_template)
    dataset = Dataset.from_list(
        [
            {
                "prompt": row["prompt"],
                "chosen": [{"role": "assistant", "content": row["chosen"]}],
                "rejected": [{"role": "assistant", "content": row["rejected"]}],
            }
            for row in rows
        ]
    )
    config = RewardConfig(
        output_dir=str(output),
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        gradient_checkpointing=False,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.num_epochs,
        per_device_train_batch_size=settings.batch_size,
        max_grad_norm=settings.max_grad_norm,
        max_length=None,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    initial = model.score.weight.detach().numpy()[0].copy()
    trainer = InOrder(model=model, args=config, train_dataset=dataset, processing_class=tokenizer)
    begin = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begin
    return RealRun(seconds, initial, model.score.weight.detach().numpy()[0].copy())
