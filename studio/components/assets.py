"""Reads the scripts, styles and markup that stand beside the components.

A component's browser code lies in files of its own (`vote_card.js`, `vote_card.css`), so that an
editor and a linter can read it; `script("dom.js", "vote_card.js")` joins the parts that one
component needs. Gradio runs the result as the body of a function of (element, trigger, props,
server, upload, watch).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def asset(name: str) -> str:
    """The text of one file of this package."""
    return (files("studio.components") / name).read_text(encoding="utf-8")


def script(*names: str) -> str:
    """Several scripts as one function body, in this order."""
    return "\n".join(asset(name) for name in names)


def style(name: str) -> str:
    """A stylesheet for `css_template`, which Gradio runs through Handlebars and a JS template."""
    text = asset(name)
    for mark in ("{{", "${", "`", "\\"):
        if mark in text:
            raise ValueError(f"{name} has {mark!r}, which Gradio's template would take for its own")
    return text
