"""Invitations on both databases: their link's life, and two people at the last use of one."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from db.engine import Database
from db.models import Invitation, utc_now
from studio.services import accounts, invitations
from studio.services.errors import Conflict, NotFound, StudioError, UsageError
from studio.services.passwords import Cost
from tests.rows import make_project

CHEAP = Cost(n=16, r=1, p=1)
WORDS = "correct horse"


@pytest.fixture
def project_id(database: Database) -> int:
    accounts.create(database, "Mara", WORDS, is_admin=True, cost=CHEAP)
    return make_project(database)


def test_nobody_is_invited_where_nobody_could_sign_in(database: Database) -> None:
    with pytest.raises(Conflict, match="user add"):
        invitations.invite(database, make_project(database), "annotator", actor="local")


def test_a_link_makes_an_account_with_its_role_and_is_kept_as_a_digest(
    database: Database, project_id: int
) -> None:
    made = invitations.invite(database, project_id, "annotator", actor="Mara")
    assert invitations.look(database, made.token).project_name == "p"
    with database.read() as s:
        row = s.scalars(sa.select(Invitation)).one()
    assert made.token not in row.token_hash
    assert len(made.token) >= 32
    joined = invitations.join(database, made.token, "Bo", WORDS, CHEAP)
    person = accounts.person(database, joined.account_id, joined.epoch, "x")
    assert person is not None
    assert dict(person.roles) == {project_id: "annotator"}
    with pytest.raises(Conflict, match="used up"):
        invitations.join(database, made.token, "Cy", WORDS, CHEAP)
    (shown,) = invitations.of_project(database, project_id)
    assert (shown.num_uses, shown.state, shown.author) == (1, "used up", "Mara")


def test_a_refused_name_or_password_uses_nothing_up(database: Database, project_id: int) -> None:
    made = invitations.invite(database, project_id, "lead", actor="Mara")
    for name, password in (("mara", WORDS), ("local", WORDS), ("Bo", "short"), ("Bo", "Bo" * 5)):
        with pytest.raises(StudioError):
            invitations.join(database, made.token, name, password, CHEAP)
    assert invitations.look(database, made.token).num_uses == 0
    assert len(accounts.list_all(database)) == 1


def test_links_expire_and_can_be_withdrawn(database: Database, project_id: int) -> None:
    past = utc_now() - timedelta(days=8)
    old = invitations.invite(database, project_id, "annotator", actor="Mara", days=7, now=past)
    with pytest.raises(Conflict, match="expired"):
        invitations.look(database, old.token)
    made = invitations.invite(database, project_id, "annotator", actor="Mara")
    with pytest.raises(NotFound):
        invitations.revoke(database, project_id + 1, made.info.id, actor="Mara")
    invitations.revoke(database, project_id, made.info.id, actor="Mara")
    with pytest.raises(Conflict, match="withdrawn"):
        invitations.join(database, made.token, "Bo", WORDS, CHEAP)
    with pytest.raises(NotFound, match="copied whole"):
        invitations.look(database, made.token[:-1])
    for wrong in ({"days": 0}, {"days": 91}, {"max_uses": 0}, {"max_uses": 1001}):
        with pytest.raises(UsageError):
            invitations.invite(database, project_id, "annotator", actor="Mara", **wrong)
    with pytest.raises(UsageError, match="'admin'"):
        invitations.invite(database, project_id, "admin", actor="Mara")


def test_somebody_with_an_account_joins_with_it_and_never_loses_a_role(
    database: Database, project_id: int
) -> None:
    bo = accounts.create(database, "Bo", WORDS, cost=CHEAP)
    for role, expected, uses in (("lead", "lead", 1), ("annotator", "lead", 0)):
        made = invitations.invite(database, project_id, role, actor="Mara", max_uses=2)
        found = invitations.accept(database, made.token, bo.id)
        assert accounts.find(database, "Bo").roles == {project_id: expected}
        assert found.num_uses == uses


def test_two_at_the_last_use_are_one_account(database: Database, project_id: int) -> None:
    made = invitations.invite(database, project_id, "annotator", actor="Mara", max_uses=3)
    outcomes: list[str] = []

    def join(number: int) -> None:
        try:
            invitations.join(database, made.token, f"person {number}", WORDS, CHEAP)
            outcomes.append("joined")
        except Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=join, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["joined"] * 3 + ["refused"] * 5
    assert invitations.of_project(database, project_id)[0].num_uses == 3
    assert len(accounts.list_all(database)) == 4
