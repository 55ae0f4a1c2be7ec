"""The Data tab on the running application: look, check, import, download."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
RESULT = "#import-result"


def data_tab(page: Page) -> Page:
    page.get_by_role("tab", name="Data", exact=True).click()
    expect(page.locator("#export-links a").first).to_be_visible()
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


def test_a_check_names_every_refused_row_and_keeps_nothing_then_the_import_does(
    open_page: OpenPage, pairs_file: Path
) -> None:
    page = data_tab(open_page("/?project=1"))
    choose(page, pairs_file, "from the page")
    expect(page.locator("#import-preview tbody tr")).to_have_count(5)
    expect(page.locator("#import-preview")).to_contain_text("first is better")
    page.get_by_role("button", name="Check the whole file").click()
    expect(page.locator(RESULT)).to_contain_text("Would import answers.jsonl", timeout=60_000)
    expect(page.locator(RESULT)).to_contain_text("2 refused")
    expect(page.locator(RESULT)).to_contain_text("Nothing was kept")
    refusals = page.locator("#import-refusals tbody tr")
    expect(refusals).to_have_count(2)
    expect(refusals.first).to_contain_text("4")
    expect(page.locator("#project-picker input")).to_have_value("demo")
    page.get_by_text("Pairs to label", exact=True).click()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator(RESULT)).to_contain_text("3 imported", timeout=60_000)
    expect(page.locator("#project-picker input")).to_have_value("from the page")
    page.get_by_role("tab", name="Label", exact=True).click()
    expect(page.locator('[data-part="prompt"]')).to_contain_text("Question")


def test_columns_of_another_form_are_proposed_and_can_be_changed(
    open_page: OpenPage, tmp_path: Path
) -> None:
    path = tmp_path / "arena.csv"
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["question", "wrong", "answer_1", "answer_2", "winner"])
    writer.writerow(["Which <i>?</i>", "not this", "One", "Two", "1"])
    path.write_text(text.getvalue())
    page = data_tab(open_page("/?project=1"))
    choose(page, path, "arena")
    row = page.locator("#import-preview tbody tr")
    expect(row).to_contain_text("say which number is the first answer")
    page.locator("#column-first-number input").click()
    page.get_by_role("option", name="1 is the first").click()
    expect(row).to_contain_text("first is better")
    expect(row).to_contain_text("Which <i>?</i>")
    page.locator("#column-answer_b input").click()
    page.get_by_role("option", name="wrong").click()
    expect(row).to_contain_text("not this")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator(RESULT)).to_contain_text("1 imported", timeout=60_000)


def test_an_unreadable_file_is_one_clear_sentence(open_page: OpenPage, tmp_path: Path) -> None:
    page = data_tab(open_page("/?project=1"))
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator(RESULT)).to_contain_text("No file is chosen")
    path = tmp_path / "broken.jsonl"
    path.write_bytes(b"\xff\xfe{not json\n")
    choose(page, path, "")
    notice = page.locator(f'{RESULT} [data-kind="error"]')
    expect(notice).to_contain_text("broken", timeout=60_000)


def test_an_export_is_downloaded_with_its_counts(open_page: OpenPage) -> None:
    page = data_tab(open_page("/?project=1"))
    with page.expect_download() as download:
        page.get_by_role("link", name="trl.jsonl").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        rows = [json.loads(line) for line in archive.read("trl.jsonl").splitlines()]
        report = json.loads(archive.read("trl.jsonl.report.json"))
    assert {"prompt", "chosen", "rejected"} <= rows[0].keys()
    assert report["rows"] == len(rows) > 0
