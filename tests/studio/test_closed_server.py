"""A server with accounts, asked for everything by strangers, by people of other projects, by forms.

The application is the real one, addressed by a name that is not this machine's (the holes of
Gradio's own CORS rules open only there). What the sign-in pages do is in test_sign_in.py.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from db.models import Vote
from studio.app import build_app
from studio.attempts import Attempts, Limit
from studio.services import accounts, projects
from studio.services.passwords import Cost
from studio.sessions import Sessions
from studio.settings import Settings
from tests.workspace import Workspace, kindness, make_workspace

CHEAP = Cost(n=16, r=1, p=1)
WORDS = "correct horse"
PUBLIC = "http://studio.example.org"
FORM = {"origin": PUBLIC, "content-type": "application/x-www-form-urlencoded"}
# Without a session these answer, and nothing else does.
OPEN = {"/sign-in", "/sign-in.css", "/theme.css", "/join/{token}", "/api/health"}
# Routes beside Gradio's that a person without any role may ask, and why.
FOR_EVERYBODY = {
    "/api/health": "a probe; tells nothing",
    "/api/me": "tells people about themselves",
}
# Handlers that answer a person without any role, with what is that person's own: the reasons are in
# tests/components/test_handlers.py. No other project's name is in their answers.
HANDLERS_FOR_EVERYBODY = {"choose", "show_tabs", "renew", "refresh"}


@dataclass
class Server:
    """The application, and a browser for each of the people."""

    here: Workspace
    app: Any
    first: int
    second: int

    def browser(self, name: str = "") -> TestClient:
        client = TestClient(
            self.app,
            base_url=PUBLIC,
            client=("203.0.113.7", 9),
            follow_redirects=False,
            raise_server_exceptions=False,
        )
        if name:
            data = {"name": name, "password": WORDS}
            assert client.post("/sign-in", data=data, headers=FORM).status_code == 303
        return client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Iterator[Server]:
    here = make_workspace(tmp_path_factory.mktemp("closed") / "data", tiny_backbone)
    settings = Settings.read(
        {"STUDIO_PUBLIC_URL": PUBLIC},
        data_dir=str(here.settings.data_dir),
        backbone=str(tiny_backbone),
        device="cpu",
    )
    sessions = Sessions(here.database, "s" * 40, fresh_s=0)
    many = Attempts(per_name=Limit(10**6, 60), per_address=Limit(10**6, 60))
    app = build_app(settings, here.database, sessions=sessions, attempts=many, cost=CHEAP)
    first = here.add(kindness(4), "alices", purpose="unlabelled")
    second = here.add(kindness(4, first=100), "bobs")
    make = {"cost": CHEAP, "actor": "Mara"}
    accounts.create(here.database, "Mara", WORDS, is_admin=True, **make)  # type: ignore[arg-type]
    for name, project_id, role in (
        ("Lia", first, "lead"),
        ("Alice", first, "annotator"),
        ("Bob", second, "annotator"),
        ("Nobody", None, None),
    ):
        accounts.create(here.database, name, WORDS, project_id=project_id, role=role, **make)  # type: ignore[arg-type]
    with TestClient(app, base_url=PUBLIC):  # Gradio's start-up
        yield Server(here, app, first, second)
    here.database.dispose()


def routes_of(app: Any) -> Iterator[tuple[str, str]]:
    """Every method and path that the application serves, Gradio's among them."""
    for route in app.routes:
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if hasattr(route, "methods") and route.methods:
            yield from ((method, route.path) for method in sorted(route.methods))
        elif inner is not None and hasattr(inner, "routes"):
            yield from routes_of(inner)


def filled(path: str, **values: object) -> str:
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda m: str(values.get(m[1], "1")), path)


def functions(server: Server) -> dict[int, Any]:
    from gradio.routes import App

    (gradio,) = [r.app for r in server.app.app.routes if isinstance(getattr(r, "app", None), App)]
    return {number: fn for number, fn in gradio.get_blocks().fns.items() if fn.fn is not None}


def call(
    client: TestClient, number: int, data: list[Any], session_hash: str = "", **event: Any
) -> Any:
    body = {"fn_index": number, "data": data, "session_hash": session_hash or None} | event
    return client.post("/gradio_api/run/predict", json=body)


# --- strangers -------------------------------------------------------------------------------


def test_a_stranger_gets_nothing_of_any_route(server: Server) -> None:
    stranger = server.browser()
    asked = [(m, p) for m, p in set(routes_of(server.app.app)) if p not in OPEN]
    assert len(asked) > 60
    assert {"/gradio_api/component_server", "/gradio_api/cancel", "/config", "/"} <= {
        path for _, path in asked
    }
    for method, path in asked:
        options = {} if method in {"GET", "HEAD"} else {"json": {}}
        status = stranger.request(method, filled(path), **options).status_code
        assert status in {401, 404}, f"{method} {path}: {status}"
        assert status == 401 or not path.startswith("/api"), f"{method} {path}: {status}"


def test_gradios_own_scripts_and_styles_are_all_that_a_stranger_reads_of_it(
    server: Server,
) -> None:
    import gradio

    stranger = server.browser()
    shipped = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
    names = [path.name for path in shipped.iterdir() if path.suffix in {".css", ".js"}]
    assert names
    for name in names[:20]:
        assert stranger.get(f"/assets/{name}").status_code == 200, name
    for path in ("/assets/../config", "/assets/%2e%2e/index.html", "/assets/..%2findex.html"):
        assert stranger.get(path).status_code in {401, 404}, path


def test_a_stranger_who_opens_a_page_is_sent_to_sign_in_and_back(server: Server) -> None:
    stranger = server.browser()
    answer = stranger.get("/?project=2", headers={"accept": "text/html,*/*"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=/%3Fproject%3D2"
    assert stranger.get("/gradio_api/info", headers={"accept": "text/html"}).status_code == 401
    assert stranger.get("/api/health").json() == {"status": "ok"}
    assert stranger.get(f"{PUBLIC}//gradio_api/info").status_code == 404


# --- WEB_NOTES: what Gradio alone would let through ------------------------------------------


@pytest.mark.parametrize("name", ["", "Mara"])
def test_no_other_origin_is_reflected_whoever_is_signed_in(server: Server, name: str) -> None:
    client = server.browser(name)
    for path in ("/gradio_api/queue/join", "/gradio_api/component_server", "/api/me", "/config"):
        preflight = client.options(
            path,
            headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
        )
        assert preflight.status_code == 403
        for origin in ("https://evil.example", "null", PUBLIC, f"{PUBLIC}:81"):
            answer = client.get(path, headers={"origin": origin})
            assert "access-control-allow-origin" not in answer.headers
            assert "access-control-allow-credentials" not in answer.headers
            assert origin == PUBLIC or answer.status_code == 403


@pytest.mark.parametrize(
    "path", ["/gradio_api/component_server", "/gradio_api/run/predict", "/gradio_api/queue/join"]
)
def test_a_foreign_page_cannot_post_as_the_person_who_is_signed_in(
    server: Server, path: str
) -> None:
    mara = server.browser("Mara")
    for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = mara.post(path, content="{}", headers={"content-type": content_type})
        assert answer.status_code == 415
    for foreign in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert mara.post(path, json={}, headers=foreign).status_code == 403
    assert mara.get("/api/me", headers={"host": "rebound.evil.example"}).status_code == 403


def test_routes_of_gradio_that_no_page_uses_are_closed_even_to_admins(server: Server) -> None:
    mara = server.browser("Mara")
    for path in (
        "/gradio_api/stream/x/1/1/playlist.m3u8",
        "/gradio_api/call/predict/x",
        "/gradio_api/proxy=https://evil.example/",
        "/gradio_api/deep_link",
        "/gradio_api/dev/reload",
        "/gradio_api/vibe-code",
        "/gradio_api/token",
        "/openapi.json",
        "/monitoring",
        "/logout",
    ):
        assert mara.get(path).status_code == 404, path
    for path in ("/login", "/gradio_api/vibe-edit", "/gradio_api/process_recording"):
        assert mara.post(path, json={}).status_code == 404, path


# --- people of other projects ----------------------------------------------------------------


def test_nobody_without_the_role_gets_past_any_handler_of_the_page(server: Server) -> None:
    """By the routes themselves: `api_visibility` hides a handler, and is no lock."""
    nobody, bob = server.browser("Nobody"), server.browser("Bob")
    event = {"action": "invite", "index": 0, "value": "x", "selected": True}
    offences = []
    called = 0
    for number, fn in functions(server).items():
        data = [server.first if i == 0 else sent_by(part) for i, part in enumerate(fn.inputs)]
        for client in (nobody, bob):
            answer = call(client, number, data, event_data=event)
            called += 1
            assert "alices" not in answer.text
            if fn.fn.__name__ not in HANDLERS_FOR_EVERYBODY and not is_refused(answer, fn):
                offences.append(f"{fn.fn.__qualname__}: {answer.status_code} {answer.text[:200]}")
    assert called > 30
    assert offences == []


def sent_by(part: Any) -> int | None:
    """What Gradio takes for the component's value: a slider wants a number."""
    return 1 if part.get_block_name() == "slider" else None


def is_refused(answer: Any, fn: Any) -> bool:
    sentences = ("needs the role", "o project is chosen", "No file is chosen")
    if any(each in answer.text for each in sentences):
        return True
    if fn.queue and answer.status_code == 404:
        return True  # only by the queue; tests/components/test_handlers.py calls it itself
    # Another tab opened, a timer's pace, values left as they are: no data.
    updates = answer.json().get("data") if answer.status_code == 200 else None
    harmless = {"__type__", "selected", "active"}
    left_alone = {"props": {"__type__": "update"}, "__type__": "update"}  # of a gr.HTML
    return bool(updates) and all(
        update == left_alone or set(update) <= harmless for update in updates
    )


def test_no_route_beside_gradios_serves_somebody_without_the_role(server: Server) -> None:
    nobody, bob = server.browser("Nobody"), server.browser("Bob")
    asked = 0
    for method, path in sorted(set(routes_of(server.app.app))):
        if not path.startswith("/api/") or path in FOR_EVERYBODY or method == "HEAD":
            continue
        options = {} if method == "GET" else {"json": {}}
        for client in (nobody, bob):
            answer = client.request(method, filled(path, project_id=server.first), **options)
            asked += 1
            assert answer.status_code in {403, 404}, f"{method} {path}: {answer.text[:200]}"
    assert asked > 8


def test_an_annotator_labels_and_reads_own_progress_and_leads_do_what_leads_do(
    server: Server,
) -> None:
    alice, lia, bob = (server.browser(name) for name in ("Alice", "Lia", "Bob"))
    base = f"/api/projects/{server.first}/label"
    showing = alice.get(f"{base}/next?count=1").json()["pairs"][0]
    vote = {"vote_id": str(uuid.uuid4()), "showing_id": showing["showing_id"], "choice": "left"}
    # Nobody votes in another's place, not even on the pair that was shown to them.
    assert lia.post(f"{base}/vote", json={**vote, "annotator": "Alice"}).status_code == 404
    assert (
        alice.post(f"{base}/vote", json={**vote, "annotator": "Lia"}).json()["status"] == "stored"
    )
    with server.here.database.read() as s:
        assert s.get(Vote, vote["vote_id"]).annotator == "Alice"  # type: ignore[union-attr]
    assert lia.get(f"{base}/next?count=1").status_code == 200
    refused = bob.get(f"{base}/next?count=1")
    assert refused.status_code == 403
    assert "'Bob'" in refused.json()["error"]
    me = alice.get("/api/me").json()
    assert me == {
        "name": "Alice",
        "is_admin": False,
        "roles": {str(server.first): "annotator"},
        "has_account": True,
    }


def test_the_page_lists_only_the_projects_that_the_person_may_see(server: Server) -> None:
    number = next(n for n, fn in functions(server).items() if fn.fn.__name__ == "choose")
    for name, seen, unseen in (("Alice", "alices", "bobs"), ("Bob", "bobs", "alices")):
        answer = call(server.browser(name), number, [str(server.first)])
        assert answer.status_code == 200, answer.text
        assert seen in answer.text
        assert unseen not in answer.text
    everything = call(server.browser("Mara"), number, [""]).text
    assert "alices" in everything
    assert "bobs" in everything


def test_files_are_for_leads(server: Server) -> None:
    alice, lia = server.browser("Alice"), server.browser("Lia")
    files = {"files": ("x.jsonl", b"{}\n")}
    assert alice.post("/gradio_api/upload", files=files).status_code == 403
    uploaded = lia.post("/gradio_api/upload", files=files)
    assert uploaded.status_code == 200
    (path,) = uploaded.json()
    assert lia.get(f"/gradio_api/file={path}").status_code == 200
    assert alice.get(f"/gradio_api/file={path}").status_code == 403
    assert alice.get(f"/gradio_api/file{path}").status_code == 403
    key = server.here.settings.data_dir / "studio.db"
    assert lia.get(f"/gradio_api/file={key}").status_code in {403, 404}


# --- another's session_hash ------------------------------------------------------------------


def test_a_session_hash_belongs_to_whom_it_was_first(server: Server) -> None:
    alice, bob = server.browser("Alice"), server.browser("Bob")
    number = next(n for n, fn in functions(server).items() if fn.fn.__name__ == "choose")
    assert call(alice, number, [""], "alices-hash").status_code == 200
    body = {"fn_index": number, "data": [""], "session_hash": "alices-hash"}
    for attempt in (
        lambda c: c.post("/gradio_api/run/predict", json=body),
        lambda c: c.post("/gradio_api/queue/join", json=body),
        lambda c: c.post("/gradio_api/component_server", json={**body, "component_id": 1}),
        lambda c: c.post("/gradio_api/reset", json={**body, "event_id": "x"}),
        lambda c: c.post("/gradio_api/cancel", json={**body, "event_id": "x"}),
        lambda c: c.get("/gradio_api/queue/data?session_hash=alices-hash"),
        lambda c: c.get("/gradio_api/heartbeat/alices-hash"),
    ):
        refused = attempt(bob)
        assert refused.status_code == 403
        assert "somebody else" in refused.json()["error"]
    assert call(alice, number, [""], "alices-hash").status_code == 200


def test_nothing_about_people_is_kept_in_what_a_session_hash_opens(server: Server) -> None:
    from gradio.routes import App

    (gradio,) = [r.app for r in server.app.app.routes if isinstance(getattr(r, "app", None), App)]
    states = [b for b in gradio.get_blocks().blocks.values() if b.get_block_name() == "state"]
    assert states == []


# --- accounts that change while people are signed in -----------------------------------------


def test_rights_end_with_the_account_the_role_and_the_password(server: Server) -> None:
    database = server.here.database
    made = accounts.create(
        database, "Gone", WORDS, project_id=server.first, role="lead", cost=CHEAP
    )
    gone = server.browser("Gone")
    path = f"/api/projects/{server.first}/label/progress"
    assert gone.get(path).status_code == 200
    accounts.set_role(database, made.id, server.first, None, actor="Mara")
    assert gone.get(path).status_code == 403
    accounts.set_password(database, "Gone", "battery staple", cost=CHEAP)
    assert gone.get(path).status_code == 401
    accounts.set_password(database, "Gone", WORDS, cost=CHEAP)
    again = server.browser("Gone")
    assert again.get("/api/me").status_code == 200
    accounts.set_active(database, made.id, False, actor="Mara")
    assert again.get("/api/me").status_code == 401


def test_an_archived_projects_name_is_not_told_to_others(server: Server) -> None:
    made = projects.create(server.here.database, "secret plans")
    answer = server.browser("Bob").get(f"/api/projects/{made.id}/label/next")
    assert answer.status_code == 403
    assert "secret" not in answer.text
