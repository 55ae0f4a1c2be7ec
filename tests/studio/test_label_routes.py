"""The label page's further routes: settings, history, revisions, edits; and for whom they are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from db.engine import Database
from studio import routes
from studio.services import label_scope
from studio.services.people import Person
from tests.load.label_server import HEADER, Identity
from tests.rows import make_project, open_pairs

ROUTES = ("next", "settings", "progress", "history")
POSTED = ("vote", "revise", "edit", "undo", "renew")


@pytest.fixture
def project_id(sqlite_database: Database) -> int:
    return make_project(
        sqlite_database,
        open_pairs(4),
        reasons=["Truer"],
        aspects=["Tone"],
        guidelines="**Be** kind",
    )


@pytest.fixture
def client(sqlite_database: Database, project_id: int) -> Iterator[TestClient]:
    app = FastAPI()
    routes.install(app, sqlite_database)
    with TestClient(Identity(app, [project_id]), headers={HEADER: "ann"}) as client:
        yield client


def test_a_pair_is_edited_judged_found_and_revised(client: TestClient, project_id: int) -> None:
    base = f"/api/projects/{project_id}/label"
    offered = client.get(f"{base}/settings").json()
    assert offered["guidelines"]["html"].count("<strong>Be</strong>") == 1
    assert (offered["reasons"], offered["aspects"]) == (["Truer"], ["Tone"])
    (showing,) = client.get(f"{base}/next?count=1").json()["pairs"]
    assert "purpose" not in showing
    assert "<p" in showing["left"]["html"]
    assert "prompt" in showing["messages"][0]["html"]
    edit = {
        "vote_id": str(uuid.uuid4()), "showing_id": showing["showing_id"], "side": "left",
        "text": "Better, and longer",
    }  # fmt: skip
    assert client.post(f"{base}/edit", json=edit).json()["status"] == "stored"
    same = client.post(f"{base}/edit", json={**edit, "vote_id": str(uuid.uuid4())})
    assert same.status_code == 409
    vote = {
        "vote_id": str(uuid.uuid4()), "showing_id": showing["showing_id"], "choice": "left",
        "reasons": ["Truer"], "aspects": {"Tone": {"left": 4, "right": 2}},
    }  # fmt: skip
    answer = client.post(f"{base}/vote", json=vote).json()
    assert (answer["reveal"], answer["set_aside"]["reasons"]) == ({"left": None, "right": None}, [])
    found = client.get(f"{base}/history?choice=left&q=PROMPT&limit=1").json()["votes"]
    assert [each["vote_id"] for each in found] == [vote["vote_id"]]
    revision = {"vote_id": str(uuid.uuid4()), "revises": vote["vote_id"], "choice": "tie"}
    assert client.post(f"{base}/revise", json=revision).json()["status"] == "stored"
    assert client.get(f"{base}/history?choice=left&q=prompt").json()["votes"] != found
    wrong = client.get(f"{base}/history?choice=up")
    assert (wrong.status_code, "choice is 'up'" in wrong.json()["error"]) == (400, True)


def test_a_request_of_another_persons_page_or_database_is_held_back_not_refused(
    sqlite_database: Database, client: TestClient, project_id: int
) -> None:
    base = f"/api/projects/{project_id}/label"
    scope = label_scope.scope_of(sqlite_database, project_id, "Zoë/2")
    headers = {"x-studio-scope": quote(scope)}
    for answer in (
        client.get(f"{base}/next", headers=headers),
        client.post(f"{base}/vote", json={}, headers=headers),
    ):
        assert (answer.status_code, answer.json().get("final")) == (403, None)
        assert "this page is Zoë/2's, and ann is signed in now" in answer.json()["error"]
    elsewhere = {"x-studio-scope": f"{project_id}/20200101T000000000000/ann"}
    answer = client.get(f"{base}/next", headers=elsewhere)
    assert (answer.status_code, "another database" in answer.json()["error"]) == (403, True)
    own = {"x-studio-scope": label_scope.scope_of(sqlite_database, project_id, "ann")}
    assert client.get(f"{base}/next", headers=own).status_code == 200


def test_only_what_a_service_refused_is_final(client: TestClient, project_id: int) -> None:
    base = f"/api/projects/{project_id}/label"
    refused = client.post(f"{base}/vote", json={"showing_id": 1, "choice": "up"})
    assert (refused.status_code, refused.json()["final"]) == (400, True)
    assert client.get(f"{base}/next?count=x").json()["final"] is True
    unknown = client.get("/api/projects/1/nowhere")
    assert (unknown.status_code, "final" in unknown.json()) == (404, False)


def test_no_route_serves_whom_the_project_is_not_for(
    sqlite_database: Database, client: TestClient, project_id: int
) -> None:
    other_id = make_project(sqlite_database, open_pairs(1), name="other")
    base = f"/api/projects/{other_id}/label"
    answers = [client.get(f"{base}/{route}") for route in ROUTES]
    answers += [client.post(f"{base}/{route}", json={}) for route in POSTED]
    assert {answer.status_code for answer in answers} == {403}
    assert not Person("ann").may(other_id, "annotator")
