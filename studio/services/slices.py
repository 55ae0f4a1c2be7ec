"""A checkpoint's figures by annotator and by the length of the answers; whose votes made it.

slices.votes_by_annotator(table)         # {"people": 3, "votes": 120, "by": [{"name", "votes"}]}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from db.vote_table import VoteTable
    from rm_core.pairs import PreferencePair
    from studio.services.predictions import Unseen

# A crowd's file has thousands of annotators with a vote or two each: they are summed up.
MAX_NAMED = 40
JUDGING_CODES = (0, 1, 2)  # a, b, tie
TARGETS = (1.0, 0.0, 0.5)
SIZES = ("short answers", "middling answers", "long answers")


def votes_by_annotator(table: VoteTable) -> dict[str, Any]:
    """How many votes of a snapshot are whose, most first; the rest is counted."""
    import numpy as np

    numbers, counts = np.unique(table.annotator, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    named = [
        {"name": table.names[int(numbers[i])], "votes": int(counts[i])} for i in order[:MAX_NAMED]
    ]
    rest = order[MAX_NAMED:]
    return {
        "votes": len(table),
        "people": len(numbers),
        "by": named,
        "others": {"people": len(rest), "votes": int(counts[rest].sum())},
    }


def human_agreement(table: VoteTable) -> dict[str, Any] | None:
    """How far the snapshot's annotators agree on pairs that several judged; None without any.

    `alpha` is Krippendorff's (1: as one, 0: as by chance); `ceiling` is how often one person's
    choice is that of the others' majority: what an accuracy can mean at most.
    """
    import numpy as np

    from studio.services import agreement

    labels = table.of_purpose("label")
    verdicts = labels.where(np.isin(labels.choice, JUDGING_CODES))
    patterns = agreement.Patterns.of(verdicts.pair, verdicts.choice)
    alpha, ceiling = agreement.alpha(patterns), agreement.human_ceiling(patterns)
    if not alpha.is_known and not ceiling.is_known:
        return None
    return {
        "pairs": alpha.num,
        "alpha": alpha.value,
        "alpha_ci": _interval(alpha.low, alpha.high),
        "ceiling": ceiling.value,
        "ceiling_ci": _interval(ceiling.low, ceiling.high),
    }


def _interval(low: float | None, high: float | None) -> list[float] | None:
    return None if low is None or high is None else [low, high]


def by_annotator(table: VoteTable, unseen: Unseen) -> dict[str, Any]:
    """How often the head agrees with each annotator's own verdicts on pairs it has not seen.

    Those with the most such verdicts are named; how many are not is counted under `others`.
    """
    import numpy as np

    from rm_core.comparison import slice_figures

    at = {row.pair: position for position, row in enumerate(unseen.pairs)}
    targets: list[float] = []
    groups: list[str] = []
    logits: list[float] = []
    by: dict[str, list[int]] = {}
    wanted = np.isin(table.choice, JUDGING_CODES) & np.isin(table.pair, list(at))
    for place in np.flatnonzero(wanted).tolist():
        row = unseen.pairs[at[int(table.pair[place])]]
        by.setdefault(table.names[int(table.annotator[place])], []).append(len(targets))
        targets.append(TARGETS[int(table.choice[place])])
        groups.append(row.group)
        logits.append(row.logit)
    most = sorted(by, key=lambda name: (-len(by[name]), name))
    named = {name: by[name] for name in most[:MAX_NAMED]}
    figures = slice_figures(targets, groups, logits, named) if targets else {}
    return {"slices": figures, "others": len(most) - len(named)}


def by_size(pairs: Sequence[PreferencePair], unseen: Unseen) -> dict[str, Any]:
    """Accuracy where the two answers are short, middling or long: thirds by their characters."""
    import numpy as np

    from rm_core.comparison import slice_figures

    length = {int(p.pair_id): len(p.answer_a.response) + len(p.answer_b.response) for p in pairs}
    sizes = np.array([length[row.pair] for row in unseen.pairs])
    if len(sizes) < len(SIZES):
        return {}
    thirds = np.array_split(np.argsort(sizes, kind="stable"), len(SIZES))
    figures = slice_figures(
        [row.target for row in unseen.pairs],
        [row.group for row in unseen.pairs],
        [row.logit for row in unseen.pairs],
        {name: part.tolist() for name, part in zip(SIZES, thirds, strict=True)},
    )
    for name, part in zip(SIZES, thirds, strict=True):
        figures[name]["characters"] = [int(sizes[part].min() / 2), int(sizes[part].max() / 2)]
    return figures
