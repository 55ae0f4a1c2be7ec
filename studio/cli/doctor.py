"""`doctor`: checks of the installation with remedies."""

from __future__ import annotations

import argparse

from studio.cli.console import Console
from studio.services import doctor as service
from studio.settings import Settings


def doctor(options: argparse.Namespace, settings: Settings, output: Console) -> int:
    """Print every check; exit code 1 when one fails."""
    checks = service.run(settings, repair=options.repair)
    lines = []
    for check in checks:
        mark = "ok  " if check["ok"] else "FAIL"
        lines.append(f"{mark} {check['name']}: {check['detail']}")
        if check["remedy"]:
            lines.append(f"     {check['remedy']}")
    healthy = all(check["ok"] for check in checks)
    output.result("\n".join(lines), {"ok": healthy, "checks": checks})
    return 0 if healthy else 1
