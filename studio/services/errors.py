"""The studio's errors: what a person is told, in the page or on stderr.

    StudioError          exit code 1: something could not be done
      UsageError         exit code 2: it was asked for wrongly
      NotFound           exit code 2: no such project, pair, showing or checkpoint
      Conflict           exit code 1: it contradicts what is already stored

The message is one sentence: what was wrong, the value seen, what to do.
"""

from __future__ import annotations


class StudioError(Exception):
    """Something that a person asked for could not be done; the message says why and what to do."""

    exit_code = 1


class UsageError(StudioError):
    """The request itself was wrong: an unknown name, a value out of range."""

    exit_code = 2


class NotFound(UsageError):
    """What the request names does not exist."""


class Conflict(StudioError):
    """The request contradicts what is already stored, so nothing was changed."""
