"""From features and judged pairs to one head: candidates compared, the best one fitted.

Before the fit every feature is divided by the root mean square of its differences over the pairs
(folded into the weights afterwards), and each pooled block is held orthogonal to the training
answers' mean: the average training answer has reward 0, a constant that Bradley–Terry cannot
identify and a head without bias could only waste weight on. Token values are centred by it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rm_core.heads import Readout, RewardHead, design, split_weights
from rm_core.objectives import outcome_rows, token_rows
from rm_core.pairs import PreferencePair
from rm_core.solver import (
    PENALTIES,
    PenaltyChoice,
    Problem,
    Rows,
    choose_penalty,
    mean_log_loss,
    sigmoid,
)
from rm_core.uncertainty import Posterior, averaged_calibration

if TYPE_CHECKING:
    import numpy as np

# Leaving a prompt out costs the cube of its pairs: above this, cross-validation is cheaper.
MAX_GROUP_ROWS = 800


@dataclass(frozen=True)
class PairFeatures:
    """Features of B pairs at one layer.

    Attributes:
        layer: which.
        mean_a, end_a, mean_b, end_b: float [B, H].
        states_a, states_b: float32 [T, H] for every pair; only for the per-token objective.
    """

    layer: int
    mean_a: np.ndarray
    end_a: np.ndarray
    mean_b: np.ndarray
    end_b: np.ndarray
    states_a: list[np.ndarray] | None = None
    states_b: list[np.ndarray] | None = None

    def take(self, chosen: np.ndarray) -> PairFeatures:
        """The pairs of an index array."""
        picked = [array[chosen] for array in (self.mean_a, self.end_a, self.mean_b, self.end_b)]
        states = [
            [states[i] for i in chosen] if states is not None else None
            for states in (self.states_a, self.states_b)
        ]
        return PairFeatures(self.layer, *picked, *states)

    def margins(self, head: RewardHead) -> np.ndarray:
        """r_a - r_b, float64 [B]."""
        return head.rewards(self.mean_a, self.end_a) - head.rewards(self.mean_b, self.end_b)


@dataclass(frozen=True)
class Recipe:
    """What is fitted: all but the data."""

    readout: Readout
    objective: str = "outcome"
    penalty: float | None = None
    token_weight: float = 1.0
    max_token_positions: int = 64
    num_folds: int = 5


@dataclass(frozen=True)
class Candidate:
    """One layer and readout with its left-out figures.

    Attributes:
        choice: penalty, optimum and left-out logits [B] of the pairs.
        accuracy: of the left-out logits (ties of people left out, equal rewards ½).
    """

    layer: int
    readout: Readout
    choice: PenaltyChoice
    accuracy: float | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for the manifest and the page."""
        return {
            "layer": self.layer,
            "readout": self.readout,
            "penalty": self.choice.penalty,
            "left_out_log_loss": self.choice.log_loss,
            "left_out_accuracy": self.accuracy,
            "penalty_path": [[p, loss] for p, loss in self.choice.path],
        }


@dataclass
class Fit:
    """A scaled problem with the way back to weights on raw states."""

    recipe: Recipe
    layer: int
    pairs: Sequence[PreferencePair]
    scale: np.ndarray
    centre: list[tuple[slice, np.ndarray]]
    problem: Problem
    outcome: Rows

    @classmethod
    def of(cls, pairs: Sequence[PreferencePair], features: PairFeatures, recipe: Recipe) -> Fit:
        """Standardise, centre and rotate one candidate's rows."""
        import numpy as np

        a = design(recipe.readout, features.mean_a, features.end_a)
        b = design(recipe.readout, features.mean_b, features.end_b)
        outcome = outcome_rows(pairs, a, b)
        rows = outcome
        if recipe.objective == "token":
            assert features.states_a is not None
            assert features.states_b is not None
            rows = token_rows(
                pairs,
                features.states_a,
                features.states_b,
                token_weight=recipe.token_weight,
                max_positions=recipe.max_token_positions,
            )
        weight = rows.weight / rows.weight.sum()
        scale = np.sqrt(weight @ rows.features**2)
        scale = np.maximum(scale, max(float(scale.max()), 1e-30) * 1e-6)
        mean = (a.mean(axis=0, dtype=np.float64) + b.mean(axis=0, dtype=np.float64)) / 2
        centre = _centre(mean / scale, 2 if recipe.readout == "mean+last" else 1)
        scaled = Rows(_project(rows.features / scale, centre), rows.target, rows.weight, rows.group)
        scored = Rows(
            _project(outcome.features / scale, centre),
            outcome.target,
            outcome.weight,
            outcome.group,
        )
        return cls(recipe, features.layer, pairs, scale, centre, Problem(scaled), scored)

    def head(self, phi: np.ndarray) -> RewardHead:
        """The reward head of a point of the rotated problem."""
        theta = self.problem.theta(phi) / self.scale
        value, end = split_weights(self.recipe.readout, theta)
        return RewardHead(self.recipe.readout, self.layer, value, end)

    def posterior(self, choice: PenaltyChoice) -> Posterior:
        """How sure the head at the optimum is; its probabilities calibrated on left-out logits."""
        p = sigmoid(self.problem.rotated @ choice.phi)
        rows = self.problem.rows
        curvature = rows.weight * p * (1 - p)
        ridge = choice.penalty * self.problem.num
        posterior = Posterior.from_rows(rows.features, curvature, ridge, self.scale, self.centre)
        return posterior.calibrated(self._averaged_calibration(posterior, choice))

    def _averaged_calibration(self, posterior: Posterior, choice: PenaltyChoice) -> float:
        """The posterior's calibration, from logits and variances without the pair itself."""
        import numpy as np

        rows = self.outcome
        variance = posterior.difference_variance(rows.features * self.scale)
        p = sigmoid(choice.left_out)
        seen = np.minimum(rows.weight * p * (1 - p) * variance, 0.99)
        return averaged_calibration(
            choice.left_out, variance / (1 - seen), rows.target, rows.weight
        )

    def choose(self) -> PenaltyChoice:
        """The penalty and its optimum, with logits of every pair without its prompt."""
        import numpy as np

        recipe = self.recipe
        penalties = PENALTIES if recipe.penalty is None else (recipe.penalty,)
        largest = int(np.bincount(self.outcome.group).max())
        if recipe.objective == "outcome" and largest <= MAX_GROUP_ROWS:
            return choose_penalty(self.problem, penalties)
        return self._choose_by_folds(penalties)

    def _choose_by_folds(self, penalties: Sequence[float]) -> PenaltyChoice:
        """Grouped cross-validation, where leaving single prompts out has no short cut."""
        import numpy as np

        rows, outcome = self.problem.rows, self.outcome
        names = np.unique(outcome.group)
        folds = [names[k :: self.recipe.num_folds] for k in range(self.recipe.num_folds)]
        logits = {p: np.zeros(len(outcome.target)) for p in penalties}
        for fold in folds:
            if not len(fold) or len(fold) == len(names):
                continue
            problem = Problem(rows.take(~np.isin(rows.group, fold)))
            test = np.isin(outcome.group, fold)
            phi = None
            for penalty in sorted(penalties, reverse=True):
                phi = problem.solve(penalty, start=phi)
                logits[penalty][test] = outcome.features[test] @ problem.theta(phi)
        path = [
            (p, mean_log_loss(logits[p], outcome.target, outcome.weight))
            for p in sorted(penalties, reverse=True)
        ]
        penalty, loss = min(path, key=lambda entry: entry[1])
        return PenaltyChoice(penalty, self.problem.solve(penalty), logits[penalty], loss, path)

    def candidate(self) -> Candidate:
        """This layer and readout with its left-out figures."""
        import numpy as np

        choice = self.choose()
        decided = self.outcome.target != 0.5
        sign = np.sign(choice.left_out) * np.sign(self.outcome.target - 0.5)
        accuracy = float((0.5 + 0.5 * sign[decided]).mean()) if decided.any() else None
        return Candidate(self.layer, self.recipe.readout, choice, accuracy)

    def refit(
        self, penalty: float, on_step: Callable[[int, RewardHead], None] | None = None
    ) -> RewardHead:
        """Solve from zero and report the head at every Newton step."""
        step = None if on_step is None else lambda k, phi: on_step(k, self.head(phi))
        return self.head(self.problem.solve(penalty, on_step=step))


def _centre(mean: np.ndarray, num_blocks: int) -> list[tuple[slice, np.ndarray]]:
    """For each pooled block, the unit direction of the mean answer."""
    import numpy as np

    width = len(mean) // num_blocks
    blocks = [slice(i * width, (i + 1) * width) for i in range(num_blocks)]
    norms = [float(np.linalg.norm(mean[block])) for block in blocks]
    return [
        (block, mean[block] / norm) for block, norm in zip(blocks, norms, strict=True) if norm > 0
    ]


def _project(x: np.ndarray, centre: list[tuple[slice, np.ndarray]]) -> np.ndarray:
    """Take the centre directions out of rows [N, d] (in place: `x` is a temporary)."""
    import numpy as np

    for block, direction in centre:
        x[:, block] -= np.outer(x[:, block] @ direction, direction)
    return x
