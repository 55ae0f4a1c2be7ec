"""Backtest of "what would more votes bring?": how often did the gain lie in the promised interval?

    BENCH_DATA=DIR python benchmarks/bench_learning_curve.py [--data-dir DIR] [--samples 30]

Of a pool of judged pairs some are drawn, a learning curve is made of them, and then the further
pairs it spoke of are added and the head is fitted again: the change on the same unseen pairs is
compared with the interval. Samples are random, and overlap: the further ahead, the more of one pool
each of them holds, so that the intervals of a set are fewer than they look. Open-Assistant's have
test prompts of their own each time. rm_core.learning_law's two constants were set on other draws of
the same HH pairs; Open-Assistant played no part in that.

DIR (--data-dir) keeps backbones and features from one run to the next: encoding takes minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.material import DATA, HH_TEST, HH_TRAIN, SCRATCH, read_rows  # noqa: E402
from benchmarks.record import record  # noqa: E402
from rm_core.backbone import BackboneInfo, prepare  # noqa: E402
from rm_core.config import TrainConfig  # noqa: E402
from rm_core.encoding import encode_missing  # noqa: E402
from rm_core.features import FeatureStore  # noqa: E402
from rm_core.fitting import PairFeatures, Recipe  # noqa: E402
from rm_core.learning_curve import _fit_and_judge, _Order, learning_curve  # noqa: E402
from rm_core.pairs import PreferencePair, from_chosen  # noqa: E402
from rm_core.training import load_features  # noqa: E402

LAYER = 18
RECIPE = Recipe("mean+last")
TIMES = (1.5, 2.0, 3.0)  # how far ahead: so many times the pairs there are
SIZES = {"hh": (100, 230, 460), "oasst": (100, 200)}
Set = tuple[list[PreferencePair], PairFeatures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=SCRATCH)
    parser.add_argument("--samples", type=int, default=30)
    options = parser.parse_args()
    info = prepare("embedded", options.data_dir / "backbones", print)
    outcomes: dict[str, list[dict[str, Any]]] = {}
    with FeatureStore(options.data_dir / "features.db") as store:
        pool, tests = (_read(path, info, store) for path in (HH_TRAIN, HH_TEST))
        oasst = _read(DATA / "oasst_en100.jsonl.gz", info, store)
    for name, sizes in SIZES.items():
        outcomes[name] = []
        for size in sizes:
            for sample in range(options.samples):
                # Seeds of their own: those below 1000 were looked at while the method was made.
                rng = np.random.default_rng([1000 + sample, size])
                given = _drawn(pool, rng), tests
                train, test = given if name == "hh" else _split(oasst, rng)
                outcomes[name] += _one(train, test, size)
            print(name, size, _summary(outcomes[name]), flush=True)
    every = [each for found in outcomes.values() for each in found]
    record(
        "learning_curve",
        {
            "samples": options.samples,
            "load_average": [round(each, 1) for each in os.getloadavg()],
            "held": _summary(every),
            "by_set": {name: _summary(found) for name, found in outcomes.items()},
            "by_distance": {
                str(times): _summary([each for each in every if each["times"] == times])
                for times in TIMES
            },
            "seconds": _seconds(every),
        },
    )


def _read(path: Path, info: BackboneInfo, store: FeatureStore) -> Set:
    rows = read_rows(path)
    pairs = [
        from_chosen(str(i), row["prompt"], row["chosen"], row["rejected"])
        for i, row in enumerate(rows)
    ]
    config = TrainConfig(layers=[LAYER])
    answers = [answer for pair in pairs for answer in (pair.answer_a, pair.answer_b)]
    encode_missing(store, info, answers, layers=[LAYER], limits=config.limits)
    return pairs, load_features(pairs, LAYER, info, store, config)


def _take(some: Set, rows: np.ndarray) -> Set:
    return [some[0][int(i)] for i in rows], some[1].take(rows)


def _drawn(pool: Set, rng: np.random.Generator) -> Set:
    """The pool in an order of whole prompts."""
    _, group = np.unique([pair.group for pair in pool[0]], return_inverse=True)
    return _take(pool, np.argsort(rng.permutation(group.max() + 1)[group], kind="stable"))


def _split(pool: Set, rng: np.random.Generator) -> tuple[Set, Set]:
    """Three tenths of the prompts to test on, the others to draw from."""
    _, group = np.unique([pair.group for pair in pool[0]], return_inverse=True)
    rank = rng.permutation(group.max() + 1)
    is_test = rank[group] < 0.3 * len(rank)
    return _drawn(_take(pool, np.flatnonzero(~is_test)), rng), _take(pool, np.flatnonzero(is_test))


def _one(train: Set, test: Set, size: int) -> list[dict[str, Any]]:
    """What was promised of `size` pairs and what came, at every distance that the pool allows."""
    ahead = [times for times in TIMES if round(times * size) <= len(train[0])]
    more = [round(times * size) - size for times in ahead]
    begin = time.monotonic()
    curve = learning_curve(*_take(train, np.arange(size)), RECIPE, test, more=more)
    seconds = time.monotonic() - begin
    before = _judged(train, test, size)
    found = []
    for times, gain in zip(ahead, curve["gains"], strict=True):
        after = _judged(train, test, size + gain["more"])
        came = {"accuracy": before[0] - after[0], "log_loss": after[1] - before[1]}
        row: dict[str, Any] = {"size": size, "times": times, "seconds": seconds}
        for name, value in came.items():
            low, high = gain[f"{name}_ci"]
            row[name] = {
                "held": low <= value <= high, "width": high - low, "missed": value - gain[name],
            }  # fmt: skip
        found.append(row)
    return found


def _judged(train: Set, test: Set, size: int) -> tuple[float, float]:
    """Error rate and log loss of a head on the first `size` pairs."""
    order = _Order(np.arange(size), [size], test)
    wrong, loss = _fit_and_judge(*train, RECIPE, order, size)
    return float(np.nanmean(wrong)), float(loss.mean())


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"intervals": len(rows)}
    for name in ("accuracy", "log_loss"):
        each = [row[name] for row in rows]
        summary[name] = {
            "held": round(float(np.mean([e["held"] for e in each])), 3),
            "mean_width": round(float(np.mean([e["width"] for e in each])), 4),
            "mean_missed": round(float(np.mean([e["missed"] for e in each])), 4),
        }
    return summary


def _seconds(rows: list[dict[str, Any]]) -> dict[str, float]:
    by_size = defaultdict(list)
    for row in rows:
        by_size[str(row["size"])].append(row["seconds"])
    return {size: round(float(np.median(taken)), 1) for size, taken in by_size.items()}


if __name__ == "__main__":
    main()
