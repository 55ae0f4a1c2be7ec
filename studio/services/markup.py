"""The Markdown that people and models write in answers: CommonMark, tables, code, formulas.

    html = parser().render(text, {"deadline": Deadline(1.0)})       # not yet sanitised

Raw HTML is off (it shows as text), images become links, single newlines stay, and formulas in
`$..$`, `$$..$$`, `\\(..\\)`, `\\[..\\]` or an AMS environment become MathML. A formula that cannot
be read shows its source. `rendering.py` is what the rest of the studio calls.
"""

from __future__ import annotations

import re
import time
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import MutableMapping, Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from latex2mathml.converter import convert as latex_to_mathml
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES, Token
from pygments.util import ClassNotFound

from studio.services.latex import simpler

if TYPE_CHECKING:
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token as Mark

MAX_FORMULA = 2_000  # characters; longer ones show their source
MAX_FORMULA_LINES = 60
MAX_HIGHLIGHTED = 20_000  # characters of one block of code; longer ones have one colour
MAX_NESTING = 40
SHIFT = 2  # an answer stands below the page's h2, so its h1 is an h3
LINK_SCHEMES = ("http://", "https://", "mailto:")
ENVIRONMENT = re.compile(
    r"\\begin\{((?:equation|align|gather|alignat|multline|[pbBvV]?matrix|cases)\*?)\}"
)
# What may stand in a formula; where anything else would (an `href`, a `style`), its source shows.
_MATHML = """
    math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover
    mmultiscripts mprescripts mtable mtr mtd mlabeledtr mstyle mpadded mphantom menclose
"""
_MATH_ATTRIBUTES = """
    display displaystyle scriptlevel stretchy fence separator lspace rspace minsize maxsize form
    symmetric largeop movablelimits accent accentunder linethickness columnalign rowalign
    columnspacing rowspacing columnlines rowlines frame mathvariant mathcolor width height depth
    voffset notation alttext dir
"""
MATHML = frozenset(_MATHML.split())
MATH_ATTRIBUTES = frozenset(_MATH_ATTRIBUTES.split())
CONTAINERS = {  # what holds other blocks: its direction is that of its first letter
    "bullet_list_open": "bullet_list_close",
    "ordered_list_open": "ordered_list_close",
    "blockquote_open": "blockquote_close",
    "table_open": "table_close",
}
Env = MutableMapping[str, Any]


class TooMuch(Exception):
    """The text takes longer than it may, or nests deeper: it has to be shown as it is."""


class Deadline:
    """A moment after which parsing stops; asked at every step, since a thread cannot be stopped."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() > self._until:
            raise TooMuch("its formatting took too long to work out")


@cache
def parser(*, breaks: bool = True) -> MarkdownIt:
    """The parser, ready; `render` keeps no state, so threads share it."""
    md = MarkdownIt("commonmark", {"html": False, "breaks": breaks, "maxNesting": MAX_NESTING})
    md.enable(["table", "strikethrough"])
    dollarmath_plugin(
        md,
        allow_labels=False,
        allow_space=False,
        allow_digits=False,  # so that "from $5 to $10" stays money
        allow_blank_lines=False,
        double_inline=True,
    )
    md.inline.ruler.before("escape", "brackets", _bracket_inline)
    md.block.ruler.before(
        "fence",
        "brackets_block",
        _math_block,
        {"alt": ["paragraph", "reference", "blockquote", "list"]},
    )
    md.inline.ruler.before("text", "deadline", _check_deadline)
    md.block.ruler.before("table", "deadline", _check_deadline_of_block)
    md.core.ruler.push("directions", _mark_directions)
    md.validateLink = _is_link_allowed  # type: ignore[method-assign]
    for name, rule in _RENDER_RULES.items():
        md.add_render_rule(name, rule)
    return md


def first_direction(text: str) -> str | None:
    """`rtl` or `ltr` by the first letter that has a direction; None where none has."""
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind == "L":
            return "ltr"
        if kind in ("R", "AL"):
            return "rtl"
    return None


# --- parsing -----------------------------------------------------------------------------------


def _check_deadline(state: StateInline, _silent: bool) -> bool:
    state.env["deadline"].check()
    return False


def _check_deadline_of_block(state: StateBlock, _start: int, _end: int, _silent: bool) -> bool:
    state.env["deadline"].check()
    # Below its deepest level the parser would leave text out; a container adds up to two.
    if state.level >= MAX_NESTING - 2:
        raise TooMuch("its lists and quotes are nested too deep")
    return False


def _is_link_allowed(url: str) -> bool:
    """Addresses of the web and of mail; a path would point into the studio itself."""
    return url.strip().lower().startswith(LINK_SCHEMES)


def _bracket_inline(state: StateInline, silent: bool) -> bool:
    r"""`\(..\)` and, inside a line, `\[..\]`."""
    opening = state.src[state.pos : state.pos + 2]
    closing = {r"\(": r"\)", r"\[": r"\]"}.get(opening)
    if closing is None:
        return False
    end = state.src.find(closing, state.pos + 2, state.pos + 2 + MAX_FORMULA)
    if end < 0 or not state.src[state.pos + 2 : end].strip():
        return False
    if not silent:
        kind = "math_inline" if closing == r"\)" else "math_inline_double"
        token = state.push(kind, "math", 0)
        token.content = state.src[state.pos + 2 : end]
        token.markup = opening
    state.pos = end + 2
    return True


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    r"""`\[` to `\]`, or an AMS environment, from the start of a line to the end of another."""
    closing = _closing(_line(state, start))
    if closing is None or state.sCount[start] - state.blkIndent >= 4:
        return False
    for line in range(start, min(end, start + MAX_FORMULA_LINES)):
        text = _line(state, line)
        if line > start and (not text or state.sCount[line] < state.blkIndent):
            return False
        if text.endswith(closing):
            break
    else:
        return False
    if silent:
        return True
    token = state.push("math_block", "math", 0)
    token.block = True
    lines = state.getLines(start, line + 1, state.blkIndent, False).strip()
    token.content = lines.removeprefix(r"\[").removesuffix(r"\]")
    token.map = [start, line + 1]
    state.line = line + 1
    return True


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()


def _closing(text: str) -> str | None:
    if text.startswith(r"\["):
        return r"\]"
    found = ENVIRONMENT.match(text)
    return rf"\end{{{found[1]}}}" if found else None


def _mark_directions(state: Any) -> None:
    """`dir` on every block: by its own text, and on lists, quotes and tables by their content."""
    open_ones: list[tuple[str, Mark]] = []
    for token in state.tokens:
        if token.type in CONTAINERS:
            open_ones.append((CONTAINERS[token.type], token))
        elif open_ones and token.type == open_ones[-1][0]:
            open_ones.pop()
        elif token.type in ("paragraph_open", "heading_open", "th_open", "td_open"):
            token.attrSet("dir", "auto")
        elif token.type == "inline":
            undecided = [each for _, each in open_ones if not each.attrGet("dir")]
            direction = first_direction(token.content) if undecided else None
            for each in undecided if direction else ():
                each.attrSet("dir", str(direction))


# --- writing -----------------------------------------------------------------------------------


def formula(source: str, *, is_block: bool) -> str:
    """MathML of a LaTeX formula, or its source where it cannot be read."""
    mathml = _mathml(source, "block" if is_block else "inline")
    kind = "block" if is_block else "inline"
    if mathml is None:
        return f'<code class="rs-tex {kind}" dir="ltr">{escape(source.strip())}</code>'
    return f'<span class="rs-math {kind}" dir="ltr">{mathml}</span>'


def _mathml(source: str, display: str) -> str | None:
    if len(source) > MAX_FORMULA:
        return None
    try:
        root = ElementTree.fromstring(latex_to_mathml(simpler(source.strip()), display=display))
    except Exception:  # noqa: BLE001 - a malformed formula raises whatever went wrong inside
        return None
    for element in root.iter():
        name = element.tag = element.tag.rpartition("}")[2]
        # An unknown command comes back as an identifier with its backslash.
        if name not in MATHML or "\\" in (element.text or ""):
            return None
        if not MATH_ATTRIBUTES.issuperset(element.attrib):
            return None
    root.set("alttext", source.strip())
    return ElementTree.tostring(root, encoding="unicode")


def highlighted(code: str, language: str, deadline: Deadline) -> str:
    """Code as escaped text, its words in `<span class>` where the language is known."""
    lexer = _lexer(language) if len(code) <= MAX_HIGHLIGHTED else None
    if lexer is None:
        return escape(code)
    parts = []
    for kind, text in lexer.get_tokens(code):
        deadline.check()
        while kind not in STANDARD_TYPES:
            kind = kind.parent or Token
        name = STANDARD_TYPES[kind]
        parts.append(f'<span class="{name}">{escape(text)}</span>' if name else escape(text))
    return "".join(parts)


@cache
def _known_lexer(language: str) -> Any:
    return get_lexer_by_name(language, stripnl=False, ensurenl=False)


def _lexer(language: str) -> Any:
    name = language.strip().split(maxsplit=1)[0].lower() if language.strip() else ""
    if not name or len(name) > 30:
        return None
    try:
        return _known_lexer(name)
    except ClassNotFound:
        return None


def _code(code: str, language: str, env: Env) -> str:
    body = highlighted(code, language, env["deadline"])
    return f'<pre dir="ltr"><code>{body}</code></pre>\n'


def _render_fence(_self: Any, tokens: Sequence[Mark], i: int, _options: Any, env: Env) -> str:
    return _code(tokens[i].content, tokens[i].info, env)


def _render_code(_self: Any, tokens: Sequence[Mark], i: int, _options: Any, env: Env) -> str:
    return _code(tokens[i].content, "", env)


def _render_inline_math(_self: Any, tokens: Sequence[Mark], i: int, _o: Any, env: Env) -> str:
    env["deadline"].check()
    return formula(tokens[i].content, is_block=False)


def _render_block_math(_self: Any, tokens: Sequence[Mark], i: int, _o: Any, env: Env) -> str:
    env["deadline"].check()
    return formula(tokens[i].content, is_block=True)


def _render_image(_self: Any, tokens: Sequence[Mark], i: int, _options: Any, _env: Env) -> str:
    """Nothing is fetched: what the image is called, and where it is."""
    address = escape(str(tokens[i].attrGet("src") or ""))
    name = escape(tokens[i].content.strip()) or "image"
    return f'<span class="rs-image">{name}</span> (<a href="{address}">{address}</a>)'


def _render_heading_open(_self: Any, tokens: Sequence[Mark], i: int, _o: Any, _env: Env) -> str:
    return f'<{_lower(tokens[i].tag)} dir="auto">'


def _render_heading_close(_self: Any, tokens: Sequence[Mark], i: int, _o: Any, _env: Env) -> str:
    return f"</{_lower(tokens[i].tag)}>\n"


def _lower(heading: str) -> str:
    return f"h{min(6, int(heading[1]) + SHIFT)}"


def _render_table_open(self: Any, tokens: Sequence[Mark], i: int, options: Any, env: Env) -> str:
    return '<div class="rs-table">' + str(self.renderToken(tokens, i, options, env))


def _render_table_close(_self: Any, _tokens: Sequence[Mark], _i: int, _o: Any, _env: Env) -> str:
    return "</table></div>\n"


_RENDER_RULES: dict[str, Any] = {
    "fence": _render_fence,
    "code_block": _render_code,
    "image": _render_image,
    "heading_open": _render_heading_open,
    "heading_close": _render_heading_close,
    "table_open": _render_table_open,
    "table_close": _render_table_close,
    "math_inline": _render_inline_math,
    "math_inline_double": _render_block_math,
    "math_block": _render_block_math,
}
