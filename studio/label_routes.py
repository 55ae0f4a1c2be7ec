"""The JSON routes that the label page calls, beside Gradio: plain functions over `labelling`.

    GET  /api/projects/{id}/label/next?count=3&exclude=7    POST .../vote   .../undo   .../renew
    GET  /api/projects/{id}/label/progress

An error is {"error": sentence} with a status: 4xx is final, 503 means "send it again".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request

from studio.identity import current_person
from studio.request_body import Body, numbers
from studio.services import labelling
from studio.services.people import require

if TYPE_CHECKING:
    from db.engine import Database

MAX_SHOWINGS = 10


def router(database: Database) -> APIRouter:
    """The routes over one database; handlers are plain functions, so each runs in a thread."""
    routes = APIRouter(prefix="/api")

    def annotator(request: Request, project_id: int) -> str:
        """The name of whoever asks, who must be at least an annotator of the project."""
        return require(current_person(request), project_id, "annotator").name

    Annotator = Depends(annotator)

    @routes.get("/projects/{project_id}/label/next")
    def next_pairs(
        project_id: int, request: Request, count: int = 3, who: str = Annotator
    ) -> dict[str, Any]:
        return labelling.next_pairs(
            database,
            project_id,
            who,
            count=max(0, min(count, MAX_SHOWINGS)),
            exclude=numbers(request.query_params.getlist("exclude"), "exclude"),
        )

    @routes.post("/projects/{project_id}/label/vote")
    def vote(project_id: int, body: dict[str, Any] = Body, who: str = Annotator) -> dict[str, Any]:
        return labelling.cast_vote(database, project_id, who, body)

    @routes.post("/projects/{project_id}/label/undo")
    def undo(project_id: int, body: dict[str, Any] = Body, who: str = Annotator) -> dict[str, Any]:
        vote_id = body.get("vote_id")
        return labelling.undo(database, project_id, who, vote_id=vote_id)

    @routes.post("/projects/{project_id}/label/renew")
    def renew(project_id: int, body: dict[str, Any] = Body, who: str = Annotator) -> dict[str, Any]:
        showing_ids = numbers(body.get("showing_ids"), "showing_ids")
        return labelling.renew(database, project_id, who, showing_ids)

    @routes.get("/projects/{project_id}/label/progress")
    def progress(project_id: int, who: str = Annotator) -> dict[str, Any]:
        return labelling.progress(database, project_id, who)

    return routes
