"""`import`, `export`, `backup` and `restore`: files in, files out."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from studio.cli.console import Console, say_if_by_id
from studio.services import backbones, encoding, importing, projects, workspace
from studio.services.errors import NotFound, UsageError
from studio.settings import Settings

if TYPE_CHECKING:
    from db.engine import Database
    from studio.services.importing import ImportReport


def import_pairs(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Import a file; its answers are encoded by the server, by the next training, or now."""
    if not Path(options.file).exists():
        raise NotFound(f"no file {options.file!r}: check the path.")
    if options.dry_run and not workspace.exists(settings):
        return _dry_run_elsewhere(options, settings, output)
    database = workspace.open_database(settings, create=True, report=output.say)
    try:
        report = _import(options, settings, output, database)
        output.result(report.as_text(), report.as_json())
        if report.project_id is not None:
            _encode(options, settings, output, database, report.project_id)
    finally:
        database.dispose()
    return 0


def _dry_run_elsewhere(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """A dry run where there is no data yet leaves none behind."""
    import dataclasses
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/studio.db"
        elsewhere = dataclasses.replace(settings, data_dir=Path(scratch), db_url=url)
        database = workspace.open_database(elsewhere, create=True)
        try:
            report = _import(options, elsewhere, output, database)
        finally:
            database.dispose()
    output.result(report.as_text(), report.as_json())
    return 0


def _import(
    options: argparse.Namespace, settings: Settings, output: Console, database: Database
) -> ImportReport:
    name, backbone = options.project, settings.backbone
    with suppress(NotFound):  # then it is made
        there = projects.get(database, name)
        if options.backbone is not None and backbone != there.backbone:
            raise UsageError(
                f"project {there.name!r} is of the backbone {there.backbone!r}, not {backbone!r}: "
                "leave --backbone out, or name another project."
            )
        say_if_by_id(output, name, there)
        name, backbone = there.name, there.backbone
    info = backbones.prepare(settings, backbone, output.say)
    return importing.import_file(
        database,
        Path(options.file),
        project_name=name,
        purpose=options.purpose,
        dry_run=options.dry_run,
        backbone=backbone,
        control_tokens=info.control_tokens,
        reject_control_tokens=options.reject_control_tokens,
        report=output.progress,
        columns=_columns(options, output),
        answers_rule=options.answers_rule,
        refused_to=Path(options.refused) if options.refused else None,
    )


def _columns(options: argparse.Namespace, output: Console) -> dict[str, str]:
    """The mapping asked for; what `auto` proposes is said before it is used."""
    from studio.services import import_preview

    given = options.columns or []
    if given == ["auto"]:
        mapping = import_preview.preview(Path(options.file)).mapping
        shown = " ".join(f"--column {field}={column}" for field, column in mapping.items())
        output.say(f"columns: {shown or 'the file needs no mapping'}")
        return mapping
    mapping = {}
    for each in given:
        field, equals, column = each.partition("=")
        if not equals:
            raise UsageError(f"--column {each!r} is not FIELD=COLUMN, for example prompt=question.")
        mapping[field] = column
    return mapping


def _encode(
    options: argparse.Namespace,
    settings: Settings,
    output: Console,
    database: Database,
    project_id: int,
) -> None:
    from studio import server_lock

    run_id = encoding.enqueue(database, settings, project_id, "import")
    if options.encode:
        from studio.jobs import waiting

        waiting.wait_for(database, settings, run_id, output)
    elif server_lock.holder(settings.lock_path):
        output.say("The server encodes the answers now.")
    else:
        output.say("The answers are encoded by the next `serve` or `train`, or now with --encode.")


def export(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Write votes or merged pairs."""
    from studio.services import exporting

    database = workspace.open_database(settings)
    try:
        project = (
            projects.get(database, options.project)
            if options.project
            else projects.only_project(database)
        )
        report = exporting.export(
            database, project.id, kind=options.kind, fmt=options.format, out=Path(options.out)
        )
    finally:
        database.dispose()
    output.result(report.as_text(), report.as_json())
    return 0


def back_up(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Write everything that people made to one file."""
    from datetime import UTC, datetime

    from studio.services import backup

    database = workspace.open_database(settings)
    try:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        if options.out is None:
            settings.backups_dir.mkdir(exist_ok=True)
        out = Path(options.out or settings.backups_dir / f"studio-{stamp}.tar.gz")
        report = backup.back_up(database, settings, out)
    finally:
        database.dispose()
    output.result(report.as_text(), report.as_json())
    return 0


def restore(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Put a backup into an empty data directory."""
    from studio.services import backup

    report = backup.restore(settings, Path(options.file))
    output.result(report.as_text(), report.as_json())
    return 0
