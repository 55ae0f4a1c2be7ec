"""From features and judged pairs to one head: candidates compared, the best one fitted.

Before the fit every feature is divided by the root mean square of its differences over the pairs
(folded into the weights afterwards), and each pooled block is held orthogonal to the training
answers' mean: the average training answer has reward 0, a constant that Bradley–Terry cannot
identify and a head without bias could only waste weight on. Token values are centred by it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rm_core.heads import Readout, RewardHead, design, design_blocks, split_weights
from rm_core.leave_one_out import (
    PENALTIES,
    PenaltyChoice,
    choose_penalty,
    edge_of,
    left_out_loss,
)
from rm_core.links import LINKS, Half, Link, Ties, sigmoid
from rm_core.objectives import coherence_form, length_differences, outcome_rows, token_rows
from rm_core.pairs import PreferencePair
from rm_core.solver import Optimum, Problem, Rows
from rm_core.uncertainty import Posterior, averaged_calibration

if TYPE_CHECKING:
    import numpy as np

# Leaving a prompt out costs the cube of its rows: above this, cross-validation is cheaper.
MAX_GROUP_ROWS = 800
# The length column is this much larger than the features, so that the penalty hardly holds it.
_LENGTH_SCALE = 10.0


@dataclass(frozen=True)
class PairFeatures:
    """Features of B pairs at one layer.

    Attributes:
        layer: which.
        mean_a, end_a, mean_b, end_b: float [B, H].
        states_a, states_b: float32 [T, H] for every pair; only for the per-token objective.
        partings: int64 [B], after how many tokens the answers part; beside the states.
    """

    layer: int
    mean_a: np.ndarray
    end_a: np.ndarray
    mean_b: np.ndarray
    end_b: np.ndarray
    states_a: list[np.ndarray] | None = None
    states_b: list[np.ndarray] | None = None
    partings: np.ndarray | None = None

    def take(self, chosen: np.ndarray) -> PairFeatures:
        """The pairs of an index array."""
        states_a, states_b = (
            None if states is None else [states[i] for i in chosen]
            for states in (self.states_a, self.states_b)
        )
        partings = None if self.partings is None else self.partings[chosen]
        return PairFeatures(
            self.layer,
            self.mean_a[chosen],
            self.end_a[chosen],
            self.mean_b[chosen],
            self.end_b[chosen],
            states_a,
            states_b,
            partings,
        )

    def differences(self, readout: Readout) -> np.ndarray:
        """Features a - b in which a readout's reward difference is linear, float [B, d]."""
        a = design(readout, self.mean_a, self.end_a)
        return a - design(readout, self.mean_b, self.end_b)

    def margins(self, head: RewardHead) -> np.ndarray:
        """r_a - r_b, float64 [B]."""
        return head.rewards(self.mean_a, self.end_a) - head.rewards(self.mean_b, self.end_b)


@dataclass(frozen=True)
class Recipe:
    """What is fitted: all but the data. See rm_core.config.TrainConfig."""

    readout: Readout
    objective: str = "outcome"
    penalty: float | None = None
    token_weight: float = 1.0
    lookahead_weight: float = 0.0
    smoothness_weight: float = 0.0
    max_token_positions: int = 64
    num_folds: int = 5
    ties: Ties = "half"
    margin_scale: float = 1.0
    length_column: bool = False

    @property
    def rows_a_pair(self) -> int:
        """How many rows of the problem a pair has at most."""
        return 1 if self.objective == "outcome" else self.max_token_positions


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
            "penalty_edge": self.choice.edge,
            "left_out_log_loss": self.choice.log_loss,
            "left_out_accuracy": self.accuracy,
            "penalty_path": [[p, loss] for p, loss in self.choice.path],
        }


@dataclass
class Fit:
    """A scaled problem with the way back to weights on raw states.

    Attributes:
        scale: float64 [d], what each of the head's features is divided by.
        centre: each pooled block's direction that is projected out.
        problem: in scaled features; the first `lead` columns are the length's.
        outcome: one row a pair, scaled, without a length column: what is scored.
        length_scale: what the length column was divided by; None without one.
    """

    recipe: Recipe
    layer: int
    pairs: Sequence[PreferencePair]
    scale: np.ndarray
    centre: list[tuple[slice, np.ndarray]]
    problem: Problem
    outcome: Rows
    length_scale: float | None = None

    @classmethod
    def of(cls, pairs: Sequence[PreferencePair], features: PairFeatures, recipe: Recipe) -> Fit:
        """Standardise and centre one candidate's rows."""
        import numpy as np

        blocks_a = design_blocks(recipe.readout, features.mean_a, features.end_a)
        blocks_b = design_blocks(recipe.readout, features.mean_b, features.end_b)
        outcome = outcome_rows(
            pairs, list(zip(blocks_a, blocks_b, strict=True)), recipe.margin_scale
        )
        rows = outcome if recipe.objective == "outcome" else _token_rows(outcome, features, recipe)
        scale = np.sqrt(np.einsum("i,ij,ij->j", rows.weight, rows.features, rows.features))
        scale /= np.sqrt(rows.weight.sum())
        scale = np.maximum(scale, max(float(scale.max()), 1e-30) * 1e-6)
        mean = np.concatenate(
            [
                (a.mean(axis=0, dtype=np.float64) + b.mean(axis=0, dtype=np.float64)) / 2
                for a, b in zip(blocks_a, blocks_b, strict=True)
            ]
        )
        centre = _centre(mean / scale, len(blocks_a))
        for some in [rows] if rows is outcome else [rows, outcome]:
            np.divide(some.features, scale, out=some.features)
            _project(some.features, centre)
        form = _scaled_form(pairs, features, recipe, scale, centre)
        problem, length_scale = _problem(pairs, rows, outcome, recipe, form)
        return cls(recipe, features.layer, pairs, scale, centre, problem, outcome, length_scale)

    @property
    def lead(self) -> int:
        """How many columns stand before the head's own."""
        return 0 if self.length_scale is None else 1

    @property
    def ties(self) -> Ties:
        """The model of ties that was fitted: "half" where no pair has any."""
        return self.problem.link.name

    def head(self, optimum: Optimum) -> RewardHead:
        """The reward head of a point of the problem."""
        theta = optimum.theta[self.lead :]
        for block, direction in self.centre:  # what rounding left there
            theta = theta.copy()
            theta[block] -= (theta[block] @ direction) * direction
        value, end = split_weights(self.recipe.readout, theta / self.scale)
        return RewardHead(self.recipe.readout, self.layer, value, end)

    def length_coefficient(self, optimum: Optimum) -> float | None:
        """Reward for each unit of log length that the head does not keep; None without column."""
        if self.length_scale is None:
            return None
        return float(optimum.theta[0]) * _LENGTH_SCALE / self.length_scale

    def length_weight(self, coefficient: float) -> float:
        """The length column's weight for a coefficient; the way back from `length_coefficient`."""
        return 0.0 if self.length_scale is None else coefficient * self.length_scale / _LENGTH_SCALE

    def posterior(self, choice: PenaltyChoice) -> Posterior:
        """How sure the head at the optimum is; its probabilities calibrated on left-out logits."""
        import numpy as np

        inverse = self.problem.inverse(choice.optimum, choice.penalty * self.problem.num)
        posterior = Posterior.of(inverse, self.scale, self.centre, self.lead)
        rows = self.outcome
        scaled = rows.features.astype(posterior.factor.dtype)
        variance = posterior.inverse.spread(scaled, posterior.inverse.images(scaled))
        # Without its own pair a difference is less sure; how much less, the leverage says.
        p = sigmoid(choice.left_out)
        seen = np.minimum(rows.weight * p * (1 - p) * variance, 0.9)
        calibration = averaged_calibration(
            choice.left_out, variance / (1 - seen), rows.target, rows.weight
        )
        return posterior.calibrated(calibration)

    def choose(self, first: float = 1.0) -> PenaltyChoice:
        """The penalty and its optimum, with logits of every pair without its prompt.

        Args:
            first: where the search for the penalty begins.
        """
        import numpy as np

        recipe = self.recipe
        penalties = PENALTIES if recipe.penalty is None else (recipe.penalty,)
        if int(np.bincount(self.problem.rows.group).max()) <= MAX_GROUP_ROWS:
            return choose_penalty(self.problem, penalties, first)
        return self._choose_by_folds(penalties)

    def _choose_by_folds(self, penalties: Sequence[float]) -> PenaltyChoice:
        """Grouped cross-validation, where leaving single prompts out has no short cut."""
        import numpy as np

        whole = self.problem
        rows, scored = whole.rows, whole.scored
        names = np.unique(scored.group)
        folds = [names[k :: self.recipe.num_folds] for k in range(self.recipe.num_folds)]
        penalties = sorted(penalties, reverse=True)
        logits = {p: np.zeros(len(scored.target)) for p in penalties}
        losses = dict.fromkeys(penalties, 0.0)
        for fold in folds:
            if not len(fold) or len(fold) == len(names):
                continue
            part = Problem(
                rows.take(~np.isin(rows.group, fold)), whole.link, quadratic=whole.quadratic
            )
            test = np.flatnonzero(np.isin(scored.group, fold))
            at = part.zero
            for penalty in penalties:
                at = part.solve(penalty, start=at)
                logits[penalty][test] = scored.features[test] @ at.theta
                share = float(scored.weight[test].sum() / scored.weight.sum())
                losses[penalty] += share * left_out_loss(whole, logits[penalty], at, test)
        penalty = min(penalties, key=lambda p: losses[p])
        path = [(p, losses[p]) for p in penalties]
        return PenaltyChoice(
            penalty,
            whole.solve(penalty),
            logits[penalty],
            losses[penalty],
            path,
            edge_of(penalty, penalties),
        )

    def candidate(self, first: float = 1.0) -> Candidate:
        """This layer and readout with its left-out figures; `first` as in `choose`."""
        import numpy as np

        choice = self.choose(first)
        decided = self.outcome.target != 0.5
        sign = np.sign(choice.left_out) * np.sign(self.outcome.target - 0.5)
        accuracy = float((0.5 + 0.5 * sign[decided]).mean()) if decided.any() else None
        return Candidate(self.layer, self.recipe.readout, choice, accuracy)

    def refit(
        self, penalty: float, on_step: Callable[[int, RewardHead], None] | None = None
    ) -> RewardHead:
        """Solve from zero and report the head at every step."""
        step = None if on_step is None else lambda k, at: on_step(k, self.head(at))
        return self.head(self.problem.solve(penalty, on_step=step))


def _token_rows(outcome: Rows, features: PairFeatures, recipe: Recipe) -> Rows:
    """Rows of the per-token objectives."""
    assert features.states_a is not None
    assert features.states_b is not None
    assert features.partings is not None
    return token_rows(
        outcome,
        features.states_a,
        features.states_b,
        features.partings,
        token_weight=recipe.token_weight,
        max_positions=recipe.max_token_positions,
    )


def _scaled_form(
    pairs: Sequence[PreferencePair],
    features: PairFeatures,
    recipe: Recipe,
    scale: np.ndarray,
    centre: list[tuple[slice, np.ndarray]],
) -> np.ndarray | None:
    """The quadratic terms in scaled and centred features, or None where there are none."""
    weights = (recipe.lookahead_weight, recipe.smoothness_weight)
    if recipe.objective != "token_coherent" or not any(weights):
        return None
    assert features.states_a is not None
    assert features.states_b is not None
    form = coherence_form(
        pairs,
        features.states_a,
        features.states_b,
        lookahead_weight=weights[0],
        smoothness_weight=weights[1],
    )
    form = _project(_project(form / scale / scale[:, None], centre).T.copy(), centre)
    return (form + form.T) / 2


def _problem(
    pairs: Sequence[PreferencePair],
    rows: Rows,
    outcome: Rows,
    recipe: Recipe,
    form: np.ndarray | None,
) -> tuple[Problem, float | None]:
    """The solver's problem, with a length column in front where the recipe wants one."""
    import numpy as np

    has_ties = outcome.tie is not None and outcome.tie.any()
    link: Link = LINKS[recipe.ties] if has_ties else Half()
    length = length_differences(pairs) if recipe.length_column else None
    if length is None or not length.any():
        return Problem(rows, link, None if rows is outcome else outcome, form), None
    rms = float(np.sqrt(outcome.weight @ length**2 / outcome.weight.sum()))
    column = np.zeros((len(rows.target), 1))
    # Per-token terms compare equal positions: length has a say at the score positions alone.
    column[rows.first if rows.first is not None else slice(None), 0] = length * _LENGTH_SCALE / rms
    fitted = replace(rows, features=np.concatenate([column, rows.features], axis=1))
    scored = replace(
        outcome,
        features=np.concatenate([np.zeros((len(outcome.target), 1)), outcome.features], axis=1),
    )
    if form is not None:
        form = np.pad(form, ((1, 0), (1, 0)))
    return Problem(fitted, link, scored, form), rms


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
