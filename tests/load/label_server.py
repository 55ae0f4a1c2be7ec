"""The label page's routes in processes of their own, to be killed and started again in a moment.

    with nursery("sqlite:////tmp/x/studio.db", [1]) as servers:
        server = servers.start()       # a fresh process; its routes answer when this returns
        server.kill()                  # SIGKILL

A parent process has everything imported and no connection open, and forks a server when asked: a
start takes milliseconds instead of seconds, and what is killed is a whole process all the same.
Who asks is said by the header `x-annotator`: sign-in is tested elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

HEADER = "x-annotator"
START_PATIENCE_S = 60


@dataclass
class LabelServer:
    """A running server."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """Kill it and wait until its port is free."""
        os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(self.pid, 0)
                time.sleep(0.001)


@dataclass
class Nursery:
    """Starts servers, one at a time, always at the same port."""

    process: subprocess.Popen[str]
    port: int

    def start(self) -> LabelServer:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self.port}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the parent of the servers has ended"
        server = LabelServer(int(line), self.port)
        _wait_until_it_answers(server)
        return server


def _wait_until_it_answers(server: LabelServer) -> None:
    end = time.monotonic() + START_PATIENCE_S
    while True:
        try:
            httpx.get(f"{server.url}/api/health", timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.005)


@contextlib.contextmanager
def nursery(database_url: str, project_ids: list[int]) -> Iterator[Nursery]:
    """A parent of servers over this database, whose callers are annotators of these projects."""
    port = _free_port()
    command = [sys.executable, "-m", "tests.load.label_server", database_url]
    process = subprocess.Popen(
        [*command, json.dumps(project_ids)],
        cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield Nursery(process, port)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            _close(pipe)


def _free_port() -> int:
    """One below those that outgoing connections get: a caller that tries again must not take it."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        pipe.close()


class Identity:
    """Takes the caller's name from a header."""

    def __init__(self, app: Any, project_ids: list[int]) -> None:
        self.app = app
        self.roles = dict.fromkeys(project_ids, "annotator")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from studio.identity import remember
        from studio.services.people import Person

        if scope["type"] == "http":
            headers = dict(scope["headers"])
            name = headers.get(HEADER.encode(), b"nobody").decode()
            remember(scope, Person(name, roles=self.roles))
        await self.app(scope, receive, send)


def _main(database_url: str, project_ids: list[int]) -> None:
    import uvicorn
    from fastapi import FastAPI
    from starlette.middleware.gzip import GZipMiddleware

    from db.engine import open_database
    from studio import routes
    from studio.services import labelling
    from studio.services.rendering import render_markdown

    database = open_database(database_url)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=6)
    routes.install(app, database)
    config = uvicorn.Config(
        Identity(app, project_ids), host="127.0.0.1", log_level="error", access_log=False
    )
    config.load()
    for project_id in project_ids:  # statements are compiled once, here
        labelling.progress(database, project_id, "nobody")
    render_markdown("warm, $x$ and `x`")
    database.dispose()  # no connection may be shared with a child
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            config.port = int(line)
            uvicorn.Server(config).run()
            os._exit(0)
        print(pid, flush=True)
    # Whoever asked is gone, perhaps killed: its servers must not outlive it.
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _main(sys.argv[1], json.loads(sys.argv[2]))
