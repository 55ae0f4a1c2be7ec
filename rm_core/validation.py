"""The chosen candidate solved from zero, with figures on prompts it has not seen.

Either on held-out pairs, or, where too few are held out, by cross-validation over all judged pairs:
then the head is fitted on all of them and the figures are of heads that never saw the prompt they
judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rm_core.candidates import best_candidate
from rm_core.evaluation import PromptBootstrap, cross_validated, evaluate_pairs, learn_baselines
from rm_core.fitting import Candidate, Fit, PairFeatures, Recipe
from rm_core.heads import RewardHead
from rm_core.pairs import PreferencePair
from rm_core.prefixes import by_share, prefix_correct
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
    judged = _Judged.by(fitted, head, heldout, heldout_features)
    return head, judged.figures(heldout, seed)


def validate_by_folds(
    fitted: Fitted,
    layers: Sequence[PairFeatures],
    recipes: Sequence[Recipe],
    num_folds: int,
    seed: int,
    on_metrics: OnMetrics,
    before_each: Callable[[], None] = lambda: None,
) -> tuple[RewardHead, dict[str, Any]]:
    """Fit on all pairs; the figures come from folds of whole prompts.

    Every fold does all that the run did, on its own pairs: it compares the candidates, chooses
    layer, readout and penalty, and learns calibration, baselines and posterior. The figures are
    thus of the procedure, its choice among candidates included, and no pair has a say in the head
    that judges it.

    Args:
        layers: features of `fitted.fit.pairs` at every candidate layer.
        recipes: the candidate readouts.
        before_each: called before every candidate's fit; may raise to stop.
    """
    import numpy as np

    pairs = fitted.fit.pairs
    target = np.array([p.target for p in pairs])
    folds: list[tuple[np.ndarray, list[np.ndarray], _Judged]] = []

    def fold(train_rows: np.ndarray, test_rows: np.ndarray) -> None:
        some, rest = np.flatnonzero(train_rows), np.flatnonzero(test_rows)
        best = best_candidate(
            [pairs[int(i)] for i in some],
            (features.take(some) for features in layers),
            recipes,
            lambda _: before_each(),
        )
        at_layer = next(f for f in layers if f.layer == best.candidate.layer).take(rest)
        trail: list[np.ndarray] = []
        head = best.fit.refit(
            best.candidate.choice.penalty, lambda _, head: trail.append(at_layer.margins(head))
        )
        of_fold = Fitted.of(best.fit, best.candidate)
        judged = _Judged.by(of_fold, head, [pairs[int(i)] for i in rest], at_layer)
        folds.append((rest, trail, judged))

    cross_validated(fitted.fit.outcome.group, num_folds, fold)
    prompts = PromptBootstrap([p.group for p in pairs], seed)
    own = next(f for f in layers if f.layer == fitted.candidate.layer)

    def report(step: int, head: RewardHead) -> None:
        at_step = np.zeros(len(pairs))
        for rows, trail, _ in folds:
            at_step[rows] = trail[min(step, len(trail) - 1)]
        on_metrics(step, _step_metrics(pairs, own, head) | _accuracy(at_step, target, prompts))

    head = fitted.fit.refit(fitted.candidate.choice.penalty, report)
    judged = _Judged.joined([rows for rows, _, _ in folds], [each for _, _, each in folds])
    return head, judged.figures(pairs, seed) | {"num_folds": len(folds)}


@dataclass(frozen=True)
class _Judged:
    """What heads say of pairs whose prompts they never saw, pair by pair.

    Attributes:
        margin: float64 [B], r_a - r_b in reward units.
        scale: float64 [B], the calibration of the head that judged each pair.
        variance: float64 [B], of the margin, and `averaged`, P(a better) with it averaged out.
        baselines: [B], what the rules without a model learned from that head's training pairs.
        tie_loss: float64 [B], loss of the three outcomes; None without a model of ties.
        prefixes: float64 [B, shares], how right the rewards of prefixes are; None without states.
    """

    margin: np.ndarray
    scale: np.ndarray
    variance: np.ndarray
    averaged: np.ndarray
    baselines: list[dict[str, str]]
    tie_loss: np.ndarray | None
    prefixes: np.ndarray | None

    @classmethod
    def by(
        cls,
        fitted: Fitted,
        head: RewardHead,
        pairs: Sequence[PreferencePair],
        features: PairFeatures,
    ) -> _Judged:
        """One head's judgement."""
        import numpy as np

        margin = features.margins(head)
        variance = fitted.posterior.difference_variance(features.differences(head.readout))
        target = np.array([p.target for p in pairs])
        threshold, tie_loss, prefixes = fitted.tie_threshold, None, None
        if threshold is not None:
            tie = np.array([p.tie_share for p in pairs])
            tie_loss = fitted.fit.problem.link.slopes(margin, target, tie, threshold).loss
        if features.states_a is not None and features.states_b is not None:
            prefixes = prefix_correct(head, features.states_a, features.states_b, target)
        return cls(
            margin,
            np.full(len(pairs), fitted.calibration_scale),
            variance,
            fitted.posterior.probability(margin, variance),
            [fitted.baselines] * len(pairs),
            tie_loss,
            prefixes,
        )

    @classmethod
    def joined(cls, rows: Sequence[np.ndarray], parts: Sequence[_Judged]) -> _Judged:
        """The judgements of folds in the order of all pairs; `rows` says where each stands."""
        import numpy as np

        order = np.argsort(np.concatenate(rows))

        def all_of(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            return None if any(v is None for v in values) else np.concatenate(values)[order]

        learned = [each for part in parts for each in part.baselines]
        return cls(
            all_of("margin"),
            all_of("scale"),
            all_of("variance"),
            all_of("averaged"),
            [learned[i] for i in order],
            all_of("tie_loss"),
            all_of("prefixes"),
        )

    def figures(self, pairs: Sequence[PreferencePair], seed: int) -> dict[str, Any]:
        """All figures, the same ones however the pairs were kept unseen."""
        import numpy as np

        target = np.array([p.target for p in pairs])
        manifest = {"calibration_scale": self.scale, "baselines": self.baselines}
        metrics = evaluate_pairs(pairs, self.margin, np.zeros(len(pairs)), manifest, seed)
        p = np.clip(self.averaged, 1e-12, 1 - 1e-12)
        loss = -(target * np.log(p) + (1 - target) * np.log(1 - p))
        metrics["log_loss_averaged"] = float(loss.mean())
        metrics["reward_std"] = float(np.sqrt(self.variance).mean())
        if self.tie_loss is not None:
            metrics["three_way_log_loss"] = float(self.tie_loss.mean())
            metrics["three_way_chance"] = _three_way_chance(pairs)
        if self.prefixes is not None:
            metrics["prefix_accuracy"] = by_share(self.prefixes, target)
        return metrics | {UNSEEN: _unseen(pairs, self.scale * self.margin)}


def _three_way_chance(pairs: Sequence[PreferencePair]) -> float:
    """Log loss of the base rates: of ties, and of either side winning."""
    import numpy as np

    tie = np.array([p.tie_share for p in pairs])
    share = float(np.clip(tie.mean(), 1e-12, 1 - 1e-12))
    return float(-share * np.log(share) - (1 - share) * np.log((1 - share) / 2))


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
