"""Where benchmarks leave their results: benchmarks/results/NAME.json, with commit and versions.

record("fit", {"seconds": 0.2})       # prints one JSON line and writes the file
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def circumstances(*packages: str) -> dict[str, Any]:
    """Commit, time, machine and versions: what a figure means nothing without."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", "../rm_core"], capture_output=True, text=True
    )
    versions = {"python": platform.python_version()}
    for package in ("numpy", *packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() + ("+changes" if changed.stdout.strip() else ""),
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": versions,
    }


def record(name: str, result: dict[str, Any], *packages: str) -> None:
    """Print the result as one JSON line and keep it under benchmarks/results."""
    whole = {"benchmark": name, **circumstances(*packages), **result}
    print(json.dumps(whole))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
