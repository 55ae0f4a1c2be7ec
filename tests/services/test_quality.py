"""The Quality page's figures: annotators, disputed pairs, adjudication, settings, relabelling."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pytest
from sqlalchemy import select, update

from db import content, votes
from db.content import NewPair
from db.engine import Database
from db.models import AuditEvent, Pair, Vote, utc_now
from studio.services import adjudication, aggregation, quality, relabelling, training
from studio.services.annotators import Annotator
from studio.services.errors import Conflict, NotFound, UsageError
from tests.judging import give, give_all, pair_ids
from tests.rows import make_project, open_pairs, user
from tests.workspace import Workspace


def _by_name(database: Database, project_id: int) -> dict[str, Annotator]:
    return {row.name: row for row in quality.overview(database, project_id).annotators}


def _judged(database: Database, num_pairs: int = 40) -> tuple[int, list[int]]:
    """Three people on the same pairs: two who mostly agree, one who always takes the left side."""
    project_id = make_project(database, open_pairs(num_pairs))
    ids = pair_ids(database, project_id)
    chance = random.Random(5)
    for place, pair_id in enumerate(ids):
        left = chance.choice("ab")
        better = "a" if place % 2 else "b"
        shown = {"left_side": left, "duration_ms": 4000}
        give(database, project_id, pair_id, "ada", better, **shown)
        give(database, project_id, pair_id, "bo", "tie" if place % 8 == 0 else better, **shown)
        give(database, project_id, pair_id, "lefty", left, left_side=left, duration_ms=300)
    return project_id, ids


def test_each_annotators_habits_are_found(database: Database) -> None:
    project_id, ids = _judged(database)
    give(database, project_id, ids[0], "shy", "skip")
    give(database, project_id, ids[1], "shy", "flag")
    found = quality.overview(database, project_id)
    rows = {row.name: row for row in found.annotators}
    assert found.num_votes == 120
    assert (found.num_judged, found.num_shared, found.num_pairs) == (40, 40, 40)
    ada, lefty, shy = rows["ada"], rows["lefty"], rows["shy"]
    assert (shy.num_verdicts, shy.num_skips, shy.num_flags, shy.median_ms) == (0, 1, 1, None)
    assert (lefty.left.value, lefty.left.num) == (1.0, 40)
    assert (lefty.left.low or 0) > 0.5
    assert (ada.left.low or 1) < 0.5 < (ada.left.high or 0)
    assert (lefty.too_fast.value, ada.too_fast.value) == (1.0, 0.0)
    assert (lefty.median_ms, ada.median_ms) == (300, 4000)
    assert (ada.with_others.value or 0) > (lefty.with_others.value or 1)
    assert found.alpha.value is not None
    assert quality.human_ceiling(database, project_id) == found.ceiling
    assert quality.alpha_in_words(found.alpha).endswith(".")
    pair = quality.two_annotators(database, project_id, "bo", "ada")
    assert (pair.num, (pair.value or 0) > 0.7) == (40, True)
    with pytest.raises(NotFound, match="'nobody' has no vote"):
        quality.two_annotators(database, project_id, "ada", "nobody")


def test_length_bias_is_measured_against_the_others_on_the_same_pairs(database: Database) -> None:
    from db.content import NewPair
    from tests.rows import user

    pairs = [NewPair(user(f"p {n}"), f"short {n}", f"a much longer answer {n}") for n in range(30)]
    project_id = make_project(database, pairs)
    with database.read() as s:
        rows = s.execute(votes.select_pairs().where(Pair.project_id == project_id)).all()
    for place, row in enumerate(rows):
        longer = "a" if len(row[4]) > len(row[5]) else "b"
        shorter = "b" if longer == "a" else "a"
        give(database, project_id, row[0], "wordy", longer)
        for name in ("x", "y"):
            give(database, project_id, row[0], name, longer if place % 3 else shorter)
    found = _by_name(database, project_id)
    assert found["wordy"].longer.value == 1
    assert found["wordy"].longer_than_others.value == pytest.approx(1 / 3)
    assert (found["wordy"].longer_than_others.low or 0) > 0
    assert found["x"].longer.value == pytest.approx(2 / 3)
    assert (found["x"].longer_than_others.high or 0) < 0


def test_gold_and_repeats_check_the_annotator_and_nothing_else(database: Database) -> None:
    project_id, ids = _judged(database, 12)
    before = quality.overview(database, project_id)
    with database.write() as s:
        s.execute(update(Pair).where(Pair.id.in_(ids[:4])).values(gold_choice="a"))
    for pair_id in ids[:4]:
        give(
            database,
            project_id,
            pair_id,
            "ada",
            "a" if pair_id != ids[0] else "tie",
            purpose="gold",
        )
        give(database, project_id, pair_id, "bo", "skip", purpose="gold")
    for place, pair_id in enumerate(ids[4:8]):
        said = "a" if (place + 4) % 2 else "b"
        give(database, project_id, pair_id, "ada", said if place else "both_bad", purpose="repeat")
    found = quality.overview(database, project_id)
    rows = {row.name: row for row in found.annotators}
    assert (rows["ada"].gold.value, rows["ada"].gold.num) == (0.75, 4)
    assert (rows["ada"].repeats.value, rows["ada"].repeats.num) == (0.75, 4)
    assert (rows["bo"].gold.value, rows["bo"].repeats.value) == (None, None)
    assert (found.gold, found.repeats) == (0.75, 0.75)
    assert (found.alpha, found.num_votes) == (before.alpha, before.num_votes)
    assert found.left_out["votes_gold"] == 8
    assert found.left_out["votes_repeat"] == 4


def test_figures_follow_the_votes_and_are_kept_while_nothing_changes(database: Database) -> None:
    project_id, ids = _judged(database, 6)
    first = quality.overview(database, project_id)
    assert quality.overview(database, project_id) is first
    vote_id = give(database, project_id, ids[0], "new", "a")
    second = quality.overview(database, project_id)
    assert second.num_votes == first.num_votes + 1
    with database.write() as s:
        s.execute(update(Vote).where(Vote.id == vote_id).values(retracted_at=utc_now()))
    assert quality.overview(database, project_id).num_votes == first.num_votes
    aggregation.change(database, project_id, "mara", {"min_votes": 4})
    assert quality.overview(database, project_id).merged.num_with_target == 0


def test_figures_computed_ahead_are_those_that_are_shown(database: Database) -> None:
    project_id, _ = _judged(database, 6)
    make_project(database, name="empty")
    quality.warm_up(database)
    kept = quality._kept[database.url, project_id].overview
    assert quality.overview(database, project_id) is kept


def test_an_empty_project_has_no_figures(database: Database) -> None:
    project_id = make_project(database)
    found = quality.overview(database, project_id)
    assert (found.num_votes, found.annotators, found.disputed) == (0, [], [])
    assert found.alpha.value is None
    assert "nothing to compare" in quality.alpha_in_words(found.alpha)
    with pytest.raises(NotFound, match="no project with id 999"):
        quality.overview(database, 999)


def test_the_most_disputed_pairs_come_first_until_adjudicated(database: Database) -> None:
    project_id = make_project(database, open_pairs(4))
    ids = pair_ids(database, project_id)
    said = ["a a a b", "a a", "a b", "a a b b"]
    rows = [
        (pair_id, f"p{n}", choice)
        for pair_id, choices in zip(ids, said, strict=True)
        for n, choice in enumerate(choices.split())
    ]
    give_all(database, project_id, rows)
    found = quality.overview(database, project_id)
    assert [each.pair_id for each in found.disputed] == [ids[3], ids[2], ids[0]]
    assert found.disputed[0].counts == {"a": 2, "b": 2}
    adjudication.adjudicate(database, project_id, "mara", ids[3], _verdict("a"))
    found = quality.overview(database, project_id)
    assert [each.pair_id for each in found.disputed] == [ids[2], ids[0]]
    assert (found.num_disputed, found.num_adjudicated) == (2, 1)
    assert "mara" not in {row.name for row in found.annotators}


def _verdict(choice: str, **more: Any) -> dict[str, Any]:
    return {"vote_id": str(uuid.uuid4()), "choice": choice, **more}


def test_an_adjudication_is_revised_and_withdrawn_and_all_of_it_stays(database: Database) -> None:
    project_id, ids = _judged(database, 2)
    first = _verdict("a", strength=2, comment="the guidelines say so")
    assert adjudication.adjudicate(database, project_id, "mara", ids[0], first) == "stored"
    assert adjudication.adjudicate(database, project_id, "mara", ids[0], first) == "duplicate"
    with pytest.raises(Conflict, match="stored with another content"):
        adjudication.adjudicate(database, project_id, "mara", ids[0], {**first, "choice": "b"})
    adjudication.adjudicate(database, project_id, "noor", ids[0], _verdict("both_bad"))
    opened = adjudication.open_pair(database, project_id, ids[0])
    assert opened["adjudication"]["choice"] == "both_bad"
    assert {vote["annotator"] for vote in opened["votes"]} == {"ada", "bo", "lefty"}
    assert opened["response_a"]["html"].startswith("<p")
    (listed,) = adjudication.list_adjudicated(database, project_id)
    assert (listed["annotator"], listed["pair_id"]) == ("noor", ids[0])
    assert adjudication.withdraw(database, project_id, "mara", ids[0])
    assert not adjudication.withdraw(database, project_id, "mara", ids[0])
    with database.read() as s:
        stored = s.scalars(select(Vote).where(Vote.purpose == "adjudication")).all()
        events = s.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()
    assert len(stored) == 2
    assert all(vote.retracted_at for vote in stored)
    assert {vote.revises for vote in stored} == {None, first["vote_id"]}
    assert [each for each in events if "adjudic" in each] == [
        "adjudicate", "adjudicate", "withdraw adjudication",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"choice": "skip"}, "choice is 'skip'; use one of a, b, tie, both_bad"),
        ({"choice": "tie", "strength": 1}, "only an answer can have one"),
        ({"choice": "a", "strength": 4}, "strength is 4"),
        ({"choice": "a", "comment": "\x00"}, "NUL"),
        ({"choice": "a", "vote_id": "x"}, "vote_id is 'x'"),
    ],
)
def test_a_wrong_adjudication_says_what_is_wrong(
    database: Database, given: dict[str, Any], told: str
) -> None:
    project_id = make_project(database, open_pairs(1))
    (pair_id,) = pair_ids(database, project_id)
    with pytest.raises(UsageError, match=told):
        adjudication.adjudicate(database, project_id, "m", pair_id, _verdict("a") | given)
    with pytest.raises(NotFound, match="no pair 999"):
        adjudication.adjudicate(database, project_id, "m", 999, _verdict("a"))


def test_flagged_pairs_are_listed_with_their_reason_and_reopened(database: Database) -> None:
    project_id, ids = _judged(database, 3)
    give(database, project_id, ids[1], "shy", "flag", comment="this is somebody's address")
    for lead in ("mara", "lea"):
        adjudication.set_paused(database, project_id, lead, ids[1], True)
    (listed,) = adjudication.list_flagged(database, project_id)
    assert (listed["pair_id"], listed["is_paused"], listed["annotator"]) == (ids[1], True, "shy")
    assert listed["comment"] == "this is somebody's address"
    adjudication.set_paused(database, project_id, "mara", ids[1], False)
    adjudication.set_paused(database, project_id, "mara", ids[1], False)
    (listed,) = adjudication.list_flagged(database, project_id)
    assert not listed["is_paused"]
    with database.read() as s:
        events = s.execute(select(AuditEvent.actor, AuditEvent.action).order_by(AuditEvent.id))
        decided = [tuple(each) for each in events if each.action in ("pause", "reopen")]
    assert decided == [("mara", "pause"), ("lea", "pause"), ("mara", "reopen")]
    assert adjudication.first_words(database, project_id, [ids[1]]) == {ids[1]: "prompt 1"}


def test_settings_are_tried_before_they_are_changed(database: Database) -> None:
    project_id, _ = _judged(database, 16)
    tried = aggregation.preview(database, project_id, {"method": "majority"})
    assert (tried["pairs_now"], tried["pairs_then"], tried["is_in_force"]) == (16, 16, False)
    assert tried["changed"] > 0
    assert aggregation.read(database, project_id)["method"] == "shares"
    strict = aggregation.preview(database, project_id, {"min_votes": 4})
    assert (strict["lost"], strict["left_out"]["pairs_too_few_votes"]) == (16, 16)
    modelled = aggregation.preview(database, project_id, {"method": "reliability"})
    assert modelled["reliability"]["ada"]["right"] > modelled["reliability"]["lefty"]["right"]
    aggregation.change(database, project_id, "mara", {"method": "reliability"})
    assert aggregation.read(database, project_id)["method"] == "reliability"
    assert aggregation.preview(database, project_id, {"method": "reliability"})["changed"] == 0
    with pytest.raises(UsageError, match="method is 'best'"):
        aggregation.change(database, project_id, "mara", {"method": "best"})
    with database.read() as s:
        (event,) = s.scalars(select(AuditEvent).where(AuditEvent.action == "aggregation"))
    assert (event.actor, event.details["replaced"]["method"]) == ("mara", "shares")


def test_the_model_names_the_verdicts_that_it_finds_least_likely(
    judged_workspace: Workspace,
) -> None:
    database, settings = judged_workspace.database, judged_workspace.settings
    project_id = judged_workspace.project_id
    nothing = relabelling.candidates(database, settings, project_id)
    assert (nothing["checkpoint_id"], nothing["listed"]) == (None, [])
    judged_workspace.run_here(training.request_run(database, project_id, "test"))
    # Somebody turns eight verdicts round after the training.
    ids = pair_ids(database, project_id)[:8]
    with database.write() as s:
        for vote in s.scalars(select(Vote).where(Vote.pair_id.in_(ids))):
            vote.choice = "b" if vote.choice == "a" else "a"
    found = relabelling.candidates(database, settings, project_id)
    assert found["num_scored"] == 60
    assert found["num_unscored"] == 0
    listed = [each["pair_id"] for each in found["listed"]]
    assert len(set(ids) & set(listed)) >= 6
    assert all(each["prob_people"] <= relabelling.STRONG for each in found["listed"])
    assert relabelling.candidates(database, settings, project_id) == found
    one = relabelling.prediction(database, settings, project_id, listed[0])
    assert one["checkpoint_id"] == found["checkpoint_id"]
    adjudication.adjudicate(database, project_id, "mara", listed[0], _verdict("a"))
    after = relabelling.candidates(database, settings, project_id)
    assert listed[0] not in [each["pair_id"] for each in after["listed"]]


def test_a_corrected_known_verdict_shows_at_once(database: Database) -> None:
    project_id = make_project(database)

    def know(choice: str) -> None:
        known = NewPair(user("gold"), "first", "second", gold_choice=choice)
        with database.write() as s:
            content.add_pairs(s, project_id, [known], wanted_votes=1, now=utc_now())

    know("a")
    (pair_id,) = pair_ids(database, project_id)
    with database.read() as s:
        choice = s.get_one(Pair, pair_id).gold_choice
    assert choice is not None
    give(database, project_id, pair_id, "ann", choice, purpose="gold")
    assert quality.overview(database, project_id).gold == 1.0
    know("b")
    assert quality.overview(database, project_id).gold == 0.0


def test_all_flagged_pairs_are_counted_though_not_all_are_listed(
    sqlite_database: Database,
) -> None:
    number = adjudication.MAX_LISTED + 3
    project_id = make_project(sqlite_database, open_pairs(number))
    flags = [(pair_id, "ann", "flag") for pair_id in pair_ids(sqlite_database, project_id)]
    give_all(sqlite_database, project_id, flags)
    assert len(adjudication.list_flagged(sqlite_database, project_id)) == adjudication.MAX_LISTED
    assert adjudication.count_flagged(sqlite_database, project_id) == number
