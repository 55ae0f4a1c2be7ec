"""The JSON routes that the label page calls, beside Gradio: plain functions over `labelling`.

    GET  /api/projects/{id}/label/next?count=3&exclude=7    POST .../vote   .../undo   .../renew
    GET  /api/projects/{id}/label/progress                  GET  /api/health

An error is {"error": sentence} with a status: 4xx is final, 503 means "send it again".
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.exceptions import HTTPException

from studio.services import labelling
from studio.services.errors import Conflict, NotFound, StudioError

if TYPE_CHECKING:
    from db.engine import Database

log = logging.getLogger(__name__)

# The person at this machine, as long as there are no accounts.
LOCAL_ANNOTATOR = "local"
MAX_BODY_BYTES = 1_000_000
MAX_SHOWINGS = 10


async def json_body(request: Request) -> dict[str, Any]:
    """The request's JSON object, read no further than it may be long."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is longer than {MAX_BODY_BYTES} bytes.")
    try:
        body = json.loads(received or b"{}")
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise HTTPException(400, f"the body is a {type(body).__name__}, not a JSON object.")
    return body


Body = Depends(json_body)


def router(database: Database) -> APIRouter:
    """The routes over one database; handlers are plain functions, so each runs in a thread."""
    routes = APIRouter(prefix="/api")

    @routes.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/projects/{project_id}/label/next")
    def next_pairs(project_id: int, request: Request, count: int = 3) -> dict[str, Any]:
        return labelling.next_pairs(
            database,
            project_id,
            LOCAL_ANNOTATOR,
            count=max(0, min(count, MAX_SHOWINGS)),
            exclude=_numbers(request.query_params.getlist("exclude"), "exclude"),
        )

    @routes.post("/projects/{project_id}/label/vote")
    def vote(project_id: int, body: dict[str, Any] = Body) -> dict[str, Any]:
        return labelling.cast_vote(database, project_id, LOCAL_ANNOTATOR, body)

    @routes.post("/projects/{project_id}/label/undo")
    def undo(project_id: int, body: dict[str, Any] = Body) -> dict[str, Any]:
        vote_id = body.get("vote_id")
        return labelling.undo(database, project_id, LOCAL_ANNOTATOR, vote_id=vote_id)

    @routes.post("/projects/{project_id}/label/renew")
    def renew(project_id: int, body: dict[str, Any] = Body) -> dict[str, Any]:
        showing_ids = _numbers(body.get("showing_ids"), "showing_ids")
        return labelling.renew(database, project_id, LOCAL_ANNOTATOR, showing_ids)

    @routes.get("/projects/{project_id}/label/progress")
    def progress(project_id: int) -> dict[str, Any]:
        return labelling.progress(database, project_id, LOCAL_ANNOTATOR)

    return routes


def install(app: FastAPI, database: Database) -> None:
    """Add the routes and the form of their errors."""
    app.include_router(router(database))
    app.add_exception_handler(StudioError, _studio_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    for kind in (OperationalError, TimeoutError):
        app.add_exception_handler(kind, _database_error)


def _numbers(values: Any, name: str) -> list[int]:
    if not isinstance(values, list) or len(values) > 1000:
        raise HTTPException(400, f"{name} is {values!r:.60}: give a list of ids.")
    try:
        return [int(value) for value in values]
    except (TypeError, ValueError) as error:
        raise HTTPException(400, f"{name} is {values!r:.60}: give a list of ids.") from error


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)


def _studio_error(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, NotFound):
        return _error(404, str(error))
    return _error(409 if isinstance(error, Conflict) else 400, str(error))


def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, str(error.detail))


def _validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = first["loc"][-1]
    return _error(422, f"{where} is {first.get('input')!r:.60}: {first['msg']}.")


def _database_error(request: Request, error: Exception) -> JSONResponse:
    log.error("the database failed at %s: %s", request.url.path, error)
    return _error(
        503, "the database did not take this just now; nothing was stored: send it again."
    )
