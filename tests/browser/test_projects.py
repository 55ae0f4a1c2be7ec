"""The Projects tab on the running application: guidelines, archive and restore."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]


def projects_tab(page: Page) -> Page:
    page.get_by_role("tab", name="Projects", exact=True).click()
    expect(page.locator("#project-list")).to_contain_text("demo")
    return page


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
    text = page.locator('[data-part="guide-text"]')
    expect(text.locator("h1, h2, h3, h4")).to_have_text("First")
    expect(text.locator("p")).to_have_text("Be fair to both answers.")
    expect(text.locator("strong")).to_have_text("Be fair")
    expect(text.locator("ol li")).to_have_text(["one", "two <img src=x>"])
    expect(text.locator("img")).to_have_count(0)
