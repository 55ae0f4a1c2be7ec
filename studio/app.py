"""The web application: routes, sign-in pages and Gradio's page behind one guard.

    app = build_app(settings, database)       # an ASGI application, for uvicorn

Nothing here runs jobs: `reward-studio serve` puts the dispatcher beside it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from studio.guard import Guard
from studio.identity import current_person
from studio.network import Network
from studio.services.passwords import STANDARD
from studio.services.people import NotAllowed

if TYPE_CHECKING:
    from fastapi import Request

    from db.engine import Database
    from studio.attempts import Attempts
    from studio.services.passwords import Cost
    from studio.sessions import Sessions
    from studio.settings import Settings

MAX_UPLOAD = "2gb"  # an import file


def build_app(
    settings: Settings,
    database: Database,
    *,
    sessions: Sessions | None = None,
    attempts: Attempts | None = None,
    cost: Cost = STANDARD,
) -> Guard:
    """Assemble the application; the database must be migrated.

    The keyword arguments are for tests: other clocks, cheaper hashes.
    """
    _silence_gradio()
    import gradio
    from fastapi import FastAPI
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.gzip import GZipMiddleware

    from studio import attempts as attempts_
    from studio import checkpoint_routes, export_routes, playground_routes, routes, sign_in
    from studio import sessions as sessions_
    from studio.tabs.page import build_blocks
    from studio.theme import CSS, HEAD, theme

    # FastAPI's own documentation pages load their scripts from elsewhere.
    app = FastAPI(title="Reward Studio", docs_url=None, redoc_url=None, openapi_url=None)
    # With a policy of our own Gradio does not add its, which reflects any origin.
    app.add_middleware(CORSMiddleware, allow_origins=[])
    # Gradio compresses its scripts but not the page itself (190 KB). Event streams are left out by
    # the middleware's own list: a compressor would hold their events back.
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=6)
    routes.install(app, database)
    sessions = sessions or sessions_.Sessions(database, sessions_.read_secret(settings))
    app.include_router(sign_in.router(sessions, attempts or attempts_.Attempts(), cost))
    app.include_router(checkpoint_routes.router(database, settings))
    app.include_router(export_routes.router(database, settings))
    app.include_router(playground_routes.router(database, settings, os.environ))
    gradio.mount_gradio_app(
        app,
        build_blocks(database, settings),
        path="/",
        theme=theme(),
        css=CSS,
        head=HEAD,
        run_history=False,
        show_error=False,
        footer_links=[],
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        auth_dependency=_name_of,
    )
    return Guard(app, sessions, Network.of(settings))


def _name_of(request: Request) -> str | None:
    """Gradio's own check at most of its routes, behind the guard's at all of them."""
    try:
        return current_person(request).name
    except NotAllowed:
        return None


def _silence_gradio() -> None:
    """No page and no process of ours talks to anybody; read by Gradio when it is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
