"""Many people in one studio: sign in, invite, join, be let do more and no more, sign out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from studio.services import accounts, projects
from studio.services.passwords import Cost
from tests.browser.conftest import READY_MS, Complaints
from tests.serving import Studio, running_studio
from tests.workspace import Workspace, kindness, make_workspace

pytestmark = pytest.mark.browser

CHEAP = Cost(n=16, r=1, p=1)
WORDS = "correct horse"
PAYLOAD = "<img src=x onerror=alert(1)>${alert(2)}{{alert(3)}}"
NARROW = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Workspace:
    """Two projects, one of them named to do harm; the admin Mara and somebody named likewise."""
    here = make_workspace(tmp_path_factory.mktemp("accounts") / "data", tiny_backbone)
    here.project_id = here.add(kindness(8))
    here.add(kindness(4, first=80), purpose="unlabelled")
    harmful = here.add([{**row, "id": f"x-{row['id']}"} for row in kindness(3, first=50)], PAYLOAD)
    projects.set_guidelines(here.database, harmful, f"# {PAYLOAD}\n\n[x](javascript:alert(4))")
    accounts.create(here.database, "Mara", WORDS, is_admin=True, cost=CHEAP)
    accounts.create(here.database, PAYLOAD, WORDS, project_id=harmful, role="lead", cost=CHEAP)
    here.database.dispose()
    return here


@pytest.fixture(scope="module")
def studio(prepared: Workspace, tiny_backbone: Path) -> Iterator[Studio]:
    with running_studio(prepared.settings.data_dir, tiny_backbone) as server:
        yield server


@pytest.fixture
def visitor(
    browser: Browser, complaints: Complaints, studio: Studio
) -> Iterator[Callable[..., Page]]:
    """Makes browsers of their own; each fails the test on a script that a name has run."""
    complaints.allow("Failed to load resource")  # a refused sign-in is a page with a status
    contexts = []

    def make(**options: object) -> Page:
        context = browser.new_context(viewport={"width": 1366, "height": 768}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        complaints.watch(page)
        page.on("dialog", lambda dialog: complaints.found.append(f"ran: {dialog.message}"))
        page.goto(studio.url)
        return page

    yield make
    for context in contexts:
        context.close()
    assert not complaints.standing(), "\n".join(complaints.standing())


def sign_in(page: Page, name: str = "Mara", password: str = WORDS) -> Page:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    return page


def ready(page: Page) -> Page:
    page.wait_for_selector("html[data-ready]", state="attached", timeout=READY_MS)
    return page


def tabs_of(page: Page) -> list[str]:
    return page.locator("#rs-tabs").get_by_role("tab").all_inner_texts()


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {v['nodes'][0]['html']}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


def test_an_invited_annotator_from_the_link_to_the_last_vote(
    visitor: Callable[..., Page], studio: Studio
) -> None:
    mara = visitor()
    expect(mara).to_have_url(re.compile("/sign-in$"))
    sign_in(mara, password="wrong password")
    expect(mara.get_by_role("alert")).to_contain_text("do not belong together")
    ready(sign_in(mara))
    expect(mara.locator("#who")).to_contain_text("Mara")
    mara.goto(f"{studio.url}/?project=1")
    ready(mara)
    open_tab(mara, "People")
    mara.get_by_label("For how many people").fill("2")
    mara.get_by_role("button", name="Make a link").click()
    link = mara.get_by_label("Invitation link", exact=True).input_value()
    assert link.startswith(f"{studio.url}/join/")
    assert serious(mara) == []

    ann = visitor()
    ann.goto(link)
    expect(ann.get_by_text("kindness")).to_be_visible()
    ann.get_by_label("User name").fill("Ann")
    for label in ("Password", "Password again"):
        ann.get_by_label(label, exact=True).fill("battery staple")
    ann.get_by_role("button", name="Make my account").click()
    ready(ann)
    expect(ann.locator("#project-picker input")).to_have_value("kindness")
    expect(ann.get_by_role("tab", name="Train", exact=True)).to_have_count(0)
    assert {"Label", "Playground"} <= set(tabs_of(ann))
    assert not {"Train", "Projects", "People"} & set(tabs_of(ann))

    open_tab(mara, "Label")
    open_tab(mara, "People")
    row = mara.get_by_role("row", name="Ann")
    row.get_by_role("combobox").select_option("lead")
    expect(mara.locator("#people-panel").get_by_role("status")).to_contain_text(
        "Ann is a lead in this project"
    )
    ann.reload()
    ready(ann)
    expect(ann.get_by_role("tab", name="Train", exact=True)).to_be_visible()
    open_tab(ann, "People")
    expect(ann.locator("#people-panel")).to_contain_text("Everybody who has a role")
    expect(ann.get_by_role("button", name="Deactivate Mara")).to_have_count(0)

    ann.locator("#who summary").click()
    ann.get_by_role("link", name="Change password").click()
    ann.get_by_label("Present password").fill("battery staple")
    for label in ("New password", "New password again"):
        ann.get_by_label(label, exact=True).fill("a third secret")
    assert serious(ann) == []
    ann.get_by_role("button", name="Change password").click()
    expect(ann.get_by_role("status")).to_contain_text("is changed")
    ann.get_by_role("link", name="Back to the studio").click()
    ready(ann)

    deactivate = row.get_by_role("button", name="Deactivate Ann")
    deactivate.click()
    row.get_by_role("button", name="Deactivate? Deactivate Ann").click()
    expect(mara.locator("#people-panel").get_by_role("status")).to_contain_text("no longer sign in")
    ann.wait_for_timeout(2500)
    open_tab(ann, "People")
    expect(ann.locator("#rs-ended")).to_contain_text("You are signed out")
    ann.locator("#rs-ended button").click()
    expect(ann).to_have_url(re.compile("/sign-in"))

    mara.locator("#who summary").click()
    mara.get_by_role("button", name="Sign out").click()
    expect(mara.get_by_role("status")).to_contain_text("signed out")
    mara.go_back()
    mara.goto(studio.url)
    expect(mara).to_have_url(re.compile("/sign-in$"))


def test_names_projects_guidelines_and_invitations_are_text_wherever_they_are_shown(
    visitor: Callable[..., Page], studio: Studio
) -> None:
    page = visitor()
    sign_in(page, PAYLOAD, "wrong password")
    expect(page.get_by_label("User name")).to_have_value(PAYLOAD)
    ready(sign_in(page, PAYLOAD))
    expect(page.locator("#project-picker input")).to_have_value(PAYLOAD)
    page.locator("#who summary").click()
    expect(page.locator("#who .rs-menu strong")).to_have_text(PAYLOAD)
    page.keyboard.press("Escape")
    for name in tabs_of(page):
        open_tab(page, name)
        page.wait_for_timeout(300)
    open_tab(page, "People")
    expect(page.locator("#people-panel h2").last).to_contain_text(PAYLOAD)
    expect(page.locator("#people-panel tbody th bdi").first).to_have_text(PAYLOAD)
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("Invitation link", exact=True).input_value()
    page.get_by_label("User name of somebody who has an account").fill(PAYLOAD + "?")
    page.get_by_role("button", name="Add to the project").click()
    expect(page.locator("#people-panel").get_by_role("alert")).to_contain_text("onerror=alert")
    stranger = visitor()
    stranger.goto(link)
    expect(stranger.locator(".lead strong")).to_have_text(PAYLOAD)
    assert serious(stranger) == []


def test_verdicts_wait_in_the_browser_while_somebody_else_is_signed_in(
    visitor: Callable[..., Page], studio: Studio
) -> None:
    page = ready(sign_in(visitor()))
    page.goto(f"{studio.url}/?project=1")
    ready(page)
    card, save = page.locator(".rs-card"), page.locator('[data-part="save"]')
    expect(card).to_have_attribute("data-state", "pair")
    page.route("**/label/vote", lambda route: route.abort())
    page.keyboard.press("1")
    page.keyboard.press("7")
    expect(save).to_contain_text("2 votes waiting to be saved")
    page.context.clear_cookies()
    other = page.context.new_page()
    other.goto(studio.url)
    ready(sign_in(other, PAYLOAD))
    page.unroute("**/label/vote")
    page.evaluate("window.dispatchEvent(new Event('online'))")
    # Whoever has no role in the project is told no more than that; neither is a final refusal.
    expect(save).to_contain_text(re.compile("2 votes waiting to be saved: (?!.*cannot be reached)"))
    other.close()
    page.context.clear_cookies()
    page.goto(studio.url)
    sign_in(page)
    page.wait_for_url(re.compile(r"/(\?.*)?$"))
    page.goto(f"{studio.url}/?project=1")
    ready(page)
    expect(save).to_have_attribute("data-save", "saved")
    expect(page.locator('[data-part="count"]')).to_contain_text("2 judged")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_signs_in_without_scrolling_sideways(
    visitor: Callable[..., Page], scheme: str
) -> None:
    page = visitor(color_scheme=scheme)
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    assert serious(page) == []
    ready(sign_in(page))
    expect(page.locator("#who summary")).to_be_visible()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= NARROW["width"]
