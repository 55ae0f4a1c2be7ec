r"""LaTeX that latex2mathml does not know, written as what it knows; nothing else is touched.

    simpler(r"\begin{aligned} a &= b \end{aligned}")     # r"\begin{split} a &= b \end{split}"
    simpler(r"\ce{SO4^2-}")                              # r"\mathrm{SO_{4}^{2-}}"

What this makes worse than it was does not exist: a formula that still cannot be read shows its
source, the original one.
"""

from __future__ import annotations

import re

# Lines under each other at their `&`, or in the middle; a position or a number of columns is of no
# use to MathML.
_ALIGNED = re.compile(
    r"\\(begin|end)\{(?:aligned|alignedat|alignat|flalign)\*?\}(?:\[[tbc]\]|\{\d+\})?"
)
_CENTRED = re.compile(r"\\(begin|end)\{(?:gathered|gather|multlined|multline)\*?\}(?:\[[tbc]\])?")
_NAMES = re.compile(r"\\(arg|Pr|injlim|projlim|sech|csch|arcsec|arccsc|arccot)(?![A-Za-z])")
_CHEMISTRY = re.compile(r"\\(?:ce|mathrm\\ce)\{((?:[^{}]|\{[^{}]*\})*)\}")
_PLAIN_CHEMISTRY = re.compile(r"[\w\s()\[\]{}+\-^.,<>=*/·]*", re.ASCII)
_ARROWS = (
    ("<=>", r" \rightleftharpoons "),
    ("<->", r" \leftrightarrow "),
    ("->", r" \rightarrow "),
    ("<-", r" \leftarrow "),
)


def simpler(source: str) -> str:
    """The formula in commands that the library knows, where they say the same."""
    source = _ALIGNED.sub(r"\\\1{split}", source)
    source = _CENTRED.sub(_centred, source)
    source = _NAMES.sub(r"\\operatorname{\1}", source)
    return _CHEMISTRY.sub(_chemistry, source)


def _centred(match: re.Match[str]) -> str:
    return r"\begin{array}{c}" if match[1] == "begin" else r"\end{array}"


def _chemistry(match: re.Match[str]) -> str:
    """Formulas and equations of mhchem; what uses more of it stays as it is."""
    text = match[1]
    if not _PLAIN_CHEMISTRY.fullmatch(text):
        return match[0]
    text = re.sub(r"\^(\d*[+-])", r"^{\1}", text)  # SO4^2-
    text = re.sub(r"(?<=[A-Za-z0-9)\]])([+-])(?=\s|$)", r"^{\1}", text)  # Na+
    text = re.sub(r"(?<=[A-Za-z)\]])(\d+)", r"_{\1}", text)  # H2O, but not the 2 of 2 H2
    for arrow, command in _ARROWS:
        text = text.replace(arrow, command)
    return rf"\mathrm{{{text}}}"
