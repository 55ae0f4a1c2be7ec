"""`reward-studio user`: accounts from the console; passwords by stdin and never by argument."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from studio.cli import main
from studio.services import accounts, projects
from tests.workspace import Workspace

WORDS = "correct horse"
User = Callable[..., tuple[int, str, str]]


@pytest.fixture
def user(
    empty_workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> User:
    """Run `user ARGUMENTS` with this standard input; exit code, stdout, stderr."""
    for name in ("STUDIO_DATA_DIR", "STUDIO_DB_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: Any, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        where = ["--data-dir", str(empty_workspace.settings.data_dir)]
        try:
            code = main(["user", *map(str, arguments), *where])
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_accounts_are_made_listed_changed_and_put_away(
    user: User, empty_workspace: Workspace
) -> None:
    assert user("list")[1].startswith("nobody has an account")
    code, _, err = user("add", "Bo", stdin=WORDS)
    assert code == 2
    assert "first account" in err
    code, out, err = user("add", "Mara", "--admin", stdin=f"{WORDS}\n")
    assert code == 0, err
    assert "'Mara' made: admin" in out
    assert "everybody signs in" in err
    made = projects.create(empty_workspace.database, "support")
    code, out, err = user(
        "add", "Bo", "--project", "support", "--role", "lead", "--json", stdin=WORDS
    )
    assert code == 0, err
    assert json.loads(out)["roles"] == {str(made.id): "lead"}
    assert user("add", "Cy", "--project", "support", stdin=WORDS)[0] == 0
    assert user("passwd", "BO", stdin="battery staple")[0] == 0
    assert accounts.sign_in(empty_workspace.database, "Bo", "battery staple")
    assert user("deactivate", "Bo")[0] == 0
    assert accounts.sign_in(empty_workspace.database, "Bo", "battery staple") is None
    listed = user("list")[1].splitlines()
    assert listed == [
        "Bo: lead in 'support' (deactivated)",
        "Cy: annotator in 'support'",
        "Mara: admin",
    ]
    assert user("activate", "bo")[0] == 0
    assert json.loads(user("list", "--json")[1])[0]["active"] is True
    code, _, err = user("deactivate", "Mara")
    assert code == 1
    assert "only admin left" in err


@pytest.mark.parametrize(
    ("arguments", "stdin", "part"),
    [
        (["add", "Mara", "--admin"], "", "no password"),
        (["add", "Mara", "--admin"], "short\n", "5 characters"),
        (["add", "local", "--admin"], WORDS, "reserved"),
        (["add", "Mara", "--role", "lead"], WORDS, "--project"),
        (["add", "Mara", "--admin", "--project", "none"], WORDS, "'none'"),
        (["add", "Mara", "--password", WORDS], "", "--password"),
        (["passwd", "nobody"], WORDS, "'nobody'"),
        (["deactivate", "nobody"], "", "'nobody'"),
        ([], "", "WHAT"),
    ],
)
def test_what_is_asked_for_wrongly_is_one_line(
    user: User, arguments: list[str], stdin: str, part: str
) -> None:
    code, out, err = user(*arguments, stdin=stdin) if arguments else user("")
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert part in err


def test_at_a_terminal_the_password_is_asked_for_twice(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    typed = iter([WORDS, "another one"])
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(typed))
    monkeypatch.setattr("io.StringIO", Terminal)
    code, _, err = user("add", "Mara", "--admin")
    assert code == 2
    assert "not the same" in err
