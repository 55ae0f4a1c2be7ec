"""Which pairs would teach the newest head most: ranked in the background, never while one waits.

    rank_queue(database, settings, project_id)     # after a new checkpoint, or when few are left
    rank_all(database, settings)                   # the scheduler's tick: every project in need

*uncertainty* takes the pairs of which the head is least sure who wins; *information* those whose
judgements would shrink its posterior most, one after another, so that a batch does not ask the
same question twice. Only training pairs are ranked, at most BATCH at a time, out of a random
MAX_CANDIDATES; the draw itself, with its random arm, is in `choosing`. Needs numpy, not torch.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from db import checkpoints, pair_texts, projects, rankings
from db.rankings import Ranked
from studio.services import backbones
from studio.services.choosing import SCORED
from studio.services.errors import StudioError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from db.engine import Database
    from db.models import Checkpoint, Project
    from db.pair_texts import PairText
    from studio.settings import Settings

log = logging.getLogger(__name__)

BATCH = 500
MAX_CANDIDATES = 10_000
FEW_LEFT = 0.25  # of a batch: then a new one is made
_chance = random.SystemRandom()


@dataclass(frozen=True)
class Ranking:
    """What a ranking came from; kept with the project, and shown.

    Attributes:
        strategy: None where nothing could be ranked; then the queue is random.
        wanted: the strategy that the project asks for.
        num_candidates: pairs that want a vote; `num_scored` of them were looked at,
            `num_not_encoded` could not be, and the best `num_ranked` were ranked.
        why_not: a sentence where nothing was ranked.
    """

    strategy: str | None
    wanted: str
    checkpoint_id: int | None
    num_candidates: int = 0
    num_scored: int = 0
    num_not_encoded: int = 0
    num_ranked: int = 0
    elapsed_s: float = 0.0
    why_not: str | None = None


def rank_all(database: Database, settings: Settings) -> list[int]:
    """Rank every project that needs it; their ids."""
    with database.read() as s:
        wanting = [p.id for p in projects.list_projects(s) if _needs_ranking(s, p)]
    for project_id in wanting:
        rank_queue(database, settings, project_id)
    return wanting


def _needs_ranking(s: Any, project: Project) -> bool:
    """There is a newer head, another strategy, or few ranked pairs left of those there were."""
    if project.queue_strategy not in SCORED:
        return False
    newest = checkpoints.newest_promoted(s, project.id)
    known = project.ranking
    now = (project.queue_strategy, newest.id if newest else None)
    if (known.get("wanted"), known.get("checkpoint_id")) != now:
        return True
    num_left = rankings.count_left(s, project.id)
    if known.get("num_ranked", 0) == 0:
        # Nothing could be ranked then; look again when pairs have come.
        return known.get("num_candidates", 0) != rankings.count_candidates(s, project.id)
    if num_left >= FEW_LEFT * known["num_ranked"]:
        return False
    return rankings.count_candidates(s, project.id) > num_left


def rank_queue(database: Database, settings: Settings, project_id: int) -> Ranking | None:
    """Rank the project's pairs by its newest head; None under a strategy that needs no ranking."""
    begin = time.monotonic()
    with database.read() as s:
        project = projects.get_project(s, project_id)
        if project is None or project.queue_strategy not in SCORED:
            return None
        newest = checkpoints.newest_promoted(s, project_id)
        num_candidates = rankings.count_candidates(s, project_id)
        ids = rankings.candidates(s, project_id, _chance.random(), MAX_CANDIDATES)
        pairs = list(pair_texts.get_pairs(s, project_id, ids).values())
        out = rankings.pending(s, project_id, ids)
    wanted = project.queue_strategy
    known: dict[str, Any] = {
        "wanted": wanted,
        "checkpoint_id": newest.id if newest else None,
        "num_candidates": num_candidates,
    }
    ranked: list[Ranked] = []
    try:
        if newest is None:
            raise StudioError("there is no trained head yet")
        ranked, num_missing = _rank(settings, project, newest, pairs, out)
        ranking = Ranking(
            strategy=wanted if ranked else None,
            num_scored=len(pairs) - num_missing,
            num_not_encoded=num_missing,
            num_ranked=len(ranked),
            elapsed_s=round(time.monotonic() - begin, 2),
            why_not=None if ranked else _nothing_to_rank(len(pairs), num_missing),
            **known,
        )
    except StudioError as error:
        ranking = Ranking(strategy=None, why_not=str(error), **known)
    with database.write() as s:
        rankings.replace(s, project_id, ranked, asdict(ranking))
    log.info("project %d ranked: %s", project_id, ranking)
    return ranking


def _nothing_to_rank(num_pairs: int, num_missing: int) -> str:
    if num_pairs == 0:
        return "no training pair wants a vote"
    return f"none of {num_missing} pairs is encoded at the head's layer yet"


def _rank(
    settings: Settings, project: Project, newest: Checkpoint, pairs: list[PairText], out: set[int]
) -> tuple[list[Ranked], int]:
    """The best pairs, best first, and how many could not be scored."""
    import numpy as np

    from rm_core import checkpoint as core
    from rm_core.config import TrainConfig
    from rm_core.conversation import Answer
    from rm_core.features import FeatureStore
    from rm_core.selection import pair_differences
    from rm_core.uncertainty import Posterior

    directory = settings.checkpoints_dir / newest.directory
    with backbones.told_plainly():
        saved, posterior = core.load(directory), Posterior.load(directory)
        if posterior is None:
            raise StudioError(f"checkpoint {newest.id} does not say how sure it is; train again")
        info = backbones.prepare(settings, saved.manifest["backbone"]["spec"])
        config = TrainConfig.from_dict(saved.manifest["config"])
        answers = [
            (Answer(pair.messages, pair.response_a), Answer(pair.messages, pair.response_b))
            for pair in pairs
        ]
        with FeatureStore(settings.features_path) as store:
            x, missing = pair_differences(
                saved.head, store, info, config.limits, answers, config.dtype
            )
    keep = np.setdiff1d(np.arange(len(pairs)), missing)
    ids = np.array([pairs[int(i)].pair_id for i in keep], dtype=np.int64)
    is_out = np.isin(ids, list(out))
    ranked = _best(project.queue_strategy, posterior, x[keep], x[keep] @ saved.head.weights,
                   np.flatnonzero(is_out))  # fmt: skip
    return [Ranked(int(ids[place]), score) for place, score in ranked], len(missing)


def _best(
    strategy: str, posterior: Any, x: np.ndarray, mean: np.ndarray, out: np.ndarray
) -> Sequence[tuple[int, float]]:
    """Rows of x and their scores, best first; not those that are on somebody's screen."""
    import numpy as np

    from rm_core.selection import greedy_d_optimal, uncertainty_scores

    if not len(x):
        return []
    if strategy == "information":
        chosen, gains = greedy_d_optimal(posterior, x, BATCH, mean=mean, pending=out)
        return list(zip(chosen.tolist(), gains.tolist(), strict=True))
    entropy = uncertainty_scores(posterior, x, mean).entropy
    order = np.argsort(-entropy, kind="stable")
    order = order[~np.isin(order, out)][:BATCH]
    return [(int(place), float(entropy[place])) for place in order]
