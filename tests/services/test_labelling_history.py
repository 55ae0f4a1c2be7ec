"""History, revisions and edits: own votes found again and replaced, nothing overwritten."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from db import votes
from db.content import NewPair
from db.engine import Database
from db.models import Pair, Project, Prompt, Response, Slot, Vote, utc_now
from studio.services import (
    adjudication,
    editing,
    guideline_versions,
    history,
    labelling,
    projects,
    queue_settings,
)
from studio.services.errors import Conflict, NotFound, UsageError
from tests.rows import make_project, open_pairs, user


def _id() -> str:
    return str(uuid.uuid4())


def _shown(database: Database, project_id: int, who: str = "ann", **more: Any) -> list[Any]:
    pairs: list[Any] = labelling.next_pairs(database, project_id, who, **more)["pairs"]
    return pairs


def _give(
    database: Database, project_id: int, choice: str = "left", who: str = "ann", **more: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    (showing,) = _shown(database, project_id, who, count=1)
    vote = {"vote_id": _id(), "showing_id": showing["showing_id"], "choice": choice} | more
    return showing, labelling.cast_vote(database, project_id, who, vote)


def _filled(database: Database) -> Counter[str]:
    with database.read() as s:
        return Counter(s.scalars(select(Slot.vote_id).where(Slot.vote_id.is_not(None))))


# --- revising ----------------------------------------------------------------------------------


def test_a_revision_retracts_and_appends_and_takes_the_slot(database: Database) -> None:
    project_id = make_project(database, open_pairs(3))
    showing, first = _give(database, project_id, "left", comment="at first")
    for _ in range(2):
        _give(database, project_id, "tie")
    revision = {"vote_id": _id(), "revises": first["vote_id"], "choice": "right", "strength": 3}
    answers = [history.revise(database, project_id, "ann", revision) for _ in range(2)]
    assert [each["status"] for each in answers] == ["stored", "duplicate"]
    assert answers[1]["progress"]["judged_by_you"] == 3
    with database.read() as s:
        old, new = s.get_one(Vote, first["vote_id"]), s.get_one(Vote, revision["vote_id"])
        assert s.scalar(select(func.count(Vote.id))) == 4
    assert (old.comment, new.comment, new.revises) == ("at first", "", old.id)
    assert old.retracted_at is not None
    assert new.retracted_at is None
    assert {old.choice, new.choice} == {"a", "b"}
    assert (new.left_side, new.showing_id, new.strength) == (old.left_side, old.showing_id, 3)
    assert _filled(database)[new.id] == 1
    assert _filled(database)[old.id] == 0
    undone = labelling.undo(database, project_id, "ann")
    assert undone["retracted"] == new.id
    assert undone["showing"]["showing_id"] == showing["showing_id"]


@pytest.mark.parametrize("wanted", [1, 2])
def test_any_choice_may_be_revised_into_any_other(database: Database, wanted: int) -> None:
    project_id = make_project(database, open_pairs(1), wanted_votes=wanted)
    _, answer = _give(database, project_id, "left")
    standing = answer["vote_id"]
    for choice in ("skip", "flag", "both_bad", "flag", "tie", "skip", "right"):
        revision = {"vote_id": _id(), "revises": standing, "choice": choice}
        assert history.revise(database, project_id, "ann", revision)["status"] == "stored"
        standing = revision["vote_id"]
        is_filling = choice not in ("skip", "flag")
        assert _filled(database) == (Counter([standing]) if is_filling else Counter())
        with database.read() as s:
            assert s.scalars(select(Pair.status)).one() == (
                "paused" if choice == "flag" else "open"
            )
    with database.read() as s:
        assert s.scalar(select(func.count()).where(Vote.retracted_at.is_(None))) == 1


def test_a_skip_whose_pair_was_judged_meanwhile_is_revised_as_surplus(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    _, skipped = _give(database, project_id, "skip", "ann")
    _give(database, project_id, "left", "bob")
    revision = {"vote_id": _id(), "revises": skipped["vote_id"], "choice": "tie"}
    assert history.revise(database, project_id, "ann", revision)["status"] == "surplus"
    assert sum(_filled(database).values()) == 1


def test_only_a_standing_vote_of_ones_own_can_be_revised(database: Database) -> None:
    project_id = make_project(database, open_pairs(2))
    _, first = _give(database, project_id)
    revision = {"vote_id": _id(), "revises": first["vote_id"], "choice": "tie"}
    with pytest.raises(NotFound, match="you have no vote"):
        history.revise(database, project_id, "bob", revision)
    with pytest.raises(UsageError, match="revises is None"):
        history.revise(database, project_id, "ann", {"vote_id": _id(), "choice": "tie"})
    history.revise(database, project_id, "ann", revision)
    with pytest.raises(Conflict, match="taken back or revised already"):
        history.revise(database, project_id, "ann", revision | {"vote_id": _id()})
    with pytest.raises(Conflict, match="another content"):
        history.revise(database, project_id, "ann", revision | {"choice": "left"})


def test_undo_of_a_revised_vote_takes_the_revision_back_once(database: Database) -> None:
    project_id = make_project(database, open_pairs(3))
    showing, first = _give(database, project_id, "left")
    revision = {"vote_id": _id(), "revises": first["vote_id"], "choice": "right"}
    history.revise(database, project_id, "ann", revision)
    undone = [
        labelling.undo(database, project_id, "ann", vote_id=first["vote_id"]) for _ in range(2)
    ]
    assert [each["was_standing"] for each in undone] == [True, False]
    assert undone[0]["retracted"] == revision["vote_id"]
    assert {each["showing"]["showing_id"] for each in undone} == {showing["showing_id"]}
    # Judged anew, elsewhere: that is another verdict, which an old step does not mean.
    _, anew = _give(database, project_id, "tie")
    again = labelling.undo(database, project_id, "ann", vote_id=first["vote_id"])
    assert (again["was_standing"], again["showing"]) == (False, None)
    found = history.history(database, project_id, "ann")["votes"]
    assert [each["vote_id"] for each in found] == [anew["vote_id"]]


def test_a_flag_revised_or_undone_leaves_a_pair_paused_that_a_lead_paused(
    database: Database,
) -> None:
    project_id = make_project(database, open_pairs(1))
    showing, flagged = _give(database, project_id, "flag")

    def status() -> str:
        with database.read() as s:
            return s.scalars(select(Pair.status)).one()

    def revise(old: str, choice: str, **more: Any) -> str:
        given = {"vote_id": _id(), "revises": old, "choice": choice} | more
        history.revise(database, project_id, "ann", given)
        return str(given["vote_id"])

    adjudication.set_paused(database, project_id, "lea", showing["pair_id"], False)
    worded = revise(flagged["vote_id"], "flag", comment="said better")
    assert status() == "open"  # the lead has seen this flag
    adjudication.set_paused(database, project_id, "lea", showing["pair_id"], True)
    revise(worded, "left")
    assert status() == "paused"
    adjudication.set_paused(database, project_id, "lea", showing["pair_id"], False)
    (standing,) = history.history(database, project_id, "ann")["votes"]
    revise(standing["vote_id"], "flag")
    assert status() == "paused"
    labelling.undo(database, project_id, "ann")
    assert status() == "open"


def test_where_answers_came_from_is_told_of_judged_pairs_only(database: Database) -> None:
    pairs = [NewPair(user(f"q{n}"), f"a{n}", f"b{n}", sources=("one", "two")) for n in range(4)]
    project_id = make_project(database, pairs)
    (showing,) = _shown(database, project_id, count=1)
    editing.edit(
        database, project_id, "ann",
        {"vote_id": _id(), "showing_id": showing["showing_id"], "side": "left", "text": "better"},
    )  # fmt: skip
    for choice in ("skip", "flag"):
        assert _give(database, project_id, choice)[1]["reveal"] is None
    _, judged = _give(database, project_id, "both_bad")
    assert set(judged["reveal"].values()) == {"one", "two"}
    found = history.history(database, project_id, "ann")["votes"]
    assert [each["reveal"] for each in found] == [judged["reveal"], None, None, None]
    revision = {"vote_id": _id(), "revises": judged["vote_id"], "choice": "skip"}
    assert history.revise(database, project_id, "ann", revision)["reveal"] is None


# --- what a page sends along -------------------------------------------------------------------


def test_a_vote_of_a_showing_that_is_another_now_is_refused_and_stores_nothing(
    database: Database,
) -> None:
    project_id = make_project(database, open_pairs(2))
    (showing,) = _shown(database, project_id, count=1)
    vote = {"vote_id": _id(), "showing_id": showing["showing_id"], "choice": "left"}
    edit = {**vote, "side": "left", "text": "better"}
    for other in ({"pair_id": showing["pair_id"] + 1}, {"shown_at": "2020-01-01T00:00:00+00:00"}):
        with pytest.raises(Conflict, match="restored or replaced meanwhile"):
            labelling.cast_vote(database, project_id, "ann", vote | other)
        with pytest.raises(Conflict, match="restored or replaced meanwhile"):
            editing.edit(database, project_id, "ann", edit | other)
    same = {name: showing[name] for name in ("pair_id", "shown_at")}
    assert labelling.cast_vote(database, project_id, "ann", vote | same)["status"] == "stored"


def test_a_vote_keeps_the_version_of_the_guidelines_that_its_page_showed(
    database: Database,
) -> None:
    project_id = make_project(database, open_pairs(5))
    projects.set_guidelines(database, project_id, "Second.", "lea")
    sent = [{"guidelines_version": 1}, {"guidelines_version": 2}, {"guidelines_version": 9}, {}]
    for more in sent:
        _give(database, project_id, **more)
    found = history.history(database, project_id, "ann")["votes"]
    assert [each["guidelines_version"] for each in found[::-1]] == [1, 2, 2, 2]
    with pytest.raises(UsageError, match="guidelines_version is 0"):
        _give(database, project_id, guidelines_version=0)
    assert guideline_versions.read(database, project_id, 1)["text"] == ""
    assert "Second" in guideline_versions.read(database, project_id, 2)["html"]
    with pytest.raises(NotFound, match="no version 3"):
        guideline_versions.read(database, project_id, 3)


# --- finding -----------------------------------------------------------------------------------


def test_history_pages_through_own_standing_votes_newest_first(database: Database) -> None:
    project_id = make_project(database, open_pairs(9))
    given = [_give(database, project_id, c)[1]["vote_id"] for c in ("left", "skip", "tie") * 2]
    _give(database, project_id, who="bob")
    labelling.undo(database, project_id, "ann")
    found: list[dict[str, Any]] = []
    before = None
    while True:
        page = history.history(database, project_id, "ann", before=before, limit=2)
        found += page["votes"]
        before = page["before"]
        if before is None:
            break
    assert [each["vote_id"] for each in found] == given[:5][::-1]
    assert {"purpose", "annotator"}.isdisjoint(found[0])
    skips = history.history(database, project_id, "ann", choice="skip")
    assert [each["vote_id"] for each in skips["votes"]] == [given[4], given[1]]
    assert skips["before"] is None


def test_history_shows_the_sides_as_they_were_and_finds_words(database: Database) -> None:
    project_id = make_project(database, open_pairs(8), reasons=["Truer"], aspects=["Tone"])
    given = [
        _give(
            database, project_id, choice, comment=f"Straße nr{n}", reasons=["Truer", "gone"],
            aspects={"Tone": {"left": 5, "right": 2}, "Length": {"left": 1}},
        )
        for n, choice in enumerate(["left", "right"] * 3)
    ]  # fmt: skip
    told = given[0][1]
    assert told["set_aside"] == {"reasons": ["gone"], "aspects": ["Length"]}
    assert told["reveal"] == {"left": None, "right": None}
    votes_found = history.history(database, project_id, "ann")["votes"]
    for each, (showing, _) in zip(votes_found, given[::-1], strict=True):
        assert each["left"] == showing["left"]
        assert each["messages"] == showing["messages"]
        assert (each["reasons"], each["aspects"]) == (["Truer"], {"Tone": {"left": 5, "right": 2}})
    lefts = history.history(database, project_id, "ann", choice="left")["votes"]
    assert [each["choice"] for each in lefts] == ["left"] * 3
    page = history.history(database, project_id, "ann", query="STRASSE NR3 truer")
    assert [each["vote_id"] for each in page["votes"]] == [given[3][1]["vote_id"]]
    assert page["num_searched"] == 6
    assert history.history(database, project_id, "ann", query="nowhere")["votes"] == []


def test_a_long_search_goes_on_where_it_stopped(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = sqlite_database
    monkeypatch.setattr(history, "MAX_SEARCHED", 3)
    monkeypatch.setattr(history, "SEARCHED_AT_ONCE", 2)
    project_id = make_project(database, open_pairs(8))
    given = [_give(database, project_id, comment="w" * n)[1]["vote_id"] for n in range(8)]
    page = history.history(database, project_id, "ann", query="wwwwwww")
    pages = [page]
    while page["before"]:
        page = history.history(database, project_id, "ann", query="wwwwwww", before=page["before"])
        pages.append(page)
    assert [v["vote_id"] for page in pages for v in page["votes"]] == [given[7]]
    assert sum(each["num_searched"] for each in pages) == 8
    assert len(pages) > 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"choice": "up"}, "choice is 'up'"),
        ({"limit": 0}, "limit is 0"),
        ({"before": "x"}, "before is 'x'"),
        ({"query": "x" * 501}, "501 characters"),
    ],
)
def test_a_wrong_question_is_refused(
    sqlite_database: Database, wrong: dict[str, Any], message: str
) -> None:
    project_id = make_project(sqlite_database)
    with pytest.raises(UsageError, match=message):
        history.history(sqlite_database, project_id, "ann", **wrong)


def test_skip_reasons_and_ratings_are_checked_and_kept(database: Database) -> None:
    project_id = make_project(database, open_pairs(2), reasons=["Truer"])
    reason = queue_settings.for_annotators(database, project_id)["skip_reasons"][0]
    _give(database, project_id, "skip", skip_reason=reason)
    (found,) = history.history(database, project_id, "ann")["votes"]
    assert (found["skip_reason"], found["reasons"]) == (reason, [])
    for wrong, message in (
        ({"choice": "tie", "skip_reason": reason}, "only a skip can have one"),
        ({"aspects": {"Tone": {"left": 6}}}, r"aspects\['Tone'\]\['left'\] is 6"),
        ({"aspects": {"Tone": {"up": 1}}}, "ratings of the left and the right"),
        ({"aspects": [1]}, r"aspects is \[1\]"),
    ):
        with pytest.raises(UsageError, match=message):
            _give(database, project_id, **{"choice": "left", **wrong})


# --- editing -----------------------------------------------------------------------------------


def test_an_edit_becomes_a_response_that_beats_its_parent(database: Database) -> None:
    project_id = make_project(database, open_pairs(2))
    (showing,) = _shown(database, project_id, count=1)
    given = {
        "vote_id": _id(), "showing_id": showing["showing_id"], "side": "right",
        "text": "a far better answer",
    }  # fmt: skip
    stored = editing.edit(database, project_id, "ann", given)
    again = editing.edit(database, project_id, "ann", given)
    assert (stored["status"], again["status"]) == ("stored", "duplicate")
    assert stored["pair_id"] == again["pair_id"] != showing["pair_id"]
    with database.read() as s:
        edit = s.scalars(select(Response).where(Response.parent_id.is_not(None))).one()
        parent = s.get_one(Response, edit.parent_id)
        pair = s.get_one(Pair, stored["pair_id"])
        old = s.get_one(Pair, showing["pair_id"])
        (judged,) = votes.judged_pairs(s, project_id)
        assert s.scalar(select(func.count()).where(Slot.pair_id == pair.id)) == 0
    assert (edit.source, edit.text) == ("person:ann", given["text"])
    assert parent.text == showing["right"]["text"]
    assert (pair.prompt_id, pair.split) == (old.prompt_id, old.split)
    assert {judged.response_a, judged.response_b} == {edit.text, parent.text}
    assert judged.target == (1.0 if judged.response_a == edit.text else 0.0)
    # The pair on the screen is still to be judged, and nothing on the screen has moved.
    assert [e["showing_id"] for e in _shown(database, project_id, count=1)] == [given["showing_id"]]
    assert stored["progress"]["open_for_you"] == 2
    (found,) = history.history(database, project_id, "ann")["votes"]
    assert found["is_edit"]
    undone = labelling.undo(database, project_id, "ann")
    assert (undone["retracted"], undone["showing"]) == (given["vote_id"], None)


def test_an_edit_that_changes_nothing_or_is_there_already_is_refused(database: Database) -> None:
    project_id = make_project(database, open_pairs(1))
    (showing,) = _shown(database, project_id, count=1)

    def edit(text: Any, side: str = "left", who: str = "ann", **more: Any) -> Any:
        given = {
            "vote_id": _id(), "showing_id": showing["showing_id"], "side": side, "text": text,
        }  # fmt: skip
        return editing.edit(database, project_id, who, given | more)

    with pytest.raises(UsageError, match="same as the answer"):
        edit(showing["left"]["text"] + " \r\n")
    with pytest.raises(Conflict, match="an answer to this prompt already"):
        edit(showing["right"]["text"])
    for wrong in ("", "  ", None, "a\x00b", "x" * 200_001):
        with pytest.raises(UsageError):
            edit(wrong)
    with pytest.raises(UsageError, match="side is 'up'"):
        edit("better", side="up")
    with pytest.raises(NotFound, match="not given to you"):
        edit("better", who="bob")
    assert edit("better")["status"] == "stored"
    with pytest.raises(Conflict, match="you gave this very answer before"):
        edit("better")
    with database.read() as s:
        assert s.scalar(select(func.count(Response.id))) == 3
        assert s.scalar(select(func.count(Prompt.id))) == 1


# --- settings ----------------------------------------------------------------------------------


def test_more_wanted_votes_open_slots_and_fewer_close_what_is_free(database: Database) -> None:
    project_id = make_project(database, open_pairs(4))
    _give(database, project_id)
    (held,) = _shown(database, project_id, count=1)
    queue_settings.update(database, project_id, "lea", wanted_votes=3)
    with database.read() as s:
        sizes = Counter(s.scalars(select(Slot.pair_id)))
    assert set(sizes.values()) == {3}
    assert len(_shown(database, project_id, "bob", count=20)) == 4
    queue_settings.update(database, project_id, "lea", wanted_votes=1)
    with database.read() as s:
        slots_left = s.execute(select(Slot.pair_id, Slot.annotator, Slot.vote_id)).all()
    assert all(row.annotator or row.vote_id for row in slots_left)  # nobody loses what they hold
    assert held["pair_id"] in {row.pair_id for row in slots_left if row.annotator == "ann"}


def test_settings_are_checked_told_and_kept_in_the_audit_trail(database: Database) -> None:
    from db.models import AuditEvent

    project_id = make_project(database)
    changed = queue_settings.update(
        database, project_id, "lea", strategy="information", gold_rate=0.1, repeat_rate=0.05,
        random_share=0.2, reasons=[" Truer ", "", "Kinder", "Truer"], aspects=["Tone"],
    )  # fmt: skip
    assert (changed.strategy, changed.reasons, changed.num_gold) == (
        "information", ["Truer", "Kinder"], 0,
    )  # fmt: skip
    told = queue_settings.for_annotators(database, project_id)
    assert {"gold_rate", "repeat_rate", "strategy"}.isdisjoint(told)
    assert told["reasons"] == ["Truer", "Kinder"]
    with database.read() as s:
        event = s.scalars(select(AuditEvent).where(AuditEvent.action == "queue")).one()
    assert (event.actor, event.details["gold_rate"]) == ("lea", 0.1)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"strategy": "best"}, "strategy is 'best'"),
        ({"gold_rate": 0.4, "repeat_rate": 0.2}, "60%"),
        ({"random_share": 1.2}, "random_share is 1.2"),
        ({"random_share": 0.0}, "give a share from 0.01 to 1"),
        ({"wanted_votes": 1000}, "cannot want 1000"),
        ({"reasons": ["x" * 61]}, "the reason"),
        ({"aspects": [str(n) for n in range(21)]}, "21 aspects"),
    ]
    for fields, message in wrong:
        with pytest.raises(UsageError, match=message):
            queue_settings.update(database, project_id, "lea", **fields)
    with database.read() as s:
        assert s.get_one(Project, project_id).gold_rate == 0.1


def test_a_guess_that_is_a_minute_old_still_moves_with_ones_own_votes(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studio.services import progress

    database = sqlite_database
    monkeypatch.setattr(progress, "SMALL_ROWS", 1)
    monkeypatch.setattr(progress, "ROWS_A_SECOND", 0.1)  # a minute
    project_id = make_project(database, open_pairs(6))
    told = [labelling.progress(database, project_id, "ann")]
    told += [_give(database, project_id)[1]["progress"] for _ in range(3)]
    assert [each["judged_by_you"] for each in told] == [0, 1, 2, 3]
    assert [each["open_for_you"] for each in told] == [6, 5, 4, 3]
    assert told[-1]["judged"] == 0  # the project's figure is the older one, and says its age
    later: datetime = utc_now() + timedelta(hours=1)
    assert labelling.progress(database, project_id, "bob", now=later)["total"] == 6


def test_who_finds_an_old_count_is_given_it_and_has_it_counted_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studio.services import progress

    monkeypatch.setattr(progress, "SMALL_ROWS", 1)
    monkeypatch.setattr(progress, "ROWS_A_SECOND", 0.1)
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    project_id = make_project(database, open_pairs(6), wanted_votes=2)
    labelling.progress(database, project_id, "bob")
    _give(database, project_id)
    clock[0] += 61
    old = labelling.progress(database, project_id, "bob")
    assert (old["judged"], old["age_s"]) == (0, 61)
    progress._recounts.submit(lambda: None).result(timeout=30)  # the one thread has counted
    fresh = labelling.progress(database, project_id, "bob")
    assert (fresh["judged"], fresh["age_s"]) == (1, 0)
    _give(database, project_id)
    clock[0] += 121  # too old to be shown to anybody
    assert labelling.progress(database, project_id, "bob")["judged"] == 2


def test_an_edit_taken_back_is_given_again_and_one_that_two_write_has_two_votes(
    database: Database,
) -> None:
    project_id = make_project(database, open_pairs(1), wanted_votes=2)

    def edit(who: str) -> dict[str, Any]:
        (showing,) = labelling.next_pairs(database, project_id, who, count=1)["pairs"]
        side = "left" if showing["left"]["text"].startswith("first") else "right"
        given = {
            "vote_id": _id(), "showing_id": showing["showing_id"], "side": side, "text": "better",
        }  # fmt: skip
        return editing.edit(database, project_id, who, given)

    first = edit("ann")
    labelling.undo(database, project_id, "ann", vote_id=first["vote_id"])
    again, other = edit("ann"), edit("bob")
    assert first["pair_id"] == again["pair_id"] == other["pair_id"]
    with database.read() as s:
        (judged,) = votes.judged_pairs(s, project_id)
        assert s.scalar(select(func.count()).where(Response.text == "better")) == 1
    assert (judged.pair_id, judged.num_votes, judged.target in (0.0, 1.0)) == (
        first["pair_id"], 2, True,
    )  # fmt: skip
