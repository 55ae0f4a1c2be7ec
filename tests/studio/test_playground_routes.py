"""The playground's routes: who may, what comes back, and that stale requests cost nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from studio import playground_routes, routes
from studio.services.people import Person
from tests.workspace import Workspace

PROMPT = [{"role": "user", "content": "How do I fold a letter?"}]


@pytest.fixture
def client(trained: Workspace) -> Iterator[TestClient]:
    app = FastAPI()
    routes.install(app, trained.database)
    app.include_router(playground_routes.router(trained.database, trained.settings, {}))
    with TestClient(app) as client:
        yield client


@pytest.fixture
def asking_as(monkeypatch: pytest.MonkeyPatch) -> Any:
    def become(person: Person) -> None:
        monkeypatch.setattr(playground_routes, "current_person", lambda request: person)

    become(Person("mara", is_admin=True))
    return become


def base(here: Workspace) -> str:
    return f"/api/projects/{here.project_id}/playground"


def test_scores_come_as_columns_that_rejoin(
    client: TestClient, trained: Workspace, asking_as: Any
) -> None:
    answers = ["gladly, 世界 👩‍🚀", "never"]
    body = {"messages": PROMPT, "answers": answers, "client": "page", "sequence": 1}
    made = client.post(f"{base(trained)}/score", json=body).json()
    for text, answer in zip(answers, made["answers"], strict=True):
        columns = answer["tokens"]
        assert "".join(columns["text"]) == text
        assert sum(columns["contribution"]) == pytest.approx(answer["reward"], abs=1e-6)
        assert len(columns["value"]) == len(columns["text"])
    assert len(made["prob_better"]) == 2


def test_an_older_request_of_a_page_is_stale_once_a_newer_one_came() -> None:
    latest = playground_routes.LatestRequests()
    first = latest.staleness("mara", "page", 1)
    other_page = latest.staleness("mara", "other page", 1)
    assert not first()
    second = latest.staleness("mara", "page", 2)
    assert first()
    assert not second()
    assert not other_page()
    assert latest.staleness("mara", "page", 1)()
    assert not latest.staleness("mara", None, None)()


def test_annotators_score_and_leads_alone_send_and_set_the_endpoint(
    client: TestClient, trained: Workspace, asking_as: Any
) -> None:
    url = base(trained)
    score = {"messages": PROMPT, "answers": ["a", "b"]}
    asking_as(Person("nobody"))
    for path in ("score", "generate", "send", "endpoint"):
        assert client.post(f"{url}/{path}", json=score).status_code == 403
    assert client.get(f"{url}/options").status_code == 403
    assert client.get(f"{url}/pair").status_code == 403
    asking_as(Person("ann", roles={trained.project_id: "annotator"}))
    assert client.post(f"{url}/score", json=score).status_code == 200
    for wanted, status in (("random", 404), ("1", 404), ("disputed", 403)):  # nothing judged yet
        assert client.get(f"{url}/pair", params={"wanted": wanted}).status_code == status
    assert client.get(f"{url}/options").json()["is_lead"] is False
    for path, body in [("send", {}), ("endpoint", {}), ("generate", {"source": "endpoint"})]:
        answer = client.post(f"{url}/{path}", json={"messages": PROMPT, **body})
        assert answer.status_code == 403, path


def test_wrong_requests_are_told_in_a_sentence(
    client: TestClient, trained: Workspace, asking_as: Any
) -> None:
    url = base(trained)
    for body, part in [
        ({"answers": ["a"]}, "the prompt is empty"),
        ({"messages": [{"role": "user", "content": " "}], "answers": ["a"]}, "last turn is empty"),
        ({"messages": PROMPT, "answers": [1]}, "no list of texts"),
        ({"messages": PROMPT, "answers": ["a"], "checkpoint_id": "x"}, "a checkpoint's number"),
        ({"messages": [{"role": "u", "content": "x"}], "answers": ["a"]}, "unknown role"),
    ]:
        answer = client.post(f"{url}/score", json=body)
        assert answer.status_code == 400, body
        assert part in answer.json()["error"]
    answer = client.get(f"{url}/pair", params={"wanted": "twelve"})
    assert "'twelve' is not a pair's number" in answer.json()["error"]


def test_an_answer_is_streamed_as_events(
    client: TestClient, trained: Workspace, asking_as: Any
) -> None:
    body = {"messages": PROMPT, "max_new_tokens": 6, "temperature": 1.0, "seed": 1}
    with client.stream("POST", f"{base(trained)}/generate", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines]
    assert events[-1] == {"done": True, "cancelled": False}
    assert any("text" in event for event in events)
