"""The JSON routes beside Gradio's page, and the form of their errors.

    GET  /api/health          the label page's: see label_routes

An error is {"error": sentence} with a status. With "final": true a service has understood what was
sent and will not change its mind; anything else, also what a proxy answers, may be sent again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, OperationalError, TimeoutError
from starlette.exceptions import HTTPException

from studio import label_routes
from studio.services.errors import Conflict, NotFound, StudioError
from studio.services.people import NotAllowed

if TYPE_CHECKING:
    from db.engine import Database

log = logging.getLogger(__name__)


def router() -> APIRouter:
    """The routes that need no project."""
    routes = APIRouter(prefix="/api")

    @routes.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return routes


def install(app: FastAPI, database: Database) -> None:
    """Add the routes and the form of their errors."""
    app.include_router(router())
    app.include_router(label_routes.router(database))
    app.add_exception_handler(StudioError, _studio_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    for kind in (OperationalError, TimeoutError):
        app.add_exception_handler(kind, _database_error)
    app.add_exception_handler(OverflowError, _number_error)  # SQLite's driver
    app.add_exception_handler(DataError, _number_error)  # PostgreSQL's


def _error(status: int, sentence: str, *, is_final: bool = False) -> JSONResponse:
    return JSONResponse({"error": sentence, **({"final": True} if is_final else {})}, status)


def _studio_error(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, NotFound):
        return _error(404, str(error), is_final=True)
    if isinstance(error, NotAllowed):
        return _error(403, str(error))
    return _error(409 if isinstance(error, Conflict) else 400, str(error), is_final=True)


def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    # Of this kind only a body is final, too long or no JSON: a route may be there again.
    return _error(error.status_code, str(error.detail), is_final=error.status_code in (400, 413))


def _validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = first["loc"][-1]
    sentence = f"{where} is {first.get('input')!r:.60}: {first['msg']}."
    return _error(422, sentence, is_final=True)


def _database_error(request: Request, error: Exception) -> JSONResponse:
    log.error("the database failed at %s: %s", request.url.path, error)
    return _error(
        503, "the database did not take this just now; nothing was stored: send it again."
    )


def _number_error(request: Request, error: Exception) -> JSONResponse:
    """An id in the path, the query or the body that no column has room for."""
    cause = getattr(error, "orig", error)
    log.warning("%s was asked for a number out of range: %s", request.url.path, cause)
    return _error(
        400, "a number in this request is larger than any id: check the address.", is_final=True
    )
