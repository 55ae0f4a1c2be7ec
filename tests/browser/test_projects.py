"""The Projects tab on the running application: import with its report, archive and restore."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
RESULT = "#import-result"


def projects_tab(page: Page) -> Page:
    page.get_by_role("tab", name="Projects", exact=True).click()
    expect(page.locator("#project-list")).to_contain_text("demo")
    return page


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    rows: list[object] = [
        {"prompt": f"Question {n}?", "chosen": f"Good {n}", "rejected": f"Bad {n}"}
        for n in range(3)
    ]
    rows.append({"prompt": "No winner <b>", "rejected": "Alone"})
    rows.append({"prompt": "Equal", "chosen": "Same", "rejected": "Same"})
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def choose(page: Page, path: Path, project: str) -> None:
    page.locator("#import-file input[type=file]").set_input_files(path)
    expect(page.locator("#import-file")).to_contain_text(path.stem)
    page.locator("#import-project textarea, #import-project input").first.fill(project)


def test_a_dry_run_names_every_refused_row_and_keeps_nothing(
    open_page: OpenPage, pairs_file: Path
) -> None:
    page = projects_tab(open_page("/?project=1"))
    choose(page, pairs_file, "from the page")
    page.get_by_label("Dry run").check()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator(RESULT)).to_contain_text("Would import answers.jsonl", timeout=60_000)
    expect(page.locator(RESULT)).to_contain_text("2 refused")
    refusals = page.locator("#import-refusals tbody tr")
    expect(refusals).to_have_count(2)
    expect(refusals.first).to_contain_text("4")
    expect(page.locator("#project-list")).not_to_contain_text("from the page")


def test_an_import_makes_the_project_and_chooses_it(open_page: OpenPage, pairs_file: Path) -> None:
    page = projects_tab(open_page("/?project=1"))
    choose(page, pairs_file, "from the page")
    page.get_by_text("Pairs to label", exact=True).click()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator(RESULT)).to_contain_text("3 imported", timeout=60_000)
    expect(page.locator("#project-list")).to_contain_text("from the page")
    expect(page.locator("#project-picker input")).to_have_value("from the page")
    page.get_by_role("tab", name="Label", exact=True).click()
    expect(page.locator('[data-part="prompt"]')).to_contain_text("Question")


def test_an_unreadable_file_is_one_clear_sentence(open_page: OpenPage, tmp_path: Path) -> None:
    page = projects_tab(open_page("/?project=1"))
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator(RESULT)).to_contain_text("No file is chosen")
    path = tmp_path / "broken.jsonl"
    path.write_bytes(b"\xff\xfe{not json\n")
    choose(page, path, "")
    page.get_by_role("button", name="Import", exact=True).click()
    notice = page.locator(f'{RESULT} [data-kind="error"]')
    expect(notice).to_contain_text("broken", timeout=60_000)


def test_archiving_takes_a_project_out_of_the_picker_and_restoring_brings_it_back(
    open_page: OpenPage,
) -> None:
    page = projects_tab(open_page("/?project=1"))
    page.locator("#new-name textarea, #new-name input").first.fill("short lived")
    page.get_by_role("button", name="Create project").click()
    expect(page.locator("#project-picker input")).to_have_value("short lived")
    page.get_by_role("button", name="Archive this project").click()
    expect(page.locator("#project-picker input")).to_have_value("demo")
    row = page.get_by_role("row", name="short lived")
    expect(row).to_contain_text("archived")
    page.locator("#archived-picker input").click()
    page.get_by_role("option", name="short lived").click()
    page.get_by_role("button", name="Restore").click()
    expect(page.locator("#project-picker input")).to_have_value("short lived")
    expect(row).not_to_contain_text("archived")


def test_guidelines_are_edited_and_annotators_read_them_as_meant(open_page: OpenPage) -> None:
    page = projects_tab(open_page("/?project=1"))
    page.locator("#edit-guidelines > button").click()
    box = page.get_by_label("Guidelines of this project")
    expect(box).to_have_value(re.compile("Does it do what was asked"))
    box.fill("# First\n**Be fair** to both\nanswers.\n\n1. one\n2. two <img src=x>")
    page.get_by_role("button", name="Save guidelines").click()
    expect(page.locator("#guidelines-result")).to_contain_text("Saved as version 2")
    page.get_by_role("tab", name="Label", exact=True).click()
    page.locator("#guidelines > button").click()
    text = page.locator("#guidelines-text")
    expect(text.locator("h3")).to_have_text("First")
    expect(text.locator("p")).to_have_text("Be fair to both answers.")
    expect(text.locator("strong")).to_have_text("Be fair")
    expect(text.locator("ol li")).to_have_text(["one", "two <img src=x>"])
    expect(text.locator("img")).to_have_count(0)
