"""Prepares a backbone in a process of its own, so that the server never holds torch for it.

    python -m studio.jobs.prepare_backbone        # settings in the environment

Converting takes torch and a gigabyte for some seconds, once; a server runs for weeks. Exit code 1
when the backbone cannot be prepared: whoever asked then tries it in vain and knows why. Exit code
2 when the device that was named is not there, which only torch knows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping

from studio.jobs.launcher import job_environment
from studio.services import backbones
from studio.services.errors import StudioError, UsageError
from studio.settings import Settings

NO_SUCH_DEVICE = 2


def prepare_apart(settings: Settings, report: Callable[[str], None]) -> None:
    """Run this module and report its lines as they come; a download's progress is on stderr.

    Raises:
        UsageError: the settings name a CUDA device and there is none.
    """
    command = [sys.executable, "-m", "studio.jobs.prepare_backbone"]
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=job_environment(settings),
    )
    assert child.stdout is not None
    with child, child.stdout as lines:
        for line in lines:
            report(line.rstrip())
    if child.returncode == NO_SUCH_DEVICE:
        raise UsageError(
            f"the device {settings.device!r} is not there: torch sees no such CUDA device. Use "
            "--device cpu or auto; `reward-studio doctor` says what torch sees."
        )


def main(environ: Mapping[str, str]) -> int:
    settings = Settings.read(environ)
    if settings.device.startswith("cuda"):
        try:
            backbones.device(settings)
        except StudioError:
            return NO_SUCH_DEVICE
    try:
        backbones.prepare(settings, settings.backbone, lambda text: print(text, flush=True))
    except StudioError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
