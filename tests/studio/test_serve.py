"""`serve` as a person meets it: start, second start, what is in the way, and the end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from studio.cli.serve import _listening
from studio.services import accounts
from studio.services.errors import StudioError
from studio.services.passwords import Cost
from studio.settings import Settings
from tests.serving import Studio, end_jobs, run_console, running_studio
from tests.workspace import kindness, make_workspace


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Iterator[Studio]:
    data_dir = tmp_path_factory.mktemp("served") / "data"
    with running_studio(data_dir, tiny_backbone, "--demo") as studio:
        yield studio


def serve(data_dir: Path, *flags: object) -> tuple[int, str]:
    """Try to serve where that must fail; exit code and what was said."""
    done = run_console("serve", "--data-dir", str(data_dir), *map(str, flags))
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


def test_every_step_is_announced(served: Studio) -> None:
    parts = ("Migrating", "Preparing backbone", "Seeding the demo", "Encoding", "Loading")
    deadline = time.monotonic() + 20
    while not all(part in served.output for part in parts) and time.monotonic() < deadline:
        time.sleep(0.1)
    said = served.output
    assert [part for part in parts if part not in said] == []
    assert re.search(r"Project 'demo': \d+ pairs, \d+ judged", said)
    assert httpx.get(f"{served.url}/api/health").json() == {"status": "ok"}


def test_the_console_hands_its_training_to_the_server(served: Studio) -> None:
    done = served.console("train", "--project", "demo", "--json")
    assert done.returncode == 0, done.stderr
    assert f"handed to the server at {served.url}" in done.stderr
    assert json.loads(done.stdout)["metrics"]["num_pairs"] > 400


def test_a_second_server_on_the_directory_is_told_of_the_first(served: Studio) -> None:
    code, said = serve(served.data_dir, "--port", 0)
    assert code == 1
    assert f"process {served.process.pid} at {served.url}" in said


def test_a_taken_port_is_named_before_anything_is_touched(served: Studio, tmp_path: Path) -> None:
    port = served.url.rpartition(":")[2]
    code, said = serve(tmp_path / "other", "--port", port)
    assert code == 1
    assert f"port {port} on 127.0.0.1 cannot be used (Address already in use)" in said
    assert "--port" in said


def test_a_port_is_taken_from_the_start_and_not_only_when_the_page_is_ready() -> None:
    free = Settings.read({}, port="0")
    with _listening(free) as first:
        port = first.getsockname()[1]
        taken = dataclasses.replace(free, port=port)
        refused = pytest.raises(StudioError, match=f"port {port} .*Address already in use")
        with refused, _listening(taken):
            pass


def test_a_cuda_device_that_is_not_there_is_refused_at_the_start(
    tmp_path: Path, tiny_backbone: Path
) -> None:
    import torch

    missing = f"cuda:{torch.cuda.device_count()}"
    flags = ("--port", 0, "--backbone", tiny_backbone, "--device", missing)
    code, said = serve(tmp_path / "data", *flags)
    assert code == 2
    assert f"the device '{missing}' is not there" in said
    assert "--device cpu or auto" in said


def test_forwarded_requests_do_not_reach_a_real_server(served: Studio) -> None:
    """uvicorn trusts forwarded headers from this machine unless it is told otherwise."""
    answer = httpx.get(served.url, headers={"x-forwarded-for": "127.0.0.1"})
    assert answer.status_code == 403
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 403")


def test_a_data_directory_that_cannot_be_written_is_one_sentence() -> None:
    code, said = serve(Path("/proc/studio-data"), "--port", 0)
    assert code == 1
    assert "cannot be written" in said


def test_a_newer_schema_is_left_alone(tmp_path: Path, tiny_backbone: Path) -> None:
    here = make_workspace(tmp_path / "data", tiny_backbone)
    here.database.dispose()
    path = tmp_path / "data" / "studio.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    code, said = serve(tmp_path / "data", "--port", 0, "--backbone", tiny_backbone)
    assert code == 1
    assert "9999" in said
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path, tiny_backbone: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "studio.db").write_text("my shopping list\n" * 100)
    code, said = serve(tmp_path / "data", "--port", 0, "--backbone", tiny_backbone)
    assert code == 1
    assert "studio.db" in said


def test_beyond_this_machine_it_wants_accounts_and_then_a_session(
    tmp_path: Path, tiny_backbone: Path
) -> None:
    here = make_workspace(tmp_path / "data", tiny_backbone)
    data_dir, flags = here.settings.data_dir, ("--host", "0.0.0.0")
    code, said = serve(data_dir, "--port", 0, "--backbone", tiny_backbone, *flags)
    assert code == 2
    assert "'0.0.0.0'" in said
    assert "reward-studio user add NAME --admin" in said
    cost = Cost(n=16, r=1, p=1)
    accounts.create(here.database, "Mara", "correct horse", is_admin=True, cost=cost)
    here.database.dispose()
    with running_studio(data_dir, tiny_backbone, *flags) as studio:
        assert "unencrypted" in studio.output
        html = {"accept": "text/html"}
        assert httpx.get(studio.url, headers=html).headers["location"] == "/sign-in"
        address = {"host": "192.0.2.4"}
        assert httpx.get(f"{studio.url}/config", headers=address).status_code == 401
        rebound = {"host": "rebound.evil.example"}
        assert httpx.get(f"{studio.url}/sign-in", headers=rebound).status_code == 403
        form = {"name": "mara", "password": "correct horse"}
        with httpx.Client(base_url=studio.url, headers={"origin": studio.url}) as browser:
            assert browser.post("/sign-in", data=form).status_code == 303
            assert browser.get("/api/me").json()["name"] == "Mara"
    assert (data_dir / "session.key").stat().st_mode & 0o777 == 0o600


def test_it_ends_cleanly_by_either_signal_and_jobs_outlive_it(
    tmp_path: Path, tiny_backbone: Path
) -> None:
    here = make_workspace(tmp_path / "data", tiny_backbone)
    here.add(kindness(2500))
    try:
        with running_studio(here.settings.data_dir, tiny_backbone) as first:
            run = wait_for_running(here.settings.data_dir / "studio.db")
            with open_stream(first):
                assert first.stop(signal.SIGTERM) == 0
            assert "Jobs that run go on" in first.output
            assert "Traceback" not in first.output
            assert status_of(here.settings.data_dir / "studio.db", run) == "running"
            begin = time.monotonic()
            with running_studio(here.settings.data_dir, tiny_backbone) as second:
                assert time.monotonic() - begin < 60
                assert "starting run" not in second.output
                time.sleep(1.5)
                assert status_of(here.settings.data_dir / "studio.db", run) in {
                    "running",
                    "succeeded",
                }
                with open_stream(second):
                    assert second.stop(signal.SIGINT) == 0
                assert "Traceback" not in second.output
    finally:
        end_jobs(here.settings.data_dir)
        here.database.dispose()


@contextlib.contextmanager
def open_stream(studio: Studio) -> Iterator[None]:
    """What every open page holds: a stream that does not end by itself."""
    with socket.create_connection(("127.0.0.1", int(studio.url.rpartition(":")[2]))) as raw:
        raw.sendall(b"GET /gradio_api/heartbeat/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 200")
        yield


def wait_for_running(path: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            rows = connection.execute(
                "SELECT id FROM training_run WHERE status = 'running' AND stage = 'encoding'"
            ).fetchall()
        if rows:
            return int(rows[0][0])
        time.sleep(0.1)
    raise AssertionError("no run came to encoding")


def status_of(path: Path, run_id: int) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "SELECT status FROM training_run WHERE id = ?"
        return str(connection.execute(query, (run_id,)).fetchone()[0])
