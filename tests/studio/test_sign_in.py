"""The pages around sign-in: forms, the wait, what a link may lead to, joining, and text that would
like to be markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from db.engine import Database
from studio import routes, sign_in
from studio.attempts import Attempts, Limit
from studio.guard import Guard
from studio.network import Network
from studio.services import accounts, invitations
from studio.services.passwords import Cost
from studio.sessions import Sessions
from tests.rows import make_project

CHEAP = Cost(n=16, r=1, p=1)
WORDS = "correct horse"
HERE = "https://studio.example.org"
FORM = {"origin": HERE, "content-type": "application/x-www-form-urlencoded"}
PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}${7*7}",
    "javascript:alert(1)",
    "</title><svg onload=alert(1)>",
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


Browser = Callable[..., TestClient]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def browser(sqlite_database: Database, clock: Clock) -> Iterator[Browser]:
    """Makes browsers of one server; `address` is where each stands."""
    app = FastAPI()
    routes.install(app, sqlite_database)
    sessions = Sessions(sqlite_database, "s" * 40, fresh_s=0)
    attempts = Attempts(clock=clock, per_name=Limit(3, 60), per_address=Limit(6, 60))
    app.include_router(sign_in.router(sessions, attempts, CHEAP))
    network = Network(names=frozenset({"studio.example.org"}), public_url=HERE)

    def make(address: str = "203.0.113.7") -> TestClient:
        return TestClient(
            Guard(app, sessions, network),
            base_url=HERE,
            client=(address, 9),
            follow_redirects=False,
        )

    return make


@pytest.fixture
def project_id(sqlite_database: Database) -> int:
    accounts.create(sqlite_database, "Mara", WORDS, is_admin=True, cost=CHEAP)
    return make_project(sqlite_database, name="p")


def enter(client: TestClient, name: str = "Mara", password: str = WORDS, **more: str) -> Any:
    return client.post("/sign-in", data={"name": name, "password": password, **more}, headers=FORM)


@pytest.mark.usefixtures("project_id")
def test_the_right_password_opens_and_a_wrong_one_says_so_without_saying_which(
    browser: Browser,
) -> None:
    client = browser()
    wrong, unknown = enter(client, password="wrong password"), enter(client, "nobody")
    assert wrong.status_code == unknown.status_code == 403
    sentences = [re.search(r'role="alert"[^>]*>([^<]+)', a.text)[1] for a in (wrong, unknown)]  # type: ignore[index]
    assert sentences[0] == sentences[1]
    assert 'value="Mara"' in wrong.text
    assert "wrong password" not in wrong.text
    opened = enter(client, "mara")
    assert opened.status_code == 303
    assert opened.headers["location"] == "/"
    assert opened.headers["set-cookie"].startswith("__Host-reward-studio=")
    assert "Secure" in opened.headers["set-cookie"]
    assert client.get("/api/me").json()["name"] == "Mara"
    assert client.get("/sign-in").headers["location"] == "/"


@pytest.mark.usefixtures("project_id")
def test_a_form_that_is_not_from_a_page_of_ours_is_refused(browser: Browser) -> None:
    client = browser()
    data = {"name": "Mara", "password": WORDS}
    kind = {"content-type": FORM["content-type"]}
    for headers in (
        kind,
        {**kind, "origin": "https://evil.example"},
        {**kind, "origin": "null"},
        {**kind, "origin": "http://studio.example.org"},
        {**FORM, "sec-fetch-site": "cross-site"},
    ):
        for path in ("/sign-in", "/sign-out", "/password", "/join/x"):
            answer = client.post(path, data=data, headers=headers)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers
    assert client.post("/sign-in", content="{}", headers={"origin": HERE}).status_code == 415
    assert client.post("/api/me", data=data, headers=FORM).status_code == 415
    assert client.get("/sign-out").status_code == 401


@pytest.mark.usefixtures("project_id")
def test_a_session_begins_anew_at_sign_in_whatever_the_browser_held(browser: Browser) -> None:
    """Session fixation: what somebody planted before is not what is signed in afterwards."""
    client = browser()
    planted = enter(client).cookies["__Host-reward-studio"]
    client.cookies.clear()
    client.cookies.set("__Host-reward-studio", planted, domain="studio.example.org")
    client.post("/sign-out", headers=FORM)
    client.cookies.set("__Host-reward-studio", planted, domain="studio.example.org")
    begun = enter(client).cookies["__Host-reward-studio"]
    assert begun != planted
    victim = browser()
    victim.cookies.set("__Host-reward-studio", planted, domain="studio.example.org")
    assert victim.get("/api/me").status_code == 401
    victim.cookies.set("__Host-reward-studio", begun[:-2] + "AA", domain="studio.example.org")
    assert victim.get("/api/me").status_code == 401


@pytest.mark.usefixtures("project_id")
def test_too_many_attempts_wait_and_the_page_says_how_long(
    browser: Browser, clock: Clock, sqlite_database: Database
) -> None:
    for number in range(3):
        assert enter(browser(f"203.0.113.{number}"), password="wrong password").status_code == 403
    waiting = enter(browser("203.0.113.9"))
    assert waiting.status_code == 429
    assert waiting.headers["retry-after"] == "60"
    assert "Wait 1 min 00 s, then try again." in waiting.text
    clock.now += 55
    assert "Wait 5 seconds" in enter(browser("203.0.113.9")).text
    clock.now += 5
    assert enter(browser("203.0.113.9")).status_code == 303
    for number in range(6):
        assert enter(browser(), f"name {number}", "wrong password").status_code == 403
    assert enter(browser()).status_code == 429
    assert browser().post("/join/x", data={}, headers=FORM).status_code == 404
    assert enter(browser("203.0.113.8")).status_code == 303


@pytest.mark.usefixtures("project_id")
def test_other_spellings_of_a_name_are_no_way_around_its_wait(browser: Browser) -> None:
    spellings = ("Mara", "MARA", " " * 99 + "mara", "\u3000Ｍara ", " " * 990 + "mara")
    statuses = [
        enter(browser(f"203.0.113.{number}"), spelling, "wrong password").status_code
        for number, spelling in enumerate(spellings)
    ]
    assert statuses == [403, 403, 403, 429, 429]


@pytest.mark.usefixtures("project_id")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/?project=3", "/?project=3"),
        ("/password", "/password"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/sign-in?next=/sign-in", "/"),
        ("/a\r\nset-cookie: x=y", "/"),
        ("", "/"),
    ],
)
def test_after_signing_in_one_stays_on_this_server(
    browser: Browser, target: str, expected: str
) -> None:
    assert enter(browser(), next=target).headers["location"] == expected


@pytest.mark.usefixtures("project_id")
def test_signing_out_ends_the_session_and_not_the_others(browser: Browser) -> None:
    here, there = browser(), browser()
    for client in (here, there):
        enter(client)
    kept = here.cookies["__Host-reward-studio"]
    out = here.post("/sign-out", headers=FORM)
    assert out.headers["location"] == "/sign-in?out=1"
    assert "signed out" in here.get("/sign-in?out=1").text
    here.cookies.set("__Host-reward-studio", kept, domain="studio.example.org")
    assert here.get("/api/me").status_code == 401
    assert there.get("/api/me").status_code == 200


@pytest.mark.usefixtures("project_id")
def test_a_new_password_signs_out_everywhere_else(browser: Browser) -> None:
    here, there = browser(), browser()
    for client in (here, there):
        enter(client)
    fields = {"current": WORDS, "password": "battery staple", "again": "battery stable"}
    assert "not the same" in here.post("/password", data=fields, headers=FORM).text
    fields["again"] = fields["password"]
    wrong = here.post("/password", data={**fields, "current": "wrong password"}, headers=FORM)
    assert wrong.status_code == 400
    assert "not right" in wrong.text
    assert "is changed" in here.post("/password", data=fields, headers=FORM).text
    assert here.get("/api/me").status_code == 200
    assert there.get("/api/me").status_code == 401
    assert enter(there, password="battery staple").status_code == 303


def test_an_invitation_makes_an_account_that_is_signed_in(
    browser: Browser, sqlite_database: Database, project_id: int
) -> None:
    made = invitations.invite(sqlite_database, project_id, "annotator", actor="Mara", max_uses=2)
    path, client = f"/join/{made.token}", browser()
    page = client.get(path)
    assert page.status_code == 200
    assert "annotator" in page.text
    assert page.headers["cache-control"] == "no-store"
    fields = {"name": "Bo", "password": WORDS, "again": WORDS}
    for change, told in (
        ({"again": "other"}, "not the same"),
        ({"password": "short", "again": "short"}, "5 characters"),
        ({"name": "MARA"}, "already"),
    ):
        answer = client.post(path, data=fields | change, headers=FORM)
        assert answer.status_code == 400
        assert told in answer.text
    assert client.post(path, data=fields, headers=FORM).status_code == 303
    assert client.get("/api/me").json()["roles"] == {str(project_id): "annotator"}
    accounts.create(sqlite_database, "Cy", WORDS, cost=CHEAP)
    cy = browser("203.0.113.20")
    enter(cy, "Cy")
    assert "Join as <bdi>Cy</bdi>" in cy.get(path).text
    assert cy.post(path, headers=FORM).headers["location"] == f"/?project={project_id}"
    assert cy.get("/api/me").json()["roles"] == {str(project_id): "annotator"}
    assert "used up" in browser().get(path).text
    assert browser().get("/join/nonsense").status_code == 404


def test_names_are_text_on_every_page_and_no_page_runs_a_script(
    browser: Browser, sqlite_database: Database
) -> None:
    accounts.create(sqlite_database, "Mara", WORDS, is_admin=True, cost=CHEAP)
    for number, payload in enumerate(PAYLOADS):
        project_id = make_project(sqlite_database, name=payload)
        author = accounts.create(sqlite_database, payload, WORDS, cost=CHEAP).name
        made = invitations.invite(sqlite_database, project_id, "lead", actor=author)
        client = browser(f"203.0.113.{100 + number}")
        pages = [
            client.get(f"/join/{made.token}"),
            client.post(f"/join/{made.token}", data={"name": payload}, headers=FORM),
            enter(client, payload, "wrong password", next=payload),
        ]
        enter(client, payload)
        pages += [client.get(f"/join/{made.token}"), client.get("/password")]
        for page in pages:
            assert not re.search(r"<(script|img|svg)", page.text)
            assert "49" not in re.findall(r"<bdi>(.*?)</bdi>", page.text)
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src" not in policy
            assert "frame-ancestors 'none'" in policy


def test_without_accounts_there_is_nothing_to_sign_in_to(sqlite_database: Database) -> None:
    app = FastAPI()
    routes.install(app, sqlite_database)
    sessions = Sessions(sqlite_database, "s" * 40)
    app.include_router(sign_in.router(sessions, Attempts(), CHEAP))
    with TestClient(
        Guard(app, sessions),
        base_url="http://127.0.0.1:7860",
        client=("127.0.0.1", 9),
        follow_redirects=False,
    ) as client:
        for path in ("/sign-in", "/join/x", "/password"):
            assert client.get(path).headers["location"] == "/"
        assert client.get("/api/me").json()["name"] == "local"
        assert client.get("/api/me").json()["has_account"] is False


def test_a_form_without_end_is_cut_off(browser: Browser, project_id: int) -> None:
    assert project_id
    assert enter(browser(), "x" * 30_000).status_code == 413
    many = "&".join(f"a{n}=1" for n in range(100))
    assert browser().post("/sign-in", content=many, headers=FORM).status_code == 400
