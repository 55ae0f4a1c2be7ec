"""The assembled application: Gradio's own routes behind the guard, torch left alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from studio.app import build_app
from tests.serving import ROOT
from tests.workspace import make_workspace

ORIGIN = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Iterator[TestClient]:
    here = make_workspace(tmp_path_factory.mktemp("app") / "data", tiny_backbone)
    app = build_app(here.settings, here.database)
    with TestClient(app, base_url=ORIGIN, client=("127.0.0.1", 9)) as client:
        yield client
    here.database.dispose()


def test_the_page_and_the_routes_are_served_side_by_side(client: TestClient) -> None:
    assert "Reward Studio" in client.get("/").text
    assert client.get("/api/health").json() == {"status": "ok"}
    assert client.get("/config").json()["title"] == "Reward Studio"


@pytest.mark.parametrize("path", ["/gradio_api/component_server", "/gradio_api/queue/join"])
def test_a_foreign_page_cannot_post_whatever_it_claims(client: TestClient, path: str) -> None:
    plain = {"content-type": "text/plain"}
    assert client.post(path, content="{}", headers=plain).status_code == 415
    foreign = {"origin": "https://evil.example", "content-type": "application/json"}
    assert client.post(path, content="{}", headers=foreign).status_code == 403


def test_no_origin_is_ever_allowed_by_cors(client: TestClient) -> None:
    preflight = client.options(
        "/gradio_api/queue/join",
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    )
    assert preflight.status_code == 403
    for origin in ("https://evil.example", ORIGIN):
        headers = client.get("/config", headers={"origin": origin}).headers
        assert "access-control-allow-origin" not in headers
        assert "access-control-allow-credentials" not in headers


def test_files_of_the_data_directory_are_not_served(client: TestClient) -> None:
    for path in ("studio-data/studio.db", str(ROOT / "pyproject.toml"), "/etc/passwd"):
        assert client.get(f"/gradio_api/file={path}").status_code in {403, 404}


def test_the_page_is_sent_compressed_with_the_guards_headers(client: TestClient) -> None:
    response = client.get("/", headers={"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert int(response.headers["content-length"]) < len(response.content) / 3
    assert "accept-encoding" in response.headers["vary"].lower()
    assert response.headers["x-frame-options"] == "SAMEORIGIN"
    assert "default-src 'self'" in response.headers["content-security-policy"]
    plain = client.get("/", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == response.text


def test_what_gradio_compressed_is_not_compressed_again(client: TestClient) -> None:
    response = client.get("/theme.css", headers={"accept-encoding": "gzip, br"})
    assert response.headers["content-encoding"] == "br"
    assert "--rs-accent" in response.text or "body" in response.text


def test_documentation_pages_that_load_scripts_from_elsewhere_are_off(client: TestClient) -> None:
    assert "swagger" not in client.get("/docs").text.lower()


def test_building_the_application_does_not_import_torch(tmp_path: Path) -> None:
    import subprocess

    program = (
        "import sys\n"
        "from studio.app import build_app\n"
        "from studio.services import workspace\n"
        "from studio.settings import Settings\n"
        f"settings = Settings.read({{}}, data_dir={str(tmp_path)!r})\n"
        "build_app(settings, workspace.open_database(settings, create=True))\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
