"""Accounts on both databases: names, sign-in, passwords, sessions, rights, the audit trail."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from db.engine import Database
from db.models import AuditEvent, EndedSession, utc_now
from studio.services import accounts, passwords
from studio.services.errors import Conflict, NotFound, UsageError
from studio.services.names import checked_name, name_key
from studio.services.passwords import Cost
from tests.rows import make_project

CHEAP = Cost(n=16, r=1, p=1)
WORDS = "correct horse"
SESSION = "a" * 64


def make(database: Database, name: str, **options: object) -> accounts.AccountInfo:
    return accounts.create(database, name, WORDS, cost=CHEAP, **options)  # type: ignore[arg-type]


def actions(database: Database) -> list[tuple[str, str]]:
    with database.read() as s:
        return [(e.actor, e.action) for e in s.scalars(sa.select(AuditEvent).order_by("id"))]


def test_names_that_look_alike_are_one_name(database: Database) -> None:
    assert not accounts.exist(database)
    made = make(database, "  Mara  Muster ", is_admin=True)
    assert accounts.exist(database)
    assert made.name == "Mara Muster"
    for same in ("mara muster", "MARA MUSTER", "Ｍara Muster"):
        with pytest.raises(Conflict, match="already"):
            make(database, same)
        assert accounts.find(database, same).id == made.id
    assert name_key("STRASSE") == name_key("straße")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("local", "reserved"),
        ("LOCAL", "reserved"),
        ("import:file:ann", "reserved"),
        ("Import：x", "reserved"),
        ("a\nb", "U\\+000A"),
        ("a\x00b", "U\\+0000"),
        ("a\u202eb", "U\\+202E"),
        ("a\u200bb", "U\\+200B"),
        ("a\ud800", "U\\+D800"),
        ("x" * 65, "65 characters"),
    ],
)
def test_names_that_nobody_may_have(name: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        checked_name(name)


def test_names_of_the_world_are_fine() -> None:
    for name in ("Zoë", "李小龍", "محمد", "O'Brien", "<b>Bo</b>", "${1+1}", "{{x}}"):
        assert checked_name(name) == name


def test_the_first_account_must_be_an_admins(database: Database) -> None:
    with pytest.raises(UsageError, match="first account"):
        make(database, "Bo")
    make(database, "Mara", is_admin=True)
    make(database, "Bo")
    with pytest.raises(UsageError, match="5 characters"):
        accounts.create(database, "Cy", "short", cost=CHEAP)


def test_signing_in_wants_the_password_and_an_active_account(database: Database) -> None:
    mara = make(database, "Mara", is_admin=True)
    bo = make(database, "Bo")
    found = accounts.sign_in(database, "mara", WORDS, CHEAP)
    assert found is not None
    assert (found.account_id, found.name, found.epoch) == (mara.id, "Mara", 0)
    assert accounts.sign_in(database, "Mara", WORDS + " ", CHEAP) is None
    for nobody in ("nobody", "", "a\x00b", "a\ud800", "x" * 5000):
        assert accounts.sign_in(database, nobody, WORDS, CHEAP) is None
    accounts.set_active(database, bo.id, False, actor="Mara")
    assert accounts.sign_in(database, "Bo", WORDS, CHEAP) is None
    assert ("Mara", "sign_in") in actions(database)


def test_an_unknown_name_costs_as_much_work_as_a_wrong_password(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(sqlite_database, "Mara", is_admin=True)
    spent: list[Cost] = []
    derive = passwords._derive

    def counting(password: str, salt: bytes, cost: Cost) -> bytes:
        spent.append(cost)
        return derive(password, salt, cost)

    monkeypatch.setattr(passwords, "_derive", counting)
    accounts.sign_in(sqlite_database, "mara", "wrong password", CHEAP)
    accounts.sign_in(sqlite_database, "nobody", "wrong password", CHEAP)
    assert spent == [CHEAP, CHEAP]


def test_a_hash_of_yesterday_is_made_anew_at_sign_in(sqlite_database: Database) -> None:
    make(sqlite_database, "Mara", is_admin=True)
    dearer = Cost(n=32, r=1, p=1)
    assert accounts.sign_in(sqlite_database, "Mara", WORDS, dearer)
    with sqlite_database.read() as s:
        stored = s.execute(sa.text("SELECT password_hash FROM account")).scalar_one()
    assert "$n=32," in stored
    assert accounts.sign_in(sqlite_database, "Mara", WORDS, dearer)


def test_a_session_knows_the_rights_of_this_moment(database: Database) -> None:
    mara = make(database, "Mara", is_admin=True)
    project_id = make_project(database)
    bo = make(database, "Bo", project_id=project_id, role="annotator", actor="Mara")
    assert bo.roles == {project_id: "annotator"}
    person = accounts.person(database, bo.id, 0, SESSION)
    assert person is not None
    assert (person.name, person.is_admin, dict(person.roles)) == ("Bo", False, bo.roles)
    assert person.may(project_id, "annotator")
    assert not person.may(project_id, "lead")
    accounts.set_role(database, bo.id, project_id, "lead", actor="Mara")
    assert accounts.person(database, bo.id, 0, SESSION).may(project_id, "lead")  # type: ignore[union-attr]
    accounts.set_role(database, bo.id, project_id, None, actor="Mara")
    assert accounts.person(database, bo.id, 0, SESSION).roles == {}  # type: ignore[union-attr]
    admin = accounts.person(database, mara.id, 0, SESSION)
    assert admin is not None
    assert admin.may(None, "admin")
    assert accounts.person(database, 999, 0, SESSION) is None
    with pytest.raises(UsageError, match="'boss'"):
        accounts.set_role(database, bo.id, project_id, "boss", actor="Mara")
    with pytest.raises(NotFound, match="999"):
        accounts.set_role(database, bo.id, 999, "lead", actor="Mara")


def test_a_new_password_ends_every_session_before_it(database: Database) -> None:
    mara = make(database, "Mara", is_admin=True)
    with pytest.raises(UsageError, match="present password is not right"):
        accounts.change_password(database, mara.id, "wrong", "battery staple", CHEAP)
    with pytest.raises(UsageError, match="choose another"):
        accounts.change_password(database, mara.id, WORDS, WORDS, CHEAP)
    changed = accounts.change_password(database, mara.id, WORDS, "battery staple", CHEAP)
    assert changed.epoch == 1
    assert accounts.person(database, mara.id, 0, SESSION) is None
    assert accounts.person(database, mara.id, 1, SESSION) is not None
    assert accounts.sign_in(database, "Mara", WORDS, CHEAP) is None
    assert accounts.sign_in(database, "Mara", "battery staple", CHEAP)
    accounts.set_password(database, "mara", "third password", cost=CHEAP)
    assert accounts.person(database, mara.id, 1, SESSION) is None
    given = accounts.reset_password(database, mara.id, actor="Mara")
    assert accounts.sign_in(database, "Mara", given, CHEAP)
    assert [action for _, action in actions(database)].count("password") == 3


def test_deactivating_ends_sessions_and_touches_nothing_else(database: Database) -> None:
    make(database, "Mara", is_admin=True)
    bo = make(database, "Bo")
    accounts.set_active(database, bo.id, False, actor="Mara")
    assert accounts.person(database, bo.id, 0, SESSION) is None
    accounts.set_active(database, bo.id, True, actor="Mara")
    assert accounts.person(database, bo.id, 0, SESSION) is None  # the old session stays ended
    assert accounts.person(database, bo.id, 1, SESSION) is not None
    assert actions(database)[-2:] == [("Mara", "deactivate"), ("Mara", "activate")]


def test_there_is_always_an_active_admin(database: Database) -> None:
    mara = make(database, "Mara", is_admin=True)
    bo = make(database, "Bo")
    for attempt in (
        lambda: accounts.set_active(database, mara.id, False, actor="Mara"),
        lambda: accounts.set_admin(database, mara.id, False, actor="Mara"),
    ):
        with pytest.raises(Conflict, match="only admin left"):
            attempt()
    accounts.set_admin(database, bo.id, True, actor="Mara")
    accounts.set_active(database, mara.id, False, actor="Bo")
    with pytest.raises(Conflict, match="only admin left"):
        accounts.set_admin(database, bo.id, False, actor="Bo")


def test_a_session_that_was_signed_out_stays_out_until_its_cookie_has_expired(
    database: Database,
) -> None:
    mara = make(database, "Mara", is_admin=True)
    later = utc_now() + timedelta(days=1)
    accounts.sign_out(database, mara.id, "Mara", SESSION, later)
    accounts.sign_out(database, mara.id, "Mara", SESSION, later)
    assert accounts.person(database, mara.id, 0, SESSION) is None
    assert accounts.person(database, mara.id, 0, "b" * 64) is not None
    accounts.sign_out(database, mara.id, "Mara", "c" * 64, utc_now() - timedelta(seconds=1))
    accounts.sign_out(database, mara.id, "Mara", "d" * 64, later)
    with database.read() as s:
        kept = set(s.scalars(sa.select(EndedSession.id)))
    assert kept == {SESSION, "d" * 64}
