"""Labelling: never a vote lost or counted twice, never more handed out than wanted."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from db import votes
from db.engine import Database
from db.models import Pair, Selection, Slot, Vote, utc_now
from studio.services import importing, labelling, projects
from studio.services.errors import Conflict, NotFound, UsageError
from tests.rows import make_project, new_pair, open_pairs, preference, write_jsonl


def _vote(showing: dict[str, Any], choice: str = "left", **more: Any) -> dict[str, Any]:
    return {
        "vote_id": str(uuid.uuid4()),
        "showing_id": showing["showing_id"],
        "choice": choice,
        "duration_ms": 1200,
    } | more


def _shown(database: Database, project_id: int, who: str = "local", **more: Any) -> list[Any]:
    pairs: list[Any] = labelling.next_pairs(database, project_id, who, **more)["pairs"]
    return pairs


def _give(
    database: Database, project_id: int, choice: str, who: str = "local", **more: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Vote on the next pair; the showing and the answer."""
    (showing,) = _shown(database, project_id, who, count=1, **more)
    answer = labelling.cast_vote(database, project_id, who, _vote(showing, choice), **more)
    return showing, answer


def _stored(database: Database) -> list[Vote]:
    with database.read() as s:
        return list(s.scalars(select(Vote).order_by(Vote.created_at)))


def _filled_by_pair(database: Database) -> Counter[int]:
    with database.read() as s:
        return Counter(s.scalars(select(Slot.pair_id).where(Slot.vote_id.is_not(None))))


# --- handing out -----------------------------------------------------------------------------


def test_a_reload_shows_the_same_pairs_on_the_same_sides(database: Database) -> None:
    project_id = make_project(database, open_pairs(10))
    first = _shown(database, project_id)
    again = _shown(database, project_id)
    assert len(first) == 3
    for one, other in zip(first, again, strict=True):
        assert {**one, "lease_until": ""} == {**other, "lease_until": ""}


def test_what_the_page_holds_is_not_sent_again(database: Database) -> None:
    project_id = make_project(database, open_pairs(10))
    held = [each["showing_id"] for each in _shown(database, project_id)]
    more = _shown(database, project_id, exclude=held[1:])
    assert next(each["showing_id"] for each in more) == held[0]
    assert len(more) == 3
    assert not set(held[1:]) & {each["showing_id"] for each in more}


def test_nobody_can_hold_more_than_the_limit(database: Database) -> None:
    project_id = make_project(database, open_pairs(labelling.MAX_COUNT + 5))
    held: list[int] = []
    for _ in range(4):
        held += [e["showing_id"] for e in _shown(database, project_id, count=10, exclude=held)]
    assert len(held) == labelling.MAX_COUNT
    with pytest.raises(UsageError, match="count is 0"):
        labelling.next_pairs(database, project_id, "local", count=0)


def test_a_showing_tells_neither_the_stored_order_nor_a_winner(database: Database) -> None:
    project_id = make_project(database, open_pairs(60))
    lefts = 0
    for _ in range(3):
        held = _shown(database, project_id, count=20)
        told = {"showing_id", "pair_id", "messages", "left", "right", "shown_at", "lease_until"}
        assert all(set(each) == told for each in held)
        with database.read() as s:
            for each in held:
                selection = s.get_one(Selection, each["showing_id"])
                assert selection.strategy == "random"
                assert selection.propensity is not None
                assert 0 < selection.propensity <= 1
                lefts += selection.left_side == "a"
        for each in held:
            labelling.cast_vote(database, project_id, "local", _vote(each))
    assert 10 < lefts < 50


def test_held_out_and_training_pairs_are_both_handed_out(database: Database) -> None:
    project_id = make_project(database, open_pairs(40))
    for _ in range(2):
        for each in _shown(database, project_id, count=20):
            labelling.cast_vote(database, project_id, "local", _vote(each))
    with database.read() as s:
        splits = Counter(s.scalars(select(Pair.split).join(Vote, Vote.pair_id == Pair.id)))
    assert min(splits["train"], splits["heldout"]) > 0
    assert splits.total() == 40


def test_a_pair_judged_by_import_is_not_handed_out(database: Database) -> None:
    project_id = make_project(database, [new_pair(1, "a"), new_pair(2)])
    shown = _shown(database, project_id)
    assert [each["messages"][0]["content"] for each in shown] == ["prompt 2"]


def test_an_expired_lease_goes_to_somebody_else_and_back_to_nobody(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    start = utc_now()
    (mine,) = _shown(database, project_id, "ann", now=start)
    assert _shown(database, project_id, "bob", now=start + labelling.LEASE / 2) == []
    later = start + labelling.LEASE + timedelta(seconds=1)
    (theirs,) = _shown(database, project_id, "bob", now=later)
    assert theirs["pair_id"] == mine["pair_id"]
    assert _shown(database, project_id, "ann", now=later) == []


def test_renewing_keeps_the_pair_and_tells_what_lapsed(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    start = utc_now()
    (mine,) = _shown(database, project_id, "ann", now=start)
    ids = [mine["showing_id"]]
    soon = start + labelling.LEASE * 0.9
    assert labelling.renew(database, project_id, "ann", ids, now=soon)["renewed"] == ids
    assert _shown(database, project_id, "bob", now=start + labelling.LEASE * 1.5) == []
    late = start + labelling.LEASE * 3
    _shown(database, project_id, "bob", now=late)
    answer = labelling.renew(database, project_id, "ann", ids, now=late)
    assert (answer["renewed"], answer["lapsed"]) == ([], ids)


def test_several_votes_a_pair_come_from_several_people(database: Database) -> None:
    project_id = make_project(database, open_pairs(2), wanted_votes=2)
    for who in ("ann", "bob", "cy"):
        for each in _shown(database, project_id, who):
            labelling.cast_vote(database, project_id, who, _vote(each))
    assert set(_filled_by_pair(database).values()) == {2}
    with database.read() as s:
        each_once = select(func.count(Vote.id)).group_by(Vote.pair_id, Vote.annotator)
        assert set(s.scalars(each_once)) == {1}


def test_the_last_pair_leaves_an_empty_queue_and_zero_to_go(database: Database) -> None:
    project_id = make_project(database, open_pairs(2))
    for _ in range(2):
        _, answer = _give(database, project_id, "tie")
    assert answer["progress"] == {
        "judged_by_you": 2, "skipped_by_you": 0, "open_for_you": 0, "judged": 2, "total": 2,
        "votes_by_people": 2, "votes_imported": 0, "skipped": 0, "flagged": 0, "surplus": 0,
        "age_s": 0,
    }  # fmt: skip
    assert _shown(database, project_id) == []


def test_open_for_you_counts_what_this_person_can_still_get(database: Database) -> None:
    pairs = [*open_pairs(6), new_pair(10, "a")]
    project_id = make_project(database, pairs, wanted_votes=2)
    _give(database, project_id, "left", "ann")
    _give(database, project_id, "skip", "ann")
    _give(database, project_id, "flag", "ann")
    _shown(database, project_id, "bob")
    _shown(database, project_id, "cy")
    for who in ("ann", "bob", "dee", "cy", "eve"):
        told = labelling.progress(database, project_id, who)["open_for_you"]
        assert len(_shown(database, project_id, who, count=20)) == told
    assert told == 0
    assert labelling.progress(database, project_id, "dee")["flagged"] == 1


# --- voting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["left", "right", "tie", "both_bad", "skip", "flag"])
def test_a_vote_is_stored_as_what_was_seen(database: Database, choice: str) -> None:
    project_id = make_project(database, open_pairs(1))
    showing, answer = _give(database, project_id, choice)
    assert answer["status"] == "stored"
    (vote,) = _stored(database)
    assert vote.id == answer["vote_id"]
    if choice in ("left", "right"):
        with database.read() as s:
            from db.pair_texts import get_pair

            pair = get_pair(s, project_id, vote.pair_id)
        assert pair is not None
        text = {"a": pair.response_a, "b": pair.response_b}[vote.choice]
        assert text == showing[choice]["text"]
    else:
        assert vote.choice == choice
    filled = 0 if choice in ("skip", "flag") else 1
    assert _filled_by_pair(database).total() == filled


def test_a_resent_vote_counts_once_even_after_it_was_undone(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    (showing,) = _shown(database, project_id)
    vote = _vote(showing, "right", strength=2, reasons=["truer"], comment="because")
    assert labelling.cast_vote(database, project_id, "local", vote)["status"] == "stored"
    assert labelling.cast_vote(database, project_id, "local", vote)["status"] == "duplicate"
    upper = vote | {"vote_id": vote["vote_id"].upper(), "duration_ms": 9}
    assert labelling.cast_vote(database, project_id, "local", upper)["status"] == "duplicate"
    labelling.undo(database, project_id, "local")
    assert labelling.cast_vote(database, project_id, "local", vote)["status"] == "duplicate"
    (stored,) = _stored(database)
    assert stored.retracted_at is not None


def test_a_vote_id_with_another_content_is_refused_by_name(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    (showing,) = _shown(database, project_id)
    vote = _vote(showing)
    labelling.cast_vote(database, project_id, "local", vote)
    with pytest.raises(Conflict, match=vote["vote_id"]):
        labelling.cast_vote(database, project_id, "local", vote | {"choice": "tie"})
    assert [each.choice == "tie" for each in _stored(database)] == [False]


def test_a_second_vote_on_a_pair_is_refused_and_the_first_stands(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    (showing,) = _shown(database, project_id)
    first = _vote(showing, "left")
    labelling.cast_vote(database, project_id, "local", first)
    with pytest.raises(Conflict, match=f"already .vote {first['vote_id']}"):
        labelling.cast_vote(database, project_id, "local", _vote(showing, "right"))
    assert [each.id for each in _stored(database)] == [first["vote_id"]]


def test_a_late_vote_is_kept_as_surplus(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    start = utc_now()
    (mine,) = _shown(database, project_id, "ann", now=start)
    later = start + labelling.LEASE * 2
    _give(database, project_id, "left", "bob", now=later)
    answer = labelling.cast_vote(database, project_id, "ann", _vote(mine), now=later)
    assert answer["status"] == "surplus"
    assert answer["progress"]["surplus"] == 1
    assert len(_stored(database)) == 2
    assert _filled_by_pair(database).total() == 1
    with database.read() as s:
        assert votes.judged_pairs(s, project_id)[0].num_votes == 2


def test_a_late_vote_fills_its_slot_if_nobody_took_it(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    start = utc_now()
    (mine,) = _shown(database, project_id, "ann", now=start)
    late = start + labelling.LEASE * 2
    answer = labelling.cast_vote(database, project_id, "ann", _vote(mine), now=late)
    assert answer["status"] == "stored"
    assert _filled_by_pair(database).total() == 1


def test_a_vote_on_a_pair_that_an_import_judged_meanwhile_is_kept(
    database: Database, tmp_path: Any
) -> None:
    project_id = make_project(database, [])
    path = write_jsonl(tmp_path / "f.jsonl", [preference(1)])
    importing.import_file(database, path, project_name="p", purpose="unlabelled")
    (mine,) = _shown(database, project_id)
    importing.import_file(database, path, project_name="p")
    wrong = "left" if mine["left"]["text"].startswith("bad") else "right"
    assert (
        labelling.cast_vote(database, project_id, "local", _vote(mine, wrong))["status"]
        == "surplus"
    )
    with database.read() as s:
        (pair,) = votes.judged_pairs(s, project_id)
    assert (pair.target, pair.num_votes) == (0.5, 2)
    assert _shown(database, project_id) == []


def test_a_skip_frees_the_pair_for_others_only(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    showing, answer = _give(database, project_id, "skip", "ann")
    assert answer["progress"]["skipped_by_you"] == 1
    assert _shown(database, project_id, "ann") == []
    (theirs,) = _shown(database, project_id, "bob")
    assert theirs["pair_id"] == showing["pair_id"]


def test_a_flag_pauses_the_pair_for_everybody_until_it_is_undone(database: Database) -> None:
    project_id = make_project(database, open_pairs(1), wanted_votes=2)
    (held,) = _shown(database, project_id, "bob")
    _give(database, project_id, "flag", "ann")
    assert _shown(database, project_id, "bob") == []
    assert _shown(database, project_id, "cy") == []
    labelling.undo(database, project_id, "ann")
    assert [e["pair_id"] for e in _shown(database, project_id, "bob")] == [held["pair_id"]]


def test_a_comment_that_postgresql_cannot_keep_does_not_cost_the_vote(database: Database) -> None:
    project_id = make_project(database, open_pairs(1), reasons=["\ufffd"])
    (showing,) = _shown(database, project_id)
    vote = _vote(showing, comment="a\x00b\ud800c", reasons=["\x00"])
    assert labelling.cast_vote(database, project_id, "local", vote)["status"] == "stored"
    assert labelling.cast_vote(database, project_id, "local", vote)["status"] == "duplicate"
    assert [(each.comment, each.reasons) for each in _stored(database)] == [("a�b�c", ["�"])]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"choice": "up"}, "choice is 'up'; use one of left"),
        ({"choice": None}, "choice is None"),
        ({"choice": ["left"]}, "choice is"),
        ({"vote_id": "7"}, "vote_id is '7'; give a UUID"),
        ({"vote_id": 7}, "vote_id is 7"),
        ({"showing_id": "1"}, "showing_id is '1'"),
        ({"showing_id": 2**40}, "showing_id is"),
        ({"strength": 4}, "strength is 4; give a whole number from 1 to 3"),
        ({"strength": True}, "strength is True"),
        ({"strength": 2, "choice": "tie"}, "only a side can have one"),
        ({"duration_ms": -1}, "duration_ms is -1"),
        ({"reasons": "truer"}, "reasons is 'truer'"),
        ({"comment": 3}, "comment is 3"),
        ({"comment": "x" * 20_001}, "shorten"),
    ],
)
def test_a_wrong_vote_is_refused_by_field_and_value(
    sqlite_database: Database, wrong: dict[str, Any], message: str
) -> None:
    project_id = make_project(sqlite_database, open_pairs(1))
    (showing,) = _shown(sqlite_database, project_id)
    with pytest.raises(UsageError, match=message):
        labelling.cast_vote(sqlite_database, project_id, "local", _vote(showing) | wrong)
    assert _stored(sqlite_database) == []


def test_nobody_votes_on_what_was_shown_to_another(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    other_id = make_project(database, open_pairs(1), name="other")
    (showing,) = _shown(database, project_id, "ann")
    for project, who in ((project_id, "bob"), (other_id, "ann")):
        with pytest.raises(NotFound, match="not given to you"):
            labelling.cast_vote(database, project, who, _vote(showing))
    with pytest.raises(NotFound, match="no project"):
        labelling.next_pairs(database, 999, "ann")


def test_an_archived_project_hands_out_nothing_but_loses_no_vote(database: Database) -> None:
    project_id = make_project(database, open_pairs(2))
    (showing,) = _shown(database, project_id, count=1)
    projects.archive(database, project_id)
    answer = labelling.next_pairs(database, project_id, "local")
    assert answer["pairs"] == []
    assert "is archived; restore it to label in it" in answer["closed"]
    assert labelling.cast_vote(database, project_id, "local", _vote(showing))["status"] == "stored"


# --- undo ------------------------------------------------------------------------------------


def test_undo_goes_back_step_by_step_on_the_same_sides(database: Database) -> None:
    project_id = make_project(database, open_pairs(5))
    given = [_give(database, project_id, choice) for choice in ("left", "skip", "tie", "flag")]
    for showing, answer in reversed(given):
        undone = labelling.undo(database, project_id, "local")
        assert undone["retracted"] == answer["vote_id"]
        assert {**undone["showing"], "lease_until": ""} == {**showing, "lease_until": ""}
    assert labelling.undo(database, project_id, "local")["retracted"] is None
    assert labelling.progress(database, project_id, "local")["judged_by_you"] == 0
    assert len(_stored(database)) == 4
    again = [each["showing_id"] for each in _shown(database, project_id, count=4)]
    assert again == [showing["showing_id"] for showing, _ in given]


def test_a_changed_mind_is_a_new_vote_that_revises_the_old(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    showing, first = _give(database, project_id, "left")
    labelling.undo(database, project_id, "local")
    again = labelling.cast_vote(database, project_id, "local", _vote(showing, "right"))
    assert again["status"] == "stored"
    assert again["progress"]["judged_by_you"] == 1
    by_id = {each.id: each for each in _stored(database)}
    assert by_id[again["vote_id"]].revises == first["vote_id"]
    assert by_id[first["vote_id"]].retracted_at is not None
    assert _filled_by_pair(database).total() == 1


def test_an_undo_sent_twice_undoes_one_vote(database: Database) -> None:
    project_id = make_project(database, open_pairs(3))
    _give(database, project_id, "left")
    _, second = _give(database, project_id, "left")
    answers = [
        labelling.undo(database, project_id, "local", vote_id=second["vote_id"]) for _ in range(2)
    ]
    assert [each["retracted"] for each in answers] == [second["vote_id"]] * 2
    assert answers[0]["showing"]["showing_id"] == answers[1]["showing"]["showing_id"]
    assert answers[1]["progress"]["judged_by_you"] == 1
    with pytest.raises(NotFound, match="no vote"):
        labelling.undo(database, project_id, "ann", vote_id=second["vote_id"])


def test_undoing_a_skip_whose_pair_was_taken_gives_it_back_all_the_same(
    database: Database,
) -> None:
    project_id = make_project(database, open_pairs(1))
    showing, _ = _give(database, project_id, "skip", "ann")
    _give(database, project_id, "left", "bob")
    undone = labelling.undo(database, project_id, "ann")
    assert undone["showing"]["showing_id"] == showing["showing_id"]
    assert [e["showing_id"] for e in _shown(database, project_id, "ann")] == [showing["showing_id"]]
    answer = labelling.cast_vote(database, project_id, "ann", _vote(showing, "tie"))
    assert answer["status"] == "surplus"
    assert _filled_by_pair(database).total() == 1


def test_undo_takes_back_only_ones_own_votes(database: Database) -> None:
    project_id = make_project(database, open_pairs(2))
    _give(database, project_id, "left", "ann")
    assert labelling.undo(database, project_id, "bob")["retracted"] is None
    assert labelling.progress(database, project_id, "ann")["judged_by_you"] == 1
