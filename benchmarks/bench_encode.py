"""Encode rate: this core beside the seed's way and Hugging Face's, same pairs, one run.

    python benchmarks/bench_encode.py [--pairs 48] [--data FILE.jsonl.gz] [--max-tokens 256]
    python benchmarks/bench_encode.py --device cuda          # also the rate in bfloat16

Every contender turns the same pairs (those that fit in --max-tokens) into hidden states of both
answers in float32. They take turns, --rounds times; the medians count. `--clock cpu` counts this
process's CPU seconds on one thread instead of the wall's: the choice for a machine that others use
too, where two threads that wait for each other measure the neighbours.

The states of the first pairs, in float32 and in bfloat16, are compared with those of answers
encoded one at a time in float32. The share
of the matrix-multiply rate is the layers' useful multiplications (attention left out) over the time
times the rate of one product of a feed-forward layer's shape, measured in the same rounds. Prints a
table and one JSON line, also written to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from material import BACKBONES, HH_TRAIN
from record import record
from transformers import AutoModelForCausalLM, AutoTokenizer

from rm_core import encoding
from rm_core.backbone import BackboneInfo, choose_device, prepare
from rm_core.config import default_layers
from rm_core.conversation import ConversationEncoder, EncodedAnswer
from rm_core.encoding import Group, packs_of
from rm_core.transformer import Backbone, load

Pair = tuple[EncodedAnswer, EncodedAnswer]
# On a GPU: tokens a forward, tokens a row of its mask.
PACKS = {
    "4,096 tokens under one mask": (4096, 4096),
    "4,096 tokens in rows": (4096, 512),
    "8,192 tokens in rows": (8192, 512),
    "16,384 tokens in rows": (16384, 512),
    "32,768 tokens in rows": (32768, 512),
    "16,384 tokens in rows of 1,024": (16384, 1024),
}


@dataclass
class Contender:
    """One way of encoding; `gflop` of useful multiplications in its linear layers."""

    name: str
    encode: Callable[[], None]
    gflop: float


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


def linear_gflop(model: Any, depth: int, total: int) -> float:
    """Multiplications and additions a token in the linear layers of the first `depth` layers."""
    weights = sum(p.numel() for name, p in model.named_parameters() if ".layers." in name)
    return 2e-9 * weights * depth / total


class Bench:
    """The pairs, the models, and what each contender does with them."""

    def __init__(self, info: BackboneInfo, pairs: list[Pair], options: argparse.Namespace) -> None:
        self.info, self.pairs, self.options = info, pairs, options
        self.device = options.device
        self.model = AutoModelForCausalLM.from_pretrained(info.directory, dtype=torch.float32)
        self.model.to(self.device).eval()
        self.groups = [Group(["", ""], list(pair)) for pair in pairs]
        self.rows = [a.input_ids for pair in pairs for a in pair]

    def contenders(self) -> list[Contender]:
        info, width = self.info, self.options.max_tokens
        num_tokens = sum(map(len, self.rows))
        whole = num_tokens * linear_gflop(self.model, info.num_layers, info.num_layers)
        layers = default_layers(info)
        found = [
            Contender(f"seed style: padded to {width}, with lm_head", self.seed_style, whole),
            Contender("Hugging Face, length-bucketed", self.bucketed, whole),
            self.packed(f"this core, all {info.num_layers} layers", [info.num_layers]),
            self.packed(f"this core, default layers {layers}", layers),
        ]
        if self.device != "cpu":
            found += [
                self.packed(
                    f"this core, default layers, bfloat16, {name}", layers, "bfloat16", pack
                )
                for name, pack in PACKS.items()
            ]
            found += [
                self.packed(f"this core, default layers, {name}", layers, "float32", pack)
                for name, pack in PACKS.items()
            ]
        return found

    def seed_style(self) -> None:
        for batch in batches(self.rows, 8):
            inputs = padded(batch, self.options.max_tokens, self.device)
            self.model(**inputs, output_hidden_states=True, use_cache=False)

    def bucketed(self) -> None:
        for batch in batches(sorted(self.rows, key=len), 8):
            inputs = padded(batch, max(map(len, batch)), self.device)
            self.model.base_model(**inputs, use_cache=False)

    def packed(
        self,
        name: str,
        layers: list[int],
        dtype: str = "float32",
        pack: tuple[int, int] | None = None,
    ) -> Contender:
        """Args: pack: tokens a forward and a row, instead of this core's own."""
        backbone = load(self.info, device=self.device, dtype=dtype, num_layers=max(layers))
        assert backbone.attention != "plain"
        budget, backbone.row_tokens = pack or (encoding._budget(backbone), backbone.row_tokens)

        def encode() -> None:
            encoding._TOKEN_BUDGET["cuda"] = budget
            backbone.forget()
            for pack in packs_of(self.groups, backbone):
                backbone.states([group.tree() for group in pack], layers)

        before = backbone.num_encoded
        encode()
        num_tokens = backbone.num_encoded - before
        a_token = linear_gflop(self.model, max(layers), self.info.num_layers)
        return Contender(name, encode, num_tokens * a_token)

    def matmul_rate(self) -> float:
        """GFLOP/s of one product of the shape of a pack through a feed-forward layer."""
        tall, wide = 1024, int(self.model.config.intermediate_size)
        x = torch.randn(tall, self.info.hidden_size, device=self.device)
        w = torch.randn(wide, self.info.hidden_size, device=self.device)
        torch.nn.functional.linear(x, w)

        def many() -> None:
            for _ in range(50):
                torch.nn.functional.linear(x, w)

        return 50 * 2e-9 * tall * wide * self.info.hidden_size / self.seconds(many)

    def seconds(self, work: Callable[[], None]) -> float:
        clock = time.process_time if self.options.clock == "cpu" else time.perf_counter
        if self.device != "cpu":
            torch.cuda.synchronize()
        begin = clock()
        work()
        if self.device != "cpu":
            torch.cuda.synchronize()
        return clock() - begin

    def differences(self, dtype: str) -> float:
        """Largest gap to answers encoded alone in float32, as a share of the states' size."""
        layers = default_layers(self.info)
        few = self.groups[:6]
        trees = [group.tree() for group in few]
        packed = load(self.info, device=self.device, dtype=dtype, num_layers=max(layers))
        plain = load(self.info, device=self.device, num_layers=max(layers))
        plain.attention = "plain"
        return worst_gap(packed, plain, trees, layers)


def worst_gap(packed: Backbone, plain: Backbone, trees: list[Any], layers: list[int]) -> float:
    worst = 0.0
    for ours, theirs in zip(packed.states(trees, layers), plain.states(trees, layers), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            for layer in layers:
                gap = (one[layer] - other[layer]).abs().max() / other[layer].abs().max()
                worst = max(worst, float(gap))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--data", type=Path, default=HH_TRAIN)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--backbones", type=Path, default=BACKBONES)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    options.device = choose_device(options.device)
    if options.clock == "cpu":
        torch.set_num_threads(1)
    info = prepare(options.backbone, options.backbones, print)
    tokenizer = AutoTokenizer.from_pretrained(info.directory)
    encoder = ConversationEncoder(tokenizer, info)
    pairs = read_pairs(options.data, encoder, options.pairs, options.max_tokens)
    with torch.inference_mode():
        result = measure(Bench(info, pairs, options))
    if not options.no_save:
        where = "" if options.device == "cpu" else "_cuda"
        record(
            f"encode_{options.data.name.partition('.')[0]}{where}", result, "torch", "transformers"
        )


def measure(bench: Bench) -> dict[str, Any]:
    """Let the contenders take turns and put the figures together."""
    contenders = bench.contenders()
    seconds: dict[str, list[float]] = {c.name: [] for c in contenders}
    products: list[float] = []
    for _ in range(bench.options.rounds):
        products.append(bench.matmul_rate())
        for contender in contenders:
            seconds[contender.name].append(bench.seconds(contender.encode))
    product = statistics.median(products)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    seed, bucketed = (medians[c.name] for c in contenders[:2])
    figures = {}
    for contender in contenders:
        took = medians[contender.name]
        figures[contender.name] = {
            "pairs_per_s": len(bench.pairs) / took,
            "times_seed": seed / took,
            "times_bucketed": bucketed / took,
            "share_of_matmul_rate": contender.gflop / took / product,
            "seconds": seconds[contender.name],
        }
        print(
            f"{len(bench.pairs) / took:8.2f} pairs/s  {seed / took:5.2f} x seed  "
            f"{bucketed / took:5.2f} x bucketed  {contender.gflop / took / product:4.0%} of the "
            f"matmul rate   {contender.name}",
            flush=True,
        )
    gaps = {dtype: bench.differences(dtype) for dtype in ("float32", "bfloat16")}
    print("largest gap to answers encoded alone in float32:", gaps)
    return {
        "data": bench.options.data.name,
        "pairs": len(bench.pairs),
        "tokens": sum(map(len, bench.rows)),
        "tokens_as_trees": sum(group.tree().num_tokens for group in bench.groups),
        "device": bench.device,
        "clock": bench.options.clock,
        "threads": torch.get_num_threads(),
        "load_average_at_the_end": [round(x, 1) for x in os.getloadavg()],
        "matmul_gflop_per_s": product,
        "contenders": figures,
        "largest_gap_to_answers_encoded_alone": gaps,
    }


if __name__ == "__main__":
    main()
