"""The whole loop on the real backbone: label, train, heatmap, in a browser on a real server."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from studio.services import demo
from tests.rows import write_jsonl
from tests.serving import Studio, run_console, running_studio

pytestmark = [pytest.mark.browser, pytest.mark.backbone]

PROJECT = "first light"
NUM_JUDGED = 10
NUM_OPEN = 3
MAX_CHARACTERS = 1500  # short conversations: the real backbone takes its time on two cores
CARD = ".rs-card"
SAVE = '[data-part="save"]'
UNUSUAL = "你好，世界 👩‍🚀!\n\n\tcode(x)  <b>naïve</b> é"


def short_rows() -> list[dict[str, Any]]:
    """Real pairs of the demo, short ones, one a prompt."""
    by_prompt: dict[str, dict[str, Any]] = {}
    for row in demo.demo_rows():
        if len(json.dumps(row, ensure_ascii=False)) < MAX_CHARACTERS:
            by_prompt.setdefault(json.dumps(row["prompt"]), row)
    return list(by_prompt.values())[: NUM_JUDGED + NUM_OPEN]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server with the embedded backbone and a small project, imported from the console."""
    folder = tmp_path_factory.mktemp("first-light")
    rows = short_rows()
    judged = write_jsonl(folder / "judged.jsonl", rows[:NUM_JUDGED])
    unjudged = write_jsonl(folder / "open.jsonl", rows[NUM_JUDGED:])
    for path, purpose in ((judged, "votes"), (unjudged, "unlabelled")):
        arguments = ["--project", PROJECT, "--as", purpose, "--data-dir", str(folder / "data")]
        done = run_console("import", str(path), *arguments)
        assert done.returncode == 0, done.stderr
    with running_studio(folder / "data", "embedded") as server:
        yield server


@pytest.fixture
def loaded(page: Page, studio: Studio) -> Page:
    page.goto(studio.url)
    page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    return page


def stored(studio: Studio, query: str) -> list[tuple[Any, ...]]:
    """What the database holds, read past the application."""
    with contextlib.closing(sqlite3.connect(studio.data_dir / "studio.db")) as connection:
        return connection.execute(query).fetchall()


def test_label_then_train_then_heatmap(loaded: Page, studio: Studio) -> None:
    label_all(loaded, studio)
    train(loaded, studio)
    look_at_the_heatmap(loaded)
    assert_the_console_agrees(studio)


def label_all(page: Page, studio: Studio) -> None:
    """Judge every open pair with the keyboard; the row is there once the page says saved.

    In plain text: rendered as Markdown, an answer's own characters could not be compared.
    """
    expect(page.locator(CARD)).to_have_attribute("data-state", "pair")
    page.keyboard.press("t")
    for number, key in enumerate(("1", "6", "4"), start=1):
        expect(page.locator(CARD)).to_have_attribute("data-state", "pair")
        showing = page.locator(CARD).get_attribute("data-showing")
        left = page.locator('[data-part="left-text"]').evaluate("node => node.textContent")
        page.keyboard.press(key)
        expect(page.locator(SAVE)).to_have_attribute("data-save", "saved")
        rows = stored(
            studio,
            "SELECT v.choice, v.left_side, v.strength, ra.text, rb.text FROM vote v "
            "JOIN pair p ON p.id = v.pair_id JOIN response ra ON ra.id = p.response_a_id "
            f"JOIN response rb ON rb.id = p.response_b_id WHERE v.showing_id = {showing}",
        )
        assert len(rows) == 1
        choice, left_side, strength, text_a, text_b = rows[0]
        assert left.strip() == (text_a if left_side == "a" else text_b).strip()
        other = "b" if left_side == "a" else "a"
        assert (choice, strength) == {1: (left_side, 3), 2: (other, 2), 3: ("tie", None)}[number]
    expect(page.locator(CARD)).to_have_attribute("data-state", "empty")
    assert stored(studio, "SELECT count(*) FROM vote WHERE annotator = 'local'") == [(3,)]


def train(page: Page, studio: Studio) -> None:
    page.get_by_role("tab", name="Train", exact=True).click()
    page.get_by_role("button", name="Train", exact=True).click()
    results = page.locator("#train-results")
    expect(results).to_contain_text("Checkpoint 1", timeout=180_000)
    expect(results).to_contain_text("Length alone")
    expect(page.locator(".rs-plots canvas, .rs-plots svg.marks").first).to_be_visible()
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    page.get_by_role("tab", name="Train", exact=True).click()
    expect(page.locator("#train-results")).to_contain_text("Checkpoint 1")
    expect(page.locator(".rs-plots canvas, .rs-plots svg.marks").first).to_be_visible()
    (checkpoint,) = stored(studio, "SELECT directory, metrics FROM checkpoint")
    manifest = studio.data_dir / "checkpoints" / checkpoint[0] / "manifest.json"
    assert json.loads(manifest.read_text())["backbone"]["spec"] == "embedded"
    # Three pairs were judged here; the tie and the imported ones train as well.
    assert json.loads(checkpoint[1])["num_pairs"] == NUM_JUDGED + NUM_OPEN


def look_at_the_heatmap(page: Page) -> None:
    page.get_by_role("tab", name="Playground", exact=True).click()
    page.get_by_label("Prompt", exact=True).fill("Say hello.")
    page.get_by_label("Answer A", exact=True).fill(UNUSUAL)
    page.get_by_label("Answer B", exact=True).fill("No.")
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator(".rs-heat")).to_contain_text("scored lower than", timeout=120_000)
    texts = page.locator(".rs-tokens").evaluate_all("nodes => nodes.map(n => n.textContent)")
    assert texts == [UNUSUAL, "No."]


def assert_the_console_agrees(studio: Studio) -> None:
    """`score --tokens` on the running server's data: the contract, with the real tokenizer."""
    path = studio.data_dir.parent / "lines.jsonl"
    long = "The quick brown fox jumps over the lazy dog. " * 60
    texts = [UNUSUAL, "", "def f(x):\n    return x  # ok\r\n", "a<|im_end|>b", long]
    write_jsonl(path, [{"prompt": "Say hello.", "response": text} for text in texts])
    done = studio.console("score", str(path), "--tokens", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for text, line in zip(texts, lines, strict=True):
        assert "".join(token["text"] for token in line["tokens"]) == text
        shares = math.fsum(token["contribution"] for token in line["tokens"])
        assert shares == pytest.approx(line["reward"], abs=1e-6)
