"""Checkpoints over time: compared, promoted or held back, rolled back, traced and reproduced."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db import projects
from db.models import AuditEvent
from rm_core.features import FeatureStore, Lengths, Record
from studio.jobs.run import run_job
from studio.services import (
    checkpoints,
    curve_job,
    predictions,
    promotion,
    reproduce_job,
    run_queue,
    scoring,
    training,
)
from studio.services.errors import NotFound, StudioError, UsageError
from studio.services.predictions import Unseen, UnseenPair
from tests.workspace import Workspace, kindness, make_workspace


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Iterator[Workspace]:
    """Two checkpoints: on 160 pairs, and on 30 more; enough prompts to hold some out."""
    made = make_workspace(tmp_path_factory.mktemp("heads") / "data", tiny_backbone)
    made.project_id = made.add(kindness(160))
    made.run_here(training.request_run(made.database, made.project_id, "click", actor="mara"))
    made.add(kindness(30, first=500))
    made.run_here(training.request_run(made.database, made.project_id, "console"))
    yield made
    made.database.dispose()


def listed(here: Workspace) -> list[dict[str, Any]]:
    return checkpoints.listed(here.database, here.project_id)["checkpoints"]


def detail(here: Workspace, checkpoint_id: int) -> dict[str, Any]:
    return checkpoints.detail(here.database, here.settings, here.project_id, checkpoint_id)


def in_use(here: Workspace) -> int | None:
    return checkpoints.listed(here.database, here.project_id)["in_use"]


def test_the_list_says_who_asked_whose_votes_and_how_it_compares(here: Workspace) -> None:
    newer, older = listed(here)
    assert (newer["id"], older["id"]) == (2, 1)
    assert (older["actor"], older["comparison"]) == ("mara", None)
    assert newer["votes"]["votes"] == 190
    assert newer["votes"]["by"][0]["name"].startswith("import:")
    compared = newer["comparison"]
    assert (compared["against"], newer["evaluation"]) == (1, "heldout")
    assert compared["pairs"] == newer["pairs"]
    assert compared["outcome"] in ("better", "no difference shown")
    assert newer["because"].startswith("Promoted. On ")
    assert (newer["layer"], newer["readout"]) == (detail(here, 2)["layer"], newer["readout"])


def test_a_new_head_and_the_old_one_are_asked_about_the_same_pairs(here: Workspace) -> None:
    shown = detail(here, 2)
    unseen = predictions.read(here.settings.checkpoints_dir / shown["directory"])
    assert unseen is not None
    assert len(unseen.pairs) == shown["pairs"] == len(unseen.compared())
    wrong = [p for p in unseen.compared() if ((p.logit > 0) != (p.target > 0.5))]
    was_wrong = [p for p in unseen.compared() if ((p.old_logit or 0) > 0) != (p.target > 0.5)]
    flipped = shown["flipped"]
    assert flipped["now_wrong"] - flipped["now_right"] == len(wrong) - len(was_wrong)
    row = unseen.pairs[0]
    assert row.rewards is not None
    assert (row.logit > 0) == (row.rewards[0] > row.rewards[1])


def test_detail_holds_slices_candidates_card_and_lineage(here: Workspace) -> None:
    shown = detail(here, 2)
    json.dumps(shown)
    figures = shown["figures"]
    assert set(figures["by_size"]) == {"short answers", "middling answers", "long answers"}
    [(name, slice_)] = figures["by_annotator"]["slices"].items()
    assert name.startswith("import:")
    assert slice_["pairs"] == figures["pairs"]
    assert slice_["accuracy"] == pytest.approx(figures["accuracy"])
    assert sum(candidate["chosen"] for candidate in shown["candidates"]) == 1
    assert "# Reward head" in shown["model_card"]
    assert "190 votes by 1 annotator: `import:" in shown["model_card"]
    assert "their agreement is not known" in shown["model_card"]
    assert "Against checkpoint 1 on the same" in shown["model_card"]
    assert shown["snapshot"]["counts"]["votes"] == 190
    with pytest.raises(NotFound, match="77"):
        detail(here, 77)


def test_a_head_that_could_not_be_compared_has_no_changed_verdicts(
    judged_workspace: Workspace,
) -> None:
    here = judged_workspace
    here.run_here(training.request_run(here.database, here.project_id, "click"))
    manifest = here.settings.checkpoints_dir / detail(here, 1)["directory"] / "manifest.json"
    manifest.write_text("{")
    here.run_here(training.request_run(here.database, here.project_id, "click"))
    shown = detail(here, 2)
    assert shown["comparison"]["problem"] == "its files cannot be read"
    assert shown["flipped"] is None


def test_heads_are_compared_on_what_the_older_ones_limits_let_it_read(
    empty_workspace: Workspace,
) -> None:
    here = empty_workspace
    rows = kindness(160)
    rows += [
        {**row, "rejected": row["rejected"] + " and on and on" * 20}
        for row in kindness(10, first=700)
    ]
    here.project_id = here.add(rows)
    config = {"max_response_tokens": 200}
    here.run_here(training.request_run(here.database, here.project_id, "click", config))
    here.run_here(training.request_run(here.database, here.project_id, "console"))
    older, newer = detail(here, 1), detail(here, 2)
    assert newer["pairs"] > older["pairs"]
    compared = newer["comparison"]
    assert compared["outcome"] is not None
    assert compared["pairs"] == older["pairs"]


def test_from_a_pair_to_the_checkpoints_that_used_it(here: Workspace) -> None:
    used = checkpoints.used_by(here.database, here.project_id, 1)
    assert [each["id"] for each in used["checkpoints"]] == [2, 1]
    later = checkpoints.used_by(here.database, here.project_id, 190)
    assert later["checkpoints"] == [{"id": 2, "votes": 1}]
    with pytest.raises(NotFound, match="5000"):
        checkpoints.used_by(here.database, here.project_id, 5000)


def test_rolling_back_and_retiring_change_what_scores(here: Workspace) -> None:
    assert in_use(here) == 2
    checkpoints.promote(here.database, here.project_id, 1, actor="mara")
    assert scoring.newest_checkpoint(here.database, here.project_id).id == 1
    assert detail(here, 1)["because"] == "Rolled back to by mara."
    with pytest.raises(StudioError, match="in use already"):
        checkpoints.promote(here.database, here.project_id, 1, actor="mara")
    checkpoints.retire(here.database, here.project_id, 1, actor="mara")
    assert in_use(here) == 2
    with pytest.raises(StudioError, match="retired already"):
        checkpoints.retire(here.database, here.project_id, 1, actor="mara")
    checkpoints.promote(here.database, here.project_id, 1, actor="mara")
    checkpoints.promote(here.database, here.project_id, 2, actor="mara")
    assert in_use(here) == 2
    with here.database.read() as s:
        events = s.query(AuditEvent).filter_by(subject="checkpoint").order_by(AuditEvent.id).all()
    assert [(e.action, e.subject_id) for e in events[:2]] == [("promote", "1"), ("retire", "1")]
    assert events[0].details == {"before": 2}


def test_the_same_votes_give_the_same_head_to_the_bit(here: Workspace) -> None:
    run_id = detail(here, 1)["run_id"]
    again = reproduce_job.request(here.database, run_id, actor="mara")
    assert reproduce_job.request(here.database, run_id) == again  # asked twice, done once
    here.run_here(again)
    outcome = detail(here, 1)["reproduced"]
    assert outcome["because"] == "The same votes and settings gave the same head to the bit."
    assert (outcome["same"], outcome["num_encoded"], outcome["run"]) == (True, 0, again)
    assert len(listed(here)) == 2  # it makes no checkpoint


def test_a_head_of_answers_encoded_again_is_the_same_within_the_tolerance(here: Workspace) -> None:
    here.settings.features_path.rename(here.settings.features_path.with_suffix(".away"))
    with FeatureStore(here.settings.features_path):
        pass
    here.run_here(reproduce_job.request(here.database, detail(here, 1)["run_id"]))
    outcome = detail(here, 1)["reproduced"]
    assert outcome["num_encoded"] > 0
    assert outcome["same"]
    assert outcome["max_difference"] <= reproduce_job.TOLERANCE
    assert "encoded again" in outcome["because"]


def encoded_elsewhere(path: Path) -> None:
    """Half of the store's summaries as another machine rounds them; the rest is gone."""
    kept = path.with_suffix(".kept")
    path.rename(kept)
    with contextlib.closing(sqlite3.connect(kept)) as file:
        places = file.execute("SELECT key, layer FROM summary ORDER BY key, layer").fetchall()
        lengths = file.execute("SELECT key, prompt_tokens, response_tokens FROM lengths").fetchall()
    with FeatureStore(kept) as old, FeatureStore(path) as new:
        for key, layer in places[::2]:
            found = old.summaries([key], layer)
            summary = np.stack([found.mean[0], found.end[0]]) * np.float32(1 + 2e-7)
            new.put([Record(key, layer, int(found.num_tokens[0]), summary)])
        new.put([], {key: Lengths(*counts) for key, *counts in lengths})


def test_a_look_into_a_checkpoint_that_failed_is_told_with_it(judged_workspace: Workspace) -> None:
    here = judged_workspace
    here.run_here(training.request_run(here.database, here.project_id, "click"))
    made = detail(here, 1)
    assert (made["reproduction"], made["curve_run"]) == (None, None)
    manifest = here.settings.checkpoints_dir / made["directory"] / "manifest.json"
    kept = manifest.read_text()
    manifest.write_text("{")
    run_id = reproduce_job.request(here.database, made["run_id"])
    assert run_queue.claim(here.database) == run_id
    assert run_job(here.database, here.settings, run_id, threading.Event()) == 1
    assert not detail(here, 1)["is_there"]
    manifest.write_text(kept)
    failed = detail(here, 1)["reproduction"]
    assert (failed["id"], failed["status"]) == (run_id, "failed")
    assert failed["error"].startswith("No checkpoint can be read from")
    again = reproduce_job.request(here.database, made["run_id"])
    here.run_here(again)
    assert detail(here, 1)["reproduction"]["status"] == "succeeded"  # the newest counts


def test_what_was_refused_takes_no_part_when_heads_are_compared(
    judged_workspace: Workspace,
) -> None:
    here = judged_workspace
    long = kindness(1, first=700)[0]
    here.add([{**long, "rejected": long["rejected"] + " and on and on" * 20}])
    config = {"max_response_tokens": 200}
    run_id = training.request_run(here.database, here.project_id, "click", config)
    here.run_here(run_id)
    shown = detail(here, 1)
    assert shown["figures"]["left_out"] == {"answers_refused": 1}
    told = (
        "1 answer is refused by the encoding, so 1 judged pair takes no part. The reason: The res"
    )
    assert shown["left_out_told"].startswith(told)
    assert told in shown["model_card"]
    on_train = training.status(here.database, here.project_id)["checkpoint"]
    assert on_train["left_out_told"] == shown["left_out_told"]
    encoded_elsewhere(here.settings.features_path)
    here.run_here(reproduce_job.request(here.database, run_id))
    outcome = detail(here, 1)["reproduced"]
    assert outcome["num_encoded"] > 0
    assert 0 < outcome["max_difference"] <= reproduce_job.TOLERANCE
    assert outcome["same"]
    assert "in any reward, within 0.0001" in outcome["because"]


def test_only_a_run_that_made_a_head_is_reproduced(here: Workspace) -> None:
    with pytest.raises(NotFound, match="no training run 99"):
        reproduce_job.request(here.database, 99)


def test_the_learning_curve_is_stored_and_says_what_more_votes_bring(
    here: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rm_core.learning_curve.NUM_ORDERS", 4)
    monkeypatch.setattr("rm_core.learning_curve.NUM_BOOTSTRAP", 40)
    assert detail(here, 1)["more_votes"] is None
    here.run_here(curve_job.request(here.database, 1, actor="mara"))
    shown = detail(here, 1)
    curve = shown["learning_curve"]
    assert curve["test"] == "heldout"
    assert curve["pairs"] == shown["figures"]["num_train_pairs"]
    assert shown["more_votes"]["200"].startswith("200 more judged pairs would bring about ")
    with pytest.raises(NotFound, match="55"):
        curve_job.request(here.database, 55)


def test_a_bound_next_to_zero_gets_the_decimals_that_tell_it_from_zero() -> None:
    def said(points: float, low: float, high: float) -> str:
        gain = {"more": 200, "accuracy": points / 100, "accuracy_ci": [low / 100, high / 100]}
        return curve_job.in_words({"gains": [gain]}, 200)

    assert "+1.4 points of accuracy (95 %: +0.3 to +2.9), if" in said(1.4, 0.3, 2.9)
    assert "+1.02 points of accuracy (95 %: −0.03 to +2.10): so far" in said(1.02, -0.03, 2.1)
    assert "(95 %: +0.004 to +2.100), if" in said(1.02, 0.004, 2.1)
    assert "(95 %: −1.2 to +3.4): so far" in said(0.0, -1.2, 3.4)


# --- the rule --------------------------------------------------------------------------------


def opinions(num_new_wrong: int, num_old_wrong: int, num: int = 100) -> Unseen:
    """Pairs of prompts of their own; the first few are wrong of each head."""
    pairs = [
        UnseenPair(
            pair=number,
            target=1.0,
            group=str(number),
            logit=-1.0 if number < num_new_wrong else 1.0,
            old_logit=-1.0 if number < num_old_wrong else 1.0,
        )
        for number in range(num)
    ]
    return Unseen(pairs, against=3)


def test_a_head_that_is_significantly_worse_is_not_put_to_use() -> None:
    worse = promotion.decide("unless_worse", opinions(40, 10))
    assert not worse.promoted
    assert worse.because.startswith("Not promoted. On 100 pairs that neither was fitted to, it is")
    assert "right 30.0 points less often than checkpoint 3 (95 %: −" in worse.because
    assert promotion.decide("unless_worse", opinions(12, 10)).promoted
    assert promotion.decide("always", opinions(40, 10)).promoted
    by_hand = promotion.decide("manual", opinions(10, 40))
    assert not by_hand.promoted
    assert by_hand.comparison is not None  # it is compared all the same
    assert by_hand.comparison["outcome"] == "better"


def test_what_cannot_be_compared_is_promoted_and_says_so() -> None:
    none = Unseen([], against=3, problem="it has another backbone")
    decision = promotion.decide("unless_worse", none)
    assert decision.promoted
    assert "could not be compared with checkpoint 3 (it has another backbone)" in decision.because
    assert promotion.decide("unless_worse", Unseen()).because == (
        "Promoted: nothing was in use before it."
    )
    with pytest.raises(UsageError, match="'sometimes'"):
        promotion.check_rule("sometimes")


def test_a_project_whose_lead_promotes_uses_no_head_until_then(
    judged_workspace: Workspace,
) -> None:
    here = judged_workspace
    with here.database.write() as s:
        project = projects.get_project(s, here.project_id)
        assert project is not None
        project.promotion_rule = "manual"
    here.run_here(training.request_run(here.database, here.project_id, "click"))
    status = training.status(here.database, here.project_id)
    assert (status["in_use"], status["checkpoint"]["id"]) == (None, 1)
    assert status["new_judged"] == 0
    with pytest.raises(StudioError, match="no checkpoint"):
        scoring.newest_checkpoint(here.database, here.project_id)
    checkpoints.promote(here.database, here.project_id, 1, actor="mara")
    assert scoring.newest_checkpoint(here.database, here.project_id).id == 1
    # Too few prompts are held out here: both were cross-validated, and that is what is compared.
    here.add(kindness(5, first=900))
    here.run_here(training.request_run(here.database, here.project_id, "click"))
    compared = listed(here)[0]["comparison"]
    assert (compared["against"], compared["pairs"]) == (1, 60)


def test_how_far_people_agree_is_told_where_several_judged(empty_workspace: Workspace) -> None:
    here = empty_workspace
    rows = [
        {
            "id": row["id"],
            "prompt": row["prompt"],
            "answers": [row["chosen"], row["rejected"]],
            "votes": [
                {"annotator": name, "choice": "b" if name == "bob" and number % 4 == 0 else "a"}
                for name in ("ann", "bob", "cleo")
            ],
        }
        for number, row in enumerate(kindness(40))
    ]
    here.project_id = here.add(rows)
    here.run_here(training.request_run(here.database, here.project_id, "click"))
    shown = detail(here, 1)
    people = shown["figures"]["human_agreement"]
    assert people["pairs"] == 40
    assert 0.8 < people["ceiling"] < 1
    assert people["ceiling_ci"][0] < people["ceiling"] < people["ceiling_ci"][1]
    assert "On 40 pairs that several people judged: Krippendorff's alpha" in shown["model_card"]
    assert {each["name"].rpartition(":")[2] for each in shown["votes"]["by"]} == {
        "ann", "bob", "cleo",
    }  # fmt: skip
