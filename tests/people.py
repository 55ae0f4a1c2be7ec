"""Requests as the page's handlers get them, sent by whoever a test names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from studio.services.people import LOCAL, Person


def asked_by(person: Person = LOCAL) -> Any:
    """A `gr.Request` sent by this person; without accounts that is whoever sits at this machine."""
    import gradio as gr

    return gr.Request(SimpleNamespace(state=SimpleNamespace(person=person)))  # type: ignore[arg-type]
