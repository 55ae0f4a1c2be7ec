"""The JSON routes behind the Checkpoints tab and the runs' logs, for leads.

GET  /api/projects/{id}/checkpoints?limit=50          .../checkpoints/{c}
POST .../checkpoints/{c}/promote   .../retire   .../reproduce   .../learning-curve
GET  /api/projects/{id}/pairs/{pair}/checkpoints      which were trained with votes on a pair
GET  /api/projects/{id}/runs/{run}/log                the end of what a run of any kind printed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from studio.identity import current_person
from studio.services import checkpoints, curve_job, reproduce_job, training
from studio.services.people import require

if TYPE_CHECKING:
    from db.engine import Database
    from studio.settings import Settings


def router(database: Database, settings: Settings) -> APIRouter:
    """The routes over one database; handlers are plain functions, so each runs in a thread."""
    routes = APIRouter(prefix="/api/projects/{project_id}")

    def lead(request: Request, project_id: int) -> str:
        """The name of whoever asks, who must lead the project."""
        return require(current_person(request), project_id, "lead").name

    Lead = Depends(lead)

    @routes.get("/checkpoints")
    def listed(
        project_id: int,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=10_000)] = checkpoints.LISTED,
        _who: str = Lead,
    ) -> Response:
        """The list; 304 without it for whoever names the tag of what there is."""
        tag = f'"{checkpoints.list_tag(database, project_id, limit)}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        rows = checkpoints.listed(database, project_id, limit)
        return JSONResponse(rows, headers={"etag": tag})

    @routes.get("/checkpoints/{checkpoint_id}")
    def detail(project_id: int, checkpoint_id: int, _who: str = Lead) -> dict[str, Any]:
        return checkpoints.detail(database, settings, project_id, checkpoint_id)

    @routes.post("/checkpoints/{checkpoint_id}/promote")
    def promote(project_id: int, checkpoint_id: int, who: str = Lead) -> dict[str, Any]:
        checkpoints.promote(database, project_id, checkpoint_id, actor=who)
        return checkpoints.listed(database, project_id)

    @routes.post("/checkpoints/{checkpoint_id}/retire")
    def retire(project_id: int, checkpoint_id: int, who: str = Lead) -> dict[str, Any]:
        checkpoints.retire(database, project_id, checkpoint_id, actor=who)
        return checkpoints.listed(database, project_id)

    @routes.post("/checkpoints/{checkpoint_id}/reproduce")
    def reproduce(project_id: int, checkpoint_id: int, who: str = Lead) -> dict[str, Any]:
        found = checkpoints.detail(database, settings, project_id, checkpoint_id)
        return {"run": reproduce_job.request(database, found["run_id"], actor=who)}

    @routes.post("/checkpoints/{checkpoint_id}/learning-curve")
    def learning_curve(project_id: int, checkpoint_id: int, who: str = Lead) -> dict[str, Any]:
        checkpoints.detail(database, settings, project_id, checkpoint_id)  # of this project
        return {"run": curve_job.request(database, checkpoint_id, actor=who)}

    @routes.get("/pairs/{pair_id}/checkpoints")
    def used_by(project_id: int, pair_id: int, _who: str = Lead) -> dict[str, Any]:
        return checkpoints.used_by(database, project_id, pair_id)

    @routes.get("/runs/{run_id}/log")
    def log_of(project_id: int, run_id: int, _who: str = Lead) -> dict[str, Any]:
        return training.log_of(database, settings, project_id, run_id)

    return routes
