"""The Projects tab: list, create, archive, and the guidelines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from studio.components.data_table import data_table, table_value
from studio.components.notice import notice, notice_value
from studio.components.picker import row_picker
from studio.services import left_out, projects
from studio.services.errors import StudioError
from studio.services.people import Person
from studio.services.projects import ProjectInfo
from studio.tabs.context import QUICK, SLOW, TabContext, TabHandle, sentence, told

COLUMNS = [
    "Project",
    "Pairs",
    "Judged",
    "Left out",
    "Open",
    "New since checkpoint",
    "Votes by people",
    "Votes imported",
    "",
]
GUIDELINES_HINT = "What makes an answer better? Annotators read this beside every pair."


def build(ctx: TabContext) -> TabHandle:
    with gr.Tab("Projects", id="projects") as tab:
        gr.Markdown("## Projects", elem_classes="rs-h")
        listing = data_table("project-list", "Projects")
        with gr.Row(elem_classes="rs-line rs-compact"):
            archive = gr.Button("Archive this project", scale=0, min_width=190)
            archived = row_picker(
                elem_id="archived-picker",
                label="Archived project to restore",
                show_label=False,
                container=False,
                scale=0,
                min_width=240,
                visible=False,
            )
            restore = gr.Button("Restore", scale=0, min_width=110, visible=False)
        guidelines, saved = _guidelines_section(ctx)
        button, create, inputs, made = _create_section(ctx)
    everything = [ctx.picker, archived, restore, listing]

    def shown(request: gr.Request, selected: int | None) -> tuple[Any, ...]:
        person = ctx.person(request)
        return (
            picker_update(ctx, request, selected),
            *_archived_update(ctx, person),
            listing_value(ctx, person),
        )

    @told
    def show(selected: int | None, request: gr.Request) -> tuple[Any, ...]:
        ctx.require(request, selected, "annotator")
        return shown(request, selected)

    @told
    def put_away(project_id: int | None, request: gr.Request) -> tuple[Any, ...]:
        person = ctx.require(request, project_id, "admin")
        if project_id is None:
            raise StudioError("no project is chosen; choose one above")
        projects.archive(ctx.database, project_id, person.name)
        return shown(request, None)

    @told
    def bring_back(project_id: int | None, request: gr.Request) -> tuple[Any, ...]:
        person = ctx.require(request, project_id, "admin")
        if project_id is None:
            raise StudioError("no archived project is chosen; choose one from the list")
        return shown(request, projects.restore(ctx.database, int(project_id), person.name).id)

    @told
    def renew(project_id: int | None, request: gr.Request) -> tuple[Any, ...]:
        person = ctx.person(request)
        return listing_value(ctx, person), *_archived_update(ctx, person)

    @told
    def refresh(project_id: int | None, request: gr.Request) -> tuple[Any, ...]:
        text = ""
        if project_id is not None and ctx.person(request).may(project_id, "annotator"):
            text = projects.guidelines(ctx.database, project_id)
        return *renew(project_id, request), text, notice_value()

    archive.click(put_away, ctx.picker, everything, **QUICK)
    restore.click(bring_back, archived, everything, **QUICK)
    button.click(create, inputs, made, **SLOW, concurrency_limit=1).then(
        show, ctx.picker, everything, **QUICK
    )
    outputs = [listing, archived, restore]
    # Coming back to the tab leaves guidelines that are being written alone.
    tab.select(renew, ctx.picker, outputs, **QUICK)
    return TabHandle(tab, refresh, [*outputs, guidelines, saved])


Section = tuple[gr.Button, Any, list[Any], list[Any]]


def _guidelines_section(ctx: TabContext) -> tuple[gr.Textbox, gr.HTML]:
    """The chosen project's guidelines, to edit."""
    with gr.Accordion("Guidelines of this project", open=False, elem_id="edit-guidelines"):
        text = gr.Textbox(
            show_label=False,
            label="Guidelines of this project",
            lines=6,
            max_lines=20,
            container=False,
            placeholder=GUIDELINES_HINT,
            elem_id="guidelines-box",
        )
        with gr.Row(elem_classes="rs-line"):
            save = gr.Button("Save guidelines", scale=0, min_width=160, elem_id="save-guidelines")
            result = notice("guidelines-result")

    @told
    def run(project_id: int | None, text: str | None, request: gr.Request) -> str:
        try:
            if project_id is None:
                raise StudioError("no project is chosen; choose one above")
            who = ctx.require(request, project_id, "lead").name
            project = projects.set_guidelines(ctx.database, project_id, text or "", who)
        except StudioError as error:
            return notice_value(sentence(error), "error")
        version = project.guidelines_version
        return notice_value(
            f"Saved as version {version}: annotators of “{project.name}” see it from now on.",
            "good",
        )

    save.click(run, [ctx.picker, text], result, **QUICK)
    return text, result


def _create_section(ctx: TabContext) -> Section:
    gr.Markdown("## New project", elem_classes="rs-h")
    with gr.Row(elem_classes="rs-side-by-side"):
        with gr.Column(scale=2, min_width=280):
            name = gr.Textbox(label="Name", max_lines=1, max_length=100, elem_id="new-name")
            wanted = gr.Number(1, label="Votes wanted for each pair", precision=0, minimum=1)
        guidelines = gr.Textbox(
            label="Guidelines",
            lines=5,
            max_lines=20,
            scale=3,
            min_width=280,
            placeholder=GUIDELINES_HINT,
        )
    button = gr.Button("Create project", variant="primary", scale=0, elem_id="create-button")
    result = notice("create-result")

    @told
    def run(
        name: str | None, guidelines: str | None, wanted: int | None, request: gr.Request
    ) -> tuple[Any, ...]:
        try:
            ctx.require(request, None, "admin")
            made = projects.create(
                ctx.database,
                name or "",
                backbone=ctx.settings.backbone,
                guidelines=guidelines or "",
                wanted_votes=int(wanted or 1),
            )
        except StudioError as error:
            return notice_value(sentence(error), "error"), gr.skip(), gr.skip(), gr.skip()
        text = f"Project “{made.name}” is made and chosen. Import pairs into it next."
        return notice_value(text, "good"), "", "", picker_update(ctx, request, made.id)

    return button, run, [name, guidelines, wanted], [result, name, guidelines, ctx.picker]


# ---- what is shown ----------------------------------------------------------------------------


def picker_update(ctx: TabContext, request: gr.Request, selected: int | None) -> gr.Dropdown:
    """The picker with the projects that the person may see; the first where `selected` is none."""
    there = _choices_of(ctx, ctx.person(request))
    ids = [project_id for _, project_id in there]
    value = selected if selected in ids else (ids[0] if ids else None)
    return gr.Dropdown(choices=there, value=value)


def _choices_of(
    ctx: TabContext, person: Person, *, archived: bool = False
) -> list[tuple[str, int]]:
    there = projects.choices(ctx.database, archived=archived)
    return [(name, project_id) for name, project_id in there if person.may(project_id, "annotator")]


def _archived_update(ctx: TabContext, person: Person) -> tuple[gr.Dropdown, gr.Button]:
    """The archived projects and the button to restore one; neither where there is none."""
    away = _choices_of(ctx, person, archived=True)
    chosen = away[0][1] if away else None
    picker = gr.Dropdown(choices=away, value=chosen, visible=bool(away))
    return picker, gr.Button(visible=bool(away))


def listing_value(ctx: TabContext, person: Person) -> str:
    there = projects.list_all(ctx.database, include_archived=True)
    seen = [project for project in there if person.may(project.id, "annotator")]
    return table_value(
        COLUMNS,
        [_row(project, left_out.left_out(ctx.database, project.id)) for project in seen],
        empty="There is no project yet: create one below, or import a file on the Data tab.",
    )


def _row(project: ProjectInfo, counts: Mapping[str, int]) -> list[Any]:
    reasons = left_out.pairs_told(counts).partition(": ")[2]
    away = f"{left_out.num_pairs(counts):,}" + (f" ({reasons})" if reasons else "")
    return [
        project.name,
        f"{project.num_pairs:,}",
        f"{project.num_judged:,}",
        away,
        f"{project.num_open:,}",
        f"{project.num_new:,}",
        f"{project.num_people_votes:,}",
        f"{project.num_imported_votes:,}",
        "archived" if project.archived else "",
    ]
