"""The pages around sign-in: plain HTML without a script, rendered here, sent by sign_in.py.

    render("sign_in.html", title="Sign in", error="")

Templates escape whatever they are given. The colours are those of the studio's page.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import jinja2

from studio.theme import DARK, LIGHT


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("studio.pages", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> str:
    """One page as HTML."""
    return _environment().get_template(template).render(**values)


@cache
def stylesheet() -> str:
    """The pages' stylesheet with the studio's colours, for light and for dark."""
    rules = (files("studio.pages") / "sign_in.css").read_text(encoding="utf-8")
    light = "".join(f"--rs-{name}:{value};" for name, value in LIGHT.items())
    dark = "".join(f"--rs-{name}:{value};" for name, value in DARK.items())
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{rules}"
    )
