"""`serve`: the web application with its dispatcher, until Ctrl-C.

Every step that takes time is announced. What can fail is tried early: the address, the lock on
the data directory, the port, the database, the backbone. Jobs run in processes of their own, so
they go on when this one ends, and the next one finds them.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from studio.cli.console import Console
from studio.network import ANY_ADDRESS, is_loopback
from studio.services.errors import StudioError, UsageError
from studio.settings import Settings

if TYPE_CHECKING:
    from db.engine import Database

log = logging.getLogger(__name__)

# The first page load comes first; then the playground's model is made ready.
WARM_UP_DELAY_S = 5.0
SHUTDOWN_PATIENCE_S = 1
BACKLOG = 2048  # uvicorn's own


def serve(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Serve until Ctrl-C or SIGTERM; exit code 0 then."""
    _check_there_is_somebody(settings)
    _end_cleanly_at_sigterm()
    settings.create_directories()
    with _listening(settings) as listener:
        url = _url(settings.host, listener)
        try:
            _serve_at(url, listener, options, settings, output)
        except KeyboardInterrupt:
            output.say("Stopped. Jobs that run go on; the next start finds them.")
    return 0


def _serve_at(
    url: str,
    listener: socket.socket,
    options: argparse.Namespace,
    settings: Settings,
    output: Console,
) -> None:
    from studio import server_lock
    from studio.services import workspace

    with server_lock.acquire(settings.lock_path, url):
        output.say(f"Data directory {settings.data_dir}")
        output.say("Migrating the database …")
        database = workspace.open_database(
            settings, create=True, adopt=options.adopt_database, report=output.say
        )
        try:
            _check_accounts(settings, database)
            _prepare(options, settings, output, database)
            _run(url, listener, settings, output, database)
        finally:
            database.dispose()


def _prepare(
    options: argparse.Namespace, settings: Settings, output: Console, database: Database
) -> None:
    """The backbone that new projects use, and the demo project."""
    from studio.jobs.prepare_backbone import prepare_apart
    from studio.services import backbones, demo

    output.say(f"Preparing backbone {settings.backbone!r} …")
    prepare_apart(settings, output.say)
    info = backbones.prepare(settings, settings.backbone, output.say)
    output.say(f"Backbone {info.name}: {info.num_layers} layers, {info.hidden_size} wide")
    if options.demo:
        output.say("Seeding the demo project …")
        project = demo.seed_demo(database, settings.backbone)
        output.say(
            f"Project {project.name!r}: {project.num_pairs} pairs, {project.num_judged} judged"
        )


def _queue_encodings(settings: Settings, output: Console, database: Database) -> None:
    """Queue what is not encoded yet; in a thread, since a large project takes some looking."""
    from studio.services import encoding, projects

    for project in projects.list_all(database):
        if encoding.enqueue_if_missing(database, settings, project.id, "start"):
            output.say(f"Encoding of project {project.name!r} queued; it runs in the background")


def _run(
    url: str, listener: socket.socket, settings: Settings, output: Console, database: Database
) -> None:
    from studio.jobs import scheduler
    from studio.jobs.dispatcher import Dispatcher
    from studio.jobs.launcher import LocalSubprocess

    threading.Thread(
        target=_queue_encodings, args=(settings, output, database), name="encodings", daemon=True
    ).start()
    output.say("Loading the page …")
    import uvicorn

    from studio.app import build_app

    _log_to_stderr()
    launcher = LocalSubprocess(settings)
    dispatcher = Dispatcher(database, launcher)

    def job_ended() -> None:
        dispatcher.wake()
        _warm_up(database, settings)  # a first checkpoint is tried at once

    launcher.on_exit = job_ended
    config = uvicorn.Config(
        build_app(settings, database),
        log_level="warning",
        # The guard refuses forwarded headers; uvicorn must not act on them before it.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_PATIENCE_S,
    )
    server = uvicorn.Server(config)
    with scheduler.running(dispatcher, settings):
        _when_started(server, lambda: _announce(url, settings, output, database))
        server.run(sockets=[listener])


def _when_started(server: object, then: Callable[[], None]) -> None:
    def wait() -> None:
        while not getattr(server, "started", False):
            time.sleep(0.02)
        then()

    threading.Thread(target=wait, name="announce", daemon=True).start()


def _announce(url: str, settings: Settings, output: Console, database: Database) -> None:
    from studio.services import quality

    output.say(f"Reward Studio is at {url} (Ctrl-C ends it)")
    if settings.public_url:
        output.say(f"People reach it at {settings.public_url}")
    elif settings.host.strip("[]") in ANY_ADDRESS:
        output.say(
            "It listens on every address of this machine, unencrypted: passwords want a proxy with "
            "HTTPS before it (docs/lead.md)"
        )
    time.sleep(WARM_UP_DELAY_S)
    _warm_up(database, settings)
    quality.warm_up(database)


def _warm_up(database: Database, settings: Settings) -> None:
    from studio.services import scoring

    try:
        scoring.warm_up(database, settings)
    except StudioError as error:
        log.warning("the checkpoint in use could not be loaded ahead of time: %s", error)


# --- the address -----------------------------------------------------------------------------


def _check_there_is_somebody(settings: Settings) -> None:
    """Before anything is made: where there is no database there are no accounts either."""
    from studio.services import workspace

    if not is_loopback(settings.host) and not workspace.exists(settings):
        raise _nobody(settings.host)


def _check_accounts(settings: Settings, database: Database) -> None:
    from studio.services import accounts

    if not is_loopback(settings.host) and not accounts.exist(database):
        raise _nobody(settings.host)


def _nobody(host: str) -> UsageError:
    return UsageError(
        f"--host {host!r} would let other machines in, and nobody has an account to sign in with: "
        "make the first with `reward-studio user add NAME --admin`, or use 127.0.0.1 and from "
        "elsewhere an SSH tunnel (ssh -L 7860:127.0.0.1:7860 THIS-MACHINE)."
    )


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """The listening socket, before anything slow, so that a taken port is known at once.

    It listens at once as well: two sockets that are only bound may share an address, and then the
    later one would learn of the other when everything is prepared.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host.strip("[]"), settings.port))
            listener.listen(BACKLOG)
        except OSError as error:
            raise StudioError(
                f"port {settings.port} on {settings.host} cannot be used ({error.strerror}): "
                f"{_who_has_it(settings)}, or choose another with --port (0 takes any free one)."
            ) from error
        yield listener


def _who_has_it(settings: Settings) -> str:
    from studio import server_lock

    found = server_lock.holder(settings.lock_path)
    if found:
        return f"Reward Studio already serves this directory (process {found.pid} at {found.url})"
    return "stop what listens there"


def _url(host: str, listener: socket.socket) -> str:
    if host.strip("[]") in ANY_ADDRESS:
        host = "127.0.0.1"
    shown = f"[{host.strip('[]')}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


# --- the process -----------------------------------------------------------------------------


def _end_cleanly_at_sigterm() -> None:
    """`kill PID` ends as Ctrl-C does: uvicorn hands the signal on to us when it has closed."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)


class _NoCancellations(logging.Filter):
    """Open pages hold a stream each; that these are cut at the end is no error."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        is_cut = isinstance(error, asyncio.CancelledError) or "timeout graceful" in str(record.msg)
        return not is_cut


def _log_to_stderr() -> None:
    logging.getLogger("uvicorn.error").addFilter(_NoCancellations())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("studio").setLevel(logging.INFO)
