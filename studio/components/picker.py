"""A dropdown of rows that come and go: the choice is checked by the services, not by the widget.

Gradio refuses a value that was not among the choices when *this* session last saw them, so a
project made in another window, or a page left open over a restart, would get an odd error.
"""

from __future__ import annotations

from typing import Any

import gradio as gr


class RowPicker(gr.Dropdown):
    """The value is a row's id, or None."""

    is_template = True  # drawn by the page's ordinary dropdown

    def preprocess(self, payload: Any) -> int | None:
        return payload if isinstance(payload, int) and not isinstance(payload, bool) else None
