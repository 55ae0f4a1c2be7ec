"""One training run from judged pairs to a head with its figures: encode, fit, evaluate.

    result = train(pairs, info=info, store=store, config=TrainConfig())
    checkpoint.save(directory, result, extra={})

With every answer in the feature store this imports neither torch nor transformers and takes a
fraction of a second. The same pairs, config and features give the same head to the bit.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rm_core.backbone import BackboneInfo
from rm_core.candidates import Best, best_candidate
from rm_core.config import TrainConfig
from rm_core.encoding import EncodeProgress, EncodeReport, encode_missing
from rm_core.errors import FeatureStoreError, Stopped
from rm_core.features import FeatureStore
from rm_core.fitting import PairFeatures, Recipe
from rm_core.heads import Readout, RewardHead
from rm_core.objectives import parting
from rm_core.pairs import PreferencePair
from rm_core.training_data import check_apart, check_enough, check_enough_encoded, split_pairs
from rm_core.uncertainty import Posterior
from rm_core.validation import UNSEEN, Fitted, validate_by_folds, validate_heldout

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

Stage = Literal["encoding", "fitting", "evaluating"]


@dataclass
class Hooks:
    """What a caller wants to hear while a run goes on; every field may be left out."""

    on_stage: Callable[[Stage], None] = lambda stage: None
    on_progress: Callable[[int, int], None] = lambda done, total: None
    on_metrics: Callable[[int, dict[str, float]], None] = lambda step, metrics: None
    should_stop: Callable[[], bool] = lambda: False

    def stop_if_asked(self) -> None:
        """Between two fits."""
        if self.should_stop():
            raise Stopped("The run was stopped while it fitted; what is encoded is kept.")


@dataclass(frozen=True)
class TrainResult:
    """A fitted head with all that a checkpoint says of it.

    Attributes:
        unseen_logits: calibrated log odds that a is better, by pair_id, for the pairs that the
            figures are about, each from a head that never saw its prompt.
        posterior: how sure the head is; a checkpoint keeps it beside the head.
    """

    head: RewardHead
    metrics: dict[str, Any]
    candidates: list[dict[str, Any]]
    manifest: dict[str, Any]
    unseen_logits: dict[str, float] = field(default_factory=dict)
    posterior: Posterior | None = None


def train(
    pairs: Sequence[PreferencePair],
    *,
    info: BackboneInfo,
    store: FeatureStore,
    config: TrainConfig | None = None,
    device: str = "auto",
    on_stage: Callable[[Stage], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_metrics: Callable[[int, dict[str, float]], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Encode what is missing, choose layer, readout and penalty, fit, evaluate.

    Args:
        pairs: judged pairs; those with split "heldout" are never fitted, unless there are too few
            of them: then all pairs are fitted and the figures come from cross-validation.
        on_metrics: called once a solver step with loss, reward_chosen, reward_rejected,
            reward_gap and heldout_accuracy with its interval, heldout_accuracy_low and _high.
        should_stop: asked before every forward and between stages.

    Raises:
        TrainingDataError: too few pairs, nothing but ties, or a prompt with pairs in both splits.
        BackboneError: something has to be encoded and the backbone cannot be loaded.
        Stopped: `should_stop` said so; what was encoded is kept.
    """
    config = config or TrainConfig()
    given = {"on_stage": on_stage, "on_progress": on_progress, "on_metrics": on_metrics}
    hooks = Hooks(**{name: hook for name, hook in given.items() if hook is not None})  # type: ignore[arg-type]
    if should_stop is not None:
        hooks.should_stop = should_stop
    check_enough(pairs)
    check_apart(pairs)
    layers = config.candidate_layers(info)

    hooks.on_stage("encoding")
    encoded, keys, report = _encode(pairs, layers, info, store, config, device, hooks)
    if len(encoded) < len(pairs):
        check_enough_encoded(encoded, len(pairs), report)
    data = split_pairs(encoded, config, report)

    hooks.on_stage("fitting")
    by_folds = data.evaluation == "cross-validation"

    def load(some: Sequence[PreferencePair], layer: int) -> PairFeatures:
        return load_features(some, layer, info, store, config, [keys[id(p)] for p in some])

    features = (load(data.train, layer) for layer in layers)
    # Folds choose among all layers again; otherwise the best layer's features are held, and those
    # that are being fitted.
    at_layers = list(features) if by_folds else features
    best = _fit_candidates(data.train, at_layers, len(layers), config, hooks)
    fitted = Fitted.of(best.fit, best.candidate)
    if edge := best.candidate.choice.edge:
        log.info("the penalty chosen, %g, is the %s tried", best.candidate.choice.penalty, edge)

    hooks.on_stage("evaluating")
    if by_folds:
        head, metrics = validate_by_folds(
            fitted,
            list(at_layers),
            _recipes(config),
            config.num_folds,
            config.seed,
            hooks.on_metrics,
            hooks.stop_if_asked,
        )
    else:
        heldout = load(data.heldout, best.candidate.layer)
        head, metrics = validate_heldout(
            fitted, best.features, data.heldout, heldout, config.seed, hooks.on_metrics
        )
    unseen_logits = metrics.pop(UNSEEN)
    metrics |= _figures_of_the_fit(fitted, config) | {
        "evaluation": data.evaluation,
        "num_pairs": len(data.train) + len(data.heldout),
        "num_train_pairs": len(data.train),
        "num_train_prompts": len({p.group for p in data.train}),
        "left_out": data.left_out,
        "encoding": _encoding_figures(report),
    }
    described = [c.as_dict() | {"chosen": c is best.candidate} for c in best.compared]
    manifest = _manifest(head, fitted, info, config, metrics, described)
    return TrainResult(head, metrics, described, manifest, unseen_logits, fitted.posterior)


def _figures_of_the_fit(fitted: Fitted, config: TrainConfig) -> dict[str, Any]:
    """What was chosen and fitted, for the page and the manifest."""
    import numpy as np

    fit, chosen = fitted.fit, fitted.candidate
    ties = np.array([p.tie_share for p in fit.pairs])
    return {
        "layer": chosen.layer,
        "readout": chosen.readout,
        "objective": config.objective,
        "penalty": chosen.choice.penalty,
        "penalty_edge": chosen.choice.edge,
        "left_out_log_loss": chosen.choice.log_loss,
        "left_out_accuracy": chosen.accuracy,
        "ties": fit.ties,
        "tie_threshold": fitted.tie_threshold,
        "tie_share": float(ties.mean()),
        "num_target_margins": sum(p.target_margin > 0 for p in fit.pairs),
        "length_coefficient": fit.length_coefficient(chosen.choice.optimum),
    }


def _encode(
    pairs: Sequence[PreferencePair],
    layers: list[int],
    info: BackboneInfo,
    store: FeatureStore,
    config: TrainConfig,
    device: str,
    hooks: Hooks,
) -> tuple[list[PreferencePair], dict[int, tuple[str, str]], EncodeReport]:
    """Encode what the store lacks; pairs with an answer that cannot be encoded are dropped.

    With the keys of both answers by the pair's identity: a prompt is a list and cannot be hashed,
    and making a key takes longer than reading a record.
    """
    answers = [answer for p in pairs for answer in (p.answer_a, p.answer_b)]

    def progress(state: EncodeProgress) -> None:
        hooks.on_progress(state.done, state.total)

    report = encode_missing(
        store,
        info,
        answers,
        layers=layers,
        limits=config.limits,
        device=device,
        dtype=config.dtype,
        tokens=config.needs_token_states,
        on_progress=progress,
        should_stop=hooks.should_stop,
    )
    if report.stopped or hooks.should_stop():
        raise Stopped("The run was stopped while it encoded; what is encoded is kept.")
    found = _keys_of(pairs, info, store, config)
    keys = {id(p): both for p, both in zip(pairs, found, strict=True)}
    refused = {found[index // 2][index % 2] for index, _ in report.refused}
    return [p for p in pairs if not refused.intersection(keys[id(p)])], keys, report


def load_features(
    pairs: Sequence[PreferencePair],
    layer: int,
    info: BackboneInfo,
    store: FeatureStore,
    config: TrainConfig,
    keys: Sequence[tuple[str, str]] | None = None,
) -> PairFeatures:
    """Features of encoded pairs at one layer, in their order.

    Args:
        keys: where both answers of each pair are in the store; worked out where not given.

    Raises:
        FeatureStoreError: an answer is not encoded, its record was damaged (it has been dropped:
            encode again), or its token states were evicted.
    """
    import numpy as np

    sides = []
    states: list[list[np.ndarray]] = []
    ids: list[list[np.ndarray]] = []
    if keys is None:
        keys = _keys_of(pairs, info, store, config)
    for side in (0, 1):
        wanted = [both[side] for both in keys]
        summaries = store.summaries(wanted, layer)
        if summaries.damaged:
            raise FeatureStoreError(
                f"{len(summaries.damaged)} records of the feature store were damaged and have been "
                "dropped; run again to encode those answers anew."
            )
        sides += [summaries.mean, summaries.end]
        if config.needs_token_states:
            by_key = {key: (own, rows) for key, own, rows in store.tokens(wanted, layer)}
            _check_whole(wanted, by_key)
            ids.append([by_key[key][0] for key in wanted])
            states.append([by_key[key][1] for key in wanted])
    mean_a, end_a, mean_b, end_b = sides
    if not states:
        return PairFeatures(layer, mean_a, end_a, mean_b, end_b)
    partings = np.array([parting(a, b) for a, b in zip(*ids, strict=True)], dtype=np.int64)
    return PairFeatures(layer, mean_a, end_a, mean_b, end_b, states[0], states[1], partings)


def _keys_of(
    pairs: Sequence[PreferencePair], info: BackboneInfo, store: FeatureStore, config: TrainConfig
) -> list[tuple[str, str]]:
    answers = [answer for p in pairs for answer in (p.answer_a, p.answer_b)]
    keys = store.keys_for(info, config.dtype, config.limits, answers)
    return list(zip(keys[::2], keys[1::2], strict=True))


def _check_whole(keys: Sequence[str], found: Container[str]) -> None:
    missing = {key for key in keys if key not in found}
    if missing:
        raise FeatureStoreError(
            f"The token states of {len(missing)} answers are not in the feature store: they were "
            "evicted to keep its size, or damaged and dropped; run again to encode those answers "
            "anew, with a larger limit if they do not fit it."
        )


def recipe_for(config: TrainConfig, readout: Readout) -> Recipe:
    """What a run with this config fits for one readout."""
    return Recipe(
        readout=readout,
        objective=config.objective,
        penalty=config.penalty,
        token_weight=config.token_weight,
        lookahead_weight=config.lookahead_weight,
        smoothness_weight=config.smoothness_weight,
        max_token_positions=config.max_token_positions,
        num_folds=config.num_folds,
        ties=config.ties,
        margin_scale=config.margin_scale,
        length_column=config.length_column,
    )


def _recipes(config: TrainConfig) -> list[Recipe]:
    return [recipe_for(config, readout) for readout in config.candidate_readouts()]


def _fit_candidates(
    pairs: list[PreferencePair],
    features: Iterable[PairFeatures],
    num_layers: int,
    config: TrainConfig,
    hooks: Hooks,
) -> Best:
    """Every layer and readout with its left-out figures, on training pairs alone."""
    recipes = _recipes(config)
    total = num_layers * len(recipes)

    def before_each(done: int) -> None:
        hooks.stop_if_asked()
        if done:
            hooks.on_progress(done, total)

    best = best_candidate(pairs, features, recipes, before_each)
    hooks.on_progress(total, total)
    return best


def _encoding_figures(report: EncodeReport) -> dict[str, Any]:
    figures = dataclasses.asdict(report)
    figures["refused"] = [reason for _, reason in report.refused[:20]]
    figures["num_refused"] = len(report.refused)
    return figures


def _manifest(
    head: RewardHead,
    fitted: Fitted,
    info: BackboneInfo,
    config: TrainConfig,
    metrics: dict[str, Any],
    candidates: list[dict[str, Any]],
) -> dict[str, Any]:
    """All that is needed to score with the head again, and to tell where it came from."""
    import platform

    import numpy as np

    return {
        "format": 1,
        "backbone": {
            "spec": info.spec,
            "name": info.name,
            "revision": info.revision,
            "fingerprint": info.fingerprint(config.dtype),
            "dtype": config.dtype,
            "num_layers": info.num_layers,
            "hidden_size": info.hidden_size,
        },
        "scoring_template": info.scoring_template,
        "template_hash": info.template_hash,
        "tokenizer_hash": info.tokenizer_hash,
        "layer": head.layer,
        "readout": head.readout,
        "objective": config.objective,
        "penalty": fitted.candidate.choice.penalty,
        "calibration_scale": fitted.calibration_scale,
        "ties": fitted.fit.ties,
        "tie_threshold": fitted.tie_threshold,
        "baselines": fitted.baselines,
        "config": config.as_dict(),
        "candidates": candidates,
        "metrics": metrics,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }
