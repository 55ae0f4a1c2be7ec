"""Answers written by the backbone, and by an endpoint of OpenAI's protocol, here on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from studio.services import endpoint, generation
from studio.services.endpoint import Endpoint
from studio.services.errors import StudioError, UsageError
from tests.workspace import Workspace, kindness

KEY = "STUDIO_GENERATOR_KEY_TEST"
MESSAGES = [{"role": "user", "content": "Say hello."}]


class FakeOpenAI(BaseHTTPRequestHandler):
    """Streams "Hello, wörld!"; the model's name says how to misbehave."""

    seen: list[dict[str, Any]]
    go_on = threading.Event()  # what the model `slow` waits for after its first piece

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).seen.append({"path": self.path, "auth": self.headers["authorization"], **body})
        how = body["model"]
        if how == "renamed" and "max_tokens" in body:
            said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            self._answer(400, json.dumps({"error": {"message": said}}).encode())
        elif how == "slow":
            self.send_response(200)
            self.end_headers()
            event = json.dumps({"choices": [{"delta": {"content": "A beginning"}}]})
            self.wfile.write(f"data: {event}\n\n".encode())
            self.go_on.wait(60)
        elif how == "too much":
            self._answer(400, b'{"error": "max_tokens is too large: 256."}')
        elif how == "stops":
            said = "x" * 190 + " the key sk-secret is spent."
            event = json.dumps({"error": {"message": said}})
            self._answer(200, f"data: {event}\n\n".encode())
        elif how == "echoes":
            self._answer(200, b"data: {sk-secret\n\n")
        elif how == "refuses":
            self._answer(401, b'{"error": {"message": "bad key sk-secret given."}}')
        elif how == "redirects":
            self.send_response(302)
            self.send_header("location", "http://127.0.0.1:1/")
            self.end_headers()
        elif how == "html":
            self._answer(200, b"<html>hello</html>")
        elif how == "garbage":
            self._answer(200, b"data: {not json\n\n")
        else:
            pieces = ["Hello, ", "wörld", "!"] if how in ("good", "renamed") else ["x" * 60_000] * 3
            events = [{"choices": [{"delta": {"role": "assistant"}}]}]
            events += [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
            text = "".join(f"data: {json.dumps(e, ensure_ascii=False)}\n\n" for e in events)
            self._answer(200, (text + ": comment\n\ndata: [DONE]\n\n").encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def fake() -> Iterator[str]:
    FakeOpenAI.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeOpenAI)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def asked(at: str, model: str = "good", **changes: Any) -> list[dict[str, str]]:
    from rm_core.generation import Sampling

    found = Endpoint("fake", at, model, KEY)
    return list(endpoint.stream(found, MESSAGES, Sampling(seed=3), {KEY: "sk-secret"}, **changes))


def written(at: str, model: str = "good", **changes: Any) -> str:
    return "".join(event.get("text", "") for event in asked(at, model, **changes))


def test_an_endpoint_streams_its_answer_and_gets_the_key_from_the_environment(fake: str) -> None:
    assert written(fake) == "Hello, wörld!"
    (asked,) = FakeOpenAI.seen
    assert asked["path"] == "/v1/chat/completions"
    assert asked["auth"] == "Bearer sk-secret"
    assert asked["messages"] == MESSAGES
    assert asked["stream"] is True
    assert asked["seed"] == 3
    assert written(fake, should_stop=lambda: True) == ""


def test_an_endpoint_that_wants_the_limits_other_name_is_asked_once_more_and_it_is_told(
    fake: str,
) -> None:
    events = asked(fake, "renamed")
    assert "".join(event.get("text", "") for event in events) == "Hello, wörld!"
    (note,) = [event["note"] for event in events if "note" in event]
    assert note == "fake refused max_tokens and was asked a second time with max_completion_tokens."
    first, second = FakeOpenAI.seen
    assert first["max_tokens"] == second["max_completion_tokens"] == 256
    assert "max_tokens" not in second
    FakeOpenAI.seen.clear()
    with pytest.raises(StudioError, match="too large"):
        asked(fake, "too much")
    assert len(FakeOpenAI.seen) == 1


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("stops", r"fake stopped: x+ the key"),
        ("echoes", r"sent '\{<key>', which is no event"),
        ("refuses", r"fake answered 401: bad key <key> given\."),
        ("redirects", "redirects are not followed"),
        ("html", "did not stream anything"),
        ("garbage", "no event of a chat endpoint"),
        ("endless", "more than 100,000 characters"),
    ],
)
def test_what_goes_wrong_is_one_sentence_without_the_key(fake: str, model: str, part: str) -> None:
    with pytest.raises(StudioError, match=part) as caught:
        written(fake, model)
    assert "sk-s" not in str(caught.value)


def test_an_endpoint_that_is_not_there_or_may_not_be_called_is_named() -> None:
    from rm_core.generation import Sampling

    with pytest.raises(StudioError, match="cannot be reached"):
        written("http://127.0.0.1:1/v1")
    with pytest.raises(StudioError, match="link-local"):
        written("http://169.254.169.254/v1")
    with pytest.raises(StudioError, match=f"{KEY} with the key for fake is not set"):
        list(endpoint.stream(Endpoint("fake", "http://127.0.0.1:1", "m", KEY), [], Sampling(), {}))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"base_url": "file:///etc/passwd"}, "an http or https address"),
        ({"base_url": "http://me:pass@host/v1"}, "carries a name, a key"),
        ({"base_url": "http://host:99999/v1"}, "the address is 'http://host:99999/v1'"),
        ({"model": ""}, "the model is empty"),
        ({"key_env": "AWS_SECRET_ACCESS_KEY"}, "begins with STUDIO_GENERATOR_KEY"),
        ({"key_env": "sk-abc"}, "the variable with the key is 'sk-abc': .*never the key itself"),
        ({"name": "two\nlines"}, "one line"),
    ],
)
def test_only_a_sound_endpoint_is_kept(
    empty_workspace: Workspace, changes: dict[str, str], part: str
) -> None:
    here = empty_workspace
    project_id = here.add(kindness(2))
    fields = {"name": "x", "base_url": "http://host/v1", "model": "m", "key_env": KEY}
    assert endpoint.set_endpoint(here.database, project_id, "mara", fields) is not None
    with pytest.raises(UsageError, match=part):
        endpoint.set_endpoint(here.database, project_id, "mara", fields | changes)
    kept = endpoint.endpoint_of(here.database, project_id)
    assert kept == Endpoint("x", "http://host/v1", "m", KEY)
    endpoint.set_endpoint(here.database, project_id, "mara", {"base_url": ""})
    assert endpoint.endpoint_of(here.database, project_id) is None


def events(here: Workspace, project_id: int, cancel: threading.Event, **body: Any) -> list[dict]:
    wanted = generation.wish({"messages": MESSAGES, **body})
    return list(generation.stream(here.database, here.settings, {}, project_id, wanted, cancel))


def test_the_backbone_writes_until_its_limit_the_same_for_the_same_seed(
    empty_workspace: Workspace,
) -> None:
    here = empty_workspace
    project_id = here.add(kindness(2))
    sampling = {"max_new_tokens": 20, "seed": 5, "temperature": 1.0}
    one = events(here, project_id, threading.Event(), **sampling)
    two = events(here, project_id, threading.Event(), **sampling)
    text = "".join(event.get("text", "") for event in one)
    assert text
    assert text == "".join(event.get("text", "") for event in two)
    assert one[-1] == {"done": True, "cancelled": False}
    assert one[0] == {"state": "loading the backbone"}
    assert two[0] != one[0]  # it was still there
    cancelled = threading.Event()
    cancelled.set()
    assert events(here, project_id, cancelled)[-1] == {"done": True, "cancelled": True}
    generation.shelf.let_go()
    assert not generation.shelf.is_loaded


def test_what_is_wished_for_is_checked(empty_workspace: Workspace) -> None:
    for body, part in [
        ({"source": "moon"}, "source is 'moon'"),
        ({"temperature": 9}, "temperature is 9"),
        ({"max_new_tokens": True}, "max_new_tokens is True"),
        ({"messages": []}, "an empty list"),
    ]:
        with pytest.raises(UsageError, match=part):
            generation.wish({"messages": MESSAGES, **body})
    here = empty_workspace
    project_id = here.add(kindness(2))
    found = events(here, project_id, threading.Event(), source="endpoint")
    assert "no endpoint" in found[-1]["error"]
