"""Figures of a head on judged pairs, with intervals and the baselines they must beat.

Conventions, the same wherever a figure is shown:

- *accuracy*: share of pairs whose better answer has the higher reward; equal rewards count ½;
  pairs that people called a tie have no better answer, are left out of it and are counted.
- *log loss*, *Brier*: of P(a better) = sigma(scale * (r_a - r_b)) against the soft target; ties and
  split votes are in, a tie as half a win for each, whatever model of ties was fitted.
  A run with a model of ties shows the log loss of all three outcomes as well, `three_way_log_loss`,
  beside that of their base rates, `three_way_chance`.
- *ECE*: of max(p, 1-p), ten bins of equal mass, beside `ece_noise_floor`: what a perfectly
  calibrated model of the same confidences would show at this number of pairs.
- `reward_length_correlation`: Pearson's r of the difference in reward with the difference in log
  length (characters), over the pairs: 1 where length alone decides. None where one of them never
  differs, and for fewer than three pairs. Figures made by older versions lack it.
- `vote_agreement`: how often one person's verdict (a or b) is that of the majority of the others on
  the same pair, a tie among these counting ½; over the verdicts of pairs that have several. Chance
  is ½. Left out where no pair has several, and for pairs whose target is no share of their votes.
  (`agreement_ceiling` of older versions let every vote count for its own majority.)
- every interval is 95 %, by bootstrap over prompts: pairs of one prompt are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rm_core.errors import TrainingDataError
from rm_core.objectives import length_differences
from rm_core.pairs import PreferencePair
from rm_core.solver import sigmoid

if TYPE_CHECKING:
    import numpy as np

NUM_BOOTSTRAP = 2000
NUM_BINS = 10
_MAX_KEPT_PROMPTS = 1000


def evaluate_pairs(
    pairs: Sequence[PreferencePair],
    rewards_a: Sequence[float] | np.ndarray,
    rewards_b: Sequence[float] | np.ndarray,
    manifest: dict[str, Any],
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluate rewards of both answers of every pair.

    Args:
        rewards_a, rewards_b: [B], in the order of `pairs`.
        manifest: of the checkpoint, for `calibration_scale` and the baselines' directions that
            were learned on its training pairs (`baselines`); may be empty. Where pairs are judged
            by different heads (folds), both may be given for each pair: [B].
        seed: of the bootstrap.

    Returns:
        JSON-able figures; see the module's conventions.

    Raises:
        TrainingDataError: no pairs.
    """
    import numpy as np

    if not pairs:
        raise TrainingDataError("There is no pair to evaluate on; give at least one judged pair.")
    margin = np.asarray(rewards_a, dtype=float) - np.asarray(rewards_b, dtype=float)
    scale = np.asarray(manifest.get("calibration_scale", 1.0), dtype=float)
    target = np.array([p.target for p in pairs])
    p_a = sigmoid(scale * margin)
    decided = target != 0.5
    correct = _correct(margin, target)
    cluster = PromptBootstrap([p.group for p in pairs], seed)
    likelihood = np.clip(p_a, 1e-12, 1 - 1e-12)
    log_loss = -(target * np.log(likelihood) + (1 - target) * np.log(1 - likelihood))
    figures: dict[str, Any] = {
        "pairs": len(pairs),
        "prompts": cluster.num_groups,
        "ties_left_out_of_accuracy": int((~decided).sum()),
        "accuracy": _mean(correct, decided),
        "accuracy_ci": cluster.interval(correct, decided),
        "log_loss": float(log_loss.mean()),
        "log_loss_ci": cluster.interval(log_loss),
        "brier": float(((p_a - target) ** 2).mean()),
        "reward_margin": _mean(np.sign(target - 0.5) * margin, decided),
        **_calibration(p_a, target, decided, seed),
        **_baselines(pairs, target, decided, cluster, manifest.get("baselines", {})),
        "reward_length_correlation": _correlation(margin, length_differences(pairs)),
        "by_length": _by_length(pairs, correct, target, decided, cluster),
        "by_category": _by_category(pairs, correct, decided, cluster),
    }
    agreement = vote_agreement(pairs)
    return figures if agreement is None else figures | {"vote_agreement": agreement}


def vote_agreement(pairs: Sequence[PreferencePair]) -> float | None:
    """One vote against the majority of the others, see the module's conventions."""
    import numpy as np

    num = np.array([p.num_votes for p in pairs], dtype=float)
    target = np.array([p.target for p in pairs])
    tie = np.array([p.tie_share for p in pairs])
    votes = np.stack([num * (target - tie / 2), num * (1 - target - tie / 2)])  # for a, for b
    is_counted = (np.abs(votes - votes.round()) < 1e-6).all(axis=0) & (votes.min(axis=0) > -0.5)
    votes = votes.round()[:, is_counted & (votes.round().sum(axis=0) > 1)]
    if not votes.size:
        return None
    # A vote for one side sees one less of its own kind among the others.
    with_others = 0.5 + 0.5 * np.sign(votes - 1 - votes[::-1])
    return float((votes * with_others).sum() / votes.sum())


def _correct(margin: np.ndarray, target: np.ndarray) -> np.ndarray:
    """1 right, 0 wrong, ½ where the margin is 0; [B]."""
    import numpy as np

    return 0.5 + 0.5 * np.sign(margin) * np.sign(target - 0.5)


def _mean(values: np.ndarray, where: np.ndarray) -> float | None:
    return float(values[where].mean()) if where.any() else None


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Pearson's r of [B] and [B]; None where it is undefined."""
    import numpy as np

    if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
        return None
    return float(np.corrcoef(x, y)[0, 1])


class PromptBootstrap:
    """Resamples whole prompts; the same draws for every figure, so differences are paired."""

    def __init__(self, groups: Sequence[str], seed: int) -> None:
        import numpy as np

        _, self._group = np.unique(np.array(groups), return_inverse=True)
        self.num_groups = int(self._group.max()) + 1
        self._seed = seed
        self._cache: dict[int, list[np.ndarray]] = {}

    def _draws(self, num: int) -> Iterator[np.ndarray]:
        """How often each of `num` prompts is drawn, float64 [some, num] in parts for flat memory.

        Kept where that is little: a run asks for an interval at every step.
        """
        import numpy as np

        if num in self._cache:
            yield from self._cache[num]
            return
        rng = np.random.default_rng(self._seed)
        parts = []
        for _ in range(20):
            drawn = rng.integers(0, num, size=(NUM_BOOTSTRAP // 20, num))
            rows = np.arange(len(drawn))[:, None] * num
            counts = np.bincount((drawn + rows).ravel(), minlength=drawn.size)
            part = counts.reshape(drawn.shape).astype(float)
            if num <= _MAX_KEPT_PROMPTS:
                parts.append(part)
            yield part
        if parts:
            self._cache[num] = parts

    def interval(self, values: np.ndarray, where: np.ndarray | None = None) -> list[float] | None:
        """95 % percentile interval of the mean; None where fewer than two prompts take part."""
        import numpy as np

        use = np.ones(len(values), dtype=bool) if where is None else where
        count = np.bincount(self._group[use], minlength=self.num_groups).astype(float)
        total = np.bincount(self._group[use], weights=values[use], minlength=self.num_groups)
        taking_part = count > 0
        count, total = count[taking_part], total[taking_part]
        if len(count) < 2:
            return None
        means = []
        for draws in self._draws(len(count)):
            means.append((draws @ total) / (draws @ count))
        low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
        return [float(low), float(high)]


def _calibration(
    p_a: np.ndarray, target: np.ndarray, decided: np.ndarray, seed: int
) -> dict[str, Any]:
    """ECE of the confidence in the favoured answer, its noise floor and the reliability plot."""
    import numpy as np

    if not decided.any():
        return {"ece": None, "ece_noise_floor": None, "reliability": []}
    p, y = p_a[decided], target[decided]
    confidence = np.maximum(p, 1 - p)
    hit = np.where(p >= 0.5, y, 1 - y)
    bins = np.array_split(np.argsort(confidence, kind="stable"), min(NUM_BINS, len(p)))
    reliability = [
        {
            "confidence": float(confidence[b].mean()),
            "accuracy": float(hit[b].mean()),
            "pairs": len(b),
        }
        for b in bins
    ]
    rng = np.random.default_rng(seed)
    by_chance = rng.random((200, len(p))) < confidence
    return {
        "ece": float(_ece(confidence, hit[None], bins)[0]),
        "ece_noise_floor": float(_ece(confidence, by_chance, bins).mean()),
        "reliability": reliability,
    }


def _ece(confidence: np.ndarray, hits: np.ndarray, bins: list[np.ndarray]) -> np.ndarray:
    """Of confidences [B] and several draws of what came true [draws, B]: [draws]."""
    gaps = [abs(confidence[b].mean() - hits[:, b].mean(axis=1)) * len(b) for b in bins]
    return sum(gaps) / len(confidence)


def _lengths(pairs: Sequence[PreferencePair]) -> np.ndarray:
    """Characters of a minus characters of b; int [B]."""
    import numpy as np

    return np.array([len(p.answer_a.response) - len(p.answer_b.response) for p in pairs])


def learn_baselines(pairs: Sequence[PreferencePair]) -> dict[str, str]:
    """What two rules without a model learn from training pairs: prefer which length, which side."""
    import numpy as np

    target = np.array([p.target for p in pairs])
    lean = target - 0.5
    longer = float(np.sign(_lengths(pairs)) @ lean)
    return {
        "length": "longer" if longer >= 0 else "shorter",
        "side": "a" if lean.sum() >= 0 else "b",
    }


def _baselines(
    pairs: Sequence[PreferencePair],
    target: np.ndarray,
    decided: np.ndarray,
    cluster: PromptBootstrap,
    learned: dict[str, str] | Sequence[dict[str, str]],
) -> dict[str, Any]:
    """Accuracy of the length-only and the majority rule, directions learned on training pairs.

    Of directions that differ by pair, the one that most pairs have names the rule.
    """
    import numpy as np

    each = [learned] * len(pairs) if isinstance(learned, dict) else list(learned)
    figures: dict[str, Any] = {"length_only_accuracy": None, "majority_accuracy": None}
    if all("length" in one for one in each):
        sign = np.array([1 if one["length"] == "longer" else -1 for one in each])
        by_length = _correct(sign * _lengths(pairs), target)
        figures["length_only_accuracy"] = _mean(by_length, decided)
        figures["length_only_accuracy_ci"] = cluster.interval(by_length, decided)
        mostly = "longer" if sign.sum() >= 0 else "shorter"
        figures["length_only_rule"] = f"the {mostly} answer is better"
    if all("side" in one for one in each):
        sign = np.array([1 if one["side"] == "a" else -1 for one in each])
        by_side = _correct(sign, target)
        figures["majority_accuracy"] = _mean(by_side, decided)
    return figures


def _slice(correct: np.ndarray, where: np.ndarray, cluster: PromptBootstrap) -> dict[str, Any]:
    return {
        "pairs": int(where.sum()),
        "accuracy": _mean(correct, where),
        "accuracy_ci": cluster.interval(correct, where),
    }


def _by_length(
    pairs: Sequence[PreferencePair],
    correct: np.ndarray,
    target: np.ndarray,
    decided: np.ndarray,
    cluster: PromptBootstrap,
) -> dict[str, Any]:
    """Accuracy where the better answer is the shorter, and where it is the longer."""
    import numpy as np

    longer = _lengths(pairs) * np.sign(target - 0.5)
    return {
        "chosen_shorter": _slice(correct, decided & (longer < 0), cluster),
        "chosen_longer": _slice(correct, decided & (longer > 0), cluster),
    }


def _by_category(
    pairs: Sequence[PreferencePair],
    correct: np.ndarray,
    decided: np.ndarray,
    cluster: PromptBootstrap,
) -> dict[str, Any]:
    import numpy as np

    categories = np.array([p.category or "" for p in pairs])
    names = [str(c) for c in np.unique(categories) if c]
    return {name: _slice(correct, decided & (categories == name), cluster) for name in names}


def cross_validated(
    groups: np.ndarray, num_folds: int, fit_and_score: Callable[[np.ndarray, np.ndarray], None]
) -> None:
    """Call `fit_and_score(train, test)` with boolean masks [N] for folds of whole groups.

    Groups go to folds in the order of their numbers, so the folds depend on the data alone.
    """
    import numpy as np

    names = np.unique(groups)
    for fold in range(min(num_folds, len(names))):
        test = np.isin(groups, names[fold::num_folds])
        fit_and_score(~test, test)
