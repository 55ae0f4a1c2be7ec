"""Held-out accuracy over many splits: this core beside TRL's frozen head and the seed's loss.

    python benchmarks/bench_accuracy.py [--data TRAIN.jsonl.gz TEST.jsonl.gz] [--splits 10]

All files are pooled and split anew by first user turn, `--train-pairs` for training, the rest for
the test, `--splits` times. Everybody reads the same backbone and the same conversations:

- *this core*: `rm_core.training.train`; layer, readout and penalty are chosen on the training pairs
  alone, once among its default layers and once among every third layer of the whole depth, since
  the defaults came from earlier trials on this data.
- *TRL*: its loss and optimizer on the last layer's end state (see rivals/trl_frozen.py), at its
  default learning rate, and with learning rate and number of epochs tuned on a fifth of the
  training pairs. Its own rendering would end in a newline after the end token, which costs it a
  point or two: it is spared that here.
- *seed*: its per-token loss with AdamW, tuned the same way, scored at the end token. Mended where
  it could only lose: words are not compared with padding, and the two end tokens are compared
  with each other, wherever they stand.

Two intervals of each accuracy and of each paired difference to this core, both 95 %:
`*_ci` is a bootstrap over conversations of what the heads said of pairs that they had not seen,
averaged over the splits (other conversations, these training sets); `*_ci_other_training_sets` is
the corrected resampled t-interval of Nadeau & Bengio (2003), which counts in that another training
set would have been drawn, and is wide where tests are as large as training sets. Answers are
encoded once, into --store.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from material import BACKBONES, HH_TEST, HH_TRAIN, SCRATCH, read_rows
from record import record
from rivals.seed_loop import MAX_TOKENS, first_difference
from rivals.trl_frozen import Settings, on_features
from scipy import stats

from rm_core.backbone import BackboneInfo, prepare
from rm_core.config import TrainConfig
from rm_core.conversation import ConversationEncoder, Limits
from rm_core.encoding import encode_missing
from rm_core.features import FeatureStore
from rm_core.pairs import PreferencePair, from_chosen
from rm_core.training import load_features, train

OURS, WHOLE_DEPTH = "this core, defaults", "this core, every third layer"
RATES = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2)
EPOCHS = (1, 3, 10)


@dataclass(frozen=True)
class Material:
    """All pairs with what the rivals read of them.

    Attributes:
        end_difference: float32 [N, H], last layer, chosen minus rejected end state.
        token_difference: N arrays float32 [K, H], last layer, position by position from the first
            that differs to the end of the shorter answer, then end token against end token.
    """

    pairs: list[PreferencePair]
    conversations: np.ndarray
    end_difference: np.ndarray
    token_difference: list[np.ndarray]


def read_pairs(files: Sequence[Path]) -> tuple[list[PreferencePair], np.ndarray]:
    """The pairs of all files, and each one's conversation (its first user turn)."""
    pairs, firsts = [], []
    for file in files:
        for row in read_rows(file):
            name = f"{file.name}/{row['id']}"
            pairs.append(from_chosen(name, row["prompt"], row["chosen"], row["rejected"]))
            turns = [turn for turn in row["prompt"] if turn["role"] == "user"]
            firsts.append(turns[0]["content"] if turns else "")
    return pairs, np.unique(firsts, return_inverse=True)[1]


def whole_depth(info: BackboneInfo) -> list[int]:
    """Every third layer."""
    return list(range(3, info.num_layers + 1, 3))


def chosen_first(pair: PreferencePair) -> tuple[Any, Any]:
    answers = (pair.answer_a, pair.answer_b)
    return answers if pair.target == 1.0 else answers[::-1]


def load_material(files: Sequence[Path], info: BackboneInfo, store: FeatureStore) -> Material:
    """Encode what is missing and read what the rivals need."""
    from transformers import AutoTokenizer

    pairs, conversations = read_pairs(files)
    answers = [answer for pair in pairs for answer in (pair.answer_a, pair.answer_b)]
    layers = sorted({*TrainConfig().candidate_layers(info), *whole_depth(info), info.num_layers})
    for wanted, tokens in ((layers, False), ([info.num_layers], True)):
        encode_missing(
            store,
            info,
            answers,
            layers=wanted,
            limits=Limits(),
            tokens=tokens,
            on_progress=lambda p: print(f"\r{p.done}/{p.total} answers", end="", file=sys.stderr),
        )
    config = TrainConfig()
    last = load_features(pairs, info.num_layers, info, store, config)
    sign = np.array([1 if pair.target == 1.0 else -1 for pair in pairs], dtype=np.float32)
    encoder = ConversationEncoder(AutoTokenizer.from_pretrained(info.directory), info)
    differences = []
    for pair in pairs:
        chosen, rejected = chosen_first(pair)
        prompt = encoder.prompt(chosen.prompt)
        encoded = [encoder.answer(prompt, answer.response) for answer in (chosen, rejected)]
        keys = store.keys_for(info, config.dtype, config.limits, [chosen, rejected])
        states = dict(store.token_states(keys, info.num_layers))
        rows = [states[key] for key in keys]
        ids = [list(one.input_ids[one.response_start :]) for one in encoded]
        begin = first_difference(*ids) or 0
        room = MAX_TOKENS - max(one.response_start for one in encoded)
        end = min(len(rows[0]), len(rows[1]), max(room, begin + 1))
        part = rows[0][begin:end] - rows[1][begin:end]
        ends = rows[0][-1:] - rows[1][-1:]
        differences.append(part if len(rows[0]) == len(rows[1]) else np.concatenate([part, ends]))
    return Material(pairs, conversations, sign[:, None] * (last.end_a - last.end_b), differences)


Contender = Callable[[np.ndarray, int], np.ndarray]


def trl(material: Material, settings: Settings) -> Contender:
    """Margins of all pairs by TRL's head, trained on the rows given."""

    def margins(rows: np.ndarray, seed: int) -> np.ndarray:
        weight = on_features(material.end_difference[rows], settings, seed)
        return material.end_difference @ weight

    return margins


def seed_loss(material: Material, settings: Settings) -> Contender:
    """The seed's loss by AdamW on cached token states."""
    import torch
    from torch.nn.functional import logsigmoid

    def margins(rows: np.ndarray, seed: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        weight = (
            torch.randn(material.end_difference.shape[1], generator=generator) * 0.02
        ).requires_grad_()
        optimizer = torch.optim.AdamW([weight], lr=settings.learning_rate)
        states = [torch.from_numpy(material.token_difference[row]) for row in rows]
        for _ in range(settings.num_epochs):
            order = torch.randperm(len(rows), generator=generator)
            for batch in order.split(settings.batch_size):
                picked = [states[i] for i in batch if len(states[i])]
                if not picked:
                    continue
                share = torch.cat([torch.full((len(s),), 1 / len(s) / len(picked)) for s in picked])
                optimizer.zero_grad()
                (-(logsigmoid(torch.cat(picked) @ weight) * share).sum()).backward()
                optimizer.step()
        return material.end_difference @ weight.detach().numpy()

    return margins


def tuned(make: Callable[[Settings], Contender], conversations: np.ndarray) -> Contender:
    """Learning rate and epochs by accuracy on a fifth of the training rows, then all of them."""

    def margins(rows: np.ndarray, seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        groups = random.permutation(np.unique(conversations[rows]))
        inner = np.isin(conversations[rows], groups[: len(groups) // 5])
        fit, check = rows[~inner], rows[inner]
        grid = [Settings(rate, epochs) for rate in RATES for epochs in EPOCHS]
        best = max(grid, key=lambda s: accuracy(make(s)(fit, seed)[check]))
        return make(best)(rows, seed)

    return margins


def right(margins: np.ndarray) -> np.ndarray:
    """1 where the chosen answer is ahead, ½ for equal rewards."""
    return (margins > 0) + 0.5 * (margins == 0)


def accuracy(margins: np.ndarray) -> float:
    """Of margins in favour of the chosen answer; equal rewards count a half."""
    return float(right(margins).mean())


def over_conversations(scores: np.ndarray, conversations: np.ndarray) -> list[float]:
    """95 % bootstrap interval of the mean of scores [splits, N], NaN where a pair was fitted."""
    seen = ~np.isnan(scores)
    count = np.bincount(conversations, seen.sum(axis=0))
    total = np.bincount(conversations, np.nansum(scores, axis=0))
    draws = np.random.default_rng(0).integers(0, len(count), (2000, len(count)))
    means = total[draws].sum(axis=1) / count[draws].sum(axis=1)
    return [float(each) for each in np.quantile(means, [0.025, 0.975])]


def core(
    material: Material, info: BackboneInfo, store: FeatureStore, config: TrainConfig, notes: list
) -> Contender:
    """This core by its public interface; what it chose and its figures go to `notes`."""

    def margins(rows: np.ndarray, seed: int) -> np.ndarray:
        training = set(rows.tolist())
        pairs = [
            replace(pair, split="train" if i in training else "heldout")
            for i, pair in enumerate(material.pairs)
        ]
        result = train(pairs, info=info, store=store, config=replace(config, seed=seed))
        head = result.head
        features = load_features(material.pairs, head.layer, info, store, config)
        difference = features.margins(head)
        notes.append(
            {
                "layer": head.layer,
                "readout": head.readout,
                **{name: result.metrics[name] for name in ("accuracy", "ece", "ece_noise_floor")},
            }
        )
        return difference * np.array([1 if pair.target == 1.0 else -1 for pair in pairs])

    return margins


def corrected_interval(values: np.ndarray, num_train: int, num_test: int) -> list[float]:
    """95 % interval of a mean over overlapping random splits (Nadeau & Bengio 2003)."""
    variance = values.var(ddof=1) * (1 / len(values) + num_test / num_train)
    half = stats.t.ppf(0.975, len(values) - 1) * np.sqrt(variance)
    return [float(values.mean() - half), float(values.mean() + half)]


def compared(
    scores: dict[str, np.ndarray], name: str, material: Material, num_train: int
) -> dict[str, Any]:
    """A contender's accuracy, and how far it is behind this core's defaults, with intervals."""
    num_test = len(material.pairs) - num_train
    row: dict[str, Any] = {}
    figures = {"accuracy": scores[name], "behind_this_core": scores[OURS] - scores[name]}
    for figure, values in figures.items():
        by_split = np.nanmean(values, axis=1)
        row[figure] = float(by_split.mean())
        row[f"{figure}_ci"] = over_conversations(values, material.conversations)
        row[f"{figure}_ci_other_training_sets"] = corrected_interval(by_split, num_train, num_test)
    return row


def splits(conversations: np.ndarray, num_train: int, count: int) -> list[np.ndarray]:
    """Rows to train on, whole conversations at a time."""
    chosen = []
    for seed in range(count):
        order = np.random.default_rng(seed).permutation(conversations.max() + 1)
        rank = np.argsort(order)[conversations]
        chosen.append(np.sort(np.argsort(rank, kind="stable")[:num_train]))
        cut = rank[chosen[-1]].max()
        chosen[-1] = np.flatnonzero(rank <= cut)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", default=[HH_TRAIN, HH_TEST])
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--train-pairs", type=int, default=1000)
    parser.add_argument("--backbones", type=Path, default=BACKBONES)
    parser.add_argument("--store", type=Path, default=SCRATCH / "bench-features.db")
    options = parser.parse_args()
    info = prepare("embedded", options.backbones, print)
    store = FeatureStore(options.store)
    material = load_material(options.data, info, store)
    notes: list[dict[str, Any]] = []
    deep_notes: list[dict[str, Any]] = []
    deep = TrainConfig(layers=whole_depth(info))
    last = TrainConfig(layers=[info.num_layers], readouts=["last"])
    contenders: dict[str, Contender] = {
        OURS: core(material, info, store, TrainConfig(), notes),
        WHOLE_DEPTH: core(material, info, store, deep, deep_notes),
        "this core, last layer, readout last": core(material, info, store, last, []),
        "TRL frozen, tuned": tuned(lambda s: trl(material, s), material.conversations),
        "TRL frozen, its defaults (3 epochs)": trl(material, Settings(num_epochs=3)),
        "TRL frozen, its defaults, 1 epoch": trl(material, Settings(num_epochs=1)),
        "seed's loss, AdamW tuned": tuned(lambda s: seed_loss(material, s), material.conversations),
    }
    rows = splits(material.conversations, options.train_pairs, options.splits)
    scores = {name: np.full((len(rows), len(material.pairs)), np.nan) for name in contenders}
    for seed, training in enumerate(rows):
        test = np.setdiff1d(np.arange(len(material.pairs)), training)
        for name, contender in contenders.items():
            scores[name][seed, test] = right(contender(training, seed)[test])
            mean = np.nanmean(scores[name][seed])
            print(f"split {seed}: {100 * mean:5.1f} %  {name}", flush=True)
    num_train = int(np.mean([len(r) for r in rows]))
    num_test = len(material.pairs) - num_train
    table = {name: compared(scores, name, material, num_train) for name in contenders}
    for name, row in table.items():
        print(f"{100 * row['accuracy']:5.1f} %  behind {100 * row['behind_this_core']:+5.1f} "
              f"{row['behind_this_core_ci']}  {name}")  # fmt: skip
    record(
        "accuracy",
        {
            "data": [file.name for file in options.data],
            "splits": options.splits,
            "train_pairs": num_train,
            "test_pairs": num_test,
            "contenders": table,
            "core_ece": float(np.mean([note["ece"] for note in notes])),
            "core_ece_noise_floor": float(np.mean([note["ece_noise_floor"] for note in notes])),
            "core_choices": notes,
            "core_choices_whole_depth": deep_notes,
        },
        "torch",
        "transformers",
        "trl",
    )


if __name__ == "__main__":
    main()
