"""Who sent a request: the one place that reads it, for the routes and for Gradio's handlers."""

from __future__ import annotations

from typing import Any

from studio.services.people import LOCAL, Person


def current_person(request: Any) -> Person:
    """The person behind a Starlette request or a `gr.Request`."""
    return LOCAL
