"""The documentation tells the truth: links lead somewhere, examples parse, nothing is left out."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rm_core.config import TrainConfig
from studio.cli import build_parser

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("studio/**/*.md")])
ENGINEER = (ROOT / "docs/engineer.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language ("" for none)."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [body for name, body in fenced if name == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    local = [t for t in targets if not re.match(r"[a-z]+:", t)]
    for target in local:
        file, _, heading = target.partition("#")
        path = (page.parent / file) if file else page
        assert path.exists(), f"{page.name} links to {target}, which is not there"
        if heading:
            titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles]
            assert heading in slugs, f"{page.name} links to the heading {target}"


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every console command with its long options."""
    options: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part, sub in action.choices.items():
                yield from commands(sub, f"{name} {part}".strip())
        options += [o for o in action.option_strings if o.startswith("--")]
    if name:
        yield name, options


def test_every_command_and_option_is_documented() -> None:
    found = dict(commands(build_parser()))
    assert {"serve", "train", "export pairs"} <= set(found)
    for name, options in found.items():
        word = name.split()[0]
        row = next(
            (r for r in ENGINEER.splitlines() if r.startswith(f"| `reward-studio {word}")), None
        )
        assert row is not None, f"docs/engineer.md has no row for {name!r}"
        for option in set(options) - {"--help", "--json", "--data-dir"}:
            assert option in row, f"docs/engineer.md does not name {option} of {name!r}"


def test_every_documented_option_exists() -> None:
    found = dict(commands(build_parser()))
    for row in re.findall(r"^\| `reward-studio (.+?)` \|", ENGINEER, re.MULTILINE):
        word = row.split()[0]
        known = {o for name, options in found.items() if name.split()[0] == word for o in options}
        assert set(re.findall(r"--[a-z-]+", row)) <= known, f"{word}: {row}"


def test_every_training_setting_is_documented_and_the_example_is_accepted() -> None:
    [example] = blocks(ENGINEER, "toml")
    config = TrainConfig.from_dict(tomllib.loads(example))
    named = set(tomllib.loads(example))
    assert named == {field.name for field in dataclasses.fields(TrainConfig)}
    defaults = TrainConfig()
    for name in named - {"layers", "readouts", "penalty"}:
        assert getattr(config, name) == getattr(defaults, name), f"the default of {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples_parse(page: Path) -> None:
    text = page.read_text()
    for example in blocks(text, "json"):
        json.loads(example)
    for example in blocks(text, "python"):
        ast.parse(example)


def test_the_readmes_tree_is_the_tree() -> None:
    [tree] = [b for b in blocks((ROOT / "README.md").read_text(), "") if b.startswith("app.py")]
    for line in tree.splitlines():
        name = line.split()[0]
        path = (ROOT / "studio" / name) if line.startswith(" ") else ROOT / name
        assert path.exists(), f"README's tree names {name}"


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(p.name[:4]) for p in (ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_dependency_is_imported_somewhere() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[\[<>=,! ]", d)[0].replace("-", "_") for d in declared}
    sources = "\n".join(
        p.read_text()
        for package in ("db", "rm_core", "studio")
        for p in (ROOT / package).rglob("*.py")
    )
    # Needed by a library of ours, for something that we ask of it, without an import of our own.
    indirect = {
        "accelerate": "transformers reads GGUF with it",
        "gguf": "likewise",
        "psycopg": "SQLAlchemy's PostgreSQL driver",
    }
    imported_as = {"markdown_it_py": "markdown_it"}
    for name in {imported_as.get(name, name) for name in names - set(indirect)}:
        assert re.search(rf"^\s*(import|from) {name}\b", sources, re.MULTILINE), f"{name} is unused"
