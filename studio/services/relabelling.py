"""Pairs worth a second look: the newest promoted model strongly disagrees with the people.

    found = candidates(database, settings, project_id)
    found["listed"][0]["pair_id"], found["listed"][0]["prob_people"]

What the model says comes from the checkpoint's predictions on pairs that it never saw, and for the
others from the feature store: no forward pass and no torch. A head has seen its training pairs, so
what it says against their verdicts is said reluctantly; the list marks which kind each is.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy.orm import Session

from db import checkpoints, pair_texts, projects, votes
from db.aggregation import Merged
from studio.services import backbones, predictions
from studio.services.errors import StudioError

if TYPE_CHECKING:
    from db.engine import Database
    from db.pair_texts import PairText
    from rm_core.checkpoint import Checkpoint as SavedHead
    from rm_core.pairs import PreferencePair
    from studio.settings import Settings

log = logging.getLogger(__name__)

STRONG = 0.25  # a candidate's verdict has at most this probability by the model
MAX_LISTED = 100
AT_ONCE = 1000  # pairs whose features are in memory together
MAX_KEPT = 4  # checkpoints whose predictions stay in memory


class Prediction(NamedTuple):
    """Probability that `response_a` is better, and whether the model never saw the prompt."""

    prob_a: float
    was_unseen: bool


_kept: OrderedDict[str, dict[int, Prediction]] = OrderedDict()


def candidates(database: Database, settings: Settings, project_id: int) -> dict[str, Any]:
    """The pairs whose verdict the model finds least likely, the strongest disagreement first."""
    with database.read() as s:
        newest = checkpoints.newest_promoted(s, project_id)
        if newest is None:
            return _found(None, 0, 0, [], 0)
        project = projects.get_project(s, project_id)
        assert project is not None
        merged = votes.merged(s, project_id)
        settled = votes.adjudicated_pairs(s, project_id)
        judged = {
            pair_id: merged.verdict_at(at).target
            for at, pair_id in enumerate(merged.pair.tolist())
            if merged.reason[at] == 0 and pair_id not in settled
        }
        directory = settings.checkpoints_dir / newest.directory
        known = _known(directory, newest.sha256)
        missing = [pair_id for pair_id in judged if pair_id not in known]
        if missing:
            texts = _texts(s, project_id, missing)
            known.update(_from_features(settings, project.backbone, directory, texts))
    return _listed(newest.id, merged, judged, known)


def _listed(
    checkpoint_id: int, merged: Merged, judged: dict[int, float], known: dict[int, Prediction]
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for pair_id, target in judged.items():
        if pair_id not in known or target == 0.5:
            continue
        prob_a, was_unseen = known[pair_id]
        of_people = prob_a if target > 0.5 else 1 - prob_a
        if of_people > STRONG:
            continue
        rows.append(
            {
                "pair_id": pair_id,
                "people": "a" if target > 0.5 else "b",
                "share": max(target, 1 - target),
                "prob_people": of_people,
                "was_unseen": was_unseen,
            }
        )
    # Where people were of one mind, the model's contradiction says more.
    rows.sort(key=lambda row: (row["prob_people"] - row["share"], row["pair_id"]))
    num_scored = sum(1 for pair_id in judged if pair_id in known)
    return _found(checkpoint_id, num_scored, len(judged) - num_scored, rows[:MAX_LISTED], len(rows))


def _found(
    checkpoint_id: int | None, num_scored: int, num_unscored: int, listed: list[Any], total: int
) -> dict[str, Any]:
    return {
        "checkpoint_id": checkpoint_id,
        "num_scored": num_scored,
        "num_unscored": num_unscored,  # answers that are not encoded yet
        "strong": STRONG,
        "listed": listed,
        "total": total,
    }


def prediction(database: Database, settings: Settings, project_id: int, pair_id: int) -> Any:
    """What the newest promoted model says of one pair, where `candidates` has asked it already."""
    with database.read() as s:
        newest = checkpoints.newest_promoted(s, project_id)
    if newest is None:
        return None
    found = _known(settings.checkpoints_dir / newest.directory, newest.sha256).get(pair_id)
    return None if found is None else {"checkpoint_id": newest.id, **found._asdict()}


def _known(directory: Path, sha256: str) -> dict[int, Prediction]:
    """The predictions of a checkpoint that are in memory, begun with those in its directory."""
    key = f"{directory} {sha256}"
    if key not in _kept:
        unseen = predictions.read(directory)
        _kept[key] = {
            row.pair: Prediction(_sigmoid(row.logit), True)
            for row in (unseen.pairs if unseen else ())
        }
        while len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def _texts(s: Session, project_id: int, pair_ids: list[int]) -> Iterator[list[PairText]]:
    for start in range(0, len(pair_ids), AT_ONCE):
        yield list(pair_texts.get_pairs(s, project_id, pair_ids[start : start + AT_ONCE]).values())


def _from_features(
    settings: Settings, backbone: str, directory: Path, texts: Iterable[list[PairText]]
) -> dict[int, Prediction]:
    """Predictions for the pairs whose answers are encoded; the rest is left out."""
    from rm_core import checkpoint
    from rm_core.features import FeatureStore

    found: dict[int, Prediction] = {}
    with backbones.told_plainly():
        saved = checkpoint.load(directory)
        info = backbones.prepare(settings, backbone)
        if saved.manifest["backbone"]["revision"] != info.revision:
            raise StudioError(
                "the newest checkpoint was trained on another backbone than the project has now: "
                "train again to compare it with the votes."
            )
        with FeatureStore(settings.features_path) as store:
            for chunk in texts:
                pairs = _encoded([_as_core(each) for each in chunk], saved, info, store)
                found.update(_predictions(pairs, saved, info, store))
    return found


def _as_core(pair: PairText) -> PreferencePair:
    from rm_core.conversation import Answer
    from rm_core.pairs import PreferencePair

    return PreferencePair(
        pair_id=str(pair.pair_id),
        answer_a=Answer(pair.messages, pair.response_a),
        answer_b=Answer(pair.messages, pair.response_b),
        target=0.5,
        group=pair.prompt_hash,
    )


def _encoded(
    pairs: list[PreferencePair], saved: SavedHead, info: Any, store: Any
) -> list[PreferencePair]:
    from rm_core.config import TrainConfig

    config = TrainConfig.from_dict(saved.manifest["config"])
    answers = [answer for pair in pairs for answer in (pair.answer_a, pair.answer_b)]
    keys = store.keys_for(info, config.dtype, config.limits, answers)
    missing = {at // 2 for at in store.missing(keys, [saved.head.layer])}
    return [pair for at, pair in enumerate(pairs) if at not in missing]


def _predictions(
    pairs: list[PreferencePair], saved: SavedHead, info: Any, store: Any
) -> dict[int, Prediction]:
    from dataclasses import replace

    from rm_core.config import TrainConfig
    from rm_core.training import load_features

    if not pairs:
        return {}
    config = replace(TrainConfig.from_dict(saved.manifest["config"]), objective="outcome")
    features = load_features(pairs, saved.head.layer, info, store, config)
    scale = float(saved.manifest.get("calibration_scale", 1.0))
    margins = features.margins(saved.head)
    return {
        int(pair.pair_id): Prediction(_sigmoid(scale * float(margin)), False)
        for pair, margin in zip(pairs, margins, strict=True)
    }


def _sigmoid(logit: float) -> float:
    from math import exp

    return 1 / (1 + exp(-logit)) if logit > -700 else 0.0
