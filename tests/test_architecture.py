"""The one-way rule, read from the syntax trees: tabs and jobs -> services -> {db, rm_core}."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What no module of a package may import, however late.
FORBIDDEN = {
    "db": ("rm_core", "studio", "torch", "transformers", "gradio"),
    "rm_core": ("db", "studio", "sqlalchemy", "alembic", "gradio", "fastapi"),
    "studio/services": (
        "gradio",
        "fastapi",
        "studio.tabs",
        "studio.components",
        "studio.jobs",
        "studio.cli",
        "studio.app",
        "studio.routes",
    ),
    "studio/tabs": ("db", "rm_core", "torch", "sqlalchemy", "studio.jobs", "studio.cli"),
    "studio/components": ("db", "rm_core", "torch", "sqlalchemy", "studio.services", "studio.tabs"),
    "studio/jobs": ("gradio", "rm_core", "torch", "studio.tabs", "studio.components", "studio.cli"),
    "studio/cli": ("gradio", "torch", "transformers", "studio.tabs", "studio.components"),
}
# What a module of a package may import only inside a function: it costs seconds.
LATE_ONLY = {
    "db": ("torch", "transformers", "gradio"),
    "studio/services": ("torch", "transformers", "gradio", "rm_core", "datasets", "pyarrow"),
    "studio/tabs": ("torch", "transformers"),
    "studio/components": ("torch", "transformers"),
    "studio/cli": ("db", "rm_core", "sqlalchemy", "uvicorn", "fastapi", "studio.app"),
    "studio/jobs": ("torch", "transformers", "gradio"),
}
# rm_core modules that are free of torch, so that a service may name their types at the top.
LIGHT_CORE = ("rm_core.errors",)
OUTSIDE_STATE = {"os.environ", "os.environb", "os.getenv", "sys.argv"}
ENTRY_POINTS = {
    "studio/cli/__init__.py",
    "studio/jobs/run.py",
    "studio/jobs/launcher.py",
    "studio/app.py",
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def all_modules() -> list[Path]:
    return [path for package in ("db", "rm_core", "studio") for path in modules(package)]


def imported_names(tree: ast.AST, *, top_level_only: bool) -> Iterator[str]:
    """Every module imported; `if TYPE_CHECKING:` does not count, since it never runs."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        if top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which package is meant"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))


def is_inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_a_package_imports_nothing_outward(package: str) -> None:
    offences = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in imported_names(parse(path), top_level_only=False)
        if any(is_inside(name, banned) for banned in FORBIDDEN[package])
    ]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("package", sorted(LATE_ONLY))
def test_what_costs_seconds_is_imported_inside_functions(package: str) -> None:
    offences = [
        f"{path.relative_to(ROOT)} imports {name} at its top"
        for path in modules(package)
        for name in imported_names(parse(path), top_level_only=True)
        if any(is_inside(name, heavy) for heavy in LATE_ONLY[package])
        and not any(is_inside(name, light) for light in LIGHT_CORE)
    ]
    assert not offences, "\n".join(offences)


def test_db_and_rm_core_are_each_imported_by_services_only() -> None:
    """Whatever knows both sides is a service."""
    for path in all_modules():
        names = list(imported_names(parse(path), top_level_only=False))
        knows_both = any(is_inside(n, "db") for n in names) and any(
            is_inside(n, "rm_core") for n in names
        )
        assert not knows_both or "services" in path.parts, path


def test_only_the_entry_points_read_the_environment_or_the_arguments() -> None:
    offences = []
    for path in all_modules():
        relative = str(path.relative_to(ROOT))
        tree = parse(path)
        tree.body = [node for node in tree.body if not is_main_block(node)]
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute | ast.Name):
                continue
            text = ast.unparse(node)
            if text in OUTSIDE_STATE and relative not in ENTRY_POINTS:
                offences.append(f"{relative}:{node.lineno} {text}")
    assert not offences, "\n".join(offences)


def test_no_module_swallows_every_exception() -> None:
    for path in all_modules():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ExceptHandler) and len(node.body) == 1:
                catches_all = node.type is None or ast.unparse(node.type) in {
                    "Exception",
                    "BaseException",
                }
                swallows = isinstance(node.body[0], ast.Pass)
                assert not (catches_all and swallows), f"{path}:{node.lineno}"


def test_every_module_opens_with_what_it_does() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in all_modules()
        if path.read_text(encoding="utf-8").strip()
        and "versions" not in path.parts
        and not ast.get_docstring(parse(path))
    ]
    assert not silent, silent


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `statement`."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_services_and_queries_load_neither_torch_nor_gradio() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("db", "studio/services", "studio/jobs")
        for path in modules(package)
        if "migrations" not in path.parts and path.name != "__init__.py"
    ]
    loaded = loaded_after("import " + ", ".join(names))
    assert not loaded & {"torch", "transformers", "gradio", "datasets"}


def test_the_console_command_starts_light() -> None:
    loaded = loaded_after("import studio.cli")
    assert not loaded & {"torch", "transformers", "gradio", "sqlalchemy", "fastapi", "uvicorn"}
