"""Where requests come from: hosts, origins and proxies of a server with accounts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio.network import Network, Refusal
from studio.services.errors import UsageError
from studio.settings import Settings

PUBLIC = "https://studio.example.org"


def network(tmp_path: Path, **environ: str) -> Network:
    return Network.of(Settings.read({"STUDIO_DATA_DIR": str(tmp_path), **environ}))


def admitted(network: Network, headers: dict[str, str], **scope: Any) -> Any:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    given = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "scheme": "http",
        "client": ("10.0.0.9", 5000),
        "headers": raw,
        **scope,
    }
    return network.admitted(given, has_accounts=True)


def status(network: Network, headers: dict[str, str], **scope: Any) -> int:
    try:
        admitted(network, headers, **scope)
    except Refusal as refusal:
        return refusal.status
    return 200


def test_a_server_answers_to_its_own_names_only(tmp_path: Path) -> None:
    here = network(
        tmp_path,
        STUDIO_HOST="10.1.2.3",
        STUDIO_PUBLIC_URL=PUBLIC,
        STUDIO_ALLOWED_HOSTS="Label.Intern, other:8000",
    )
    for host in (
        "10.1.2.3:7860",
        "studio.example.org",
        "STUDIO.example.org:7860",
        "label.intern:80",
        "other",
        "localhost:7860",
        "127.0.0.1",
        "[::1]:7860",
    ):
        assert status(here, {"host": host}) == 200, host
    for host in (
        "evil.example",
        "10.9.9.9",
        "studio.example.org.evil.example",
        "evil@studio.example.org",
        "studio.example.org/x",
        "",
        "[",
    ):
        assert status(here, {"host": host}) == 403, host


def test_a_server_on_every_address_answers_to_addresses_but_not_to_any_name(
    tmp_path: Path,
) -> None:
    for host in ("0.0.0.0", "::"):
        here = network(tmp_path, STUDIO_HOST=host)
        assert status(here, {"host": "192.168.1.20:7860"}) == 200
        assert status(here, {"host": "[fe80::1]:7860"}) == 200
        assert status(here, {"host": "rebound.evil.example"}) == 403
        assert status(here, {"host": "192.168.1.20.evil.example"}) == 403


def test_what_a_stranger_says_was_forwarded_is_refused(tmp_path: Path) -> None:
    here = network(tmp_path, STUDIO_PUBLIC_URL=PUBLIC)
    for name in ("Via", "X-Forwarded-Ssl", "Forwarded", "X-Real-IP", "X-Forwarded-Host"):
        headers = {"host": "studio.example.org", name: "127.0.0.1"}
        with pytest.raises(Refusal, match="--trusted-proxy"):
            admitted(here, headers)
    trusting = network(tmp_path, STUDIO_PUBLIC_URL=PUBLIC, STUDIO_TRUSTED_PROXY="10.0.0.0/24")
    assert status(trusting, headers, client=("10.0.1.9", 5)) == 403
    assert status(trusting, headers, client=("10.0.0.9", 5)) == 200


def test_a_trusted_proxy_names_client_scheme_and_host_and_its_headers_go_no_further(
    tmp_path: Path,
) -> None:
    here = network(
        tmp_path, STUDIO_ALLOWED_HOSTS="studio.example.org", STUDIO_TRUSTED_PROXY="10.0.0.9,::1"
    )
    scope = admitted(
        here,
        {
            "host": "127.0.0.1:7860",
            "x-forwarded-for": "6.6.6.6, 203.0.113.7, ::ffff:10.0.0.9",
            "x-forwarded-proto": "https",
            "x-forwarded-host": "studio.example.org",
            "x-real-ip": "6.6.6.6",
            "x-forwarded-user": "root",
            "via": "1.1 proxy",
            "cookie": "a=b",
        },
    )
    # What stands left of the first stranger was said by that stranger.
    assert scope["client"][0] == "203.0.113.7"
    assert scope["scheme"] == "https"
    assert scope["headers"] == [(b"host", b"studio.example.org"), (b"cookie", b"a=b")]
    for name, value in (("x-forwarded-for", "me"), ("x-forwarded-proto", "gopher")):
        assert status(here, {"host": "studio.example.org", name: value}) == 400
    assert status(here, {"host": "localhost", "x-forwarded-host": "evil.example"}) == 403


def test_the_public_address_decides_the_scheme_and_whose_pages_may_ask(tmp_path: Path) -> None:
    here = network(tmp_path, STUDIO_PUBLIC_URL=PUBLIC)
    host = {"host": "studio.example.org"}
    assert admitted(here, host)["scheme"] == "https"
    assert admitted(here, {"host": "localhost:7860"})["scheme"] == "http"
    assert status(here, {**host, "origin": PUBLIC}) == 200
    for origin in ("http://studio.example.org", f"{PUBLIC}:8443", "https://evil.example", "null"):
        assert status(here, {**host, "origin": origin}) == 403, origin
    assert status(here, {**host, "sec-fetch-site": "cross-site"}, method="POST") == 403
    assert status(here, {**host, "sec-fetch-site": "same-site"}, method="POST") == 403


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STUDIO_PUBLIC_URL", "studio.example.org"),
        ("STUDIO_PUBLIC_URL", "https://studio.example.org/reward"),
        ("STUDIO_PUBLIC_URL", "ftp://studio.example.org"),
        ("STUDIO_PUBLIC_URL", "https://user@studio.example.org"),
        ("STUDIO_PUBLIC_URL", "https://studio.example.org:http"),
        ("STUDIO_TRUSTED_PROXY", "nginx"),
        ("STUDIO_TRUSTED_PROXY", "10.0.0.0/99"),
        ("STUDIO_ALLOWED_HOSTS", "*"),
        ("STUDIO_ALLOWED_HOSTS", "https://studio.example.org"),
    ],
)
def test_a_setting_that_means_nothing_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        network(tmp_path, **{name: value})
    assert repr(value) in str(caught.value)
