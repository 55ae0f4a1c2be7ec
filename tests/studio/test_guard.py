"""The guard admits the person at this machine and nobody else."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from studio.guard import Guard, is_loopback

HERE = "http://127.0.0.1:7860"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"reached"})


def ask(
    method: str = "GET", path: str = "/", headers: dict[str, str] | None = None, **extra: Any
) -> httpx.Response:
    import anyio

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=Guard(echo), client=extra.pop("peer", ("127.0.0.1", 5)))
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            return await client.request(method, path, headers=headers, **extra)

    return anyio.run(go)


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:9", "[::1]:7860"])
def test_this_machine_is_admitted(host: str) -> None:
    assert ask(headers={"host": host}).text == "reached"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "192.168.1.5:7860",
        "127.0.0.1.evil.example",
        "localhost.evil.example:7860",
        "0.0.0.0:7860",
        "evil@127.0.0.1",
        "",
    ],
)
def test_any_other_host_is_refused_with_the_value_seen(host: str) -> None:
    answer = ask(headers={"host": host})
    assert answer.status_code == 403
    assert host.lower() in answer.json()["error"]


@pytest.mark.parametrize(
    "name",
    ["X-Forwarded-For", "Forwarded", "X-Real-IP", "x-forwarded-proto", "Via", "X-Forwarded-User"],
)
def test_forwarded_requests_are_refused(name: str) -> None:
    answer = ask(headers={name: "127.0.0.1"})
    assert answer.status_code == 403
    assert name.lower() in answer.json()["error"]


def test_a_peer_on_another_machine_is_refused() -> None:
    assert ask(peer=("10.0.0.9", 4000)).status_code == 403


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "file://127.0.0.1:7860"]
)
def test_a_foreign_origin_is_refused_whatever_the_method(method: str, origin: str) -> None:
    answer = ask(method, headers={"origin": origin, **JSON})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_the_pages_own_origin_is_admitted() -> None:
    own = {"origin": HERE, "sec-fetch-site": "same-origin", **JSON}
    assert ask("POST", "/api/x", headers=own, content="{}").status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_another_site_made_the_browser_send_are_refused(site: str) -> None:
    assert ask("POST", headers={"sec-fetch-site": site, **JSON}).status_code == 403
    embed = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    assert ask(headers=embed).status_code == 403


def test_a_link_from_elsewhere_opens_the_page_but_no_api_route() -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert ask("GET", "/", headers=followed).status_code == 200
    assert ask("GET", "/api/projects/1/label/next", headers=followed).status_code == 403
    assert ask("GET", "/gradio_api/info", headers=followed).status_code == 403
    assert ask("POST", "/", headers={**followed, **JSON}).status_code == 403


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
@pytest.mark.parametrize("path", ["/gradio_api/component_server", "/api/projects/1/label/vote"])
def test_a_body_that_does_not_say_json_is_refused(content_type: str, path: str) -> None:
    answer = ask("POST", path, headers={"content-type": content_type}, content="{}")
    assert answer.status_code == 415
    assert repr(content_type) in answer.json()["error"]


def test_json_with_a_charset_is_json_and_gradios_upload_may_be_multipart() -> None:
    charset = {"content-type": "Application/JSON; charset=utf-8"}
    assert ask("POST", "/api/x", headers=charset, content="{}").status_code == 200
    form = {"content-type": "multipart/form-data; boundary=x"}
    assert ask("POST", "/gradio_api/upload", headers=form, content="--x--").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
def test_every_response_forbids_framing_and_sniffing(host: str) -> None:
    headers = ask(headers={"host": host}).headers
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_a_missing_or_doubled_host_is_a_bad_request() -> None:
    import anyio

    async def raw(headers: list[tuple[bytes, bytes]]) -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
        await Guard(echo)(scope, None, send)  # type: ignore[arg-type]
        return int(sent[0]["status"])

    assert anyio.run(raw, []) == 400
    assert anyio.run(raw, [(b"host", b"localhost"), (b"Host", b"evil.example")]) == 400


def test_loopback_is_told_from_the_rest() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.1.evil"]))
