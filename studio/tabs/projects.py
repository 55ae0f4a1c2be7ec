"""The Projects tab: list, create, archive, import a file, and how to take data out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from studio.components.data_table import data_table, table_value
from studio.components.notice import Kind, notice, notice_value
from studio.components.picker import row_picker
from studio.services import backbones, encoding, importing, projects
from studio.services.errors import StudioError
from studio.services.projects import ProjectInfo
from studio.tabs.context import QUICK, SLOW, TabContext, TabHandle, sentence, told

FILE_TYPES = [".jsonl", ".json", ".gz", ".csv", ".parquet"]
PURPOSES = [
    ("Judged pairs (votes)", "votes"),
    ("Pairs to label", "unlabelled"),
    ("Pairs with a known answer (gold)", "gold"),
]
COLUMNS = [
    "Project",
    "Pairs",
    "Judged",
    "Open",
    "New since checkpoint",
    "Votes by people",
    "Votes imported",
    "",
]
GUIDELINES_HINT = "What makes an answer better? Annotators read this above every pair."


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
        imports = _import_section(ctx)
        creation = _create_section(ctx)
        gr.Markdown("## Take data out, in a terminal", elem_classes="rs-h")
        exports = gr.Textbox(
            "",
            label="Export pairs, votes and scores",
            lines=3,
            interactive=False,
            buttons=["copy"],
            elem_id="export-commands",
        )
    everything = [ctx.picker, archived, restore, listing]

    @told
    def show(selected: int | None) -> tuple[Any, ...]:
        return picker_update(ctx, selected), *_archived_update(ctx), listing_value(ctx)

    @told
    def put_away(project_id: int | None) -> tuple[Any, ...]:
        if project_id is None:
            raise StudioError("no project is chosen; choose one above")
        projects.archive(ctx.database, project_id)
        return show(None)

    @told
    def bring_back(project_id: int | None) -> tuple[Any, ...]:
        if project_id is None:
            raise StudioError("no archived project is chosen; choose one from the list")
        return show(projects.restore(ctx.database, int(project_id)).id)

    @told
    def renew(project_id: int | None) -> tuple[Any, ...]:
        return listing_value(ctx), *_archived_update(ctx), export_commands(ctx, project_id)

    @told
    def refresh(project_id: int | None) -> tuple[Any, ...]:
        return *renew(project_id), _guidelines(ctx, project_id), notice_value()

    archive.click(put_away, ctx.picker, everything, **QUICK)
    restore.click(bring_back, archived, everything, **QUICK)
    for button, handler, inputs, outputs in (imports, creation):
        button.click(handler, inputs, outputs, **SLOW, concurrency_limit=1).then(
            show, ctx.picker, everything, **QUICK
        )
    outputs = [listing, archived, restore, exports]
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
    def run(project_id: int | None, text: str | None) -> str:
        try:
            if project_id is None:
                raise StudioError("no project is chosen; choose one above")
            project = projects.set_guidelines(ctx.database, project_id, text or "")
        except StudioError as error:
            return notice_value(sentence(error), "error")
        version = project.guidelines_version
        return notice_value(
            f"Saved as version {version}: annotators of “{project.name}” see it from now on.",
            "good",
        )

    save.click(run, [ctx.picker, text], result, **QUICK)
    return text, result


def _import_section(ctx: TabContext) -> Section:
    gr.Markdown("## Import a file", elem_classes="rs-h")
    with gr.Row(elem_classes="rs-side-by-side"):
        file = gr.File(
            label="JSONL, CSV or Parquet (also .gz)",
            file_types=FILE_TYPES,
            height=150,
            scale=2,
            min_width=280,
            elem_id="import-file",
        )
        with gr.Column(scale=3, min_width=280):
            target = gr.Textbox(
                label="Into project",
                placeholder="The chosen project; another name makes a new one",
                max_lines=1,
                elem_id="import-project",
            )
            purpose = gr.Radio(PURPOSES, value="votes", label="The file holds")
            dry_run = gr.Checkbox(False, label="Dry run: only report what would be imported")
            button = gr.Button("Import", variant="primary", elem_id="import-button")
    result = notice("import-result")
    refusals = data_table("import-refusals", "Refused rows")

    @told
    def run(
        project_id: int | None,
        path: str | None,
        name: str | None,
        purpose: str | None,
        dry_run: bool | None,
    ) -> tuple[Any, ...]:
        try:
            report = _import(ctx, project_id, path, name or "", purpose or "votes", bool(dry_run))
        except StudioError as error:
            return notice_value(sentence(error), "error"), "", project_id
        kind: Kind = "warning" if report.num_refused else "good"
        chosen = report.project_id if report.project_id is not None else project_id
        return notice_value(summary(report), kind), refused_table(report), _choice(ctx, chosen)

    inputs = [ctx.picker, file, target, purpose, dry_run]
    return button, run, inputs, [result, refusals, ctx.picker]


def _import(
    ctx: TabContext,
    project_id: int | None,
    path: str | None,
    name: str,
    purpose: str,
    dry_run: bool,
) -> importing.ImportReport:
    if path is None:
        raise StudioError("no file is chosen; drop one on the box or click it")
    if not name.strip() and project_id is None:
        raise StudioError("no project is chosen; name the project to import into")
    project_name = name.strip() or projects.get(ctx.database, project_id).name  # type: ignore[arg-type]
    info = backbones.prepare(ctx.settings, ctx.settings.backbone)
    report = importing.import_file(
        ctx.database,
        Path(path),
        project_name=project_name,
        purpose=purpose,
        dry_run=dry_run,
        backbone=ctx.settings.backbone,
        control_tokens=info.control_tokens,
    )
    if report.pairs and report.project_id is not None:
        encoding.enqueue(ctx.database, ctx.settings, report.project_id, "import")
    return report


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
    def run(name: str | None, guidelines: str | None, wanted: int | None) -> tuple[Any, ...]:
        try:
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
        return notice_value(text, "good"), "", "", _choice(ctx, made.id)

    return button, run, [name, guidelines, wanted], [result, name, guidelines, ctx.picker]


# ---- what is shown ----------------------------------------------------------------------------


def picker_update(ctx: TabContext, selected: int | None) -> gr.Dropdown:
    """The picker with the projects there are now; the first one where `selected` is not there."""
    there = projects.list_all(ctx.database)
    ids = [project.id for project in there]
    value = selected if selected in ids else (ids[0] if ids else None)
    return gr.Dropdown(choices=[(project.name, project.id) for project in there], value=value)


def _choice(ctx: TabContext, project_id: int | None) -> gr.Dropdown:
    return picker_update(ctx, project_id)


def _archived_update(ctx: TabContext) -> tuple[gr.Dropdown, gr.Button]:
    """The archived projects and the button to restore one; neither where there is none."""
    there = projects.list_all(ctx.database, include_archived=True)
    away = [(each.name, each.id) for each in there if each.archived]
    chosen = away[0][1] if away else None
    picker = gr.Dropdown(choices=away, value=chosen, visible=bool(away))
    return picker, gr.Button(visible=bool(away))


def _guidelines(ctx: TabContext, project_id: int | None) -> str:
    return "" if project_id is None else projects.get(ctx.database, project_id).guidelines


def listing_value(ctx: TabContext) -> str:
    there = projects.list_all(ctx.database, include_archived=True)
    return table_value(
        COLUMNS,
        [_row(project) for project in there],
        empty="There is no project yet: create one below, or import a file.",
    )


def _row(project: ProjectInfo) -> list[Any]:
    return [
        project.name,
        f"{project.num_pairs:,}",
        f"{project.num_judged:,}",
        f"{project.num_open:,}",
        f"{project.num_new:,}",
        f"{project.num_people_votes:,}",
        f"{project.num_imported_votes:,}",
        "archived" if project.archived else "",
    ]


def summary(report: importing.ImportReport) -> str:
    """The report's head: the refused rows follow in a table."""
    lines = report.as_text().splitlines()
    return "\n".join(line.strip() for line in lines if not line.startswith("    "))


def refused_table(report: importing.ImportReport) -> str:
    if not report.refused:
        return ""
    listed = len(report.refused)
    more = report.num_refused - listed
    return table_value(
        ["Row", "Why it was refused"],
        report.refused,
        caption=f"The first {listed} refused rows; {more} more are not listed." if more else "",
    )


def export_commands(ctx: TabContext, project_id: int | None) -> str:
    """The console commands that take this project's data and model away."""
    if project_id is None:
        return ""
    name = projects.get(ctx.database, project_id).name
    quoted = "'" + name.replace("'", "'\\''") + "'"
    return "\n".join(
        [
            f"reward-studio export pairs --project {quoted} --format trl pairs.jsonl",
            f"reward-studio export votes --project {quoted} --format jsonl votes.jsonl",
            f"reward-studio score answers.jsonl --project {quoted} --tokens --json",
        ]
    )
