"""Load a written directory as its consumers do and compare it with the studio's own scores.

Every probe is scored alone and padded in a batch, on the right and on the left. The standard
directory is loaded as a sequence classifier (alone: through the text-classification pipeline) and
as a token classifier; the exact one through its modelling file.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rm_core.errors import ExportError
from rm_core.export.probes import MIN_PROBES, Probe
from rm_core.export.report import SelfCheck
from rm_core.export.writing import Written

_BATCH = 8
# Shares of the spread and of the size of what is compared. bfloat16: the studio's own arithmetic
# is that coarse, and an export is always in float32.
_OF_SPREAD = {"float32": 1e-3, "bfloat16": 0.2}
_OF_SIZE = {"float32": 1e-5, "bfloat16": 2e-2}


def check_standard(
    directory: Path, written: Written, probes: list[Probe], *, dtype: str, device: str
) -> SelfCheck:
    """Compare a standard directory.

    Raises:
        ExportError: it does not load whole, tokenizes otherwise, or gives other rewards.
    """
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        TextClassificationPipeline,
    )

    tokenizer, texts = _tokenized(directory, probes)
    model = _loaded(AutoModelForSequenceClassification, directory, device)
    rewards = [p.reward for p in probes]
    pipeline = TextClassificationPipeline(model=model, tokenizer=tokenizer, device=device)
    alone = [float(pipeline(text)[0]["score"]) for text in texts]
    right = _batched(model, tokenizer, texts, "right")
    worst = max(
        _same("alone", alone, rewards, dtype), _same("padded on the right", right, rewards, dtype)
    )
    left = _batched(model, tokenizer, texts, "left")
    num_values = 0
    if written.token_architecture is not None:
        del model, pipeline
        classifier = _loaded(AutoModelForTokenClassification, directory, device)
        got = [
            value
            for probe, values in zip(probes, _token_values(classifier, probes), strict=True)
            for value in values[probe.response_start :]
        ]
        wanted = [value for probe in probes for value in probe.token_values]
        _same("token by token", got, wanted, dtype)
        num_values = len(wanted)
    return _result(probes, worst, dtype, num_values, _agree(left, rewards, dtype))


def check_exact(directory: Path, probes: list[Probe], *, dtype: str, device: str) -> SelfCheck:
    """Compare a directory with its own modelling file.

    Raises:
        ExportError: it does not load whole, finds other responses, or gives other rewards.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    # A text that spells control tokens may spell the header: the rule's stated limit.
    probes = [probe for probe in probes if not probe.num_control_tokens]
    tokenizer, texts = _tokenized(directory, probes, trust_remote_code=True)
    model = _loaded(AutoModelForSequenceClassification, directory, device, trust_remote_code=True)
    alone = []
    for probe in probes:
        try:
            with torch.inference_mode():
                out = model(torch.tensor([probe.input_ids], device=device))
        except ValueError as error:
            raise ExportError(
                f"The exported model refuses a generated conversation: {error}"
            ) from error
        start = int(out.response_mask[0].int().argmax())
        if start != probe.response_start:
            raise ExportError(
                f"The response of {probe.messages[-1]['content'][:60]!r} starts at token "
                f"{probe.response_start} and the exported model reads it from {start}: the chat "
                "template of this backbone does not let it be found; use the readout last."
            )
        alone.append(float(out.logits[0, 0]))
    rewards = [probe.reward for probe in probes]
    right = _batched(model, tokenizer, texts, "right")
    left = _batched(model, tokenizer, texts, "left")
    worst = max(
        _same("alone", alone, rewards, dtype), _same("padded on the right", right, rewards, dtype)
    )
    return _result(probes, worst, dtype, 0, _agree(left, rewards, dtype))


def _loaded(auto_class: Any, directory: Path, device: str, **options: Any) -> Any:
    """The directory as `auto_class` loads it, with nothing missing and nothing made up."""
    model, info = auto_class.from_pretrained(directory, output_loading_info=True, **options)
    if info["missing_keys"] or info["mismatched_keys"]:
        raise ExportError(
            f"The exported directory does not load whole as {type(model).__name__}: missing "
            f"{sorted(info['missing_keys'])[:4]}, mismatched {list(info['mismatched_keys'])[:4]}."
        )
    return model.eval().to(device)


def _tokenized(directory: Path, probes: list[Probe], **options: Any) -> tuple[Any, list[str]]:
    """The reloaded tokenizer and the probes as it renders them; both ways of calling it agree."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(directory, **options)
    texts = []
    for probe in probes:
        text = tokenizer.apply_chat_template(probe.messages, tokenize=False)
        for special in (False, True):
            ids = tokenizer(text, add_special_tokens=special)["input_ids"]
            if ids != probe.input_ids:
                raise ExportError(
                    f"The exported tokenizer gives {len(ids)} ids ({ids[:4]} … {ids[-4:]}, "
                    f"add_special_tokens={special}) for a text of which the studio makes "
                    f"{len(probe.input_ids)}; this tokenizer cannot be exported."
                )
        texts.append(text)
    return tokenizer, texts


def _batched(model: Any, tokenizer: Any, texts: list[str], side: str) -> list[float]:
    """Rewards of padded batches, as TRL's trainers ask for them."""
    import torch

    rewards: list[float] = []
    for first in range(0, len(texts), _BATCH):
        batch = tokenizer(
            text=texts[first : first + _BATCH],
            return_tensors="pt",
            padding=True,
            padding_side=side,
            add_special_tokens=False,
        ).to(model.device)
        with torch.inference_mode():
            rewards += model(**batch).logits[:, 0].tolist()
    return rewards


def _token_values(model: Any, probes: list[Probe]) -> list[list[float]]:
    import torch

    with torch.inference_mode():
        return [
            model(torch.tensor([p.input_ids], device=model.device)).logits[0, :, 0].tolist()
            for p in probes
        ]


def _tolerance(wanted: Sequence[float], dtype: str) -> float:
    """What two values may differ by: a small share of how the values differ among themselves."""
    size = max(abs(value) for value in wanted)
    return _OF_SPREAD[dtype] * statistics.pstdev(wanted) + _OF_SIZE[dtype] * size


def _same(how: str, got: Sequence[float], wanted: Sequence[float], dtype: str) -> float:
    """The largest difference; an error where it is above the tolerance (or not a number)."""
    allowed = _tolerance(wanted, dtype)
    gaps = [abs(a - b) for a, b in zip(got, wanted, strict=True)]
    index = max(range(len(gaps)), key=lambda i: math.inf if math.isnan(gaps[i]) else gaps[i])
    if not gaps[index] <= allowed:
        raise ExportError(
            f"The exported model gives {got[index]:.6g} where the studio gives "
            f"{wanted[index]:.6g} ({how}; at most {allowed:.2g} apart is allowed): the export is "
            "not kept."
        )
    return gaps[index]


def _agree(got: Sequence[float], wanted: Sequence[float], dtype: str) -> bool:
    allowed = _tolerance(wanted, dtype)
    return all(abs(a - b) <= allowed for a, b in zip(got, wanted, strict=True))


def _result(
    probes: list[Probe], worst: float, dtype: str, num_values: int, left: bool
) -> SelfCheck:
    rewards = [probe.reward for probe in probes]
    if len(probes) < MIN_PROBES:
        raise ExportError(f"Only {len(probes)} conversations were compared; {MIN_PROBES} are due.")
    return SelfCheck(
        num_rewards=len(probes),
        num_token_values=num_values,
        max_difference=worst,
        tolerance=_tolerance(rewards, dtype),
        reward_spread=statistics.pstdev(rewards),
        left_padding=left,
    )
