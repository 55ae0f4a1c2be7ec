"""`train`, `evaluate`, `score` and `export model` from the console, with or without a server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.cli.console import Console, duration, figure, say_if_by_id
from studio.services import (
    backbones,
    evaluating,
    model_export,
    projects,
    scoring,
    training,
    workspace,
)
from studio.services.errors import NotFound, UsageError
from studio.settings import Settings

if TYPE_CHECKING:
    from db.engine import Database
    from rm_core.encoding import EncodeProgress
    from studio.services.projects import ProjectInfo


# --- train -----------------------------------------------------------------------------------


def train(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Queue a run, wait for it, print its checkpoint."""
    from studio.jobs import waiting

    if options.reproduce is not None:
        return _reproduce(options.reproduce, settings, output)
    config = _read_config(options.config)
    with _opened(settings, output, writes=True) as database:
        project = _project(database, options.project, output)
        run_id = training.request_run(database, project.id, "console", config)
        run = waiting.wait_for(database, settings, run_id, output)
    checkpoint = run["checkpoint"]
    metrics = {key: value for key, value in checkpoint.items() if key not in _IDENTITY}
    output.result(
        _trained_as_text(project.name, run, metrics),
        {
            "checkpoint": checkpoint["id"],
            "project": project.name,
            "run": run_id,
            "directory": str(settings.checkpoints_dir / checkpoint["directory"]),
            "device": run["device"],
            "elapsed_s": run["elapsed_s"],
            "metrics": metrics,
        },
    )
    return 0


def _reproduce(named: str, settings: Settings, output: Console) -> int:
    """Train a run's votes again and say if the head is the same; exit code 1 when it is not."""
    from studio.jobs import waiting
    from studio.services import reproduce_job

    if not projects.is_id(named):
        raise UsageError(f"--reproduce takes a run's number, not {named!r}.")
    with _opened(settings, output, writes=True) as database:
        run_id = reproduce_job.request(database, int(named))
        waiting.wait_for(database, settings, run_id, output)
        outcome = reproduce_job.outcome_of(database, int(named))
    output.result(f"Checkpoint {outcome['checkpoint']}: {outcome['because']}", outcome)
    return 0 if outcome["same"] else 1


_IDENTITY = ("id", "run_id", "created_at", "sha256", "directory")


def _read_config(name: str | None) -> dict[str, Any] | None:
    if name is None:
        return None
    if not Path(name).exists():
        raise NotFound(f"no file {name!r}: check the path after --config.")
    from rm_core.config import TrainConfig

    with backbones.told_plainly(UsageError):
        return TrainConfig.from_toml(Path(name)).as_dict()


def _trained_as_text(project: str, run: dict[str, Any], metrics: dict[str, Any]) -> str:
    checkpoint = run["checkpoint"]
    return "\n".join(
        (
            f"Checkpoint {checkpoint['id']} of project {project!r}, trained in "
            f"{duration(run['elapsed_s'])} on {run['device']}",
            *_figures_as_text(metrics, f" ({metrics.get('evaluation')})"),
        )
    )


# --- evaluate --------------------------------------------------------------------------------


def evaluate(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Evaluate a checkpoint on a file."""
    if not Path(options.file).exists():
        raise NotFound(f"no file {options.file!r}: check the path.")
    with _opened(settings, output) as database:
        chosen = _choose(database, settings, options, output)
    figures = evaluating.evaluate_file(
        settings,
        Path(options.file),
        chosen.directory,
        on_progress=lambda progress: output.progress(_encoding_line(progress)),
    )
    value = {**figures, "checkpoint": chosen.name, "project": chosen.project, "file": options.file}
    head = (
        f"Checkpoint {chosen.name}{chosen.of_project} on {options.file}: {figures['pairs']} pairs"
    )
    output.result("\n".join((head, *_figures_as_text(figures))), value)
    return 0


def _encoding_line(progress: EncodeProgress) -> str:
    left = "" if progress.eta_s is None else f", {duration(progress.eta_s)} left"
    return f"encoding {progress.done} of {progress.total} answers{left}"


def _figures_as_text(figures: dict[str, Any], how: str = "") -> list[str]:
    interval = figures.get("accuracy_ci")
    between = f", 95 % from {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
    lines = [
        f"  accuracy     {figure(figures.get('accuracy'))}{between}{how}",
        f"  length only  {figure(figures.get('length_only_accuracy'))}",
        f"  length lean  {figure(figures.get('reward_length_correlation'))} (correlation of reward "
        "and log length)",
        f"  log loss     {figure(figures.get('log_loss'))}",
        f"  Brier        {figure(figures.get('brier'))}",
        f"  ECE          {figure(figures.get('ece'))}",
    ]
    left_out = figures.get("left_out") or {}
    return lines + [
        f"  left out {number}: {reason.replace('_', ' ')}" for reason, number in left_out.items()
    ]


# --- score -----------------------------------------------------------------------------------


def score(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Score JSON lines; a bad line gives {"error"} in its place and exit code 1 at the end."""
    if options.file != "-" and not Path(options.file).exists():
        raise NotFound(f"no file {options.file!r}: check the path.")
    with _opened(settings, output) as database:
        chosen = _choose(database, settings, options, output)
    model = scoring.load_directory(settings, chosen.directory)
    output.say(f"Scoring with checkpoint {chosen.name}{chosen.of_project} on {model.info.name}.")
    num_errors, remarks = 0, scoring.Remarks()
    with _lines(options.file) as lines:
        for scored in scoring.score_lines(model, lines, tokens=options.tokens, remarks=remarks):
            num_errors += "error" in scored
            output.line(scored)
    for sentence in remarks.sentences():
        output.say(sentence)
    if num_errors:
        lines_were = "line was" if num_errors == 1 else "lines were"
        output.say(f"error: {num_errors} {lines_were} not scored: their output says why.")
    return 1 if num_errors else 0


@contextmanager
def _lines(name: str) -> Iterator[Iterator[bytes]]:
    """Lines as bytes, since one that is not UTF-8 must cost no other."""
    if name == "-":
        yield iter(sys.stdin.buffer)
        return
    if Path(name).is_dir():
        raise UsageError(f"'{name}' is a folder; name a file of JSON lines, or - for the input.")
    if name.endswith(".gz"):
        import gzip
        import zlib

        try:
            with gzip.open(name, "rb") as zipped:
                yield iter(zipped)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UsageError(
                f"'{name}' is no whole gzip file ({error}); fetch it again. The lines before the "
                "damage were scored."
            ) from error
    else:
        with Path(name).open("rb") as file:
            yield iter(file)


# --- export model ----------------------------------------------------------------------------


def export(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Write a checkpoint as Hugging Face directories; done once they give the studio's rewards."""
    with _opened(settings, output) as database:
        chosen = _choose(database, settings, options, output)
        output.say(f"Exporting checkpoint {chosen.name}{chosen.of_project}.")
        report = model_export.export_model(
            database, settings, chosen.directory, Path(options.out), output.say
        )
    value = {"checkpoint": chosen.name, "project": chosen.project, **report.as_json()}
    output.result(report.as_text(), value)
    return 0


# --- which project, which checkpoint ---------------------------------------------------------


@dataclass(frozen=True)
class Chosen:
    """The checkpoint that a command uses."""

    name: int | str
    project: str | None
    directory: Path

    @property
    def of_project(self) -> str:
        return f" of project {self.project!r}" if self.project else ""


@contextmanager
def _opened(settings: Settings, output: Console, *, writes: bool = False) -> Iterator[Database]:
    database = workspace.open_database(settings, writes=writes, report=output.say)
    try:
        yield database
    finally:
        database.dispose()


def _project(database: Database, name: str | None, output: Console) -> ProjectInfo:
    if not name:
        return projects.only_project(database)
    found = projects.get(database, name)
    say_if_by_id(output, name, found)
    return found


def _choose(
    database: Database, settings: Settings, options: argparse.Namespace, output: Console
) -> Chosen:
    wanted = options.checkpoint
    if wanted is not None and not projects.is_id(wanted):
        if not wanted or not Path(wanted).is_dir():
            raise NotFound(f"no checkpoint {wanted!r}: give its id or its directory.")
        return Chosen(wanted, None, Path(wanted))
    if wanted is not None and options.project is None:
        found = scoring.any_checkpoint(database, int(wanted))
        project = projects.get(database, found.project_id)
    else:
        project = _project(database, options.project, output)
        found = scoring.find_checkpoint(database, project.id, int(wanted) if wanted else None)
    return Chosen(found.id, project.name, settings.checkpoints_dir / found.directory)
