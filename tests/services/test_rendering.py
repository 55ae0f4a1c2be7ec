"""What people and models write, as HTML: formatted, right in every script, and harmless."""

from __future__ import annotations

import re
import time
from html import unescape

import pytest

from studio.services import rendering
from studio.services.rendering import MAX_CHARACTERS, render_markdown


def test_what_answers_use_is_formatted() -> None:
    html = render_markdown(
        "# Title\n\none\ntwo **bold** ~~gone~~ `x`\n\n- a\n- b\n\n"
        "| a | b |\n|:--|--:|\n| 1 | 2 |\n\n"
        "```python\ndef f(): return '<b>'\n```\n"
    )
    assert '<h3 dir="auto">Title</h3>' in html  # an answer stands below the page's own headings
    assert "one<br>" in html
    assert "<strong>bold</strong> <s>gone</s> <code>x</code>" in html
    assert '<ul dir="ltr">' in html
    assert '<td style="text-align:right" dir="auto">2</td>' in html
    assert '<span class="k">def</span>' in html
    assert "&lt;b&gt;" in html
    assert "one two" in render_markdown("one\ntwo", is_document=True).replace("\n", " ")
    assert render_markdown("") == ""


@pytest.mark.parametrize(
    "source",
    ["$x^2$", r"\(x^2\)", "$$x^2$$", r"\[x^2\]", "\\[\nx^2\n+ 1\n\\]", "- a\n  \\[ x^2 \\]"],
)
def test_formulas_become_mathml_that_keeps_its_source(source: str) -> None:
    html = render_markdown(source)
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in html
    assert 'alttext="x^2' in html


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "columnalign"),
        (r"\begin{aligned}[t] a &= b \end{aligned}", "columnalign"),
        (r"\begin{alignedat}{2} a &= b \end{alignedat}", "columnalign"),
        (r"\left\{\begin{gathered} a \\ b \end{gathered}\right.", "<mtr>"),
        (r"\begin{gather*} a \\ b \end{gather*}", "<mtr>"),
        (r"\underset{x}{\arg\max} f", "<mo>arg</mo>"),
        (r"\ce{2H2 + O2 -> 2H2O}", "<msub>"),
        (r"\ce{SO4^2-}", "<msubsup>"),
        (r"P\left(A \middle| B\right)", "stretchy"),
    ],
)
def test_common_latex_that_the_library_does_not_know_is_drawn(source: str, shown: str) -> None:
    html = render_markdown(f"$$\n{source}\n$$")
    assert shown in html
    assert "rs-tex" not in html
    assert source in unescape(html)


def test_chemistry_beyond_formulas_shows_its_source() -> None:
    assert r"\ce{A ->[\text{hot}] B}" in unescape(render_markdown(r"$\ce{A ->[\text{hot}] B}$"))


def test_money_is_no_formula_and_a_bad_formula_shows_its_source() -> None:
    assert "<math" not in render_markdown("from $5 to $10, or $3 each, in $US")
    for source in (r"\frac{", r"\nonsense x", "{" * 900, r"\text{<script>x</script>}"):
        html = render_markdown(f"${source}$")
        assert "<math" not in html
        assert 'class="rs-tex inline"' in html


def test_markup_in_the_text_is_text_and_nothing_is_fetched() -> None:
    html = render_markdown(
        "<b>x</b> <script>alert(1)</script> ![cat](http://evil.example/c.png)"
        " [a](javascript:alert(1)) [b](/api/health) [c](https://x.example)"
    )
    assert "<b>" not in html
    assert "<script" not in html
    assert "<img" not in html
    assert '<span class="rs-image">cat</span>' in html
    assert re.findall(r'<a href="([^"]*)"', html) == [
        "http://evil.example/c.png",
        "https://x.example",
    ]
    assert html.count('target="_blank" rel="noopener noreferrer nofollow"') == 2


def test_a_list_runs_in_the_direction_of_its_first_letter() -> None:
    assert '<ol dir="rtl">' in render_markdown("1. (1) שלום\n2. hello")
    assert '<ul dir="ltr">' in render_markdown("- hello\n- مرحبا")
    assert '<p dir="auto">' in render_markdown("שלום")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("word " * (MAX_CHARACTERS // 5 + 1), "characters are more than"),
        ("> " * 500 + "deep", "nested too deep"),
        ("![" * 20_000, "took too long"),
    ],
)
def test_what_would_take_long_is_shown_as_it_is_and_says_so(
    text: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "MAX_SECONDS", 0.2)
    start = time.monotonic()
    html = render_markdown(text)
    assert time.monotonic() - start < 20
    assert told in html
    assert html.endswith("</div>")
    assert text.strip()[-4:].replace(">", "&gt;") in html


@pytest.mark.parametrize("text", ["\x00\ud800 \ufffe", "&#0; &#x1F600; &bogus;", "\r\n\r\n\t"])
def test_odd_characters_do_not_break_it(text: str) -> None:
    assert isinstance(render_markdown(text), str)


def test_a_text_is_rendered_once_and_the_cache_stays_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rendering, "_cache", rendering._Cache(3000))
    first = render_markdown("*a*")
    assert render_markdown("*a*") is first
    for number in range(20):
        render_markdown(f"*{number}*" + "x" * 200)
    assert rendering._cache._num_bytes <= 3000
    assert render_markdown("*a*") is not first
