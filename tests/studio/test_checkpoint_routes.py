"""The routes behind the Checkpoints tab: who may, what comes back, whose logs can be read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from studio import checkpoint_routes, routes
from studio.services.people import Person
from tests.workspace import Workspace


@pytest.fixture
def client(trained: Workspace) -> Iterator[TestClient]:
    app = FastAPI()
    routes.install(app, trained.database)
    app.include_router(checkpoint_routes.router(trained.database, trained.settings))
    with TestClient(app) as client:
        yield client


@pytest.fixture(autouse=True)
def asking_as(monkeypatch: pytest.MonkeyPatch) -> dict[str, Person]:
    asking = {"person": Person("mara", is_admin=True)}
    monkeypatch.setattr(checkpoint_routes, "current_person", lambda request: asking["person"])
    return asking


def base(here: Workspace) -> str:
    return f"/api/projects/{here.project_id}"


def test_the_log_of_every_run_of_the_project_can_be_read(
    client: TestClient, trained: Workspace
) -> None:
    (made,) = client.get(f"{base(trained)}/checkpoints").json()["checkpoints"]
    path = trained.settings.log_path(made["run_id"])
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    answer = client.get(f"{base(trained)}/runs/{made['run_id']}/log").json()
    assert answer["run"] == made["run_id"]
    assert answer["log"].splitlines()[-1] == "line 99"
    path.unlink()
    assert client.get(f"{base(trained)}/runs/{made['run_id']}/log").json()["log"] == ""


def test_a_log_of_another_project_is_not_there_and_annotators_read_none(
    client: TestClient, trained: Workspace, asking_as: dict[str, Person]
) -> None:
    missing = client.get(f"{base(trained)}/runs/77/log")
    assert (missing.status_code, "no run 77" in missing.json()["error"]) == (404, True)
    assert client.get("/api/projects/999/runs/1/log").status_code == 404
    asking_as["person"] = Person("ann", roles={trained.project_id: "annotator"})
    assert client.get(f"{base(trained)}/runs/1/log").status_code == 403
    assert client.get(f"{base(trained)}/checkpoints").status_code == 403
