"""Evaluates a checkpoint on a preference file, through the feature store.

    figures = evaluating.evaluate_file(settings, Path("test.jsonl"), checkpoint, report=print)

Answers are encoded once and kept: evaluating another checkpoint of the same layer on the same
file costs nothing, and so do answers that a training encoded. Limits are those of scoring, so that
the figures are of what `score` prints.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.votes import target_of, why_left_out
from studio.services.backbones import told_plainly
from studio.services.errors import StudioError
from studio.services.import_files import RowRefused, UnreadableRow, read_rows
from studio.services.import_rows import RowPairs, row_pairs

if TYPE_CHECKING:
    from rm_core.conversation import Answer, Limits
    from rm_core.encoding import EncodeProgress, EncodeReport
    from rm_core.pairs import PreferencePair
    from rm_core.scoring import RewardModel
    from studio.settings import Settings

Progress = Callable[["EncodeProgress"], None]


@dataclass
class FilePairs:
    """A file's judged pairs, and how many rows gave none, by reason."""

    pairs: list[PreferencePair] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def read_pairs(path: Path) -> FilePairs:
    """Every row with a verdict as a pair; its sides ordered by hash, so that none betrays it."""
    found = FilePairs()
    first_refusal = ""
    for number, row in read_rows(path):
        if isinstance(row, UnreadableRow):
            found.left_out[row.reason] += 1
            first_refusal = first_refusal or _told(number, row)
            continue
        try:
            found.pairs.append(_pair(str(number), row_pairs(row)))
        except RowRefused as refused:
            found.left_out[refused.reason] += 1
            first_refusal = first_refusal or _told(number, refused)
    if not found.pairs:
        seen = f"; {first_refusal}" if first_refusal else ", it is empty"
        raise StudioError(
            f"{str(path)!r} holds no judged pair{seen}: give rows with chosen and rejected, or "
            "with answers and votes."
        )
    return found


def _told(number: int, refused: UnreadableRow | RowRefused) -> str:
    seen = f" ({refused.seen})" if refused.seen else ""
    return f"row {number}: {refused.reason}{seen}"


def _pair(number: str, row: RowPairs) -> PreferencePair:
    from rm_core.conversation import Answer
    from rm_core.pairs import PreferencePair, prompt_group

    votes = [row.adjudication] if row.adjudication else row.votes
    choices = Counter(vote.choice for vote in votes)
    target = target_of(choices)
    if target is None or len(row.answers) != 2:
        raise RowRefused(why_left_out(choices).replace("_", " "))
    first, second = row.answers
    if _text_order(first) > _text_order(second):
        first, second, target = second, first, 1 - target
    return PreferencePair(
        pair_id=row.row_id or number,
        answer_a=Answer(row.messages, first),
        answer_b=Answer(row.messages, second),
        target=target,
        group=prompt_group(row.messages),
        category=row.category,
        num_votes=sum(choices[choice] for choice in ("a", "b", "tie")),
    )


def _text_order(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def evaluate_file(
    settings: Settings, path: Path, directory: Path, on_progress: Progress | None = None
) -> dict[str, Any]:
    """Figures of the checkpoint in `directory` on the file's judged pairs, JSON-ready."""
    from rm_core.evaluation import evaluate_pairs
    from rm_core.scoring import RewardModel

    found = read_pairs(path)
    with told_plainly():
        model = RewardModel.from_checkpoint(
            directory, backbones_dir=settings.backbones_dir, device=settings.device
        )
        rewards, report = _rewards(settings, model, found.pairs, on_progress)
        scored = [i for i, (a, b) in enumerate(rewards) if a is not None and b is not None]
        if len(scored) < len(rewards):
            found.left_out["an answer cannot be encoded"] += len(rewards) - len(scored)
        if not scored:
            raise StudioError(
                f"none of the {len(rewards)} pairs of {str(path)!r} can be encoded; the first "
                f"reason: {report.refused[0][1]}"
            )
        figures = evaluate_pairs(
            [found.pairs[i] for i in scored],
            [rewards[i][0] for i in scored],  # type: ignore[misc]
            [rewards[i][1] for i in scored],  # type: ignore[misc]
            model.manifest,
        )
    return {**figures, "left_out": dict(found.left_out)}


Rewards = list[tuple[float | None, float | None]]


def _rewards(
    settings: Settings,
    model: RewardModel,
    pairs: list[PreferencePair],
    on_progress: Progress | None,
) -> tuple[Rewards, EncodeReport]:
    """Both rewards of every pair; None for an answer that cannot be encoded."""
    from rm_core.conversation import Limits
    from rm_core.encoding import encode_missing
    from rm_core.features import FeatureStore

    answers = [answer for pair in pairs for answer in (pair.answer_a, pair.answer_b)]
    limits = Limits(model.info.max_context, model.info.max_context)
    dtype = model.manifest["backbone"]["dtype"]
    with FeatureStore(settings.features_path) as store:
        report = encode_missing(
            store,
            model.info,
            answers,
            layers=[model.head.layer],
            limits=limits,
            device=settings.device,
            dtype=dtype,
            on_progress=on_progress,
        )
        each = _read_rewards(store, model, answers, dtype, limits, report)
    return list(zip(each[0::2], each[1::2], strict=True)), report


def _read_rewards(
    store: Any,
    model: RewardModel,
    answers: list[Answer],
    dtype: str,
    limits: Limits,
    report: EncodeReport,
) -> list[float | None]:
    keys = store.keys_for(model.info, dtype, limits, answers)
    refused = {keys[index] for index, _ in report.refused}
    usable = [key for key in dict.fromkeys(keys) if key not in refused]
    if not usable:
        return [None] * len(keys)
    summaries = store.summaries(usable, model.head.layer)
    if summaries.damaged:
        raise StudioError(
            f"{len(summaries.damaged)} records of the feature store were damaged and have been "
            "dropped: run the same command again to encode those answers anew."
        )
    values = model.head.rewards(summaries.mean, summaries.end)
    by_key = dict(zip(usable, values.tolist(), strict=True))
    return [by_key.get(key) for key in keys]
