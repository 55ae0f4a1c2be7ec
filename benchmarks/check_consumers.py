"""An exported directory in OpenRLHF's and RewardBench's own code, beside the studio's rewards.

    pip install --no-deps openrlhf rewardbench
    python benchmarks/check_consumers.py --checkpoint CHECKPOINT_DIR --export EXPORT_DIR

Both packages need CUDA to be installed whole. Here the modules that load and score a reward model
are run unmodified on the CPU: `openrlhf.models.model` with stand-ins for what it imports for
distributed training (deepspeed, peft, flash_attn), `rewardbench.models.pipeline` with its
`.to("cuda")` sent to the CPU. EXPORT_DIR is what `reward-studio export model` wrote.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from record import record
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rm_core.scoring import RewardModel

CONVERSATIONS = (
    ("What is the capital of France?", "Paris."),
    ("What is the capital of France?", "I will not tell you, look it up yourself."),
    ("Write a haiku about rain.", "Soft rain on the roof,\na cat listens, half asleep."),
    ("用一句话介绍你自己。", "我是一个乐于助人的助手。"),
    ("Sort [3, 1, 2] in Python.", "```python\nsorted([3, 1, 2])\n```"),
    ("How are you?", "👩‍👩‍👧 Fine, thanks!"),
    ("Explain gravity.", "Masses attract each other. " * 40),
    ("Hi", ""),
)  # fmt: skip


def openrlhf_rewards(export: Path, texts: Sequence[str]) -> list[float]:
    """By OpenRLHF's `get_llm_for_sequence_regression`, padded on the left as its trainers do."""
    model = _openrlhf_loader()(
        str(export), "reward", param_dtype="fp32", attn_implementation="sdpa"
    )
    tokenizer = AutoTokenizer.from_pretrained(export, padding_side="left")
    inputs = tokenizer(list(texts), return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.inference_mode():
        rewards: list[float] = model.eval()(inputs["input_ids"], inputs["attention_mask"]).tolist()
    return rewards


def _openrlhf_loader() -> Callable[..., Any]:
    root = importlib.util.find_spec("openrlhf")
    if root is None or root.submodule_search_locations is None:
        sys.exit("openrlhf is not installed: pip install --no-deps openrlhf")
    folder = Path(root.submodule_search_locations[0])
    stand_ins = ("deepspeed", "peft", "peft.tuners", "peft.tuners.lora", "flash_attn",
                 "flash_attn.bert_padding", "flash_attn.utils",
                 "flash_attn.utils.distributed")  # fmt: skip
    missing = {name: mock.MagicMock(name=name) for name in stand_ins if name not in sys.modules}
    packages = {"openrlhf": folder, "openrlhf.models": folder / "models",
                "openrlhf.utils": folder / "utils"}  # fmt: skip
    for name, path in packages.items():  # without their __init__, which import the trainers
        package = ModuleType(name)
        package.__path__ = [str(path)]
        missing[name] = package
    sys.modules.update(missing)
    conversions = {"fp32": torch.float32, "bf16": torch.bfloat16}
    utils = ModuleType("openrlhf.utils.utils")
    utils.convert_to_torch_dtype = conversions.__getitem__  # type: ignore[attr-defined]
    sys.modules["openrlhf.utils.utils"] = utils
    from openrlhf.models.model import get_llm_for_sequence_regression

    return get_llm_for_sequence_regression  # type: ignore[no-any-return]


def rewardbench_rewards(export: Path, texts: Sequence[str]) -> list[float]:
    """By RewardBench's default pipeline on the class that it loads by default."""
    spec = importlib.util.find_spec("rewardbench")
    if spec is None or spec.submodule_search_locations is None:
        sys.exit("rewardbench is not installed: pip install --no-deps rewardbench")
    file = Path(spec.submodule_search_locations[0]) / "models" / "pipeline.py"
    loaded = importlib.util.spec_from_file_location("rewardbench_pipeline", file)
    assert loaded is not None
    assert loaded.loader is not None
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    tokenizer = AutoTokenizer.from_pretrained(export)
    model = AutoModelForSequenceClassification.from_pretrained(export, num_labels=1)
    pipeline = module.RewardBenchPipeline("text-classification", model=model, tokenizer=tokenizer)
    with mock.patch("transformers.BatchEncoding.to", lambda self, *_: self):
        rewards: list[float] = pipeline(list(texts)).squeeze(-1).tolist()
    return rewards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--export", type=Path, required=True)
    parser.add_argument("--backbones", type=Path, default=Path("studio-data/backbones"))
    options = parser.parse_args()
    model = RewardModel.from_checkpoint(options.checkpoint, backbones_dir=options.backbones)
    tokenizer = AutoTokenizer.from_pretrained(options.export)
    texts, ours = [], []
    for prompt, response in CONVERSATIONS:
        turns = [{"role": "user", "content": prompt}]
        ours.append(model.score(turns, [response])[0])
        whole = [*turns, {"role": "assistant", "content": response}]
        texts.append(tokenizer.apply_chat_template(whole, tokenize=False))
    found = {
        "OpenRLHF": openrlhf_rewards(options.export, texts),
        "RewardBench": rewardbench_rewards(options.export, texts),
    }
    spread = max(ours) - min(ours)
    result: dict[str, Any] = {"conversations": len(texts), "spread_of_rewards": spread}
    for name, rewards in found.items():
        off = max(abs(a - b) for a, b in zip(ours, rewards, strict=True))
        result[name] = {"largest_difference": off, "agrees": off <= 1e-3 * spread}
        print(f"{name}: largest difference {off:.1e} at a spread of {spread:.3f}")
    result["readout"] = json.loads((options.checkpoint / "manifest.json").read_text())["readout"]
    record("consumers", result, "torch", "transformers", "openrlhf", "rewardbench")


if __name__ == "__main__":
    main()
