"""The console command: `reward-studio COMMAND`, the same as `python app.py COMMAND`.

Exit codes: 0 done, 1 could not be done, 2 asked for wrongly. An error is one line on stderr. With
--json stdout carries JSON and nothing else. Each command's module is imported when it is used, so
that --help is quick.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from studio.cli import console
from studio.cli.console import Console
from studio.services.errors import StudioError
from studio.settings import DEFAULT_DATA_DIR, DEFAULT_HOST, DEFAULT_PORT, Settings

INTERRUPTED = 130
Parsers = Any


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message} (see `{self.prog} --help`)", file=sys.stderr)
        sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = build_parser()
    for argument in given:
        if not _is_text(argument):
            parser.error(
                f"{ascii(os.fsencode(argument))[1:]} is not UTF-8: rename the file, or type the "
                "argument in a UTF-8 terminal"
            )
    options = parser.parse_args(given)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    with console.opened(as_json=getattr(options, "json", False)) as output:
        try:
            return _run(options, output)
        except StudioError as error:
            output.say(f"error: {' '.join(str(error).split())}")
            return error.exit_code
        except KeyboardInterrupt:
            output.say("interrupted")
            return INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has had enough; keep Python from complaining at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 1
        except Exception as error:
            if not _is_of_the_machine(error):
                raise  # a fault of ours: the traceback is what helps
            output.say(f"error: {' '.join(str(error).split())[:500]}")
            return 1


def _is_text(argument: str) -> bool:
    """Python keeps bytes that are no UTF-8 as lone surrogates, which nothing later can write."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_of_the_machine(error: Exception) -> bool:
    """A full disk, a lost database: what no check before could have seen."""
    return isinstance(error, OSError) or type(error).__module__.startswith("sqlalchemy.")


def _run(options: argparse.Namespace, output: Console) -> int:
    settings = Settings.read(
        os.environ,
        data_dir=options.data_dir,
        device=getattr(options, "device", None),
        backbone=getattr(options, "backbone", None),
        host=getattr(options, "host", None),
        port=getattr(options, "port", None),
        public_url=getattr(options, "public_url", None),
        trusted_proxy=getattr(options, "trusted_proxy", None),
    )
    module_name, function_name = options.run
    run = getattr(importlib.import_module(f"studio.cli.{module_name}"), function_name)
    code: int = run(options, settings, output)
    return code


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = OneLineParser(
        prog="reward-studio",
        description="Label preference pairs, train a reward head on them, see what it learned.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_import(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_score(commands)
    _add_export(commands)
    _add_backup(commands)
    _add_user(commands)
    _add_doctor(commands)
    return parser


def _command(
    commands: Parsers, name: str, run: tuple[str, str], help_: str, *, json_: bool = True
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_, description=help_)
    parser.set_defaults(run=run)
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help=f"where everything is kept (default: $STUDIO_DATA_DIR or {DEFAULT_DATA_DIR})",
    )
    if json_:
        parser.add_argument(
            "--json", action="store_true", help="print JSON on stdout and nothing else there"
        )
    return parser


def _add_project(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    default = "" if required else " (default: the only one there is)"
    parser.add_argument(
        "--project", metavar="P", required=required, help=f"the project's name or id{default}"
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (default: auto)")


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint",
        metavar="C",
        help="a checkpoint's id or directory (default: the project's newest promoted one)",
    )


def _add_serve(commands: Parsers) -> None:
    parser = _command(
        commands, "serve", ("serve", "serve"), "Run the web application.", json_=False
    )
    parser.add_argument(
        "--host",
        help=f"address to listen on (default: {DEFAULT_HOST}); others than this machine's own want "
        "accounts (`reward-studio user add`)",
    )
    parser.add_argument("--port", help=f"port; 0 takes any free one (default: {DEFAULT_PORT})")
    parser.add_argument(
        "--public-url",
        metavar="URL",
        help="the address that people type, where a reverse proxy stands before this server",
    )
    parser.add_argument(
        "--trusted-proxy",
        metavar="ADDRESS",
        help="whose forwarded headers are believed: the proxy's address or network",
    )
    parser.add_argument("--demo", action="store_true", help="make the demo project if need be")
    parser.add_argument(
        "--adopt-database",
        action="store_true",
        help="take over a database that belongs to another data directory; copy its checkpoints/ "
        "first",
    )
    parser.add_argument(
        "--backbone",
        metavar="ID_OR_DIR",
        help="what new projects use: a hub id, a directory or a .gguf file (default: embedded)",
    )
    _add_device(parser)


def _add_import(commands: Parsers) -> None:
    parser = _command(
        commands,
        "import",
        ("data", "import_pairs"),
        "Import preference pairs into a project, which is made if need be.",
    )
    parser.add_argument(
        "file", metavar="FILE", help="JSONL or CSV (plain or .gz), Parquet, or a datasets folder"
    )
    _add_project(parser, required=True)
    parser.add_argument(
        "--as",
        dest="purpose",
        choices=("votes", "unlabelled", "gold"),
        default="votes",
        help="what the file's verdicts are (default: votes)",
    )
    parser.add_argument("--dry-run", action="store_true", help="count, and change nothing")
    parser.add_argument(
        "--column",
        dest="columns",
        metavar="FIELD=COLUMN",
        action="append",
        help="which column holds what, once for each (see docs/lead.md); `auto` proposes by name",
    )
    parser.add_argument(
        "--answers",
        dest="answers_rule",
        choices=("all", "first", "neighbours", "one"),
        default="all",
        help="which pairs more than two answers to a prompt make (default: all)",
    )
    parser.add_argument(
        "--refused", metavar="OUT", help="write every refused row there, as JSON lines"
    )
    parser.add_argument(
        "--reject-control-tokens",
        action="store_true",
        help="refuse rows whose text spells one of the backbone's control tokens",
    )
    parser.add_argument(
        "--backbone", metavar="ID_OR_DIR", help="of a project that this makes (default: embedded)"
    )
    parser.add_argument(
        "--encode",
        action="store_true",
        help="encode the answers now and wait (a running server does so by itself)",
    )
    _add_device(parser)


def _add_train(commands: Parsers) -> None:
    parser = _command(
        commands, "train", ("model", "train"), "Train a project's reward head and wait for it."
    )
    _add_project(parser)
    parser.add_argument("--config", metavar="F", help="TOML file of training settings")
    parser.add_argument(
        "--reproduce", metavar="RUN", help="train a run's votes again and compare the heads"
    )
    _add_device(parser)


def _add_evaluate(commands: Parsers) -> None:
    parser = _command(
        commands,
        "evaluate",
        ("model", "evaluate"),
        "Evaluate a checkpoint on the judged pairs of a file.",
    )
    parser.add_argument("file", metavar="FILE", help="preference pairs, as for import")
    _add_project(parser)
    _add_checkpoint(parser)
    _add_device(parser)


def _add_score(commands: Parsers) -> None:
    parser = _command(
        commands,
        "score",
        ("model", "score"),
        'Score answers: JSON lines {"prompt", "response"} in, one JSON line out for each.',
    )
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="JSON lines (default: stdin)"
    )
    _add_project(parser)
    _add_checkpoint(parser)
    parser.add_argument("--tokens", action="store_true", help="with every token's value and share")
    _add_device(parser)


def _add_export(commands: Parsers) -> None:
    parser = commands.add_parser(
        "export", help="Write a project's data or model.", description="Write data or a model."
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="WHAT")
    for kind, help_, formats in (
        (
            "pairs",
            "Write the merged training pairs, each with its votes beside it.",
            ("jsonl", "parquet", "trl"),
        ),
        ("votes", "Write the votes as they were given.", ("jsonl", "parquet")),
    ):
        one = _command(kinds, kind, ("data", "export"), help_)
        _add_project(one)
        one.add_argument("--format", choices=formats, default="jsonl", help="(default: jsonl)")
        one.add_argument("out", metavar="OUT", help="the file to write; it must not exist")
    model = _command(
        kinds,
        "model",
        ("model", "export"),
        "Write a checkpoint as a Hugging Face directory, verified by loading it again.",
    )
    _add_project(model)
    _add_checkpoint(model)
    _add_device(model)
    model.add_argument("out", metavar="OUT", help="the directory to write; it must not exist")


def _add_backup(commands: Parsers) -> None:
    parser = _command(
        commands,
        "backup",
        ("data", "back_up"),
        "Write everything that people made to one file; works while the server runs.",
    )
    parser.add_argument(
        "out",
        metavar="OUT",
        nargs="?",
        help="the .tar.gz to write; it must not exist (default: one in DIR/backups)",
    )
    parser = _command(
        commands,
        "restore",
        ("data", "restore"),
        "Put a backup into an empty data directory and database.",
    )
    parser.add_argument("file", metavar="FILE", help="what `backup` wrote")


def _add_user(commands: Parsers) -> None:
    parser = commands.add_parser(
        "user", help="Accounts: who may sign in.", description="Accounts: who may sign in."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="WHAT")
    about_password = " The password is asked for, or read from the first line of stdin."
    for action, help_ in (
        ("add", "Make an account." + about_password),
        ("passwd", "Give an account another password; all its sessions end." + about_password),
        ("deactivate", "Let an account sign in no longer; what it did stays."),
        ("activate", "Let a deactivated account sign in again."),
        ("list", "Who has an account, and what each may do."),
    ):
        run = "list_accounts" if action == "list" else action
        one = _command(actions, action, ("user", run), help_)
        if action != "list":
            one.add_argument("name", metavar="NAME", help="the user name")
        if action == "add":
            one.add_argument("--admin", action="store_true", help="may do everything, everywhere")
            one.add_argument(
                "--role", choices=("annotator", "lead"), help="in the project (default: annotator)"
            )
            one.add_argument("--project", metavar="P", help="the project's name or id")


def _add_doctor(commands: Parsers) -> None:
    parser = _command(
        commands, "doctor", ("doctor", "doctor"), "Check the installation; say how to mend it."
    )
    parser.add_argument("--backbone", metavar="ID_OR_DIR", help="the one to check")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="drop damaged records of the feature store (they are encoded again), and checkpoint "
        "folders that killed runs left",
    )
    _add_device(parser)
