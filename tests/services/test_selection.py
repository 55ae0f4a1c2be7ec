"""Ranking a queue by the newest head, and the curves of its arms, on a real trained head."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select, update

from db.engine import Database
from db.models import Pair, Project, Selection, Slot, Vote, utc_now
from studio.services import queue_settings, selection, selection_curves, training
from tests.rows import make_project, open_pairs
from tests.workspace import Workspace, kindness


def _ranked(database: Database, project_id: int) -> list[tuple[int, int, float, str]]:
    """(place, pair, score, split) of every slot that is ranked."""
    with database.read() as s:
        rows = s.execute(
            select(Slot.priority, Slot.pair_id, Slot.acquisition_score, Pair.split)
            .join(Pair, Pair.id == Slot.pair_id)
            .where(Slot.project_id == project_id, Slot.priority.is_not(None))
            .order_by(Slot.priority)
        ).all()
    return [tuple(row) for row in rows]  # type: ignore[misc]


def _ranking(database: Database, project_id: int) -> dict[str, Any]:
    with database.read() as s:
        return s.get_one(Project, project_id).ranking


def test_a_queue_without_a_head_says_why_it_is_random(database: Database, tmp_path: Any) -> None:
    from studio.settings import Settings

    settings = Settings.read({}, data_dir=str(tmp_path / "data"))
    project_id = make_project(database, open_pairs(5))
    assert selection.rank_queue(database, settings, project_id) is None
    queue_settings.update(database, project_id, "lea", strategy="uncertainty")
    assert selection.rank_all(database, settings) == [project_id]
    assert "no trained head" in _ranking(database, project_id)["why_not"]
    assert selection.rank_all(database, settings) == []  # looked at, and nothing has changed


@pytest.fixture
def open_workspace(judged_workspace: Workspace) -> Workspace:
    """Sixty judged pairs, a head trained on them, and forty pairs to label, all encoded."""
    from rm_core.config import TrainConfig
    from rm_core.conversation import Answer
    from rm_core.encoding import encode_missing
    from rm_core.features import FeatureStore
    from studio.services import backbones

    made = judged_workspace
    made.run_here(training.request_run(made.database, made.project_id, "test"))
    rows = kindness(40, first=100)
    made.add(rows, purpose="unlabelled")
    config, info = TrainConfig(), backbones.prepare(made.settings, made.settings.backbone)
    answers = [Answer(r["prompt"], r[side]) for r in rows for side in ("chosen", "rejected")]
    with FeatureStore(made.settings.features_path) as store:
        encode_missing(
            store, info, answers, layers=config.candidate_layers(info), limits=config.limits,
            device="cpu", dtype=config.dtype,
        )  # fmt: skip
    return made


def test_training_pairs_are_ranked_by_the_newest_head_and_again_when_few_are_left(
    open_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, settings = open_workspace.database, open_workspace.settings
    project_id = open_workspace.project_id
    monkeypatch.setattr(selection, "BATCH", 12)
    for strategy in ("uncertainty", "information"):
        queue_settings.update(database, project_id, "lea", strategy=strategy)
        assert selection.rank_all(database, settings) == [project_id]
        assert selection.rank_all(database, settings) == []
        ranked = _ranked(database, project_id)
        assert [each[0] for each in ranked] == list(range(12))
        scores = [each[2] for each in ranked]
        assert scores == sorted(scores, reverse=True)
        assert min(scores) > 0
        assert {each[3] for each in ranked} == {"train"}
        told = _ranking(database, project_id)
        assert (told["strategy"], told["num_ranked"]) == (strategy, 12)
        assert told["num_scored"] == told["num_candidates"] > 20
        assert told["checkpoint_id"] is not None
    taken = [each[1] for each in ranked[:11]]
    with database.write() as s:
        s.execute(
            update(Slot)
            .where(Slot.pair_id.in_(taken))
            .values(annotator="ann", lease_until=utc_now())
        )
        s.execute(Slot.__table__.delete().where(Slot.pair_id.in_(taken[:10])))  # type: ignore[attr-defined]
    assert selection.rank_all(database, settings) == [project_id]
    again = {each[1] for each in _ranked(database, project_id)}
    assert len(again) == 12
    assert taken[10] not in again  # it is on somebody's screen


def test_arms_are_compared_at_equal_numbers_on_held_out_pairs(
    open_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, settings = open_workspace.database, open_workspace.settings
    project_id = open_workspace.project_id
    monkeypatch.setattr(selection_curves, "MIN_LABELS", 8)
    found = selection_curves.arm_curves(database, settings, project_id)
    assert "two arms with 8 decided labels" in (found.why_not or "")
    _label_everything(database, project_id)
    found = selection_curves.arm_curves(database, settings, project_id)
    assert found.why_not is None
    assert set(found.arms) == {"random", "information"}
    sizes = {name: [point[0] for point in points] for name, points in found.arms.items()}
    assert sizes["random"] == sizes["information"]
    assert sizes["random"][-1] == min(found.num_labels.values())
    for points in found.arms.values():
        assert all(0 <= low <= accuracy <= high <= 1 for _, accuracy, low, high in points)


def _label_everything(database: Database, project_id: int) -> None:
    """Judge each pair rightly, every other one as shown by *information*."""
    with database.write() as s:
        rows = s.execute(
            select(Slot, Pair).join(Pair, Pair.id == Slot.pair_id).order_by(Slot.id)
        ).all()
        from db.pair_texts import get_pair
        from tests.workspace import KIND

        arms = Counter[str]()
        for slot, pair in rows:
            text = get_pair(s, project_id, pair.id)
            assert text is not None
            strategy = "random" if pair.split == "heldout" or arms["random"] % 2 else "information"
            arms["random"] += 1
            showing = Selection(
                project_id=project_id, pair_id=pair.id, annotator="ann", slot_id=slot.id,
                position=slot.position, left_side="a", strategy=strategy, propensity=0.5,
            )  # fmt: skip
            s.add(showing)
            s.flush()
            is_kind = text.response_a.split()[0] in KIND
            s.add(
                Vote(
                    id=str(uuid.uuid4()), project_id=project_id, pair_id=pair.id,
                    showing_id=showing.id, annotator="ann", choice="a" if is_kind else "b",
                )
            )  # fmt: skip
