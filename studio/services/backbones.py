"""The backbone that a project or the server names, prepared for use.

info = backbones.prepare(settings, "embedded", report=print)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from studio.services.errors import StudioError

if TYPE_CHECKING:
    from rm_core.backbone import BackboneInfo
    from studio.settings import Settings


@contextmanager
def told_plainly(kind: type[StudioError] = StudioError) -> Iterator[None]:
    """Turn the reward model's own errors, which are sentences already, into the studio's."""
    from rm_core.errors import RewardModelError

    try:
        yield
    except RewardModelError as error:
        raise kind(str(error)) from error


def prepare(
    settings: Settings, spec: str, report: Callable[[str], None] | None = None
) -> BackboneInfo:
    """Find, convert once and describe a backbone; quick, and without torch, when it was before."""
    from rm_core.backbone import prepare

    with told_plainly():
        return prepare(spec, settings.backbones_dir, report)


def device(settings: Settings) -> str:
    """The device that `settings.device` means here; imports torch."""
    from rm_core.backbone import choose_device

    with told_plainly():
        return choose_device(settings.device)
