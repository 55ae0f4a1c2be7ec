"""Projects: made, found, counted, put away."""

from __future__ import annotations

import pytest

from db import projects as queries
from db.engine import Database
from db.models import AuditEvent
from studio.services import labelling, left_out, projects
from studio.services.errors import Conflict, NotFound, StudioError, UsageError
from tests.rows import make_project, new_pair, open_pairs


def test_a_new_project_is_empty_and_found_by_name_and_id(database: Database) -> None:
    made = projects.create(database, "  support 你好 ", guidelines="# Be fair", wanted_votes=3)
    assert (made.name, made.num_pairs, made.archived) == ("support 你好", 0, False)
    assert (made.backbone, made.wanted_votes, made.guidelines) == ("embedded", 3, "# Be fair")
    for name_or_id in ("support 你好", made.id, str(made.id)):
        assert projects.get(database, name_or_id) == made


def test_a_name_wins_over_an_id_that_is_spelt_the_same(database: Database) -> None:
    first = projects.create(database, "first")
    second = projects.create(database, str(first.id))
    assert projects.get(database, str(first.id)).id == second.id
    assert projects.get(database, first.id).id == first.id


def test_counts_tell_judged_open_and_whose_votes(database: Database) -> None:
    pairs = [*open_pairs(3), new_pair(10, "a", "b"), new_pair(11, "both_bad")]
    project_id = make_project(database, pairs)
    (shown, *_) = labelling.next_pairs(database, project_id, "local")["pairs"]
    vote = {
        "vote_id": "0" * 8 + "-0000-4000-8000-000000000000",
        "showing_id": shown["showing_id"],
        "choice": "tie",
    }
    labelling.cast_vote(database, project_id, "local", vote)
    info = projects.get(database, project_id)
    assert (info.num_pairs, info.num_judged, info.num_open, info.num_new) == (5, 3, 2, 2)
    assert (info.num_imported_votes, info.num_people_votes) == (3, 1)


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\nb", "a\x00b", "\ud800"])
def test_an_unusable_name_is_refused(sqlite_database: Database, name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        projects.create(sqlite_database, name)


def test_other_unusable_values_are_refused(sqlite_database: Database) -> None:
    with pytest.raises(UsageError, match="cannot want 0 votes"):
        projects.create(sqlite_database, "p", wanted_votes=0)
    with pytest.raises(UsageError, match="guidelines hold a NUL"):
        projects.create(sqlite_database, "p", guidelines="\x00")


def test_a_taken_name_is_refused_and_the_first_project_stays(database: Database) -> None:
    first = projects.create(database, "p")
    with pytest.raises(Conflict, match="named 'p' already"):
        projects.create(database, "p")
    assert projects.list_all(database) == [first]


def test_an_unknown_project_is_answered_with_those_there_are(database: Database) -> None:
    with pytest.raises(NotFound, match="no project 'x'; there are no projects yet"):
        projects.get(database, "x")
    projects.create(database, "one")
    projects.create(database, "two")
    for unknown in ("x", 99, "99", "9" * 30):
        with pytest.raises(NotFound, match="there are: 'one', 'two'"):
            projects.get(database, unknown)


def test_the_only_project_must_be_the_only_one(database: Database) -> None:
    with pytest.raises(NotFound, match="no projects yet"):
        projects.only_project(database)
    one = projects.create(database, "one")
    assert projects.only_project(database) == one
    two = projects.create(database, "two")
    with pytest.raises(UsageError, match=r"2 projects \('one', 'two'\); say which with --project"):
        projects.only_project(database)
    projects.archive(database, one.id)
    assert projects.only_project(database) == two


def test_an_archived_project_is_hidden_and_comes_back_whole(database: Database) -> None:
    project_id = make_project(database, open_pairs(2))
    before = projects.get(database, project_id)
    assert projects.archive(database, project_id).archived
    assert projects.list_all(database) == []
    assert [each.id for each in projects.list_all(database, include_archived=True)] == [project_id]
    assert projects.restore(database, project_id) == before
    with pytest.raises(StudioError, match="no project 99"):
        projects.archive(database, 99)


def test_what_was_done_is_in_the_audit_trail(database: Database) -> None:
    made = projects.create(database, "p")
    for _ in range(2):
        projects.archive(database, made.id)
    with database.read() as s:
        events = [(e.actor, e.action, e.subject_id) for e in s.query(AuditEvent)]
        assert queries.get_project(s, made.id) is not None
    assert events == [("local", "create", str(made.id)), ("local", "archive", str(made.id))]


def test_new_guidelines_are_a_new_version_and_the_old_words_are_kept(database: Database) -> None:
    made = projects.create(database, "support", guidelines="Be fair.")
    assert made.guidelines_version == 1
    changed = projects.set_guidelines(database, made.id, "Be kind.")
    assert (changed.guidelines, changed.guidelines_version) == ("Be kind.", 2)
    assert projects.get(database, made.id) == changed
    assert projects.set_guidelines(database, made.id, "Be kind.").guidelines_version == 2
    with database.read() as s:
        (event,) = s.query(AuditEvent).filter_by(action="guidelines").all()
    assert event.details == {"version": 2, "replaced": "Be fair."}


def test_guidelines_that_cannot_be_kept_or_have_no_project_are_refused(database: Database) -> None:
    made = projects.create(database, "support", guidelines="Be fair.")
    with pytest.raises(UsageError, match="NUL"):
        projects.set_guidelines(database, made.id, "a\x00b")
    with pytest.raises(NotFound):
        projects.set_guidelines(database, made.id + 1, "x")
    assert projects.get(database, made.id).guidelines == "Be fair."


def test_pairs_that_are_judged_and_do_not_train_are_counted_with_their_reasons(
    database: Database,
) -> None:
    pairs = [new_pair(1, "a"), new_pair(2, "skip"), new_pair(3, "both_bad"), new_pair(4)]
    project_id = make_project(database, pairs, name="told")
    counts = left_out.left_out(database, project_id)
    assert left_out.num_pairs(counts) == 2
    assert left_out.pairs_told(counts) == (
        "2 pairs do not train: 1 judged as both bad only, 1 only skipped"
    )
    assert left_out.pairs_told({"pairs_not_judged": 7}) == ""


def test_the_picker_is_filled_by_names_alone(database: Database) -> None:
    first, away = (make_project(database, name=name) for name in ("first", "away"))
    projects.archive(database, away)
    assert projects.choices(database) == [("first", first)]
    assert projects.choices(database, archived=True) == [("away", away)]
