"""The route by which a lead downloads a project's data, with what was left out beside it.

GET /api/projects/{id}/export?kind=pairs&format=jsonl&name=pairs.jsonl   -> a .zip of both
"""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from studio.identity import current_person
from studio.services import exporting, projects
from studio.services.errors import UsageError
from studio.services.people import require

if TYPE_CHECKING:
    from db.engine import Database
    from studio.settings import Settings

FOLDER_PREFIX = ".export-"
SAFE_NAME = re.compile(r"[a-z]+\.(jsonl|parquet)")


def router(database: Database, settings: Settings) -> APIRouter:
    """The route over one database; a file lies in the data directory while it is sent."""
    routes = APIRouter(prefix="/api")
    for leftover in settings.data_dir.glob(f"{FOLDER_PREFIX}*"):  # of a server that was killed
        shutil.rmtree(leftover, ignore_errors=True)

    def lead(request: Request, project_id: int) -> str:
        return require(current_person(request), project_id, "lead").name

    Lead = Depends(lead)

    @routes.get("/projects/{project_id}/export")
    def export(project_id: int, kind: str, format: str, name: str, who: str = Lead) -> FileResponse:
        if SAFE_NAME.fullmatch(name) is None:
            raise UsageError(
                f"the name {name!r:.60} is none for an export; end it .jsonl, .parquet"
            )
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=settings.data_dir))
        try:
            archive = _archive(database, project_id, kind, format, folder / name)
        except BaseException:
            shutil.rmtree(folder)
            raise
        title = re.sub(r"[^\w\-]+", "-", projects.get(database, project_id).name).strip("-")
        return FileResponse(
            archive,
            filename=f"{title or 'project'}-{Path(name).stem}.zip",
            media_type="application/zip",
            background=BackgroundTask(shutil.rmtree, folder),
        )

    return routes


def _archive(database: Database, project_id: int, kind: str, fmt: str, out: Path) -> Path:
    """The export and the counts of what it leaves out, zipped."""
    exporting.export(database, project_id, kind, fmt, out)
    archive = out.parent / "export.zip"
    with zipfile.ZipFile(archive, "x", zipfile.ZIP_DEFLATED, compresslevel=3) as zipped:
        for each in (out, out.with_name(f"{out.name}.report.json")):
            zipped.write(each, each.name)
            each.unlink()
    return archive
