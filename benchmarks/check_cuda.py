"""What a CUDA device gives beside the CPU: numbers, heads, a live edit, a written answer.

    python benchmarks/check_cuda.py [--device cuda:0] [--pairs 1000]

States of the first pairs in float32 and bfloat16 are compared with the CPU's, and two runs with
each other to the bit. Then the same pairs are trained on from nothing three times, on the CPU and
on the device in both dtypes; hh_test is held out. Heads are compared by the held-out pairs on which
they differ, and by the rewards of the same answers. Rates are end
to end: tokenizing, forward, and every record committed to the store.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import BACKBONES, HH_TEST, HH_TRAIN, read_rows
from record import record

from rm_core import checkpoint
from rm_core.backbone import BackboneInfo, choose_device, prepare
from rm_core.config import TrainConfig, default_layers
from rm_core.conversation import ConversationEncoder
from rm_core.encoding import Group
from rm_core.features import FeatureStore
from rm_core.generation import Sampling, Writer
from rm_core.live import LiveEncoder
from rm_core.pairs import PreferencePair, from_chosen
from rm_core.scoring import RewardModel
from rm_core.training import TrainResult, train
from rm_core.transformer import Backbone, load

PROMPT = [{"role": "user", "content": "Why do leaves turn red in autumn?"}]


def pairs_of(file: Path, split: str, count: int | None) -> list[PreferencePair]:
    pairs = [
        from_chosen(f"{split}-{n}", row["prompt"], row["chosen"], row["rejected"])
        for n, row in enumerate(read_rows(file)[:count])
    ]
    return [replace(pair, split=split) for pair in pairs]


def flat_states(backbone: Backbone, groups: list[Group], layers: list[int]) -> torch.Tensor:
    """Every state of every branch, one below the other."""
    trees = backbone.states([group.tree() for group in groups], layers)
    branches = [branch for tree in trees for branch in tree]
    return torch.cat([branch[layer] for branch in branches for layer in layers])


def compare_states(info: BackboneInfo, device: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Gaps to the CPU's float32 states, as shares of their size, and repeatability."""
    layers = [*default_layers(info), info.num_layers]
    cpu = load(info, device="cpu")
    encoder = ConversationEncoder(cpu.tokenizer, info)
    groups = []
    for row in rows:
        prompt = encoder.prompt(row["prompt"])
        both = [encoder.answer(prompt, row[side]) for side in ("chosen", "rejected")]
        groups.append(Group(["", ""], both))
    truth = flat_states(cpu, groups, layers)
    found: dict[str, Any] = {"tokens": len(truth) // len(layers), "layers": layers}
    for dtype in ("float32", "bfloat16"):
        backbone = load(info, device=device, dtype=dtype)
        one, again = (flat_states(backbone, groups, layers) for _ in range(2))
        one_by_one = torch.cat([flat_states(backbone, [group], layers) for group in groups])
        found[dtype] = {
            "attention": backbone.attention,
            "largest_gap": float((one - truth).abs().max() / truth.abs().max()),
            "relative_error": float((one - truth).norm() / truth.norm()),
            "same_to_the_bit": bool(torch.equal(one, again)),
            "largest_gap_between_groupings": float(
                (one - one_by_one).abs().max() / truth.abs().max()
            ),
        }
        print(dtype, found[dtype], flush=True)
    return found


def trained(
    info: BackboneInfo, device: str, dtype: str, pairs: list[PreferencePair], folder: Path
) -> tuple[TrainResult, dict[str, Any]]:
    """From nothing to a checkpoint in `folder`, then again from what is encoded."""
    folder.mkdir()
    store = FeatureStore(folder / "features.db")
    config = TrainConfig(dtype=dtype)  # type: ignore[arg-type]
    begin = time.perf_counter()
    result = train(pairs, info=info, store=store, config=config, device=device)
    whole = time.perf_counter() - begin
    begin = time.perf_counter()
    again = train(pairs, info=info, store=store, config=config, device=device)
    cached = time.perf_counter() - begin
    checkpoint.save(folder / "head", result)
    encoding = result.metrics["encoding"]
    figures = {
        "from_nothing_s": whole,
        "cached_s": cached,
        "encoding": encoding,
        "heldout_accuracy": result.metrics["accuracy"],
        "layer": result.head.layer,
        "readout": result.head.readout,
        "same_head_to_the_bit": bool(np.array_equal(result.head.weights, again.head.weights)),
    }
    print(device, dtype, figures, flush=True)
    return result, figures


def difference(one: TrainResult, other: TrainResult, pairs: list[PreferencePair]) -> dict[str, Any]:
    """On which held-out pairs two heads differ, and which of them is right there."""
    heldout = [pair for pair in pairs if pair.split == "heldout"]
    first_is_better = np.array([pair.target > 0.5 for pair in heldout])
    logits = [np.array([each.unseen_logits[p.pair_id] for p in heldout]) for each in (one, other)]
    right = [(each > 0) == first_is_better for each in logits]
    return {
        "right_where_the_other_is_wrong": int((right[0] & ~right[1]).sum()),
        "wrong_where_the_other_is_right": int((right[1] & ~right[0]).sum()),
        "largest_difference_of_log_odds": float(np.abs(logits[0] - logits[1]).max()),
        "spread_of_log_odds": float(logits[1].std()),
    }


def live_edit(info: BackboneInfo, device: str, layer: int) -> dict[str, Any]:
    """Milliseconds to encode a 150-token answer again after a change of its last word."""
    backbone = load(info, device=device, num_layers=layer)
    live = LiveEncoder(backbone)
    encoder = ConversationEncoder(backbone.tokenizer, info)
    prompt = encoder.prompt(PROMPT)
    words = "Chlorophyll breaks down and the other pigments show through. " * 12
    answers = [encoder.answer(prompt, words[:700] + f" edit {n}") for n in range(30)]
    times = []
    for answer in answers:
        begin = time.perf_counter()
        live.states(answer.input_ids)
        times.append(1000 * (time.perf_counter() - begin))
    return {
        "reuses_prefixes": live.reuses_prefixes,
        "answer_tokens": answers[0].num_response_tokens,
        "first_ms": times[0],
        "edit_ms_median": statistics.median(times[1:]),
        "edit_ms_max": max(times[1:]),
    }


def compare_scores(
    folder: Path, info: BackboneInfo, device: str, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Rewards by the same checkpoint on both devices."""
    rewards = {}
    for where in ("cpu", device):
        loaded = checkpoint.load(folder)
        model = RewardModel(loaded, info, where)
        rewards[where] = np.array(
            [model.score(row["prompt"], [row["chosen"], row["rejected"]]) for row in rows]
        )
    gap = np.abs(rewards["cpu"] - rewards[device]).max()
    return {"answers": 2 * len(rows), "gap_of_spread": float(gap / rewards["cpu"].std())}


def write(info: BackboneInfo, device: str) -> dict[str, Any]:
    """A greedy answer on both devices."""
    written, rates = {}, {}
    for where in ("cpu", device):
        writer = Writer.load(info, device=where)
        begin = time.perf_counter()
        pieces = list(writer.stream(PROMPT, Sampling(temperature=0.0, max_new_tokens=64)))
        rates[where] = len(pieces) / (time.perf_counter() - begin)
        written[where] = "".join(pieces)
    return {"same_text": written["cpu"] == written[device], "pieces_per_s": rates[device]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--heldout", type=int)
    parser.add_argument("--few", type=int, default=24, help="pairs whose states are compared")
    parser.add_argument("--backbones", type=Path, default=BACKBONES)
    options = parser.parse_args()
    device = choose_device(options.device)
    info = prepare("embedded", options.backbones, print)
    few = read_rows(HH_TEST)[: options.few]
    pairs = pairs_of(HH_TRAIN, "train", options.pairs)
    pairs += pairs_of(HH_TEST, "heldout", options.heldout)
    is_cuda = device.startswith("cuda")
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if is_cuda else device,
        "threads": torch.get_num_threads(),
        "states": compare_states(info, device, few),
    }
    ways = {
        "cpu, float32": ("cpu", "float32"),
        "device, float32": (device, "float32"),
        "device, bfloat16": (device, "bfloat16"),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        heads, figures = {}, {}
        for way, (where, dtype) in ways.items():
            heads[way], figures[way] = trained(info, where, dtype, pairs, folder / way)
        result["training"] = figures
        result["beside_the_cpu"] = {
            way: difference(heads[way], heads["cpu, float32"], pairs)
            for way in ("device, float32", "device, bfloat16")
        }
        print(result["beside_the_cpu"], flush=True)
        result["scores"] = compare_scores(folder / "cpu, float32" / "head", info, device, few)
        result["live_edit"] = live_edit(info, device, heads["device, float32"].head.layer)
    result["writing"] = write(info, device)
    record("cuda", result, "torch", "transformers")


if __name__ == "__main__":
    main()
