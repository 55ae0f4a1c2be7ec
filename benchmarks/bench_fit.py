"""Seconds to fit a head on cached features, beside an eigendecomposition and scikit-learn.

    python benchmarks/bench_fit.py [--parts ...] [--quick]

The features are random with a spectrum like that of hidden states (variance k^-1 along the k-th
direction, mixed), the votes follow a linear preference that a perfect head predicts at about 75 %.
Everything is timed in this one run, best of `--repeats`, in seconds of the wall and (`_cpu_s`) of
the processor; the ratios are of the latter, which other work on the machine disturbs least.
`whole path` is standardise, choose the
penalty by approximate leave-one-out, and the optimum there with exact left-out logits. Gradients
at the optima are taken in float64, as shares of the gradient at zero.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from record import record
from sklearn.linear_model import LogisticRegression

from rm_core import checkpoint
from rm_core.backbone import BackboneInfo
from rm_core.config import TrainConfig
from rm_core.conversation import Answer
from rm_core.features import FeatureStore, Lengths, Record
from rm_core.fitting import Fit, PairFeatures, Recipe
from rm_core.leave_one_out import PENALTIES
from rm_core.links import sigmoid
from rm_core.pairs import PreferencePair
from rm_core.training import TrainResult, load_features, train
from rm_core.warm import WarmFit

WIDTH = 576


def made_up(num: int, width: int, seed: int = 0) -> tuple[list[PreferencePair], PairFeatures]:
    """Pairs of one prompt each, with features [num, width] of both answers."""
    rng = np.random.default_rng(seed)
    spread = (np.arange(1, width + 1) ** -0.5).astype(np.float32)
    mix = np.linalg.qr(rng.normal(size=(width, width)))[0].astype(np.float32)
    mean_a, end_a, mean_b, end_b = (
        (rng.standard_normal((num, width), dtype=np.float32) * spread) @ mix for _ in range(4)
    )
    truth = (rng.normal(size=width) * spread) @ mix
    logits = (mean_a - mean_b + end_a - end_b) @ truth
    target = (rng.random(num) < sigmoid(1.5 * logits / logits.std())).astype(float)
    pairs = []
    for i in range(num):
        prompt = [{"role": "user", "content": f"Question {i}?"}]
        answers = [Answer(prompt, f"{name}{'.' * (i % 7)}") for name in ("first", "second")]
        pairs.append(PreferencePair(f"p{i}", *answers, target=target[i], group=f"g{i}"))
    return pairs, PairFeatures(1, mean_a, end_a, mean_b, end_b)


@dataclass
class Timed:
    """The fastest of several runs: wall seconds, processor seconds, what it gave."""

    wall_s: float
    cpu_s: float
    result: Any

    def row(self, name: str) -> dict[str, float]:
        return {f"{name}_s": self.wall_s, f"{name}_cpu_s": self.cpu_s}


def best_of(repeats: int, work: Callable[[], Any]) -> Timed:
    best = Timed(float("inf"), float("inf"), None)
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        best.result = work()
        best.cpu_s = min(best.cpu_s, time.process_time() - cpu)
        best.wall_s = min(best.wall_s, time.perf_counter() - wall)
    return best


def show(row: dict[str, Any]) -> None:
    print({k: round(v, 4) if k.endswith("_s") else v for k, v in row.items()}, flush=True)


def by_eigenbasis(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The whole path in the eigenbasis of the Gram matrix: what this core did before."""
    num = len(y)
    spread, basis = np.linalg.eigh(x.T @ x)
    kept = spread > spread[-1] * 1e-12
    spread, rotated = spread[kept], x @ basis[:, kept]
    best, phi, rises = (float("inf"), 0.0, np.zeros(0)), np.zeros(len(spread)), 0
    for penalty in PENALTIES:
        ridge = penalty * num
        for _ in range(30):
            p = sigmoid(rotated @ phi)
            gradient = rotated.T @ (p - y) + ridge * phi
            if np.linalg.norm(gradient) < 1e-6 * num:
                break
            phi = phi - _conjugate_gradients(rotated, p * (1 - p), ridge, spread, gradient)
        p = sigmoid(rotated @ phi)
        inverse = 1 / ((p * (1 - p)).mean() * spread + ridge)
        leverage = rotated**2 @ inverse
        left_out = rotated @ phi + leverage * (p - y) / (1 - p * (1 - p) * leverage)
        loss = float((np.logaddexp(0, left_out) - y * left_out).mean())
        rises = 0 if loss < best[0] else rises + 1
        best = min(best, (loss, penalty, phi), key=lambda entry: entry[0])
        if rises == 2:
            break
    hessian = (rotated * (p * (1 - p))[:, None]).T @ rotated
    hessian[np.diag_indices(len(hessian))] += best[1] * num
    np.linalg.solve(hessian, rotated.T)
    return best[1], basis[:, kept] @ best[2]


def _conjugate_gradients(
    x: np.ndarray, curvature: np.ndarray, ridge: float, spread: np.ndarray, gradient: np.ndarray
) -> np.ndarray:
    inverse = 1 / (curvature.mean() * spread + ridge)
    found, residual = np.zeros_like(gradient), gradient.copy()
    z = inverse * residual
    direction, rz = z.copy(), residual @ z
    for _ in range(60):
        product = x.T @ (curvature * (x @ direction)) + ridge * direction
        alpha = rz / (direction @ product)
        found += alpha * direction
        residual -= alpha * product
        if np.linalg.norm(residual) < 1e-6 * np.linalg.norm(gradient):
            break
        z = inverse * residual
        previous, rz = rz, residual @ z
        direction = z + rz / previous * direction
    return found


def gradient_share(fit: Fit, penalty: float, at: Any) -> float:
    """The gradient at a point as a share of what it is at zero, all in float64."""
    ridge = penalty * fit.problem.num
    gradient, zero = (fit.problem.value(point, ridge)[1] for point in (at, fit.problem.zero))
    return float(np.linalg.norm(gradient) / np.linalg.norm(zero))


def one_fit(readout: str, repeats: int) -> dict[str, Any]:
    """The whole path at the size of a project, beside the eigenbasis."""
    pairs, features = made_up(1215, WIDTH)
    recipe = Recipe(readout)
    ours = best_of(repeats, lambda: _fitted(pairs, features, recipe))
    fit, choice = ours.result
    x, y = fit.problem.rows.features, fit.problem.rows.target
    eigen = best_of(repeats, lambda: by_eigenbasis(x, y))
    row = {"readout": readout, "pairs": len(pairs), "d": x.shape[1]}
    row |= ours.row("whole_path") | eigen.row("eigenbasis")
    row |= {
        "times_eigenbasis": eigen.cpu_s / ours.cpu_s,
        "gradient": gradient_share(fit, choice.penalty, choice.optimum),
    }
    show(row)
    return row


def _fitted(pairs: list[PreferencePair], features: PairFeatures, recipe: Recipe) -> Any:
    fit = Fit.of(pairs, features, recipe)
    return fit, fit.choose()


def growth(num: int, width: int) -> dict[str, Any]:
    """One penalty, from rows to optimum; the whole path; scikit-learn at the same penalty."""
    pairs, features = made_up(num, width)
    fit = Fit.of(pairs, features, Recipe("mean"))
    problem = fit.problem
    matrix = best_of(1, lambda: problem.inverse(problem.zero, problem.num, exact=False))
    solve = best_of(1, lambda: problem.solve(1.0))
    row = {"pairs": num, "d": width} | matrix.row("matrix") | solve.row("solve")
    row["gradient"] = gradient_share(fit, 1.0, solve.result)
    fresh = Fit.of(pairs, features, Recipe("mean"))
    row |= best_of(1, fresh.choose).row("whole_path")
    x, y, theta = problem.rows.features, problem.rows.target, solve.result.theta
    if num * width <= 100_000 * 576:
        model = LogisticRegression(C=1 / num, fit_intercept=False, tol=1e-8, max_iter=1000)
        row |= best_of(1, lambda: model.fit(x, y)).row("sklearn")
        off = np.abs(model.coef_[0] - theta).max() / np.abs(theta).max()
        row["largest_difference_to_sklearn"] = float(off)
    show(row)
    return row


def stored(folder: Path, pairs: list[PreferencePair], layers: dict[int, PairFeatures]) -> Any:
    """A feature store that holds these features, and the backbone they are said to be from."""
    info = BackboneInfo("made-up", "made-up", str(folder), "0", 30, WIDTH, 8192, "", "0", "0", ())
    store = FeatureStore(folder / "features.sqlite")
    records, lengths = [], {}
    for layer, features in layers.items():
        sides = ((features.mean_a, features.end_a), (features.mean_b, features.end_b))
        for side, (mean, end) in enumerate(sides):
            answers = [(p.answer_a, p.answer_b)[side] for p in pairs]
            for key, m, e in zip(store.addresses(info, "float32", answers), mean, end, strict=True):
                records.append(Record(key, layer, 9, np.stack([m, e])))
                lengths[key] = Lengths(9, 9)
    store.put(records, lengths)
    return info, store


def whole_runs(repeats: int) -> dict[str, Any]:
    """`train` with four candidates from a feature store, and one and a hundred more labels."""
    pairs, first = made_up(1616, WIDTH)
    _, second = made_up(1616, WIDTH, seed=1)
    pairs = [replace(p, split="train" if i % 5 else "heldout") for i, p in enumerate(pairs)]
    heldout = [p for p in pairs if p.split == "heldout"]
    judged = [p for p in pairs if p.split == "train"]
    given = heldout + judged[:1190]
    config = TrainConfig(layers=[15, 18])
    begun: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        info, store = stored(Path(name), pairs, {15: first, 18: second})

        def run() -> TrainResult:
            return train(
                given,
                info=info,
                store=store,
                config=config,
                on_stage=lambda stage: begun.update({stage: time.process_time()}),
            )

        whole = best_of(repeats, run)
        directory = Path(name) / "checkpoint"
        checkpoint.save(directory, whole.result)
        row: dict[str, Any] = whole.row("train") | {
            "train_fitting_cpu_s": begun["evaluating"] - begun["fitting"],
            "checkpoint_bytes": {f.name: f.stat().st_size for f in directory.iterdir()},
            "bit_identical": bool(np.array_equal(run().head.weights, whole.result.head.weights)),
        }
        row["1_more"] = more_labels(directory, judged[:1191], info, store, repeats)
        now = judged[:1190] + judged[-100:]
        row["100_more"] = more_labels(directory, now, info, store, repeats)
    show(row)
    return row


def more_labels(
    directory: Path, now: list[PreferencePair], info: Any, store: Any, repeats: int
) -> dict[str, Any]:
    """A warm fit of the pairs that are judged now, beside one from nothing at the same penalty."""
    disk = best_of(repeats, lambda: WarmFit.load(directory).refit(now, info=info, store=store))
    warm = WarmFit.load(directory)
    features = load_features(now, warm.head.layer, info, store, warm.config)
    at_hand = best_of(repeats, lambda: warm.refit_features(now, features))
    penalty = warm.recipe.penalty or 1.0
    cold = best_of(repeats, lambda: Fit.of(now, features, warm.recipe).refit(penalty))
    there, here = cold.result.weights, disk.result.head.weights
    return {
        **disk.row("from_disk"),
        **at_hand.row("features_at_hand"),
        **cold.row("from_nothing_same_penalty"),
        "steps": disk.result.num_steps,
        "largest_difference": float(np.abs(here - there).max() / np.abs(there).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="+", help="some of: one_fit runs by_pairs by_width")
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is recorded")
    options = parser.parse_args()
    if options.quick:
        one_fit("mean", 1)
        growth(500, 1024)
        whole_runs(1)
        return
    parts: dict[str, Callable[[], Any]] = {
        "one_fit": lambda: [one_fit(readout, options.repeats) for readout in ("mean", "mean+last")],
        "runs": lambda: whole_runs(options.repeats),
        "by_pairs": lambda: [growth(num, WIDTH) for num in (1000, 10_000, 100_000)],
        # Below 2 rows a feature the factor is Woodbury's, above it is the Gram matrix's.
        "by_width": lambda: [
            growth(num, width) for num in (1215, 10_000) for width in (1024, 2048, 4096)
        ],
    }
    result: dict[str, Any] = {
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "all"),
        "load_average_at_the_start": [round(each, 1) for each in os.getloadavg()],
    }
    for name, part in parts.items():
        if name not in (options.parts or parts):
            continue
        result[name] = part()
        result["peak_memory_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        record("fit", result, "scikit-learn")  # after every part: a run that is stopped keeps them


if __name__ == "__main__":
    main()
