"""The routes behind the Checkpoints tab: who may, what comes back, whose logs can be read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from studio import checkpoint_routes, routes
from studio.services import checkpoints, reproduce_job, training
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


def test_an_unchanged_list_is_not_sent_again(judged_workspace: Workspace) -> None:
    here = judged_workspace
    app = FastAPI()
    routes.install(app, here.database)
    app.include_router(checkpoint_routes.router(here.database, here.settings))
    path = f"{base(here)}/checkpoints"

    def asked(client: TestClient, tag: str | None, query: str = "") -> tuple[int, str]:
        answer = client.get(path + query, headers={"if-none-match": tag} if tag else {})
        assert bool(answer.content) == (answer.status_code == 200)
        return answer.status_code, answer.headers["etag"]

    with TestClient(app) as client:
        status, tag = asked(client, None)
        assert asked(client, tag) == (304, tag)
        run_id = training.request_run(here.database, here.project_id, "click")
        here.run_here(run_id)
        status, made = asked(client, tag)
        assert (status, made != tag) == (200, True)
        assert asked(client, made, "?limit=51")[0] == 200  # another list
        reproduce_job.request(here.database, run_id)
        status, working = asked(client, made)
        assert (status, asked(client, working)[0]) == (200, 304)
        client.post(f"{path}/1/retire", json={})
        assert asked(client, working)[0] == 200


def test_the_list_is_cut_and_keeps_the_one_in_use(
    client: TestClient, judged_workspace: Workspace
) -> None:
    here = judged_workspace
    for number in range(3):
        here.run_here(training.request_run(here.database, here.project_id, f"test {number}"))
    checkpoints.promote(here.database, here.project_id, 1, actor="mara")
    listed = checkpoints.listed(here.database, here.project_id, limit=1)
    assert [each["id"] for each in listed["checkpoints"]] == [3, 1]
    assert (listed["in_use"], listed["total"], listed["thinned"]) == (1, 3, 0)
    assert client.get(f"{base(here)}/checkpoints?limit=0").status_code == 422
