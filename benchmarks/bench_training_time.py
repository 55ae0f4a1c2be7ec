"""Seconds from judged pairs to a head, and peak memory: TRL, the seed's loop, this core. One run.

    python benchmarks/bench_training_time.py [--data TRAIN.jsonl.gz] [--pairs 1000]

Every contender is a process of its own on the same pairs and machine, one after the other. The
rivals train on the first of them (`--trl-pairs`, `--seed-pairs`) and are extrapolated to `--pairs`,
marked so: their cost is the same forward for every pair and epoch. They evaluate nothing.

This core goes from judged pairs to a checkpoint on disk: layer, readout and penalty chosen,
`--heldout` more pairs evaluated. From nothing (all of them encoded), again with everything encoded,
and with one and a hundred more labels by the warm fit that starts from that checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from material import BACKBONES, HH_TRAIN, read_rows
from record import record

from rm_core.backbone import BackboneInfo, prepare
from rm_core.config import TrainConfig
from rm_core.pairs import from_chosen

LATE = 100  # labels that come afterwards


def trl_child(options: argparse.Namespace, info: BackboneInfo) -> dict[str, Any]:
    """TRL's trainer, one epoch; also how close the same steps on features come to it."""
    import numpy as np
    from rivals.trl_frozen import Settings, on_features, train_really

    from rm_core.conversation import Answer, Limits
    from rm_core.encoding import encode_missing
    from rm_core.features import FeatureStore

    rows = read_rows(options.data)[: options.trl_pairs]
    settings = Settings(num_epochs=1)
    with tempfile.TemporaryDirectory() as folder:
        real = train_really(
            Path(info.directory), rows, Path(folder), settings, info.scoring_template
        )
        memory = peak_gib()
        store = FeatureStore(Path(folder) / "features.db")
        answers = [
            Answer(row["prompt"], row[side]) for row in rows for side in ("chosen", "rejected")
        ]
        layer = info.num_layers
        encode_missing(store, info, answers, layers=[layer], limits=Limits())
        keys = store.keys_for(info, "float32", Limits(), answers)
        end = store.summaries(keys, layer).end
        store.close()
    same = on_features(end[::2] - end[1::2], settings, 0, real.initial)
    moved = np.linalg.norm(real.final - real.initial)
    return {
        "seconds": real.seconds,
        "pairs": len(rows),
        "epochs": 1,
        "peak_gib": memory,
        "features_reproduce_it_to": float(np.linalg.norm(same - real.final) / moved),
    }


def seed_child(options: argparse.Namespace, info: BackboneInfo) -> dict[str, Any]:
    """One epoch of the seed's loop."""
    import torch
    from rivals.seed_loop import plain_ids, train_epoch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = read_rows(options.data)[: options.seed_pairs]
    tokenizer = AutoTokenizer.from_pretrained(info.directory)
    pairs = [
        tuple(plain_ids(tokenizer, row["prompt"], row[side]) for side in ("chosen", "rejected"))
        for row in rows
    ]
    model = AutoModelForCausalLM.from_pretrained(info.directory, dtype=torch.float32).eval()
    head = torch.nn.Linear(model.config.hidden_size, 1, bias=False)
    begin = time.perf_counter()
    train_epoch(model, head, pairs, batch_size=4)
    return {"seconds": time.perf_counter() - begin, "pairs": len(rows), "epochs": 1}


def core_child(options: argparse.Namespace, info: BackboneInfo) -> dict[str, Any]:
    """This core, to a checkpoint on disk; libraries are imported before the clock starts."""
    from rm_core import checkpoint
    from rm_core.encoding import encode_missing
    from rm_core.features import FeatureStore
    from rm_core.training import train
    from rm_core.warm import WarmFit

    count = options.pairs + options.heldout + LATE
    rows = read_rows(options.data)[:count]
    if len(rows) < count:
        raise SystemExit(f"{options.data} has {len(rows)} pairs and {count} are needed")
    pairs = [
        from_chosen(str(n), row["prompt"], row["chosen"], row["rejected"])
        for n, row in enumerate(rows)
    ]
    # Whole prompts are held out; late labels come to the training pairs.
    fitted = [replace(p, split="train") for p in pairs[: options.pairs]]
    heldout = [replace(p, split="heldout") for p in pairs[options.pairs : count - LATE]]
    late = [replace(p, split="train") for p in pairs[count - LATE :]]
    known = {p.group for p in fitted + late}
    given = fitted + [p for p in heldout if p.group not in known]
    config = TrainConfig()
    store = FeatureStore(options.store)

    def run(name: str) -> tuple[float, bytes, Path]:
        begin = time.perf_counter()
        result = train(given, info=info, store=store, config=config)
        directory = options.store.parent / name
        checkpoint.save(directory, result)
        return time.perf_counter() - begin, result.head.weights.tobytes(), directory

    if options.child == "core from nothing":
        return {"seconds": run("nothing")[0], "pairs": len(fitted), "evaluated": len(given)}
    runs = [run(f"cached-{n}") for n in range(options.repeats)]
    answers = [answer for pair in late for answer in (pair.answer_a, pair.answer_b)]
    layers = config.candidate_layers(info)
    encode_missing(store, info, answers, layers=layers, limits=config.limits)

    def more(number: int) -> float:
        begin = time.perf_counter()
        WarmFit.load(runs[0][2]).refit(fitted + late[:number], info=info, store=store)
        return time.perf_counter() - begin

    return {
        "seconds": min(seconds for seconds, _, _ in runs),
        "seconds_each": [seconds for seconds, _, _ in runs],
        "one_more_label_seconds": [more(1) for _ in range(options.repeats)],
        "a_hundred_more_labels_seconds": [more(LATE) for _ in range(options.repeats)],
        "pairs": len(fitted),
        "evaluated": len(given) - len(fitted),
        "bit_identical": len({weights for _, weights, _ in runs}) == 1,
    }


CHILDREN: dict[str, Callable[[argparse.Namespace, BackboneInfo], dict[str, Any]]] = {
    "TRL frozen": trl_child,
    "seed's loop": seed_child,
    "core from nothing": core_child,
    "core, features cached": core_child,
}


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run_child(name: str, options: argparse.Namespace, store: Path) -> dict[str, Any]:
    print(f"==> {name}", flush=True)
    command = [sys.executable, __file__, *sys.argv[1:], "--child", name, "--store", str(store)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"    {answer}", flush=True)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HH_TRAIN)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--heldout", type=int, default=200)
    parser.add_argument("--trl-pairs", type=int, default=300)
    parser.add_argument("--seed-pairs", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backbones", type=Path, default=BACKBONES)
    parser.add_argument("--child", choices=CHILDREN)
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    info = prepare("embedded", options.backbones)
    if options.child:
        answer = CHILDREN[options.child](options, info)
        print(json.dumps({"peak_gib": peak_gib(), **answer}))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {name: run_child(name, options, Path(folder) / "f.db") for name in CHILDREN}
    scale = {name: options.pairs / one["pairs"] for name, one in found.items()}
    trl_epoch = found["TRL frozen"]["seconds"] * scale["TRL frozen"]
    seed_epoch = found["seed's loop"]["seconds"] * scale["seed's loop"]
    nothing, cached = found["core from nothing"]["seconds"], found["core, features cached"]
    ratios = {
        "TRL's 1 epoch (extrapolated) / retraining with cached features": trl_epoch
        / cached["seconds"],
        "TRL's 3 epochs (extrapolated) / this core from nothing": 3 * trl_epoch / nothing,
        "seed's 3 epochs (extrapolated) / this core from nothing": 3 * seed_epoch / nothing,
    }
    for name, ratio in ratios.items():
        print(f"{ratio:10.1f} x  {name}")
    record(
        "training_time",
        {
            "data": options.data.name,
            "pairs": options.pairs,
            "load_average": [round(each, 1) for each in os.getloadavg()],
            "found": found,
            "ratios": ratios,
        },
        "torch",
        "transformers",
        "trl",
    )


if __name__ == "__main__":
    main()
