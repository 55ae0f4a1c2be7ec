"""Is the heatmap true? What happens when the spans that it marks are taken out of the answer.

    python benchmarks/bench_faithfulness.py [--train hh_train.jsonl.gz --test hh_test.jsonl.gz]
        [--limit 300] [--train-limit 1000] [--features features.db] [--backbones DIR]

For every head (objective and readout, one layer) and reading of the heatmap, over held-out answers:

- the stretch of a seventh of the answer that the reading marks worst, the one that it marks best
  and one at random are deleted, or replaced by as many words of an answer to another prompt; the
  answer is scored again. A true map raises the reward where the worst goes and lowers it where the
  best goes, more than the random stretch does;
- a sentence of the rejected answer, or of an answer to another prompt, is put into the chosen one:
  is it where the map is low? (AUC of its tokens against the others', ½ by chance.)

`value` orders spans as `contribution` does wherever contributions are v_t / T, so the two are one
row; a head that reads the end token alone has no contributions inside the text. Intervals are
bootstraps over prompts. Prints tables and one JSON line, kept in benchmarks/results.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from material import BACKBONES, HH_TEST, HH_TRAIN, SCRATCH, read_rows
from record import record

from rm_core.backbone import prepare
from rm_core.config import TrainConfig, default_layers
from rm_core.conversation import ConversationEncoder, EncodedAnswer, Limits
from rm_core.encoding import Group
from rm_core.errors import AnswerError
from rm_core.features import FeatureStore
from rm_core.heads import RewardHead
from rm_core.pairs import from_chosen
from rm_core.training import train
from rm_core.transformer import Backbone, load

HEADS = [
    ("outcome", "mean+last"),
    ("outcome", "mean"),
    ("outcome", "last"),
    ("token", "last"),
    ("token", "mean"),
    ("token_coherent", "last"),
    ("token_coherent", "mean"),
]
READINGS = ("contribution", "change", "value")
SHARE = 1 / 7
MIN_WORDS = 14
Span = tuple[int, int]  # characters


@dataclass
class Case:
    """A held-out answer with the words around which it is edited."""

    prompt: list[dict[str, str]]
    text: str
    words: list[Span]

    @property
    def width(self) -> int:
        """Words of a stretch."""
        return max(2, round(SHARE * len(self.words)))

    def stretch(self, first: int) -> Span:
        return self.words[first][0], self.words[first + self.width - 1][1]


def words_of(text: str) -> list[Span]:
    return [match.span() for match in re.finditer(r"\s*\S+", text)]


def fitted_heads(
    options: argparse.Namespace, info: Any, layer: int
) -> dict[tuple[str, str], RewardHead]:
    """One head for each objective and readout, on the training file."""
    pairs = [
        from_chosen(str(row["id"]), row["prompt"], row["chosen"], row["rejected"])
        for row in read_rows(options.train)[: options.train_limit]
    ]
    heads = {}
    with FeatureStore(options.features) as store:
        for objective, readout in HEADS:
            begin = time.perf_counter()
            config = TrainConfig.from_dict(
                {"objective": objective, "readouts": [readout], "layers": [layer], "num_folds": 3}
            )
            made = train(pairs, info=info, store=store, config=config, device="cpu")
            heads[objective, readout] = made.head
            accuracy = made.metrics.get("accuracy")
            print(f"{objective}/{readout}: {len(pairs)} pairs, accuracy {accuracy:.3f} by folds, "
                  f"{time.perf_counter() - begin:.0f} s", flush=True)  # fmt: skip
    return heads


def token_scores(head: RewardHead, states: np.ndarray, reading: str) -> np.ndarray:
    """Scores [T] of a reading from states [1 + T, H], row 0 the prompt's last token."""
    values = head.token_values(states)
    if reading == "change":
        return np.diff(values)
    if reading == "value":
        return values[1:]
    return head.contributions(states[1:])


def word_scores(scores: np.ndarray, answer: EncodedAnswer, words: list[Span]) -> np.ndarray:
    """Sums over the tokens that begin in each word, [W]."""
    total = np.zeros(len(words))
    word = 0
    for (start, _), score in zip(answer.offsets, scores, strict=True):
        if start >= len(answer.text):
            break
        while word + 1 < len(words) and start >= words[word + 1][0]:
            word += 1
        total[word] += score
    return total


def reading_rows(head_name: tuple[str, str]) -> list[str]:
    """Readings that differ for this head."""
    return ["change", "value"] if head_name[1] == "last" else ["contribution", "change"]


def extremes(case: Case, scores: np.ndarray) -> tuple[int, int]:
    """First words of the stretches with the least and the greatest mean score."""
    sums = np.convolve(scores, np.ones(case.width), mode="valid")
    return int(sums.argmin()), int(sums.argmax())


def states_of(
    backbone: Backbone, layer: int, prompt: list[dict[str, str]], texts: Sequence[str]
) -> tuple[list[EncodedAnswer], list[np.ndarray]]:
    """Encoded answers and their states [1 + T, H], the prompt encoded once."""
    limits = Limits(backbone.info.max_context, backbone.info.max_context)
    encoder = ConversationEncoder(backbone.tokenizer, backbone.info, limits)
    rendered = encoder.prompt(prompt)
    answers = [encoder.answer(rendered, text) for text in texts]
    found = []
    for begin in range(0, len(answers), 8):
        part = answers[begin : begin + 8]
        by_layer = backbone.states([Group([""] * len(part), part).tree()], [layer])[0]
        found += [
            states[layer][-(a.num_response_tokens + 1) :].numpy()
            for a, states in zip(part, by_layer, strict=True)
        ]
    return answers, found


def edited(case: Case, first: int, filler: list[str] | None) -> str:
    """The answer with a stretch deleted, or replaced by words of another answer."""
    start, end = case.stretch(first)
    new = "" if filler is None else "".join(filler[: case.width])
    return case.text[:start] + new + case.text[end:]


def probe_edits(
    backbone: Backbone, layer: int, heads: dict[tuple[str, str], RewardHead], case: Case,
    filler: list[str], draw: random.Random,
) -> dict[tuple[Any, ...], float]:  # fmt: skip
    """(head, reading, edit, which) -> change of the reward by that edit."""
    (answer,), (states,) = states_of(backbone, layer, case.prompt, [case.text])
    wanted: list[tuple[Any, ...]] = []
    at_random = draw.randrange(len(case.words) - case.width + 1)
    for name, head in heads.items():
        for reading in reading_rows(name):
            scores = word_scores(token_scores(head, states, reading), answer, case.words)
            worst, best = extremes(case, scores)
            for which, first in (("worst", worst), ("best", best), ("random", at_random)):
                wanted += [(name, reading, edit, which, first) for edit in ("delete", "replace")]
    texts = {
        (edit, first): edited(case, first, filler if edit == "replace" else None)
        for _, _, edit, _, first in wanted
    }
    _, found = states_of(backbone, layer, case.prompt, list(texts.values()))
    by_edit = dict(zip(texts, found, strict=True))
    moved = {}
    for name, reading, edit, which, first in wanted:
        head = heads[name]
        before, after = (head.contributions(s[1:]).sum() for s in (states, by_edit[edit, first]))
        moved[name, reading, edit, which] = float(after - before)
    for name, head in heads.items():
        moved[name, "reward", "", ""] = float(head.contributions(states[1:]).sum())
    return moved


def sentences_of(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+", text) if len(part.split()) >= 4]


def spliced(text: str, sentence: str, draw: random.Random) -> tuple[str, Span]:
    """The sentence put between two sentences of the text (or behind it), and where it stands."""
    places = [match.end() for match in re.finditer(r"[.!?]\s+", text)] or [len(text)]
    at = draw.choice(places)
    before = text[:at] if text[:at].endswith((" ", "\n")) else text[:at] + " "
    return before + sentence + " " + text[at:], (len(before), len(before) + len(sentence))


def auc(low: np.ndarray, others: np.ndarray) -> float:
    """P(a token of the span scores lower than another token), ties ½."""
    below = (low[:, None] < others[None, :]).mean() + 0.5 * (low[:, None] == others[None, :]).mean()
    return float(below)


def probe_splices(
    backbone: Backbone, layer: int, heads: dict[tuple[str, str], RewardHead],
    prompt: list[dict[str, str]], splices: dict[str, tuple[str, Span]],
) -> dict[tuple[Any, ...], float]:  # fmt: skip
    """(head, reading, kind of sentence) -> AUC of the inserted span."""
    answers, found = states_of(backbone, layer, prompt, [text for text, _ in splices.values()])
    result = {}
    for (kind, (text, (start, end))), answer, states in zip(
        splices.items(), answers, found, strict=True
    ):
        inside = np.array([start <= a < end for a, _ in answer.offsets if a < len(text)])
        if inside.all() or not inside.any():
            continue
        for name, head in heads.items():
            for reading in reading_rows(name):
                scores = token_scores(head, states, reading)[: len(inside)]
                result[name, reading, kind] = auc(scores[inside], scores[~inside])
    return result


def interval(values: list[float], seed: int = 0) -> tuple[float, float, float]:
    """Mean with its 95 % bootstrap interval; one value a prompt."""
    sample = np.array(values)
    draws = np.random.default_rng(seed).integers(0, len(sample), (1000, len(sample)))
    low, high = np.quantile(sample[draws].mean(axis=1), [0.025, 0.975])
    return round(float(sample.mean()), 4), round(float(low), 4), round(float(high), 4)


def summary(
    moved: dict[tuple[Any, ...], list[float]], aucs: dict[tuple[Any, ...], list[float]]
) -> list[dict[str, Any]]:
    """One row a head and reading, rewards in units of their spread over the answers."""
    rows = []
    for name in HEADS:
        spread = float(np.std(moved[name, "reward", "", ""]))
        for reading in reading_rows(name):
            row: dict[str, Any] = {"objective": name[0], "readout": name[1], "reading": reading}
            for edit in ("delete", "replace"):
                by = {
                    which: np.array(moved[name, reading, edit, which]) / spread
                    for which in ("worst", "random", "best")
                }
                for which, values in by.items():
                    row[f"{edit}_{which}"] = interval(values.tolist())
                row[f"{edit}_worst_over_random"] = interval((by["worst"] - by["random"]).tolist())
                row[f"{edit}_best_under_random"] = interval((by["random"] - by["best"]).tolist())
                row[f"{edit}_worst_beats_random"] = round(
                    float(np.mean(by["worst"] > by["random"])), 3
                )
            for kind in ("rejected", "off_topic"):
                row[f"auc_{kind}"] = interval(aucs[name, reading, kind])
            rows.append(row)
    return rows


def told(figure: tuple[float, float, float], form: str) -> str:
    """A mean with its interval."""
    mean, low, high = (format(number, form) for number in figure)
    return f"{mean} [{low}, {high}]"


def show(rows: list[dict[str, Any]]) -> None:
    print("\nhow the reward moves, in standard deviations of the rewards [95 % interval]")
    heads = f"{'head':22}{'reading':14}{'edit':9}{'worst':>8}{'random':>8}{'best':>8}"
    print(f"{heads}{'worst-random':>24}{'random-best':>24}")
    for row in rows:
        head = f"{row['objective']}/{row['readout']}"
        for edit in ("delete", "replace"):
            means = "".join(f"{row[f'{edit}_{w}'][0]:>+8.2f}" for w in ("worst", "random", "best"))
            gaps = (row[f"{edit}_worst_over_random"], row[f"{edit}_best_under_random"])
            cells = "".join(f"{told(gap, '+.2f'):>24}" for gap in gaps)
            print(f"{head:22}{row['reading']:14}{edit:9}{means}{cells}")
    print("\nAUC of an inserted sentence's tokens being low (0.5 by chance)")
    for row in rows:
        kinds = ("rejected", "off_topic")
        cells = "  ".join(f"{kind} {told(row[f'auc_{kind}'], '.3f')}" for kind in kinds)
        print(f"{row['objective']}/{row['readout']:12}{row['reading']:14}{cells}")


def measure(
    options: argparse.Namespace, backbone: Backbone, layer: int,
    heads: dict[tuple[str, str], RewardHead],
) -> tuple[list[dict[str, Any]], dict[str, int]]:  # fmt: skip
    draw = random.Random(0)
    rows = read_rows(options.test)
    draw.shuffle(rows)
    moved: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    aucs: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    counts = {"answers_edited": 0, "answers_spliced": 0, "pairs_too_short": 0, "pairs_refused": 0}
    for number, row in enumerate(rows):
        if counts["answers_edited"] >= options.limit:
            break
        other = rows[(number + 1) % len(rows)]
        side = draw.choice(["chosen", "rejected"])
        text = row[side]
        case = Case(row["prompt"], text, words_of(text))
        filler = re.findall(r"\s*\S+", " " + other["chosen"] + " " + other["rejected"])
        if len(case.words) < MIN_WORDS or len(filler) < case.width:
            counts["pairs_too_short"] += 1
            continue
        splices = {}
        for kind, source in (("rejected", row["rejected"]), ("off_topic", other["chosen"])):
            candidates = sentences_of(source)
            if candidates and row["chosen"].strip():
                splices[kind] = spliced(row["chosen"], draw.choice(candidates), draw)
        try:
            for key, value in probe_edits(backbone, layer, heads, case, filler, draw).items():
                moved[key].append(value)
            counts["answers_edited"] += 1
            if splices:
                found = probe_splices(backbone, layer, heads, row["prompt"], splices)
                for key, value in found.items():
                    aucs[key].append(value)
                counts["answers_spliced"] += 1
        except AnswerError:
            counts["pairs_refused"] += 1
    return summary(moved, aucs), counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, default=HH_TRAIN)
    parser.add_argument("--test", type=Path, default=HH_TEST)
    parser.add_argument("--limit", type=int, default=300, help="held-out answers")
    parser.add_argument("--train-limit", type=int, default=1000, help="training pairs")
    parser.add_argument("--features", type=Path, default=SCRATCH / "faithfulness-features.db")
    parser.add_argument("--backbones", type=Path, default=BACKBONES)
    options = parser.parse_args()
    begin = time.perf_counter()
    info = prepare("embedded", options.backbones, print)
    layer = default_layers(info)[-1]
    heads = fitted_heads(options, info, layer)
    backbone = load(info, device="cpu", num_layers=layer)
    rows, counts = measure(options, backbone, layer, heads)
    show(rows)
    record(
        "faithfulness",
        {
            "train": options.train.name,
            "test": options.test.name,
            "train_pairs": options.train_limit,
            "backbone": info.name,
            "layer": layer,
            **counts,
            "elapsed_s": round(time.perf_counter() - begin),
            "rows": rows,
        },
        "torch",
        "transformers",
    )


if __name__ == "__main__":
    main()
