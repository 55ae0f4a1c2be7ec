"""The label page's routes, behind the guard: what they give, and how they say no."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from db.engine import Database
from studio import routes
from studio.guard import Guard
from studio.services import labelling
from tests.rows import make_project, open_pairs

ORIGIN = "http://127.0.0.1:7860"


@pytest.fixture
def project_id(database: Database) -> int:
    return make_project(database, open_pairs(5))


@pytest.fixture
def client(database: Database) -> Iterator[TestClient]:
    app = FastAPI()
    routes.install(app, database)
    with TestClient(
        Guard(app), base_url=ORIGIN, client=("127.0.0.1", 9), raise_server_exceptions=False
    ) as client:
        yield client


def vote_for(showing: dict[str, Any], **changes: Any) -> dict[str, Any]:
    vote = {
        "vote_id": str(uuid.uuid4()),
        "showing_id": showing["showing_id"],
        "choice": "left",
        "strength": 2,
        "reasons": [],
        "comment": "",
        "duration_ms": 1200,
    }
    return vote | changes


def test_label_undo_and_label_again(client: TestClient, project_id: int) -> None:
    base = f"/api/projects/{project_id}/label"
    given = client.get(f"{base}/next?count=2").json()
    assert len(given["pairs"]) == 2
    first = given["pairs"][0]
    vote = vote_for(first)
    assert client.post(f"{base}/vote", json=vote).json()["status"] == "stored"
    assert client.post(f"{base}/vote", json=vote).json()["status"] == "duplicate"
    assert client.get(f"{base}/progress").json()["judged_by_you"] == 1
    undone = client.post(f"{base}/undo", json={"vote_id": vote["vote_id"]}).json()
    assert undone["retracted"] == vote["vote_id"]
    assert undone["showing"]["left"] == first["left"]
    assert client.get(f"{base}/progress").json()["judged_by_you"] == 0


def test_pairs_that_the_page_holds_are_not_given_twice(client: TestClient, project_id: int) -> None:
    base = f"/api/projects/{project_id}/label"
    held = [pair["showing_id"] for pair in client.get(f"{base}/next?count=2").json()["pairs"]]
    query = "&".join(f"exclude={showing_id}" for showing_id in held)
    more = client.get(f"{base}/next?count=2&{query}").json()["pairs"]
    assert not {pair["showing_id"] for pair in more} & set(held)
    renewed = client.post(f"{base}/renew", json={"showing_ids": held})
    assert renewed.status_code == 200


def test_what_does_not_exist_is_404_and_a_contradiction_409(
    client: TestClient, project_id: int
) -> None:
    base = f"/api/projects/{project_id}/label"
    missing = client.get("/api/projects/999/label/next")
    assert missing.status_code == 404
    assert "999" in missing.json()["error"]
    showing = client.get(f"{base}/next?count=1").json()["pairs"][0]
    vote = vote_for(showing)
    client.post(f"{base}/vote", json=vote)
    changed = client.post(f"{base}/vote", json={**vote, "choice": "right"})
    assert changed.status_code == 409
    assert vote["vote_id"] in changed.json()["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b"[1, 2]", 400),
        (b'{"choice": "left"}', 400),
        (b"x" * 1_000_001, 413),
        (b"[" * 100_000, 400),
        (b'{"a":' * 100_000, 400),
    ],
)
def test_a_bad_body_is_refused_with_a_sentence(
    client: TestClient, project_id: int, body: bytes, status: int
) -> None:
    answer = client.post(
        f"/api/projects/{project_id}/label/vote",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize("value", ["x", None, [None], ["a"], [1e400], list(range(1001))])
def test_ids_must_be_a_list_of_numbers(client: TestClient, project_id: int, value: Any) -> None:
    answer = client.post(
        f"/api/projects/{project_id}/label/renew",
        content=json.dumps({"showing_ids": value}).replace("Infinity", "1e400"),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400
    assert "showing_ids" in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["99999999999999999999/label/next", f"{2**63}/label/progress", f"{2**70}/label/history"]
)
def test_a_number_that_no_id_can_be_is_a_bad_request(client: TestClient, path: str) -> None:
    answer = client.get(f"/api/projects/{path}")
    assert answer.status_code == 400
    assert "larger than any id" in answer.json()["error"]


def test_a_vote_on_a_number_that_no_showing_can_be_is_refused(
    client: TestClient, project_id: int
) -> None:
    vote = vote_for({"showing_id": 2**70})
    answer = client.post(f"/api/projects/{project_id}/label/vote", json=vote)
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]


def test_a_wrong_query_or_path_is_named(client: TestClient, project_id: int) -> None:
    assert client.get("/api/projects/x/label/next").status_code == 422
    answer = client.get(f"/api/projects/{project_id}/label/next?exclude=x")
    assert answer.status_code == 400
    assert client.get("/api/nothing").json()["error"] == "Not Found"


def test_a_database_that_is_busy_says_send_it_again(
    client: TestClient, project_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_arguments: object, **_named: object) -> None:
        raise OperationalError("INSERT", {}, Exception("database is locked"))

    monkeypatch.setattr(labelling, "cast_vote", locked)
    answer = client.post(f"/api/projects/{project_id}/label/vote", json={})
    assert answer.status_code == 503
    assert "nothing was stored" in answer.json()["error"]


def test_the_guard_stands_before_every_route(client: TestClient, project_id: int) -> None:
    path = f"/api/projects/{project_id}/label/undo"
    assert (
        client.post(path, content="{}", headers={"content-type": "text/plain"}).status_code == 415
    )
    assert client.post(path, json={}, headers={"origin": "https://evil.example"}).status_code == 403
    assert client.get("/api/health", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/api/health").json() == {"status": "ok"}
