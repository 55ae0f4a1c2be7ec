"""A corpus of texts that have broken pages elsewhere, in every place where a text is shown.

Imported as prompts, answers, sources and metadata of a real project, and typed as guidelines,
comments, reasons and edits; then everything is opened. Nothing may run, no dialog may open, no
element may come of it, and (by the `page` fixture) no request may leave the machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Page, expect

from studio.services import importing, projects, queue_settings, workspace
from studio.settings import Settings
from tests.browser.conftest import open_tab, tab_names
from tests.rows import write_jsonl
from tests.serving import Studio
from tests.xss import BREAKING

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
CARD = ".rs-card"
PROJECT = "<img src=x onerror=window.hacked=1> ${window.hacked=1}"
FORBIDDEN = (
    "script, img, iframe, object, embed, video, audio, base, link, meta, style, svg, form, "
    "input:not([type=radio], [type=search]), [onerror], [onload], [onclick], [onmouseover], "
    "[onfocus], a[href^='javascript' i], a[href^='data' i]"
)


def rows() -> list[dict[str, object]]:
    """Each text once as a prompt, as an answer, as a source and in the metadata."""
    count = len(BREAKING)
    return [
        {
            "id": f"x{i}",
            "source": BREAKING[(i + 3) % count],
            "prompt": [
                {"role": "system", "content": BREAKING[(i + 1) % count]},
                {"role": "user", "content": f"{text} {i}"},
            ],
            "chosen": f"{text}",
            "rejected": f"{BREAKING[(i + 2) % count]} .",
            "meta": {"category": BREAKING[(i + 4) % count], "note": text},
        }
        for i, text in enumerate(BREAKING)
    ]


def unharmed(page: Page, where: str) -> None:
    assert page.evaluate("window.hacked") is None, where
    found = page.evaluate(
        "([root, forbidden]) => [...document.querySelectorAll(root)].flatMap("
        "node => [...node.querySelectorAll(forbidden)].map(each => each.outerHTML.slice(0, 200)))",
        [".rs-card, .rs-history, #guidelines", FORBIDDEN],
    )
    assert found == [], where


@pytest.fixture
def hostile(studio: Studio, tiny_backbone: Path, tmp_path: Path) -> int:
    """A project whose every text is of the corpus; its id."""
    path = write_jsonl(tmp_path / "rows.jsonl", rows())
    settings = Settings.read({}, data_dir=str(studio.data_dir), backbone=str(tiny_backbone))
    database = workspace.open_database(settings)
    try:
        report = importing.import_file(
            database,
            path,
            project_name=PROJECT,
            purpose="unlabelled",
            backbone=settings.backbone,
        )
        assert report.project_id is not None
        projects.set_guidelines(database, report.project_id, "\n\n".join(BREAKING))
        queue_settings.update(
            database,
            report.project_id,
            "x",
            reasons=["<img src=x onerror=window.hacked=1>", "${window.hacked=1}"],
            aspects=["<svg onload=window.hacked=1>"],
        )
        return report.project_id
    finally:
        database.dispose()


def test_nothing_that_people_or_files_bring_can_run(
    hostile: int, open_page: OpenPage, page: Page
) -> None:
    dialogs: list[Dialog] = []

    def refuse(dialog: Dialog) -> None:
        dialogs.append(dialog)
        dialog.dismiss()

    page.on("dialog", refuse)
    open_page(f"/?project={hostile}")
    card = page.locator(CARD)
    expect(card).to_have_attribute("data-state", "pair")
    expect(page.locator('[data-part="guide-text"]')).to_contain_text("window.hacked=1")
    page.keyboard.press("d")
    num_shown = 0
    while num_shown < len(BREAKING):
        expect(card).to_have_attribute("data-state", re.compile("pair|empty"))
        if card.get_attribute("data-state") == "empty":
            break
        shown = card.get_attribute("data-showing") or ""
        unharmed(page, f"pair {num_shown}: {card.inner_text()[:300]}")
        if num_shown % 10 == 0:
            page.keyboard.press("t")
            unharmed(page, "plain text")
            page.keyboard.press("t")
            page.keyboard.press("c")
            page.keyboard.insert_text(BREAKING[num_shown])
            page.keyboard.press("Enter")
        page.keyboard.press("2")
        expect(card).not_to_have_attribute("data-showing", shown)
        num_shown += 1
    assert num_shown > 60
    expect(page.locator('[data-part="save"]')).to_have_attribute("data-save", "saved")
    page.get_by_role("tab", name="History", exact=True).click()
    expect(page.locator(".rs-vote")).to_have_count(20)
    for row in page.locator(".rs-row").all()[:8]:
        row.click()
    unharmed(page, "history")
    for tab in tab_names(page):
        open_tab(page, tab)
        page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert dialogs == []
