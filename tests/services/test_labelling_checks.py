"""Gold pairs and repeats: silent, no slot, no training, each once; and the draw's probabilities."""

from __future__ import annotations

import itertools
import random
import uuid
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import binom
from sqlalchemy import func, select, update

from db import votes
from db.engine import Database
from db.models import Pair, Project, Selection, Slot, Vote
from studio.services import history, labelling
from tests.rows import make_project, new_pair, open_pairs


def _gold(number: int) -> Any:
    return replace(new_pair(number), gold_choice="a")


def _next(
    database: Database, project_id: int, who: str = "ann", seed: int | None = None, **more: Any
) -> Any:
    chance = random.Random(seed) if seed is not None else None
    return labelling.next_pairs(database, project_id, who, chance=chance, **more)


def _vote(showing: dict[str, Any], choice: str = "left") -> dict[str, Any]:
    return {"vote_id": str(uuid.uuid4()), "showing_id": showing["showing_id"], "choice": choice}


def _label_all(
    database: Database, project_id: int, who: str = "ann", most: int = 500
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Vote until nothing is left; the showings and the answers, in order."""
    given: list[tuple[dict[str, Any], dict[str, Any]]] = []
    while len(given) < most:
        shown = _next(database, project_id, who, count=3)["pairs"]
        if not shown:
            break
        for each in shown:
            vote = _vote(each)
            given.append((each, labelling.cast_vote(database, project_id, who, vote)))
    return given


def _purposes(database: Database) -> dict[int, str]:
    with database.read() as s:
        return {row[0]: row[1] for row in s.execute(select(Selection.id, Selection.purpose))}


@pytest.fixture
def checked(database: Database) -> int:
    """45 pairs to label, 8 gold pairs; a third of the showings are checks."""
    pairs = [*open_pairs(45), *[_gold(100 + n) for n in range(8)]]
    return make_project(database, pairs, gold_rate=0.15, repeat_rate=0.2)


def test_checks_come_among_the_labels_and_nothing_tells_them_apart(
    database: Database, checked: int
) -> None:
    given = _label_all(database, checked)
    purposes = _purposes(database)
    counted = Counter(purposes[showing["showing_id"]] for showing, _ in given)
    assert counted["label"] == 45
    assert 1 <= counted["gold"] <= 8
    assert counted["repeat"] >= 1
    shapes = {frozenset(showing) for showing, _ in given}
    answers = {(frozenset(a), frozenset(a["progress"]), a["status"]) for _, a in given}
    assert len(shapes) == len(answers) == 1
    moved = [answer["progress"]["judged_by_you"] for _, answer in given]
    assert moved == list(range(1, len(given) + 1))
    left = [answer["progress"]["open_for_you"] for _, answer in given[:40]]
    assert {a - b for a, b in itertools.pairwise(left)} == {1}
    _check_slots_and_training(database, checked)
    _check_each_once(database)


def _check_slots_and_training(database: Database, checked: int) -> None:
    with database.read() as s:
        filled = set(s.scalars(select(Slot.vote_id).where(Slot.vote_id.is_not(None))))
        by_purpose: dict[str, set[str]] = {}
        for vote_id, purpose in s.execute(select(Vote.id, Vote.purpose)):
            by_purpose.setdefault(purpose, set()).add(vote_id)
        assert filled == by_purpose["label"]
        judged = {pair.pair_id for pair in votes.judged_pairs(s, checked)}
        gold = set(s.scalars(select(Pair.id).where(Pair.gold_choice.is_not(None))))
    assert not judged & gold
    assert len(judged) == 45


def _check_each_once(database: Database) -> None:
    """A gold pair is shown once; a repeat once, some time after its pair, with sides swapped."""
    with database.read() as s:
        shown = list(s.scalars(select(Selection).order_by(Selection.id)))
    first: dict[int, Selection] = {}
    for index, each in enumerate(shown):
        if each.purpose == "repeat":
            before = first[each.pair_id]
            assert before.purpose == "label"
            assert each.left_side != before.left_side
            earlier = [one for one in shown[:index] if one.purpose == "label"]
            assert len(earlier) - earlier.index(before) > 18
        else:
            assert each.pair_id not in first
            first[each.pair_id] = each
    repeats = Counter(each.pair_id for each in shown if each.purpose == "repeat")
    assert set(repeats.values()) == {1}


def test_checks_end_with_the_labels(database: Database) -> None:
    pairs = [new_pair(1), *[_gold(100 + n) for n in range(30)]]
    project_id = make_project(database, pairs, gold_rate=0.5)
    given = _label_all(database, project_id)
    assert len(given) < 31
    assert _purposes(database)[given[-1][0]["showing_id"]] == "label" or len(given) > 1
    assert labelling.progress(database, project_id, "ann")["open_for_you"] == 0


def test_undo_steps_back_over_a_gold_pair_and_gives_it_again(database: Database) -> None:
    project_id = make_project(database, [*open_pairs(3), _gold(100)], gold_rate=0.5)
    given = _label_all(database, project_id)
    purposes = _purposes(database)
    for showing, answer in reversed(given):
        undone = labelling.undo(database, project_id, "ann")
        assert undone["retracted"] == answer["vote_id"]
        assert undone["showing"]["showing_id"] == showing["showing_id"]
    assert labelling.undo(database, project_id, "ann")["retracted"] is None
    again = [e["showing_id"] for e in _next(database, project_id, count=20)["pairs"]]
    assert sorted(again) == sorted(purposes)
    with database.read() as s:
        leased = s.scalar(select(func.count()).where(Slot.annotator.is_not(None)))
    assert leased == 3


def test_a_check_can_be_judged_once_a_showing_and_revised(database: Database) -> None:
    project_id = make_project(database, [new_pair(1), _gold(100)], gold_rate=0.5)
    seed = next(n for n in range(50) if random.Random(n).random() < 0.5)
    (gold,) = _next(database, project_id, count=1, seed=seed)["pairs"]
    assert _purposes(database)[gold["showing_id"]] == "gold"
    vote = _vote(gold)
    assert labelling.cast_vote(database, project_id, "ann", vote)["status"] == "stored"
    assert labelling.cast_vote(database, project_id, "ann", vote)["status"] == "duplicate"
    revision = {"vote_id": str(uuid.uuid4()), "revises": vote["vote_id"], "choice": "right"}
    assert history.revise(database, project_id, "ann", revision)["status"] == "stored"
    with database.read() as s:
        rows = s.execute(select(Vote.purpose, Vote.surplus, Vote.retracted_at.is_(None))).all()
    assert sorted(rows) == [("gold", False, False), ("gold", False, True)]


def test_a_pair_that_is_imported_as_gold_leaves_the_queue(database: Database) -> None:
    from db import content
    from db.models import utc_now

    project_id = make_project(database, open_pairs(2))
    with database.write() as s:
        content.add_pairs(
            s, project_id, [replace(new_pair(0), gold_choice="a")], wanted_votes=1, now=utc_now()
        )
    shown = _next(database, project_id)["pairs"]
    assert [each["messages"][0]["content"] for each in shown] == ["prompt 1"]


# --- which pair next ---------------------------------------------------------------------------


def _rank(database: Database, project_id: int, strategy: str) -> list[int]:
    """Rank the training pairs by falling id, as a ranking by a checkpoint would."""
    with database.write() as s:
        pairs = s.scalars(
            select(Pair.id).where(Pair.split == "train").order_by(Pair.id.desc())
        ).all()
        for place, pair_id in enumerate(pairs):
            s.execute(
                update(Slot)
                .where(Slot.pair_id == pair_id)
                .values(priority=place, acquisition_score=1 / (place + 1))
            )
        s.execute(update(Project).values(ranking={"strategy": strategy, "checkpoint_id": 7}))
    return list(pairs)


@pytest.mark.parametrize("strategy", ["in_order", "information"])
def test_a_strategy_chooses_training_pairs_beside_a_random_arm(
    database: Database, strategy: str
) -> None:
    project_id = make_project(database, open_pairs(60), queue_strategy=strategy, random_share=0.3)
    ranked = _rank(database, project_id, strategy)
    _label_all(database, project_id)
    with database.read() as s:
        rows = s.execute(
            select(Selection, Pair.split)
            .join(Pair, Pair.id == Selection.pair_id)
            .order_by(Selection.id)
        ).all()
    arms = Counter((split, selection.strategy) for selection, split in rows)
    assert sum(arms.values()) == 60, arms
    assert arms.keys() == {("heldout", "random"), ("train", "random"), ("train", strategy)}
    assert binom.cdf(arms[("train", "random")], 42, 0.3) > 1e-3, arms
    assert binom.cdf(arms[("train", strategy)], 42, 0.7) > 1e-3, arms
    chosen = [each.pair_id for each, _ in rows if each.strategy == strategy]
    first = chosen[: arms[("train", strategy)] // 2]
    order = sorted(first) if strategy == "in_order" else [p for p in ranked if p in set(first)]
    assert first == order
    for each, _ in rows:
        assert 0 < (each.propensity or 0) <= 1
        is_scored = each.strategy in ("uncertainty", "information")
        assert (each.acquisition_score is not None) == is_scored
        assert (each.checkpoint_id == 7) == is_scored


def test_without_a_ranking_of_the_strategy_the_queue_is_random_and_says_so(
    database: Database,
) -> None:
    project_id = make_project(database, open_pairs(20), queue_strategy="information")
    _rank(database, project_id, "uncertainty")
    _label_all(database, project_id)
    with database.read() as s:
        assert set(s.scalars(select(Selection.strategy))) == {"random"}
        assert set(s.scalars(select(Selection.checkpoint_id))) == {None}


def test_propensities_are_the_frequencies_of_the_draw(sqlite_database: Database) -> None:
    """Drawn again and again from the same queue, each pair comes as often as is recorded."""
    database = sqlite_database
    project_id = make_project(
        database, open_pairs(12), queue_strategy="information", random_share=0.4
    )
    _rank(database, project_id, "information")
    told: dict[int, list[float]] = {}
    for number in range(200):
        who = f"person {number}"
        with database.write() as s:  # a place in the walk drawn anew: the order is what is random
            s.execute(
                update(Slot).values(
                    position=func.abs(func.random() % 1000003) / 1000003.0,
                    annotator=None,
                    lease_until=None,
                )
            )
        (shown,) = _next(database, project_id, who, count=1)["pairs"]
        with database.read() as s:
            propensity = s.get_one(Selection, shown["showing_id"]).propensity
        told.setdefault(shown["pair_id"], []).append(propensity or 0.0)
    assert len(told) >= 10  # of 12: one that comes in a thirtieth of the draws may never come
    for values in told.values():
        probability = sum(values) / len(values)
        assert max(values) - min(values) < 1e-9 + 0.05
        number = len(values)
        assert binom.cdf(number, 200, probability) > 1e-6
        assert binom.sf(number - 1, 200, probability) > 1e-6
