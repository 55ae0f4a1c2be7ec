"""The chosen candidate solved from zero, with figures on prompts it has not seen.

Either on held-out pairs, or, where too few are held out, by cross-validation over all judged pairs:
then the head is fitted on all of them and the figures are of heads that never saw the prompt they
judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rm_core.evaluation import (
    PromptBootstrap,
    cross_validated,
    evaluate_pairs,
    learn_baselines,
)
from rm_core.fitting import Candidate, Fit, PairFeatures
from rm_core.heads import RewardHead
from rm_core.pairs import PreferencePair
from rm_core.prefixes import prefix_accuracy
from rm_core.solver import calibration_scale, mean_log_loss
from rm_core.uncertainty import Posterior

if TYPE_CHECKING:
    import numpy as np

OnMetrics = Callable[[int, dict[str, float]], None]
# Key under which the figures carry the predictions that they were made from; `train` takes it out.
UNSEEN = "unseen_logits"


@dataclass(frozen=True)
class Fitted:
    """The chosen candidate with what its left-out logits and training pairs taught."""

    fit: Fit
    candidate: Candidate
    calibration_scale: float
    baselines: dict[str, str]
    posterior: Posterior

    @classmethod
    def of(cls, fit: Fit, candidate: Candidate) -> Fitted:
        """Learn the calibration and the baselines' directions."""
        rows = fit.outcome
        scale = calibration_scale(candidate.choice.left_out, rows.target, rows.weight)
        posterior = fit.posterior(candidate.choice)
        return cls(fit, candidate, scale, learn_baselines(fit.pairs), posterior)

    @property
    def tie_threshold(self) -> float | None:
        """The learned threshold of a model of ties (rm_core.links); None without."""
        has_one = self.fit.problem.link.has_threshold
        return self.candidate.choice.optimum.threshold if has_one else None

    @property
    def for_evaluation(self) -> dict[str, Any]:
        """The part of the manifest that evaluation reads."""
        return {"calibration_scale": self.calibration_scale, "baselines": self.baselines}


def validate_heldout(
    fitted: Fitted,
    features: PairFeatures,
    heldout: Sequence[PreferencePair],
    heldout_features: PairFeatures,
    seed: int,
    on_metrics: OnMetrics,
) -> tuple[RewardHead, dict[str, Any]]:
    """Solve from zero, report every step with its held-out accuracy, evaluate the end.

    Args:
        features: of the training pairs, `fitted.fit.pairs`.
        seed: of the bootstrap.
    """
    import numpy as np

    target = np.array([p.target for p in heldout])
    prompts = PromptBootstrap([p.group for p in heldout], seed)

    def report(step: int, head: RewardHead) -> None:
        accuracy = _accuracy(heldout_features.margins(head), target, prompts)
        on_metrics(step, _step_metrics(fitted.fit.pairs, features, head) | accuracy)

    head = fitted.fit.refit(fitted.candidate.choice.penalty, report)
    rewards_a = head.rewards(heldout_features.mean_a, heldout_features.end_a)
    rewards_b = head.rewards(heldout_features.mean_b, heldout_features.end_b)
    metrics = evaluate_pairs(heldout, rewards_a, rewards_b, fitted.for_evaluation, seed)
    margin = rewards_a - rewards_b
    metrics |= _of_the_posterior(fitted, heldout_features, margin, target)
    metrics |= _of_ties(fitted, heldout, margin)
    if heldout_features.states_a is not None and heldout_features.states_b is not None:
        metrics["prefix_accuracy"] = prefix_accuracy(
            head, heldout_features.states_a, heldout_features.states_b, target
        )
    return head, metrics | {UNSEEN: _unseen(heldout, fitted.calibration_scale * margin)}


def _of_the_posterior(
    fitted: Fitted, features: PairFeatures, margin: np.ndarray, target: np.ndarray
) -> dict[str, float]:
    """Log loss of probabilities with the head's own uncertainty averaged out."""
    import numpy as np

    variance = fitted.posterior.difference_variance(features.differences(fitted.fit.recipe.readout))
    p = np.clip(fitted.posterior.probability(margin, variance), 1e-12, 1 - 1e-12)
    loss = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    return {"log_loss_averaged": float(loss.mean()), "reward_std": float(np.sqrt(variance).mean())}


def _of_ties(
    fitted: Fitted, pairs: Sequence[PreferencePair], margin: np.ndarray
) -> dict[str, float]:
    """Log loss of the three outcomes under the fitted model of ties, beside their base rates'."""
    import numpy as np

    threshold = fitted.tie_threshold
    if threshold is None:
        return {}
    target = np.array([p.target for p in pairs])
    tie = np.array([p.tie_share for p in pairs])
    loss = fitted.fit.problem.link.slopes(margin, target, tie, threshold).loss
    share = float(np.clip(tie.mean(), 1e-12, 1 - 1e-12))
    chance = -share * np.log(share) - (1 - share) * np.log((1 - share) / 2)
    return {"three_way_log_loss": float(loss.mean()), "three_way_chance": float(chance)}


def validate_by_folds(
    fitted: Fitted, features: PairFeatures, num_folds: int, seed: int, on_metrics: OnMetrics
) -> tuple[RewardHead, dict[str, Any]]:
    """Fit on all pairs; the figures come from folds of whole prompts.

    Layer and readout were chosen on all pairs; penalty, calibration and weights are chosen anew in
    every fold.
    """
    import numpy as np

    pairs = fitted.fit.pairs
    target = np.array([p.target for p in pairs])
    folds: list[tuple[np.ndarray, list[np.ndarray]]] = []  # test rows, margins at every step
    margins = np.zeros(len(pairs))

    def fold(train_rows: np.ndarray, test_rows: np.ndarray) -> None:
        some = np.flatnonzero(train_rows)
        fit = Fit.of([pairs[int(i)] for i in some], features.take(some), fitted.fit.recipe)
        choice = fit.choose()
        rest = features.take(np.flatnonzero(test_rows))
        trail: list[np.ndarray] = []
        fit.refit(choice.penalty, lambda _, head: trail.append(rest.margins(head)))
        folds.append((test_rows, trail))
        scale = calibration_scale(choice.left_out, fit.outcome.target, fit.outcome.weight)
        margins[test_rows] = scale * trail[-1]

    cross_validated(fitted.fit.outcome.group, num_folds, fold)

    prompts = PromptBootstrap([p.group for p in pairs], seed)

    def report(step: int, head: RewardHead) -> None:
        at_step = np.zeros(len(pairs))
        for rows, trail in folds:
            at_step[rows] = trail[min(step, len(trail) - 1)]
        on_metrics(step, _step_metrics(pairs, features, head) | _accuracy(at_step, target, prompts))

    head = fitted.fit.refit(fitted.candidate.choice.penalty, report)
    calibrated = fitted.for_evaluation | {"calibration_scale": 1.0}  # folds are scaled already
    metrics = evaluate_pairs(pairs, margins, np.zeros(len(pairs)), calibrated, seed)
    return head, metrics | {"num_folds": len(folds), UNSEEN: _unseen(pairs, margins)}


def _unseen(pairs: Sequence[PreferencePair], logits: np.ndarray) -> dict[str, float]:
    """Calibrated log odds that a is better, from heads that never saw the prompt, by pair."""
    return {pair.pair_id: float(logit) for pair, logit in zip(pairs, logits, strict=True)}


def _step_metrics(
    pairs: Sequence[PreferencePair], features: PairFeatures, head: RewardHead
) -> dict[str, float]:
    """Loss and mean rewards on the training pairs that have a winner."""
    import numpy as np

    r_a = head.rewards(features.mean_a, features.end_a)
    r_b = head.rewards(features.mean_b, features.end_b)
    target = np.array([p.target for p in pairs])
    weight = np.array([p.weight for p in pairs])
    decided = target != 0.5
    a_wins = target[decided] > 0.5
    chosen = np.where(a_wins, r_a[decided], r_b[decided])
    rejected = np.where(a_wins, r_b[decided], r_a[decided])
    return {
        "loss": mean_log_loss(r_a - r_b, target, weight),
        "reward_chosen": float(chosen.mean()),
        "reward_rejected": float(rejected.mean()),
        "reward_gap": float((chosen - rejected).mean()),
    }


def _accuracy(margin: np.ndarray, target: np.ndarray, prompts: PromptBootstrap) -> dict[str, float]:
    """Accuracy and its 95 % interval by prompts; nothing where all pairs are ties of people."""
    import numpy as np

    decided = target != 0.5
    if not decided.any():
        return {}
    right = 0.5 + 0.5 * np.sign(margin) * np.sign(target - 0.5)
    figures = {"heldout_accuracy": float(right[decided].mean())}
    interval = prompts.interval(right, decided)
    if interval is not None:
        figures |= {"heldout_accuracy_low": interval[0], "heldout_accuracy_high": interval[1]}
    return figures
