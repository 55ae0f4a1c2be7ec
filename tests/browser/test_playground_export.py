"""The heatmap as PNG, SVG and JSON: whole, readable and named for what it is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.components.harness import comparison_of, judged

pytestmark = pytest.mark.browser

Show = Callable[..., Page]
TEXT = "{http://www.w3.org/2000/svg}text"
RECT = "{http://www.w3.org/2000/svg}rect"
TALL = "\n\n".join(
    f"Paragraph {n} has some words, and a few more of them to read." for n in range(60)
)
# Where the drawn text lies: what is outside the picture, and words that run into each other.
FAULTS = """(svg) => {
  const box = document.createElement("div");
  box.style.cssText = "position: fixed; top: 0; left: 0";
  document.body.append(box);
  box.innerHTML = svg;
  const root = box.querySelector("svg");
  const [width, height] = [root.width.baseVal.value, root.height.baseVal.value];
  const texts = [...root.querySelectorAll("text")]
    .map((node) => ({ text: node.textContent, box: node.getBBox() }));
  const outside = texts.filter(({ box: { x, y, width: w, height: h } }) =>
    x < 0 || y < 0 || x + w > width || y + h > height);
  const colliding = [];
  for (let i = 0; i < texts.length; i += 1) {
    for (let j = i + 1; j < Math.min(texts.length, i + 40); j += 1) {
      const [one, other] = [texts[i].box, texts[j].box];
      const across = Math.min(one.x + one.width, other.x + other.width) - Math.max(one.x, other.x);
      const down = Math.min(one.y + one.height, other.y + other.height) - Math.max(one.y, other.y);
      if (across > 2.5 && down > 6) colliding.push([texts[i].text, texts[j].text, across]);
    }
  }
  box.remove();
  return { outside: outside.map(({ text }) => text), colliding };
}"""


def exported(page: Page, kind: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=kind, exact=True).click()
    return download.value.path().read_bytes()


def drawn(picture: str) -> list[str]:
    """The words in the picture, in their order."""
    return [node.text or "" for node in ElementTree.fromstring(picture).iter(TEXT)]


def is_run(wanted: list[str], found: list[str]) -> bool:
    """Whether all of `wanted` stand in `found` one after another; line marks aside."""
    text = [word for word in found if word != "↵"]
    return any(text[i : i + len(wanted)] == wanted for i in range(len(text)))


def test_an_answer_taller_than_the_window_is_exported_whole_wherever_it_is_scrolled(
    show: Show,
) -> None:
    page = show(TALL, "another answer " * 30)
    box = page.locator(".rs-tokens").first
    assert box.evaluate("node => node.scrollHeight > 2 * node.clientHeight")
    picture = exported(page, "SVG").decode()
    words = drawn(picture)
    assert is_run(TALL.split(), words)
    assert is_run(("another answer " * 30).split(), words)
    assert page.evaluate(FAULTS, picture) == {"outside": [], "colliding": []}
    box.evaluate("node => { node.scrollTop = 700; }")
    page.set_viewport_size({"width": 390, "height": 700})
    assert exported(page, "SVG").decode() == picture
    image = Image.open(io.BytesIO(exported(page, "PNG"))).convert("L")
    root = ElementTree.fromstring(picture)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert image.width / image.height == pytest.approx(width / height, rel=0.01)
    scale = image.height / height
    last = next(node for node in reversed(list(root.iter(TEXT))) if node.text == "59")
    x, y = float(last.attrib["x"]) * scale, float(last.attrib["y"]) * scale
    there = image.crop((int(x), int(y - 12 * scale), int(x + 14 * scale), int(y)))
    assert there.getextrema()[0] < 100  # the ink of its last paragraph


def test_words_that_tokens_cut_are_drawn_whole(show: Show) -> None:
    text = "an office, مرحبا بالعالم\nعربي (مع English) هنا\nlong" + "x" * 300 + " 你好，世界"
    page = show(comparison=judged([*((letter, 0.01) for letter in text), ("", 0.1)], [("", 0.0)]))
    picture = exported(page, "SVG").decode()
    words = drawn(picture)
    assert is_run(["an", "office,", "مرحبا", "بالعالم", "عربي", "(مع", "English)", "هنا"], words)
    broken = [word for word in words if word.startswith(("x", "long"))]
    assert "".join(broken) == "long" + "x" * 300
    assert len(broken) > 1
    assert "你好，世界" in words
    faults = page.evaluate(FAULTS, picture)
    assert faults == {"outside": [], "colliding": []}
    directions = {
        node.text: node.get("direction") for node in ElementTree.fromstring(picture).iter(TEXT)
    }
    assert directions["English)"] == "rtl"  # of its paragraph, as on the page
    assert directions["مرحبا"] is None


def test_text_stands_on_the_colours_and_the_source_is_whole(show: Show) -> None:
    comparison = comparison_of("alpha beta gamma " * 40)
    comparison["backbone"] = "a backbone with a very long name " * 12
    page = show(comparison=comparison)
    picture = exported(page, "SVG").decode()
    root = ElementTree.fromstring(picture)
    assert len(list(root.iter(RECT))) > 100
    kinds = [node.tag for node in root]
    assert kinds.index(TEXT) > 0
    words = [node.text or "" for node in root.iter(TEXT)]
    source = page.locator('[data-part="source"]').inner_text()
    begin = next(i for i, word in enumerate(words) if word.startswith("Scored by"))
    assert len(words) - begin > 2  # over several lines
    assert " ".join(" ".join(words[begin:]).split()) == " ".join(source.split())
    assert page.evaluate(FAULTS, picture)["outside"] == []
    assert exported(page, "PNG").startswith(b"\x89PNG")


def test_a_difference_says_that_it_is_one(show: Show) -> None:
    comparison = comparison_of("alpha beta", "other")
    comparison["against"] = comparison_of("alpha beta", "other") | {"checkpoint": {"id": 7}}
    comparison["against"]["answers"][0]["reward"] += 0.25
    page = show(comparison=comparison)
    assert "reward_difference" not in json.loads(exported(page, "JSON"))["answers"][0]
    page.get_by_role("radio", name="Difference").check(force=True)
    words = drawn(exported(page, "SVG").decode())
    assert "Answer A · checkpoint 3 minus checkpoint 7   difference −0.250" in words
    assert any(word.startswith("Difference of contribution") for word in words)
    data = json.loads(exported(page, "JSON"))
    assert data["note"] == "Every number is checkpoint 3 minus checkpoint 7."
    assert data["answers"][0]["reward_difference"] == pytest.approx(-0.25)
    page.get_by_role("radio", name="Both").check(force=True)
    words = drawn(exported(page, "SVG").decode())
    expect(page.locator(".rs-map")).to_have_count(4)
    for title in ("Answer A · checkpoint 3", "Answer A · checkpoint 7", "Answer B · checkpoint 7"):
        assert any(word.startswith(title) for word in words)
