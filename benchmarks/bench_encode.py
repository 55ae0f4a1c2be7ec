"""Encode rate: this core beside the seed's way and Hugging Face's, same pairs, one run.

    python benchmarks/bench_encode.py [--pairs 32] [--data FILE.jsonl.gz] [--max-tokens 256]

Every contender turns the same pairs (those that fit in --max-tokens) into hidden states of both
answers, float32, on the CPU or the first GPU, each once after a small warm-up. Prints a table and
one JSON line, also written to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM

from rm_core.backbone import choose_device, prepare
from rm_core.config import default_layers
from rm_core.conversation import ConversationEncoder, EncodedAnswer
from rm_core.transformer import Tree, load

HERE = Path(__file__).parent
DEMO = HERE.parent / "studio/demo/oasst.jsonl.gz"
Pair = tuple[EncodedAnswer, EncodedAnswer]


def read_pairs(file: Path, encoder: ConversationEncoder, count: int, max_tokens: int) -> list[Pair]:
    """The first `count` pairs whose two conversations both fit in `max_tokens`."""
    pairs: list[Pair] = []
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            prompt = encoder.prompt(row["prompt"])
            pair = (
                encoder.answer(prompt, row["chosen"]),
                encoder.answer(prompt, row["rejected"]),
            )
            if max(len(a.input_ids) for a in pair) <= max_tokens:
                pairs.append(pair)
            if len(pairs) == count:
                break
    return pairs


def padded(batch: list[list[int]], width: int, device: str) -> dict[str, torch.Tensor]:
    """Right-padded ids and mask, [B, width]."""
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros(len(batch), width, dtype=torch.long)
    for i, row in enumerate(batch):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def batches(rows: list[list[int]], size: int) -> list[list[list[int]]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def contenders(
    info: Any, pairs: list[Pair], max_tokens: int, device: str
) -> dict[str, Callable[[], None]]:
    """Name -> one full encoding of all pairs."""
    rows = [a.input_ids for pair in pairs for a in pair]
    model = AutoModelForCausalLM.from_pretrained(info.directory, dtype=torch.float32)
    model.to(device).eval()
    trees = []
    for a, b in pairs:
        shared = min(a.response_start, b.response_start)
        trees.append(Tree(a.input_ids[:shared], [a.input_ids[shared:], b.input_ids[shared:]]))

    def seed_style() -> None:
        for batch in batches(rows, 8):
            inputs = padded(batch, max_tokens, device)
            model(**inputs, output_hidden_states=True, use_cache=False)

    def longest(ordered: list[list[int]]) -> Callable[[], None]:
        def encode() -> None:
            for batch in batches(ordered, 8):
                inputs = padded(batch, max(map(len, batch)), device)
                model.base_model(**inputs, use_cache=False)

        return encode

    def packed(depth: int, layers: list[int]) -> Callable[[], None]:
        backbone = load(info, device=device, num_layers=depth)
        assert backbone.attention == "packed"

        def encode() -> None:
            pack: list[Tree] = []
            for tree in [*trees, None]:
                full = tree is None or sum(t.num_tokens for t in pack) + tree.num_tokens > 512
                if pack and full:
                    backbone.states(pack, layers)
                    pack = []
                if tree is not None:
                    pack.append(tree)

        return encode

    layers = default_layers(info)
    return {
        f"seed style: padded to {max_tokens}, with lm_head": seed_style,
        "Hugging Face, padded to the batch's longest": longest(rows),
        "Hugging Face, length-bucketed": longest(sorted(rows, key=len)),
        f"this core, all {info.num_layers} layers": packed(info.num_layers, [info.num_layers]),
        f"this core, default layers {layers}": packed(max(layers), layers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--data", type=Path, default=DEMO)
    parser.add_argument("--backbones", type=Path, default=Path("studio-data/backbones"))
    options = parser.parse_args()
    info = prepare("embedded", options.backbones, print)
    device = choose_device()
    tokenizer = transformers.AutoTokenizer.from_pretrained(info.directory)
    encoder = ConversationEncoder(tokenizer, info)
    pairs = read_pairs(options.data, encoder, options.pairs, options.max_tokens)
    ways = contenders(info, pairs, options.max_tokens, device)
    warm_up = contenders(info, pairs[:2], options.max_tokens, device)
    rates: dict[str, float] = {}
    with torch.inference_mode():
        for name, encode in ways.items():
            warm_up[name]()
            begin = time.perf_counter()
            encode()
            rates[name] = len(pairs) / (time.perf_counter() - begin)
            ratio = rates[name] / next(iter(rates.values()))
            print(f"{rates[name]:8.2f} pairs/s  {ratio:5.2f} x   {name}", flush=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    result = {
        "benchmark": "encode",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "data": options.data.name,
        "pairs": len(pairs),
        "tokens": sum(len(a.input_ids) for pair in pairs for a in pair),
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "pairs_per_s": rates,
    }
    print(json.dumps(result))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results/encode.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
