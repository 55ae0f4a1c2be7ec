"""Texts of prompts, answers, comments and guidelines as HTML that is safe to put into a page.

    html = render_markdown("**Hi**, $x^2$")        # never raises, whatever the text

Two walls: the parser (`markup.py`) writes no HTML that stands in the text, and what it wrote goes
through nh3 with the list below, whose every entry is one that the parser writes itself. There is no
`img`, no `id`, no `style` but a table cell's alignment; nothing in the result makes a browser ask
for anything.

A text that is very long, or takes long to parse, comes back as plain text under a line that says
so: nothing is left out.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from html import escape

import nh3
from pygments.token import STANDARD_TYPES

from studio.services.markup import MATH_ATTRIBUTES, MATHML, Deadline, TooMuch, parser

MAX_CHARACTERS = 60_000
MAX_SECONDS = 1.0
MAX_CACHED_BYTES = 32_000_000

_TAGS = """
    p br hr em strong s code pre blockquote ul ol li h3 h4 h5 h6 a span div
    table thead tbody tr th td
"""
_WITH_DIRECTION = ("p", "h3", "h4", "h5", "h6", "blockquote", "ul", "pre", "table", "th", "td")
TAGS = {*_TAGS.split(), *MATHML}
ATTRIBUTES = {
    "a": {"href", "title"},
    "ol": {"start", "dir"},
    **{tag: {"dir"} for tag in (*_WITH_DIRECTION, "span", "code")},
    **{tag: set(MATH_ATTRIBUTES) for tag in MATHML},
}
CLASSES = {
    "span": {"rs-math", "rs-image", "inline", "block", *filter(None, STANDARD_TYPES.values())},
    "code": {"rs-tex", "inline", "block"},
    "div": {"rs-table", "rs-plain"},
    "p": {"rs-note"},
}
_CLEANER = nh3.Cleaner(
    tags=TAGS,
    attributes=ATTRIBUTES,
    allowed_classes=CLASSES,
    clean_content_tags={"script", "style"},
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}},
    tag_attribute_values={
        tag: {"style": {f"text-align:{side}" for side in ("left", "center", "right")}}
        for tag in ("th", "td")
    },
)


class _Cache:
    """The newest results by the digest of their text, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> str | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: bytes, html: str) -> None:
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = html
            self._num_bytes += _size(html)
            while self._num_bytes > self._max_bytes:
                self._num_bytes -= _size(self._kept.popitem(last=False)[1])


def _size(html: str) -> int:
    return 2 * len(html) + 200


_cache = _Cache(MAX_CACHED_BYTES)


def render_markdown(text: str, *, is_document: bool = False) -> str:
    """The text as sanitised HTML; "" for an empty text.

    In chats a new line is one that somebody meant, and is kept; in a document, such as guidelines
    or a README, lines are filled as in any Markdown file.
    """
    if not text:
        return ""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    digest.update(b"document" if is_document else b"chat")
    key = digest.digest()
    html = _cache.get(key)
    if html is None:
        html = _render(text, is_document=is_document)
        _cache.put(key, html)
    return html


def plain_html(text: str, note: str = "") -> str:
    """The text as it is, with a note above it if there is one."""
    told = f'<p class="rs-note">{escape(note)}</p>' if note else ""
    return _CLEANER.clean(f'{told}<div class="rs-plain">{escape(text)}</div>')


def _render(text: str, *, is_document: bool) -> str:
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate has no UTF-8
    if len(text) > MAX_CHARACTERS:
        return plain_html(
            text,
            f"Shown as plain text: {len(text):,} characters are more than the {MAX_CHARACTERS:,} "
            "that are shown with their formatting.",
        )
    try:
        html = parser(breaks=not is_document).render(text, {"deadline": Deadline(MAX_SECONDS)})
    except TooMuch as reason:
        return plain_html(text, f"Shown as plain text: {reason}.")
    except RecursionError:
        return plain_html(text, "Shown as plain text: its formatting is nested too deep.")
    return _CLEANER.clean(html)
