"""One more judgement, milliseconds later: a checkpoint's head fitted again from where it stands.

    warm = WarmFit.load(checkpoint_directory)
    head = warm.refit(pairs, info=info, store=store).head       # pairs: all that are judged now

Layer, readout, penalty and the other settings stay what that run chose; the optimum is the one that
a fit from nothing with these settings finds, to the solver's tolerance. It is near the old one, and
the posterior beside the checkpoint is the inverse Hessian there: a few steps preconditioned by it
are all that is left, without a Gram matrix or a factor. What the head's figures are, and whether
another layer would now be better, a training run says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rm_core import checkpoint
from rm_core.backbone import BackboneInfo
from rm_core.config import TrainConfig
from rm_core.errors import CheckpointError, TrainingDataError
from rm_core.features import FeatureStore
from rm_core.fitting import Fit, PairFeatures, Recipe
from rm_core.heads import RewardHead
from rm_core.hessian import Inverse
from rm_core.pairs import PreferencePair
from rm_core.solver import Optimum
from rm_core.training import load_features, recipe_for
from rm_core.uncertainty import Posterior

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class WarmResult:
    """A head fitted again.

    Attributes:
        fit: of all the pairs given; `fit.posterior` needs left-out logits, so it is not kept here.
        num_steps: of the solver.
    """

    head: RewardHead
    fit: Fit
    optimum: Optimum
    num_steps: int


@dataclass(frozen=True)
class WarmFit:
    """An optimum with its inverse Hessian: where the next fit begins.

    Attributes:
        recipe: with the penalty that was chosen.
        length_coefficient: of a length column; 0 without.
    """

    head: RewardHead
    posterior: Posterior
    recipe: Recipe
    config: TrainConfig
    threshold: float = 0.0
    length_coefficient: float = 0.0

    @classmethod
    def load(cls, directory: Path) -> WarmFit:
        """From a checkpoint directory; reads no pairs and no features.

        Raises:
            CheckpointError: it cannot be read, or was saved without its posterior.
        """
        loaded = checkpoint.load(Path(directory))
        posterior = Posterior.load(directory)
        if posterior is None:
            raise CheckpointError(
                f"The checkpoint {directory} was saved without its posterior, from which a warm "
                "fit begins; train again."
            )
        return cls.of(loaded.head, posterior, loaded.manifest)

    @classmethod
    def of(cls, head: RewardHead, posterior: Posterior, manifest: dict[str, Any]) -> WarmFit:
        """From what a training run gave (`TrainResult.head`, `.posterior`, `.manifest`)."""
        config = TrainConfig.from_dict(manifest["config"])
        recipe = replace(recipe_for(config, head.readout), penalty=manifest["penalty"])
        return cls(
            head,
            posterior,
            recipe,
            config,
            manifest.get("tie_threshold") or 0.0,
            manifest["metrics"].get("length_coefficient") or 0.0,
        )

    def refit(
        self, pairs: Sequence[PreferencePair], *, info: BackboneInfo, store: FeatureStore
    ) -> WarmResult:
        """Fit all of these encoded pairs; held-out ones are left out by the caller.

        Raises:
            FeatureStoreError: an answer is not encoded at the head's layer.
            TrainingDataError: no pair.
        """
        if not pairs:
            raise TrainingDataError("There is no pair to fit; give at least one judged pair.")
        return self.refit_features(
            pairs, load_features(pairs, self.head.layer, info, store, self.config)
        )

    def refit_features(self, pairs: Sequence[PreferencePair], features: PairFeatures) -> WarmResult:
        """The same with features that are at hand."""
        fit = Fit.of(pairs, features, self.recipe)
        assert self.recipe.penalty is not None
        steps: list[int] = []
        at = fit.problem.solve(
            self.recipe.penalty,
            start=self._start(fit),
            on_step=lambda step, _: steps.append(step),
            inverse=self._inverse(fit),
        )
        return WarmResult(fit.head(at), fit, at, steps[-1])

    def _start(self, fit: Fit) -> Optimum:
        """The old optimum in the new fit's scaled features."""
        import numpy as np

        theta = self.head.weights * fit.scale
        if fit.lead:
            theta = np.concatenate([[fit.length_weight(self.length_coefficient)], theta])
        has_threshold = fit.problem.link.has_threshold and self.threshold
        return Optimum(theta, self.threshold if has_threshold else fit.problem.zero.threshold)

    def _inverse(self, fit: Fit) -> Inverse:
        """The old inverse Hessian: of nearly the same scaling, and it only directs."""
        import numpy as np

        inverse = self.posterior.inverse
        if not fit.lead:
            return inverse
        # A dense factor with the length column's own curvature in front of it.
        rows = fit.problem.rows
        own = 0.25 * float(rows.weight @ rows.features[:, 0] ** 2)
        if inverse.isotropic:
            return Inverse(np.pad(inverse.factor, ((0, 0), (1, 0))), inverse.isotropic)
        factor = np.pad(inverse.factor, ((1, 0), (1, 0)))
        factor[0, 0] = 1 / np.sqrt(own)
        return Inverse(factor, 0.0)
