"""The JSON routes that the label page calls, beside Gradio: plain functions over the services.

All are under /api/projects/{id}/label/ and for whoever is at least an annotator of the project.
A *text* below is {"text": plain, "html": rendered and sanitised}. A *showing* is

    {"showing_id", "pair_id", "messages": [{"role", "content", "html"}], "left": text,
     "right": text, "shown_at": ISO time, "lease_until": ISO time}

and looks the same whether the pair is to be labelled, has a known verdict (gold) or is a repeat.
*Progress* is {"judged_by_you", "skipped_by_you", "open_for_you", "judged", "total",
"votes_by_people", "votes_imported", "skipped", "flagged", "surplus", "age_s"}; the first two are
exact at every moment, `age_s` says how old the others are (0 in a small project).

A page says in the header `x-studio-scope` (URL-encoded; see services/label_scope.py) whose it is
and of which database; where that is not who asks, the answer is 403 and the page keeps all it has.

    GET  next?count=3&exclude=7     {"pairs": [showing], "progress", "closed": sentence | null}
    GET  settings                   {"project": name, "reasons": [str], "skip_reasons": [str],
                                     "aspects": [str], "guidelines": {"version", "text", "html"},
                                     "wanted_votes": int, "max_comment": int}
    GET  guidelines/2               {"version", "created_at", "text", "html"}: an earlier version
    POST vote      {"vote_id": new UUID, "showing_id", "choice", "strength": 1-3 | null,
                    "reasons": [str], "skip_reason": str | null,
                    "aspects": {name: {"left": 1-5, "right": 1-5}}, "comment", "duration_ms",
                    "pair_id", "shown_at", "guidelines_version"}
                   choice: left right tie both_bad skip flag. `reasons` are of the project's list
                   and `skip_reason` goes with skip only. `pair_id` and `shown_at` are checked
                   against the showing; `guidelines_version` is the one that the page showed, or
                   the newest. All but the first three may be left out.
                -> {"status": "stored" | "duplicate" | "surplus", "vote_id", "progress",
                    "reveal": {"left": source | null, "right": source | null} | null,
                    "set_aside": {"reasons": [str], "aspects": [str]}}
                   `reveal` is null for a skip and a flag: the pair is not judged yet.
                   `set_aside`: what the project no longer offers; the vote is stored without.
    POST revise    as vote, with "revises": the id of the own vote that it replaces, and without
                   showing_id; sides are those of the old vote. Retracts and appends.
                -> as vote
    POST undo      {"vote_id": the vote to take back | absent: the last one}
                -> {"retracted": vote_id | null, "was_standing": bool, "showing": showing | null,
                    "progress"}
                   A vote that was revised: the revision is taken back. `was_standing` is false
                   where it had been taken back before.
    POST edit      {"vote_id": new UUID, "showing_id", "side": "left" | "right", "text",
                    "pair_id", "shown_at", "guidelines_version"}
                   A better answer: a new response, and the own vote that it beats its parent.
                -> {"status": "stored" | "duplicate", "vote_id", "pair_id", "progress"}
    POST renew     {"showing_ids": [int]} -> {"renewed": [int], "lapsed": [int], "lease_until"}
    GET  progress  -> progress
    GET  history?choice=left&q=words&before=cursor&limit=20
                   own standing votes, newest first; choice is one of the six, q is looked for in
                   prompts, answers, reasons and comments, whatever its case.
                -> {"votes": [{"vote_id", "pair_id", "created_at", "choice", "strength",
                    "reasons", "skip_reason", "aspects", "comment", "duration_ms",
                    "guidelines_version", "revises": vote_id | null, "is_edit": bool,
                    "messages", "left": text, "right": text,
                    "reveal": {"left", "right"} | null}], "before": cursor | null,
                    "num_searched": int}
                   `before` is given on while more may be found, even after an empty page: a long
                   search looks through some thousand votes a request.

An error is {"error": sentence} with a status, and with "final": true where sending the same again
is no use; any other answer (503, 401, a proxy's 404) means that it may be sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Request

from studio.identity import current_person
from studio.request_body import Body, numbers
from studio.services import (
    editing,
    guideline_versions,
    history,
    label_scope,
    labelling,
    queue_settings,
)
from studio.services.people import require

if TYPE_CHECKING:
    from db.engine import Database

MAX_SHOWINGS = 10


def router(database: Database) -> APIRouter:
    """The routes over one database; handlers are plain functions, so each runs in a thread."""
    routes = APIRouter(prefix="/api/projects/{project_id}/label")

    def annotator(request: Request, project_id: int) -> str:
        """The name of whoever asks: an annotator of the project, and the one whose page it is."""
        name = require(current_person(request), project_id, "annotator").name
        if scope := request.headers.get("x-studio-scope"):
            label_scope.check_scope(database, project_id, name, unquote(scope))
        return name

    Annotator = Depends(annotator)

    @routes.get("/next")
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

    @routes.get("/settings", dependencies=[Annotator])
    def settings(project_id: int) -> dict[str, Any]:
        return queue_settings.for_annotators(database, project_id)

    @routes.get("/guidelines/{version}", dependencies=[Annotator])
    def guidelines(project_id: int, version: int) -> dict[str, Any]:
        return guideline_versions.read(database, project_id, version)

    @routes.post("/vote")
    def vote(project_id: int, body: dict[str, Any] = Body, who: str = Annotator) -> dict[str, Any]:
        return labelling.cast_vote(database, project_id, who, body)

    @routes.post("/revise")
    def revise(
        project_id: int, body: dict[str, Any] = Body, who: str = Annotator
    ) -> dict[str, Any]:
        return history.revise(database, project_id, who, body)

    @routes.post("/edit")
    def edit(project_id: int, body: dict[str, Any] = Body, who: str = Annotator) -> dict[str, Any]:
        return editing.edit(database, project_id, who, body)

    @routes.get("/history")
    def past_votes(
        project_id: int,
        choice: str | None = None,
        q: str = "",
        before: str | None = None,
        limit: int = 20,
        who: str = Annotator,
    ) -> dict[str, Any]:
        return history.history(
            database, project_id, who, choice=choice or None, query=q, before=before or None,
            limit=limit,
        )  # fmt: skip

    @routes.post("/undo")
    def undo(project_id: int, body: dict[str, Any] = Body, who: str = Annotator) -> dict[str, Any]:
        vote_id = body.get("vote_id")
        return labelling.undo(database, project_id, who, vote_id=vote_id)

    @routes.post("/renew")
    def renew(project_id: int, body: dict[str, Any] = Body, who: str = Annotator) -> dict[str, Any]:
        showing_ids = numbers(body.get("showing_ids"), "showing_ids")
        return labelling.renew(database, project_id, who, showing_ids)

    @routes.get("/progress")
    def progress(project_id: int, who: str = Annotator) -> dict[str, Any]:
        return labelling.progress(database, project_id, who)

    return routes
