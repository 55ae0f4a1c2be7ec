"""The Data tab: files in, with a look before anything is kept, and files out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from studio.components.data_table import data_table, table_value
from studio.components.download_links import download_links, links_value
from studio.components.notice import Kind, notice, notice_value
from studio.services import (
    backbones,
    encoding,
    import_mapping,
    import_preview,
    importing,
    projects,
)
from studio.services.errors import NotFound, StudioError
from studio.services.import_preview import Preview
from studio.tabs.context import QUICK, SLOW, TabContext, TabHandle, sentence, told
from studio.tabs.projects import picker_update

FILE_TYPES = [".jsonl", ".json", ".gz", ".csv", ".parquet"]
PURPOSES = [
    ("Judged pairs (votes)", "votes"),
    ("Pairs to label", "unlabelled"),
    ("Pairs with a known answer (gold)", "gold"),
]
RULES = [
    ("every two of them make a pair", "all"),
    ("the first against each other one", "first"),
    ("each against the next", "neighbours"),
    ("one pair, drawn at random", "one"),
]
FIRST_NUMBERS = [("verdicts are words", ""), ("1 is the first", "1"), ("0 is the first", "0")]
EXPORTS = (
    ("pairs", "jsonl", "pairs.jsonl", "Pairs, merged", "chosen and rejected with all their votes"),
    ("pairs", "parquet", "pairs.parquet", "Pairs, merged", "the same, as Parquet"),
    ("pairs", "trl", "trl.jsonl", "Pairs for TRL", "prompt, chosen, rejected as messages"),
    ("pairs", "trl", "trl.parquet", "Pairs for TRL", "the same, as Parquet"),
    ("votes", "jsonl", "votes.jsonl", "Votes", "every judgement as it was given"),
    ("votes", "parquet", "votes.parquet", "Votes", "the same, as Parquet"),
)


def build(ctx: TabContext) -> TabHandle:
    with gr.Tab("Data", id="data", elem_id="data-tab") as tab:
        _import_section(ctx)
        gr.Markdown("## Take data out", elem_classes="rs-h")
        exports = download_links("export-links")
        commands = gr.Textbox(
            "",
            label="The same in a terminal, and everything in one file",
            lines=4,
            interactive=False,
            buttons=["copy"],
            elem_id="export-commands",
        )

    @told
    def refresh(project_id: int | None, request: gr.Request) -> tuple[str, str]:
        if project_id is None or not ctx.person(request).may(project_id, "lead"):
            return links_value([]), ""
        return links_value(_links(project_id)), export_commands(ctx, project_id)

    tab.select(refresh, ctx.picker, [exports, commands], **QUICK)
    return TabHandle(tab, refresh, [exports, commands])


def _import_section(ctx: TabContext) -> None:
    gr.Markdown("## Import a file", elem_classes="rs-h")
    with gr.Row(elem_classes="rs-side-by-side"):
        file = gr.File(
            label="JSONL or CSV (also .gz), Parquet",
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
            rule = gr.Dropdown(
                RULES, value="all", label="Where a prompt has more than two answers",
                elem_id="answers-rule",
            )  # fmt: skip
    mapping = _mapping_section()
    sample = data_table("import-preview", "The first rows as they would be read")
    with gr.Row(elem_classes="rs-line rs-compact"):
        check = gr.Button("Check the whole file", scale=0, min_width=190, elem_id="import-check")
        button = gr.Button(
            "Import", variant="primary", scale=0, min_width=120, elem_id="import-button"
        )
    result = notice("import-result")
    refusals = data_table("import-refusals", "Refused rows")
    columns = list(mapping.values())

    @told
    def look(
        project_id: int | None, path: str | None, request: gr.Request, *picked: Any
    ) -> tuple[Any, ...]:
        """A new file: what its columns seem to be, and its first rows read so."""
        ctx.require(request, project_id, "lead")
        try:
            seen = import_preview.preview(Path(path)) if path else None
        except StudioError as error:
            return "", notice_value(sentence(error), "error"), *_unmapped()
        return preview_table(seen), "", *_pickers(seen)

    @told
    def look_again(
        project_id: int | None, path: str | None, request: gr.Request, *picked: Any
    ) -> tuple[str, str]:
        """Other columns were chosen."""
        ctx.require(request, project_id, "lead")
        if not path:
            return "", ""
        try:
            seen = import_preview.preview(Path(path), _chosen(picked))
        except StudioError as error:
            return "", notice_value(sentence(error), "error")
        return preview_table(seen), ""

    pickers = [mapping["section"], *columns[1:]]
    file.change(look, [ctx.picker, file], [sample, result, *pickers], **QUICK)
    for each in columns[1:]:
        each.input(look_again, [ctx.picker, file, *columns[1:]], [sample, result], **QUICK)
    inputs = [ctx.picker, file, target, purpose, rule, *columns[1:]]
    outputs = [result, refusals, ctx.picker]
    check.click(_importer(ctx, dry_run=True), inputs, outputs, **SLOW, concurrency_limit=1)
    button.click(_importer(ctx, dry_run=False), inputs, outputs, **SLOW, concurrency_limit=1)


# ---- columns ----------------------------------------------------------------------------------


def _mapping_section() -> dict[str, Any]:
    """The accordion of column pickers, in the order of import_mapping.FIELDS, numbers last."""
    made: dict[str, Any] = {}
    with gr.Accordion(
        "Which column holds what", open=False, visible=False, elem_id="import-columns"
    ) as made["section"]:
        gr.Markdown(
            "Proposed from the columns' names: look at the rows below and change what is wrong. "
            "Columns that are not named are kept beside the pair."
        )
        with gr.Row(elem_classes="rs-columns"):
            for field in import_mapping.FIELDS:
                made[field.name] = gr.Dropdown(
                    [("—", "")], value="", label=field.label, min_width=210,
                    elem_id=f"column-{field.name}",
                )  # fmt: skip
            made[import_mapping.FIRST_NUMBER] = gr.Dropdown(
                FIRST_NUMBERS, value="", label="Verdicts that are numbers", min_width=210,
                elem_id="column-first-number",
            )  # fmt: skip
    return made


def _pickers(seen: Preview | None) -> list[Any]:
    """The section and its pickers for the file that was looked at."""
    if seen is None:
        return _unmapped()
    choices = [("—", ""), *((name, name) for name in seen.columns)]
    fields = [
        gr.Dropdown(choices=choices, value=seen.mapping.get(field.name, ""))
        for field in import_mapping.FIELDS
    ]
    return [gr.Accordion(visible=True, open=bool(seen.mapping)), *fields, gr.update(value="")]


def _unmapped() -> list[Any]:
    empty = [gr.Dropdown(choices=[("—", "")], value="") for _ in import_mapping.FIELDS]
    return [gr.Accordion(visible=False), *empty, gr.update(value="")]


def _chosen(picked: tuple[Any, ...]) -> dict[str, str]:
    """The mapping that the pickers show; empty where the file needs none."""
    names = [*(field.name for field in import_mapping.FIELDS), import_mapping.FIRST_NUMBER]
    mapping = {name: str(value) for name, value in zip(names, picked, strict=False) if value}
    return mapping if set(mapping) - {import_mapping.FIRST_NUMBER} else {}


def preview_table(seen: Preview | None) -> str:
    """The first rows as they would be read."""
    if seen is None:
        return ""
    most = max((len(sample.answers) for sample in seen.samples), default=2)
    names = [f"Answer {n}" for n in range(1, max(2, most) + 1)]
    rows = [
        [sample.row, "", *[""] * len(names), f"refused: {sample.refused}"]
        if sample.refused
        else [
            sample.row, sample.prompt,
            *sample.answers, *[""] * (len(names) - len(sample.answers)), sample.verdict,
        ]
        for sample in seen.samples
    ]  # fmt: skip
    return table_value(
        ["Row", "Prompt", *names, "Verdict"], rows, caption="The first rows as they would be read"
    )


# ---- import -----------------------------------------------------------------------------------


def _importer(ctx: TabContext, *, dry_run: bool) -> Callable[..., Any]:
    """The handler of a button; its last inputs are the pickers of columns."""

    @told
    def run(
        project_id: int | None,
        path: str | None,
        name: str | None,
        purpose: str | None,
        rule: str | None,
        request: gr.Request,
        *picked: Any,
    ) -> tuple[Any, ...]:
        options = {"purpose": purpose or "votes", "answers_rule": rule or "all"}
        columns = _chosen(picked)
        return _import(ctx, request, project_id, path, name, columns, dry_run=dry_run, **options)

    return run


def _import(
    ctx: TabContext,
    request: gr.Request,
    project_id: int | None,
    path: str | None,
    name: str | None,
    columns: dict[str, str],
    **options: Any,
) -> tuple[Any, ...]:
    try:
        report = _run_import(ctx, request, project_id, path, (name or "").strip(), columns, options)
    except StudioError as error:
        return notice_value(sentence(error), "error"), "", gr.skip()
    kind: Kind = "warning" if report.num_refused else "good"
    chosen = report.project_id if report.project_id is not None else project_id
    text = summary(report)
    if report.dry_run:
        text += "\nNothing was kept: this was the check."
    return (
        notice_value(text, kind),
        refused_table(report),
        picker_update(ctx, request, chosen),
    )


def _run_import(
    ctx: TabContext,
    request: gr.Request,
    project_id: int | None,
    path: str | None,
    name: str,
    columns: dict[str, str],
    options: dict[str, Any],
) -> importing.ImportReport:
    if path is None:
        raise StudioError("no file is chosen; drop one on the box or click it")
    if not name and project_id is None:
        raise StudioError("no project is chosen; name the project to import into")
    there = _known(ctx, name or project_id)
    # A file into a project is its lead's; a new project is an admin's.
    person = ctx.require(request, there.id if there else None, "lead" if there else "admin")
    info = backbones.prepare(ctx.settings, ctx.settings.backbone)
    report = importing.import_file(
        ctx.database,
        Path(path),
        project_name=there.name if there else name,
        backbone=ctx.settings.backbone,
        control_tokens=info.control_tokens,
        columns=columns,
        actor=person.name,
        **options,
    )
    if report.pairs and report.project_id is not None:
        encoding.enqueue(ctx.database, ctx.settings, report.project_id, "import")
    return report


def _known(ctx: TabContext, name_or_id: str | int | None) -> projects.ProjectInfo | None:
    try:
        return projects.get(ctx.database, name_or_id or "")
    except NotFound:
        return None


def summary(report: importing.ImportReport) -> str:
    """The report's head: the refused rows follow in a table."""
    lines = report.as_text().splitlines()
    return "\n".join(line.strip() for line in lines if not line.startswith("    "))


def refused_table(report: importing.ImportReport) -> str:
    if not report.refused:
        return ""
    listed = len(report.refused)
    more = report.num_refused - listed
    caption = f"The first {listed} refused rows; {more} more: `--refused FILE` writes them all."
    return table_value(
        ["Row", "Why it was refused"], report.refused, caption=caption if more else ""
    )


# ---- export -----------------------------------------------------------------------------------


def _links(project_id: int) -> list[dict[str, str]]:
    made = []
    for kind, fmt, name, label, detail in EXPORTS:
        query = urlencode({"kind": kind, "format": fmt, "name": name})
        href = f"/api/projects/{project_id}/export?{query}"
        made.append({"href": href, "label": f"{label} · {name}", "detail": detail})
    return made


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
            "reward-studio backup",
        ]
    )
