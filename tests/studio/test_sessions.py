"""The session cookie: tampering, age, renewal, sign-out, and the key that signs it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import anyio
import pytest
from itsdangerous import URLSafeSerializer

from db.engine import Database
from studio import sessions as sessions_
from studio.services import accounts
from studio.services.accounts import SignedIn
from studio.services.errors import StudioError, UsageError
from studio.services.passwords import Cost
from studio.sessions import DAY_S, IDLE_S, WHOLE_S, Sessions, read_secret
from studio.settings import Settings

CHEAP = Cost(n=16, r=1, p=1)
SECRET = "s" * 40
HTTP = {"scheme": "http", "headers": []}


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mara(sqlite_database: Database) -> SignedIn:
    made = accounts.create(sqlite_database, "Mara", "correct horse", is_admin=True, cost=CHEAP)
    return SignedIn(made.id, made.name, 0)


@pytest.fixture
def sessions(sqlite_database: Database, clock: Clock, mara: SignedIn) -> Sessions:
    return Sessions(sqlite_database, SECRET, clock=clock, fresh_s=0)


def value_of(header: str) -> str:
    return header.partition("=")[2].partition(";")[0]


def scope(value: str, *, name: str = "reward-studio", scheme: str = "http") -> dict[str, Any]:
    return {"scheme": scheme, "headers": [(b"cookie", f"x=1; {name}={value}; y".encode())]}


def read(sessions: Sessions, value: str, **more: str) -> Any:
    return anyio.run(sessions.read, scope(value, **more))


def test_a_cookie_is_closed_to_scripts_and_other_sites_and_secure_where_it_can_be(
    sessions: Sessions, mara: SignedIn
) -> None:
    plain = sessions.begin(mara, HTTP)
    assert plain.startswith("reward-studio=")
    assert plain.endswith("; Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax")
    secure = sessions.begin(mara, {**HTTP, "scheme": "https"})
    assert secure.startswith("__Host-reward-studio=")
    assert secure.endswith("; HttpOnly; SameSite=Lax; Secure")
    assert "Domain" not in secure
    assert value_of(plain) != value_of(secure)
    assert read(sessions, value_of(plain)).person.name == "Mara"
    # A cookie that was set over plain HTTP is none over HTTPS.
    assert read(sessions, value_of(plain), scheme="https") is None


def test_whatever_is_changed_in_a_cookie_it_is_worth_nothing(
    sessions: Sessions, mara: SignedIn
) -> None:
    value = value_of(sessions.begin(mara, HTTP))
    for position in range(0, len(value), 3):
        changed = "A" if value[position] != "A" else "B"
        tampered = value[:position] + changed + value[position + 1 :]
        session = read(sessions, tampered)
        # The last characters of base64 may carry spare bits: then it is the same cookie.
        assert session is None or position >= len(value) - 1
    payload, _, signature = value.rpartition(".")
    for wrong in ("", "x", payload, f"{payload}.", f".{signature}", value * 2, "é", "[1,0]"):
        assert read(sessions, wrong) is None
    forged = URLSafeSerializer("another secret" * 4, salt="reward-studio session")
    assert read(sessions, str(forged.dumps([mara.account_id, 0, "a", 1_800_000_000, 0]))) is None
    right = URLSafeSerializer(
        SECRET,
        salt="reward-studio session",
        signer_kwargs=sessions._signer.signer_kwargs,
    )
    for content in ([], {"a": 1}, "x", [1, 2]):
        assert read(sessions, str(right.dumps(content))) is None


def test_an_unused_session_ends_and_a_used_one_is_renewed_but_not_for_ever(
    sessions: Sessions, mara: SignedIn, clock: Clock
) -> None:
    value = value_of(sessions.begin(mara, HTTP))
    assert sessions.renewed(read(sessions, value), HTTP) is None
    clock.now += IDLE_S + 1
    assert read(sessions, value) is None
    value, begun = value_of(sessions.begin(mara, HTTP)), clock.now
    while True:
        clock.now += DAY_S * 10
        session = read(sessions, value)
        if session is None:
            break
        renewed = sessions.renewed(session, HTTP)
        assert renewed is not None
        value = value_of(renewed)
    assert WHOLE_S < clock.now - begun <= WHOLE_S + 10 * DAY_S


def test_signing_out_makes_every_copy_of_the_cookie_worthless(
    sqlite_database: Database, sessions: Sessions, mara: SignedIn, clock: Clock
) -> None:
    value = value_of(sessions.begin(mara, HTTP))
    other = value_of(sessions.begin(mara, HTTP))
    session = read(sessions, value)
    clock.now += 2 * DAY_S
    copy = value_of(sessions.renewed(session, HTTP) or "")
    gone = sessions.end(session, HTTP)
    assert "reward-studio=;" in gone
    assert "Max-Age=0" in gone
    assert read(sessions, value) is None
    assert read(sessions, copy) is None
    assert read(sessions, other) is not None
    again = Sessions(sqlite_database, SECRET, clock=clock, fresh_s=0)
    assert read(again, copy) is None  # also after a restart
    assert read(again, other) is not None


def test_rights_are_read_again_after_a_moment_and_no_account_is_noticed_as_soon(
    sqlite_database: Database, clock: Clock
) -> None:
    sessions = Sessions(sqlite_database, SECRET, clock=clock, fresh_s=2)
    assert anyio.run(sessions.have_accounts) is False
    made = accounts.create(sqlite_database, "Mara", "correct horse", is_admin=True, cost=CHEAP)
    assert anyio.run(sessions.have_accounts) is False
    clock.now += 2
    assert anyio.run(sessions.have_accounts) is True
    value = value_of(sessions.begin(SignedIn(made.id, "Mara", 0), HTTP))
    assert read(sessions, value).person.is_admin
    bo = accounts.create(sqlite_database, "Bo", "correct horse", is_admin=True, cost=CHEAP)
    accounts.set_active(sqlite_database, made.id, False, actor="Bo")
    assert bo.id != made.id
    clock.now += 1
    assert read(sessions, value) is not None
    clock.now += 1
    assert read(sessions, value) is None


def test_a_page_that_is_loaded_again_shows_the_rights_of_now(
    sqlite_database: Database, clock: Clock, mara: SignedIn
) -> None:
    sessions = Sessions(sqlite_database, SECRET, clock=clock, fresh_s=2)
    value = value_of(sessions.begin(mara, HTTP))
    accounts.create(sqlite_database, "Second", "correct horse", is_admin=True, cost=CHEAP)
    assert read(sessions, value).person.is_admin
    accounts.set_admin(sqlite_database, mara.account_id, False, actor="Second")
    assert read(sessions, value).person.is_admin  # what is on the page already, for a moment
    loaded = anyio.run(sessions.read, scope(value) | {"path": "/"})
    assert not loaded.person.is_admin
    assert not read(sessions, value).person.is_admin


def test_the_key_is_made_once_for_this_user_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.read({}, data_dir=str(tmp_path))
    made = read_secret(settings)
    path = tmp_path / "session.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secret(settings) == made
    path.chmod(0o644)
    assert read_secret(settings) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "read by others" in caplog.text
    path.write_text("short")
    with pytest.raises(StudioError, match="damaged"):
        read_secret(settings)


def test_a_key_from_the_environment_must_be_long_and_is_never_shown(tmp_path: Path) -> None:
    environ = {"STUDIO_DATA_DIR": str(tmp_path), "STUDIO_SESSION_SECRET": "k" * 40}
    settings = Settings.read(environ)
    assert read_secret(settings) == "k" * 40
    assert "kkk" not in repr(settings)
    assert not (tmp_path / "session.key").exists()
    short = Settings.read({**environ, "STUDIO_SESSION_SECRET": "k" * 31})
    with pytest.raises(UsageError, match="31 characters"):
        sessions_.read_secret(short)
