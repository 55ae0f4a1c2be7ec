"""Does choosing pairs beat drawing them? Replays judged pairs with their known labels.

    python benchmarks/bench_selection.py --features hh_train.npz
    python benchmarks/bench_selection.py        # encodes first what --store lacks: minutes

The pairs of the file are split by prompt: a quarter is held out to judge on, the rest is the pool.
From the same first labels each strategy asks for --batch more at a time, as the studio does: a head
is fitted to what is labelled, its posterior taken, and the pool ranked by it (*uncertainty*: least
sure first; *information*: greedy D-optimal), with the studio's random arm inside. *random* draws.
Everything is repeated over --seeds splits and first labels; a seed's strategies share theirs.

Reported for each strategy: accuracy on the held-out pairs by number of labels, and how many labels
it needs for the accuracy that *random* reaches with --target labels (means over the last batches'
window, so that one lucky batch decides nothing; None where it is never reached).

Features: an .npz with `mean{layer}` and `end{layer}`, float [2 x pairs, H], chosen before rejected;
without, answers are encoded with the embedded backbone into --store.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from material import BACKBONES, HH_TRAIN, SCRATCH
from record import record

sys.path.insert(0, str(Path(__file__).parents[1]))

from rm_core.conversation import Answer
from rm_core.evaluation import PromptBootstrap
from rm_core.fitting import Fit, PairFeatures, Recipe
from rm_core.pairs import PreferencePair
from rm_core.selection import greedy_d_optimal, uncertainty_scores

STRATEGIES = ("random", "uncertainty", "information")
HELDOUT_SHARE = 0.25
WINDOW = 3  # batches whose mean accuracy counts


@dataclass(frozen=True)
class Replay:
    """All pairs of the file with their features, sides drawn, and whose prompt each is."""

    pairs: list[PreferencePair]
    features: PairFeatures

    def take(self, rows: np.ndarray) -> Replay:
        return Replay([self.pairs[int(i)] for i in rows], self.features.take(rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=HH_TRAIN, help="pairs, JSONL or .jsonl.gz")
    parser.add_argument("--features", type=Path, help="an .npz, see above")
    parser.add_argument("--layer", type=int, default=18)
    parser.add_argument("--store", type=Path, default=SCRATCH / "bench-features.db")
    parser.add_argument("--backbones", type=Path, default=BACKBONES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=60, help="labels before the first choice")
    parser.add_argument("--batch", type=int, default=55)
    parser.add_argument("--target", type=int, default=500)
    parser.add_argument("--most", type=int, default=780, help="labels at which a replay ends")
    parser.add_argument("--random-share", type=float, default=0.1)
    options = parser.parse_args()
    replay = _read(options)
    runs: dict[str, list[list[float]]] = {name: [] for name in STRATEGIES}
    for seed in range(options.seeds):
        for name, accuracies in _one_seed(replay, options, seed).items():
            runs[name].append(accuracies)
            print(f"seed {seed} {name:12} " + " ".join(f"{a:.3f}" for a in accuracies), flush=True)
    result = _summary(runs, options)
    for name, found in result["strategies"].items():
        print(f"{name:12} labels needed {found['labels_needed']} {found['labels_needed_each']}, "
              f"accuracy at {options.target} {found['accuracy_at_target']:.4f}, minus random "
              f"{found['minus_random']}")  # fmt: skip
    shown = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    for name in ("data", "features", "store", "backbones"):
        shown[name] = Path(shown[name]).name if shown[name] else None
    record("selection", {"options": shown, "pairs": len(replay.pairs), **result})
    return 0


def _read(options: argparse.Namespace) -> Replay:
    opened = gzip.open if options.data.suffix == ".gz" else open
    with opened(options.data, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    mean, end = _features(options, rows)
    flip = np.random.default_rng(0).random(len(rows)) < 0.5
    pairs = []
    for number, row in enumerate(rows):
        answers = [Answer(row["prompt"], row[side]) for side in ("chosen", "rejected")]
        if flip[number]:
            answers.reverse()
        group = json.dumps(row["prompt"])
        pairs.append(PreferencePair(str(number), *answers, 0.0 if flip[number] else 1.0, group))
    a, b = np.where(flip, 1, 0), np.where(flip, 0, 1)
    at = 2 * np.arange(len(rows))
    features = PairFeatures(options.layer, mean[at + a], end[at + a], mean[at + b], end[at + b])
    return Replay(pairs, features)


def _features(
    options: argparse.Namespace, rows: list[dict[str, Any]]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and end vectors [2 x pairs, H], chosen before rejected."""
    if options.features:
        with np.load(options.features) as stored:
            return stored[f"mean{options.layer}"], stored[f"end{options.layer}"]
    from rm_core.backbone import prepare
    from rm_core.conversation import Limits
    from rm_core.encoding import encode_missing
    from rm_core.features import FeatureStore

    info = prepare("embedded", options.backbones)
    answers = [Answer(r["prompt"], r[side]) for r in rows for side in ("chosen", "rejected")]
    with FeatureStore(options.store) as store:
        encode_missing(store, info, answers, layers=[options.layer], limits=Limits(), device="cpu")
        keys = store.keys_for(info, "float32", Limits(), answers)
        found = store.summaries(keys, options.layer)
    return found.mean, found.end


def _one_seed(replay: Replay, options: argparse.Namespace, seed: int) -> dict[str, list[float]]:
    """Held-out accuracy after each batch, by strategy."""
    rng = np.random.default_rng(seed)
    _, group = np.unique([p.group for p in replay.pairs], return_inverse=True)
    rank = rng.permutation(group.max() + 1)[group]
    is_heldout = rank < HELDOUT_SHARE * (group.max() + 1)
    pool = rng.permutation(np.flatnonzero(~is_heldout))
    test = replay.take(np.flatnonzero(is_heldout))
    most = min(options.most, len(pool))
    found: dict[str, list[float]] = {}
    for name in STRATEGIES:
        labelled = list(pool[: options.first])
        accuracies = []
        choose = np.random.default_rng([seed, 1])
        while True:
            head, posterior = _fitted(replay.take(np.array(labelled)))
            accuracies.append(_accuracy(head, test))
            if len(labelled) + options.batch > most:
                break
            rest = np.array([i for i in pool if i not in set(labelled)])
            labelled += _next(name, options, replay, rest, head, posterior, choose)
        found[name] = accuracies
    return found


def _fitted(some: Replay) -> tuple[Any, Any]:
    fit = Fit.of(some.pairs, some.features, Recipe(readout="mean+last"))
    choice = fit.choose()
    return fit.refit(choice.penalty), fit.posterior(choice)


def _accuracy(head: Any, test: Replay) -> float:
    target = np.array([p.target for p in test.pairs])
    margins = test.features.margins(head)
    return float(np.mean(0.5 + 0.5 * np.sign(margins) * np.sign(target - 0.5)))


def _next(
    name: str, options: argparse.Namespace, replay: Replay, rest: np.ndarray, head: Any,
    posterior: Any, choose: np.random.Generator,
) -> list[int]:  # fmt: skip
    """The next batch of rows, the studio's random arm included; `rest` is in random order."""
    num_random = int(choose.binomial(options.batch, options.random_share))
    num_chosen = 0 if name == "random" else options.batch - num_random
    x = replay.features.take(rest).differences("mean+last")
    mean = x @ head.weights
    if num_chosen == 0:
        picked = np.zeros(0, dtype=np.int64)
    elif name == "information":
        picked, _ = greedy_d_optimal(posterior, x, num_chosen, mean=mean)
    else:
        entropy = uncertainty_scores(posterior, x, mean).entropy
        picked = np.argsort(-entropy, kind="stable")[:num_chosen]
    others = np.setdiff1d(np.arange(len(rest)), picked)
    drawn = choose.choice(others, options.batch - num_chosen, replace=False)
    return [int(rest[i]) for i in [*picked, *drawn]]


def _summary(runs: dict[str, list[list[float]]], options: argparse.Namespace) -> dict[str, Any]:
    sizes = [options.first + options.batch * n for n in range(len(runs["random"][0]))]
    at_target = min(range(len(sizes)), key=lambda i: abs(sizes[i] - options.target))
    goals = [_smooth(run)[at_target] for run in runs["random"]]
    goal = statistics.mean(goals)
    strategies = {}
    for name, each in runs.items():
        mean = _smooth([statistics.mean(column) for column in zip(*each, strict=True)])
        apart = np.array([_smooth(run)[at_target] - g for run, g in zip(each, goals, strict=True)])
        interval = PromptBootstrap([str(i) for i in range(len(apart))], 0).interval(apart)
        strategies[name] = {
            "labels_needed": _needed(mean, sizes, goal),
            "labels_needed_each": [
                _needed(_smooth(run), sizes, g) for run, g in zip(each, goals, strict=True)
            ],
            "accuracy_at_target": mean[at_target],
            "minus_random": [round(float(apart.mean()), 4), interval],
            "accuracy": [round(a, 4) for a in mean],
        }
    return {"goal": goal, "labels": sizes, "strategies": strategies, "seeds_apart": runs}


def _smooth(accuracies: list[float]) -> list[float]:
    """Means over the last WINDOW batches."""
    return [
        statistics.mean(accuracies[max(0, i - WINDOW + 1) : i + 1]) for i in range(len(accuracies))
    ]


def _needed(accuracies: list[float], sizes: list[int], goal: float) -> int | None:
    return next((n for n, a in zip(sizes, accuracies, strict=True) if a >= goal - 1e-12), None)


if __name__ == "__main__":
    sys.exit(main())
