"""`user add|passwd|deactivate|activate|list`: accounts, from the machine that keeps them.

A password never stands among the arguments, which every user of a machine can read: it is asked
for on a terminal, or read from the first line of stdin.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from studio.cli.console import Console
from studio.services import accounts, projects, workspace
from studio.services.errors import UsageError
from studio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from db.engine import Database
    from studio.services.accounts import AccountInfo

ACTOR = "local"


def add(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Make an account, with a role in a project if one is named."""
    if options.role and not options.project:
        raise UsageError(f"--role {options.role} of which project? Name it with --project.")
    with _opened(settings, output, create=True) as database:
        project = projects.get(database, options.project) if options.project else None
        is_first = not accounts.exist(database)
        if is_first and not options.admin:
            raise UsageError(
                f"{options.name!r} would be the first account, and nobody could manage the "
                "others: add --admin"
            )
        made = accounts.create(
            database,
            options.name,
            _password(f"Password for {options.name}: "),
            is_admin=options.admin,
            project_id=project.id if project else None,
            role=(options.role or "annotator") if project else None,
            actor=ACTOR,
        )
        output.result(
            f"Account {made.name!r} made: {_rights(made, projects.names(database))}", _row(made)
        )
        if is_first:
            output.say("From now on everybody signs in; a server that runs notices by itself.")
    return 0


def passwd(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Give an account another password."""
    with _opened(settings, output) as database:
        accounts.find(database, options.name)
        password = _password(f"New password for {options.name}: ")
        changed = accounts.set_password(database, options.name, password, actor=ACTOR)
        output.result(f"Password of {changed.name!r} changed; its sessions ended", _row(changed))
    return 0


def deactivate(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    return _set_active(options, settings, output, active=False)


def activate(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    return _set_active(options, settings, output, active=True)


def _set_active(
    options: argparse.Namespace, settings: Settings, output: Console, *, active: bool
) -> int:
    with _opened(settings, output) as database:
        found = accounts.find(database, options.name)
        changed = accounts.set_active(database, found.id, active, actor=ACTOR)
        what = "may sign in" if active else "may no longer sign in"
        output.result(f"{changed.name!r} {what}", _row(changed))
    return 0


def list_accounts(_options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Every account with its rights."""
    with _opened(settings, output) as database:
        found = accounts.list_all(database)
        names = projects.names(database)
    lines = [f"{account.name}: {_rights(account, names)}" for account in found]
    output.result(
        "\n".join(lines) or "nobody has an account: make the first with `reward-studio user add`",
        [_row(account) for account in found],
    )
    return 0


def _rights(account: AccountInfo, names: dict[int, str]) -> str:
    parts = ["admin"] if account.is_admin else []
    parts += [f"{role} in {names.get(id_, id_)!r}" for id_, role in sorted(account.roles.items())]
    shown = ", ".join(parts) or "no role in any project"
    return shown if account.active else f"{shown} (deactivated)"


def _row(account: AccountInfo) -> dict[str, object]:
    seen = account.last_seen_at
    return {
        "name": account.name,
        "is_admin": account.is_admin,
        "active": account.active,
        "roles": {str(project_id): role for project_id, role in account.roles.items()},
        "last_seen_at": seen.isoformat() if seen else None,
    }


@contextmanager
def _opened(settings: Settings, output: Console, *, create: bool = False) -> Iterator[Database]:
    database = workspace.open_database(settings, create=create, report=output.say)
    try:
        yield database
    finally:
        database.dispose()


def _password(prompt: str) -> str:
    """Typed twice on a terminal, or one line of stdin."""
    if sys.stdin.isatty():
        typed = getpass.getpass(prompt)
        if getpass.getpass("Again: ") != typed:
            raise UsageError("the two passwords are not the same; nothing was changed")
        return typed
    line = sys.stdin.readline()
    if not line:
        raise UsageError("no password: type it at a terminal, or give it as a line of stdin")
    return line.rstrip("\r\n")
