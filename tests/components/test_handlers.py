"""Every handler of the page tells its errors as one sentence, and boxes may be untouched (None)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from studio.services import projects, training
from studio.services.errors import StudioError
from studio.tabs.context import told
from studio.tabs.page import build_blocks
from tests.workspace import Workspace, make_workspace


@pytest.fixture
def here(tmp_path: Path, tiny_backbone: Path) -> Iterator[Workspace]:
    here = make_workspace(tmp_path / "data", tiny_backbone)
    yield here
    here.database.dispose()


@pytest.fixture
def page(here: Workspace) -> gr.Blocks:
    return build_blocks(here.database, here.settings)


def handler(page: gr.Blocks, elem_id: str, event: str = "click") -> Any:
    """The function behind an event of the component with this id, and its number of inputs."""
    (source,) = (b for b in page.blocks.values() if getattr(b, "elem_id", None) == elem_id)
    return next(f for f in page.fns.values() if f.fn and (source._id, event) in f.targets)


def test_every_handler_of_the_page_is_told(page: gr.Blocks) -> None:
    handlers = [f.fn for f in page.fns.values() if f.fn is not None]
    assert len(handlers) > 15
    assert [f for f in handlers if not getattr(f, "is_told", False)] == []


def test_a_fault_is_one_sentence_in_the_page_and_its_trace_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @told
    def broken() -> None:
        raise RuntimeError("/secret/path: 'NoneType' has no attribute 'strip'")

    with caplog.at_level(logging.ERROR, logger="studio"), pytest.raises(gr.Error) as caught:
        broken()
    shown = str(caught.value.message)
    assert "secret" not in shown
    assert "terminal where the server runs" in shown
    (record,) = caplog.records
    assert record.exc_info is not None
    mark = record.args[0]  # type: ignore[index]
    assert f"fault {mark}" in shown


def test_an_error_made_for_people_keeps_its_words_and_none_of_their_markup() -> None:
    @told
    def refused() -> None:
        raise StudioError("there is a project named '<b>' already")

    with pytest.raises(gr.Error) as caught:
        refused()
    assert caught.value.message == "There is a project named &#x27;&lt;b&gt;&#x27; already."


def test_untouched_boxes_are_empty_and_never_a_fault(page: gr.Blocks, here: Workspace) -> None:
    project = projects.create(here.database, "empty")
    for elem_id in ("score", "open-pair", "import-button", "create-button", "save-guidelines"):
        found = handler(page, elem_id)
        for project_id in (None, project.id):
            values = [None] * (len(found.inputs) - 1)
            first = None if elem_id == "create-button" else project_id
            found.fn(first, *values)


def test_the_playground_says_beforehand_that_a_project_has_no_checkpoint(
    page: gr.Blocks, here: Workspace
) -> None:
    project = projects.create(here.database, "empty")
    (tab,) = (b for b in page.blocks.values() if getattr(b, "id", None) == "playground")
    look = next(f for f in page.fns.values() if f.fn and (tab._id, "select") in f.targets)
    row, text = look.fn(project.id)
    assert row.visible is True
    assert "no checkpoint yet" in text
    row, text = look.fn(None)
    assert row.visible is False


def test_the_train_button_without_a_project_says_so(page: gr.Blocks) -> None:
    with pytest.raises(gr.Error, match="No project is chosen"):
        handler(page, "train-button").fn(None)


def test_nothing_in_the_status_breaks_the_page_of_a_new_project(
    page: gr.Blocks, here: Workspace
) -> None:
    project = projects.create(here.database, "empty")
    status = training.status(here.database, project.id)
    assert status["checkpoint"] is None
    assert len(handler(page, "cancel-button").fn(project.id)) == 6
