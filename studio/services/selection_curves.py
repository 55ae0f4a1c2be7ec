"""Whether choosing pairs beats drawing them: a head fitted to each arm alone, at equal numbers.

    curves = arm_curves(database, settings, project_id)
    curves.arms["random"][-1]        # (number of labels, accuracy on held-out pairs, low, high)

An *arm* is the training pairs that one strategy brought first to anybody, in the order in which
they were shown. Held-out pairs are shown at random whatever the strategy, so all arms are judged
fairly on the same ones. Penalties are chosen anew for every fit; layer and readout are those of the
newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from db import checkpoints, projects, rankings, votes
from studio.services import backbones, training
from studio.services.errors import NotFound, StudioError

if TYPE_CHECKING:
    from db.engine import Database
    from db.models import Checkpoint
    from rm_core.fitting import PairFeatures, Recipe
    from rm_core.pairs import PreferencePair
    from studio.settings import Settings

MIN_LABELS = 20  # in each of two arms, and held out
NUM_SIZES = 6
SEED = 0

Point = tuple[int, float, float, float]  # labels, accuracy, 95 % interval over prompts


@dataclass
class ArmCurves:
    """Accuracy by number of labels of every arm that has enough of them.

    Attributes:
        num_labels: decided training labels of each arm, encoded or not.
        num_not_encoded: labels that could take no part for want of features.
        why_not: a sentence where there is nothing to compare yet.
    """

    arms: dict[str, list[Point]] = field(default_factory=dict)
    num_labels: dict[str, int] = field(default_factory=dict)
    num_heldout: int = 0
    num_not_encoded: int = 0
    why_not: str | None = None


def arm_curves(database: Database, settings: Settings, project_id: int) -> ArmCurves:
    """Fit and judge; some seconds. Needs what is encoded, and no torch."""
    with database.read() as s:
        if projects.get_project(s, project_id) is None:
            raise NotFound(f"no project with id {project_id}; reload the page and choose one")
        newest = checkpoints.newest_promoted(s, project_id)
        by_arm = rankings.arms(s, project_id)
        judged = {pair.pair_id: pair for pair in votes.judged_pairs(s, project_id)}
    decided = {key: pair for key, pair in judged.items() if pair.target != 0.5}
    arms = {name: [i for i in ids if i in decided] for name, ids in by_arm.items()}
    heldout = [key for key, pair in decided.items() if pair.split == "heldout"]
    found = ArmCurves(
        num_labels={name: len(ids) for name, ids in arms.items()}, num_heldout=len(heldout)
    )
    if newest is None:
        found.why_not = "there is no trained head yet"
    elif len([ids for ids in arms.values() if len(ids) >= MIN_LABELS]) < 2:
        found.why_not = f"two arms with {MIN_LABELS} decided labels each are needed; there are " + (
            ", ".join(f"{n} {name}" for name, n in found.num_labels.items()) or "none"
        )
    elif len(heldout) < MIN_LABELS:
        found.why_not = f"{len(heldout)} held-out pairs are judged; {MIN_LABELS} are needed"
    if found.why_not is None:
        assert newest is not None
        wanted = {key: training.preference_pair(decided[key]) for ids in
                  [*arms.values(), heldout] for key in ids}  # fmt: skip
        _fill(found, settings, newest, arms, heldout, wanted)
    return found


def _fill(
    found: ArmCurves, settings: Settings, newest: Checkpoint, arms: dict[str, list[int]],
    heldout: list[int], wanted: dict[int, PreferencePair],
) -> None:  # fmt: skip
    from rm_core import checkpoint as core
    from rm_core.config import TrainConfig
    from rm_core.features import FeatureStore
    from rm_core.training import load_features, recipe_for

    with backbones.told_plainly():
        saved = core.load(settings.checkpoints_dir / newest.directory)
        config = TrainConfig.from_dict(saved.manifest["config"])
        info = backbones.prepare(settings, saved.manifest["backbone"]["spec"])
        with FeatureStore(settings.features_path) as store:
            missing = _not_encoded(store, info, config, saved.head.layer, wanted)
            found.num_not_encoded = len(missing)
            arms = {name: [i for i in ids if i not in missing] for name, ids in arms.items()}
            arms = {name: ids for name, ids in arms.items() if len(ids) >= MIN_LABELS}
            test = [wanted[i] for i in heldout if i not in missing]
            if len(arms) < 2 or len(test) < MIN_LABELS:
                found.why_not = f"{len(missing)} labelled pairs are not encoded yet; train first"
                return
            recipe = recipe_for(config, saved.head.readout)
            test_features = load_features(test, saved.head.layer, info, store, config)
            most = min(len(ids) for ids in arms.values())
            for name, ids in arms.items():
                pairs = [wanted[i] for i in ids[:most]]
                features = load_features(pairs, saved.head.layer, info, store, config)
                found.arms[name] = _curve(pairs, features, recipe, test, test_features)


def _not_encoded(
    store: Any, info: Any, config: Any, layer: int, wanted: dict[int, PreferencePair]
) -> set[int]:
    ids = list(wanted)
    answers = [a for i in ids for a in (wanted[i].answer_a, wanted[i].answer_b)]
    keys = store.keys_for(info, config.dtype, config.limits, answers)
    return {ids[at // 2] for at in store.missing(keys, [layer])}


def _curve(
    pairs: list[PreferencePair], features: PairFeatures, recipe: Recipe,
    test: list[PreferencePair], test_features: PairFeatures,
) -> list[Point]:  # fmt: skip
    """Accuracy on `test` of heads fitted to the first pairs, at growing numbers of them."""
    import numpy as np

    from rm_core.comparison import correct
    from rm_core.errors import TrainingDataError
    from rm_core.evaluation import PromptBootstrap
    from rm_core.fitting import Fit

    target = np.array([pair.target for pair in test])
    bootstrap = PromptBootstrap([pair.group for pair in test], SEED)
    points = []
    for size in sizes(len(pairs)):
        some = pairs[:size]
        try:
            fit = Fit.of(some, features.take(np.arange(size)), recipe)
            head = fit.refit(fit.choose().penalty)
        except TrainingDataError:
            continue  # so few that all are of one prompt: such a head says nothing
        hits = correct(test_features.margins(head), target)
        interval = bootstrap.interval(hits)
        if interval is None:
            raise StudioError("the held-out pairs are all of one prompt; judge more of them")
        points.append((size, float(hits.mean()), *interval))
    return points  # type: ignore[return-value]


def sizes(most: int) -> Sequence[int]:
    """Numbers of labels from MIN_LABELS to `most`, evenly on a logarithmic scale."""
    import numpy as np

    spread = np.geomspace(min(MIN_LABELS, most), most, NUM_SIZES)
    return sorted({round(float(number)) for number in spread})
