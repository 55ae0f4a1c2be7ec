"""A dropdown of rows that come and go: the choice is checked by the services, not by the widget.

Gradio refuses a value that was not among the choices when the page was built, so a page left open
over a restart of the server would get an odd error. (Not a subclass: Gradio writes a .pyi file
beside the source of every component class it meets.)
"""

from __future__ import annotations

from typing import Any

import gradio as gr


def row_picker(**options: Any) -> gr.Dropdown:
    """A dropdown whose value is a row's id, or None."""
    picker = gr.Dropdown([], value=None, **options)
    picker.preprocess = row_id  # type: ignore[method-assign]
    return picker


def row_id(payload: Any) -> int | None:
    """The id that the browser sent, if it is one."""
    return payload if isinstance(payload, int) and not isinstance(payload, bool) else None
