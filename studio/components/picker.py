"""A dropdown of rows that come and go: the choice is checked by the services, not by the widget.

Gradio refuses a value that is not among the choices that it remembers for the browser's session, so
a page left open over a restart of the server, or a project restored a moment ago, would get an
error. Gradio makes a new component of the same class at every update, so the change has to be the
class's; the class is made past Gradio's own metaclass, which would write a .pyi file beside this
source.
"""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

import gradio as gr


def row_id(payload: Any) -> int | None:
    """The id that the browser sent, if it is one."""
    return payload if isinstance(payload, int) and not isinstance(payload, bool) else None


_RowPicker: type[gr.Dropdown] = ABCMeta.__new__(
    type(gr.Dropdown),
    "RowPicker",
    (gr.Dropdown,),
    {
        "__module__": __name__,
        "is_template": True,  # to the browser it is a plain dropdown
        "preprocess": lambda self, payload: row_id(payload),
    },
)


def row_picker(**options: Any) -> gr.Dropdown:
    """A dropdown whose value is a row's id, or None."""
    return _RowPicker([], value=None, **options)
