"""The playground: rewards of two to eight answers, why they differ, and what to do with them.

    made = playground.compare(database, settings, project_id, messages, ["one", "two"])
    made["answers"][0]["reward"], made["prob_better"][0][1]       # P(the first is better)

Scores come from the live encoder (rm_core/live.py): an edited answer costs what changed in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from db import checkpoints, projects
from db.models import Checkpoint
from studio.services import scoring
from studio.services.backbones import told_plainly
from studio.services.errors import NotFound, UsageError

if TYPE_CHECKING:
    from db.engine import Database
    from rm_core.live import LiveScore
    from studio.services.scoring import LoadedModel
    from studio.settings import Settings

Comparison = dict[str, Any]

MIN_ANSWERS, MAX_ANSWERS = 1, 8
TELLING_CORRELATION = 0.5  # of reward and length: above it the page speaks of a leaning
MAX_CHARACTERS = 200_000  # of prompt and answers together


class Stale(Exception):
    """The texts have changed since; nobody waits for these scores."""


def compare(
    database: Database,
    settings: Settings,
    project_id: int,
    prompt_messages: str | list[dict[str, str]],
    responses: Sequence[str],
    checkpoint_id: int | None = None,
    against_id: int | None = None,
    is_stale: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Rewards, probabilities and token scores of answers to one prompt, JSON-ready.

    Args:
        checkpoint_id: by default the newest promoted one.
        against_id: a second checkpoint; its scores of the same answers stand under `against`.
        is_stale: asked before and between forwards.

    Raises:
        Stale: `is_stale` said so.
    """
    checkpoint = scoring.find_checkpoint(database, project_id, checkpoint_id)
    other = (
        scoring.find_checkpoint(database, project_id, against_id)
        if against_id is not None
        else None
    )
    prompt = scoring.check_prompt(prompt_messages)
    _check_answers(prompt, responses)
    begin = time.perf_counter()
    with scoring.one_at_a_time, told_plainly():
        made = _scored(settings, checkpoint, prompt, responses, is_stale)
        if other is not None:
            made["against"] = _scored(settings, other, prompt, responses, is_stale)
    made["elapsed_ms"] = round(1000 * (time.perf_counter() - begin), 1)
    return made


def _check_answers(prompt: Any, responses: Sequence[str]) -> None:
    if not MIN_ANSWERS <= len(responses) <= MAX_ANSWERS:
        raise UsageError(
            f"{len(responses)} answers were given: give {MIN_ANSWERS} to {MAX_ANSWERS}."
        )
    if not scoring.is_encodable([prompt, *responses]):
        raise UsageError("a text holds a lone surrogate, which is no character: leave it out.")
    texts = [prompt] if isinstance(prompt, str) else [m["content"] for m in prompt]
    size = sum(map(len, [*texts, *responses]))
    if size > MAX_CHARACTERS:
        raise UsageError(
            f"prompt and answers have {size:,} characters together and the playground takes "
            f"{MAX_CHARACTERS:,}: leave an answer out, or use `reward-studio score`."
        )


def _scored(
    settings: Settings,
    checkpoint: Checkpoint,
    prompt: str | list[dict[str, str]],
    responses: Sequence[str],
    is_stale: Callable[[], bool],
) -> Comparison:
    from rm_core.errors import Stopped
    from rm_core.live import score

    if is_stale():
        raise Stale
    loaded = scoring.load(settings, checkpoint)
    model, live = loaded.model, scoring.live_encoder(loaded)
    try:
        scores, work = score(model, live, prompt, responses, is_stale)
    except Stopped as error:
        raise Stale from error
    probabilities, deviations = _differences(loaded, scores)
    return {
        "checkpoint": {
            "id": checkpoint.id,
            "created_at": checkpoint.created_at.isoformat(),
            "sha256": checkpoint.sha256,
        },
        "backbone": model.info.name,
        "device": model.device,
        "readout": model.head.readout,
        "layer": model.head.layer,
        "objective": model.manifest.get("objective"),
        "prob_better": probabilities,
        "difference_std": deviations,
        "length": length_leaning(checkpoint.metrics),
        "answers": [_described(each) for each in scores],
        "num_tokens": work.num_tokens,
        "num_encoded": work.num_encoded,
    }


def _differences(
    loaded: LoadedModel, scores: list[LiveScore]
) -> tuple[list[list[float]], list[list[float]] | None]:
    """P(row's answer is better than column's), and the standard deviation of that difference.

    The deviations are None for a checkpoint that was saved without its posterior; its
    probabilities then know nothing of how sure the head is.
    """
    import numpy as np

    from rm_core.heads import design

    model, posterior = loaded.model, loaded.posterior
    rewards = np.array([each.scored.reward for each in scores])
    if posterior is None:
        return [[model.prob_better(a, b) for b in rewards] for a in rewards], None
    features = design(
        model.head.readout,
        np.stack([each.mean for each in scores]),
        np.stack([each.end for each in scores]),
    )
    count = len(scores)
    apart = (features[:, None, :] - features[None, :, :]).reshape(count * count, -1)
    variance = posterior.difference_variance(apart).reshape(count, count)
    probabilities = posterior.probability(rewards[:, None] - rewards[None, :], variance)
    return probabilities.tolist(), np.sqrt(variance).tolist()


def length_leaning(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """How far a head's rewards go with the length of answers; None where they hardly do.

    `correlation` is Pearson's r of the differences of reward and of log length over pairs that the
    head has not seen. Checkpoints without that figure are told by their accuracy where the better
    answer is the longer and where it is the shorter, if the two intervals lie apart.
    """
    told: dict[str, Any] = {
        "correlation": None,
        "right_longer": None,
        "right_shorter": None,
        "measured_on": "held-out pairs"
        if metrics.get("evaluation", "heldout") == "heldout"
        else "left-out pairs",
    }
    correlation = metrics.get("reward_length_correlation")
    if correlation is not None:
        if abs(correlation) < TELLING_CORRELATION:
            return None
        leans_to = "longer" if correlation > 0 else "shorter"
        return told | {"leans_to": leans_to, "correlation": correlation}
    by_length = metrics.get("by_length") or {}
    longer, shorter = (by_length.get(f"chosen_{name}") or {} for name in ("longer", "shorter"))
    if not longer.get("accuracy_ci") or not shorter.get("accuracy_ci"):
        return None
    is_longer_higher = longer["accuracy"] > shorter["accuracy"]
    low, high = (shorter, longer) if is_longer_higher else (longer, shorter)
    if low["accuracy_ci"][1] >= high["accuracy_ci"][0]:
        return None
    return told | {
        "leans_to": "longer" if is_longer_higher else "shorter",
        "right_longer": longer["accuracy"],
        "right_shorter": shorter["accuracy"],
    }


def _described(score: LiveScore) -> dict[str, Any]:
    scored = score.scored
    notes = []
    if scored.num_dropped_turns:
        turns = "turn was" if scored.num_dropped_turns == 1 else "turns were"
        notes.append(
            "The prompt does not fit the backbone's context: its first "
            f"{scored.num_dropped_turns} {turns} left out."
        )
    if scored.num_control_tokens:
        notes.append(
            f"The text spells {scored.num_control_tokens} of the backbone's control tokens (such "
            "as an end of turn), and the backbone reads them as such."
        )
    return {
        **scored.as_dict(),
        "prompt_value": scored.prompt_value,
        "end_term": scored.end_term,
        "warnings": notes,
    }


# --- what there is to choose from -------------------------------------------------------------


def options(database: Database, project_id: int) -> dict[str, Any]:
    """The project's checkpoints, newest first, and which one is used by default."""
    with database.read() as s:
        project = projects.get_project(s, project_id)
        if project is None:
            raise NotFound(f"there is no project {project_id}: choose one above.")
        known = checkpoints.list_checkpoints(s, project_id)
        newest = checkpoints.newest_promoted(s, project_id)
    return {
        "backbone": project.backbone,
        "newest": newest.id if newest else None,
        "checkpoints": [
            {
                "id": each.id,
                "created_at": each.created_at.isoformat(),
                "accuracy": each.metrics.get("accuracy"),
                "readout": each.metrics.get("readout"),
                "promoted": each.promoted_at is not None and each.retired_at is None,
            }
            for each in known
        ],
    }


def readiness(database: Database, settings: Settings, project_id: int) -> dict[str, bool]:
    """Whether something is being loaded now, and whether the checkpoint in use is in memory."""
    with database.read() as s:
        newest = checkpoints.newest_promoted(s, project_id)
    return {
        "loading": scoring.is_loading(),
        "loaded": newest is not None and scoring.is_warm(settings, newest),
    }
