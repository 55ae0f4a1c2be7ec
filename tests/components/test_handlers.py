"""Every handler of the page asks who calls it, tells its errors as one sentence, and takes boxes
that nobody has touched (None)."""

from __future__ import annotations

import ast
import inspect
import logging
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from studio.services import projects, run_queue, training
from studio.services.errors import StudioError
from studio.services.people import LOCAL, Person
from studio.tabs.context import told
from studio.tabs.page import build_blocks
from tests.people import asked_by
from tests.rows import make_project, open_pairs
from tests.workspace import Workspace, kindness, make_workspace

# Handlers that a person without any role may call: what each tells, and why that is nothing.
FOR_EVERYBODY = {
    ("page", "build_blocks.<locals>.choose"): "lists only projects that the person may see",
    ("page", "build_blocks.<locals>.show_tabs"): "tells which tabs the person's own role reaches",
    ("data", "build.<locals>.refresh"): "empty for whom the tab is not for",
    ("projects", "build.<locals>.renew"): "lists only projects that the person may see",
}


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


def handlers(page: gr.Blocks) -> list[Any]:
    return [found for found in page.fns.values() if found.fn is not None]


def called_by(person: Person, found: Any, values: list[Any]) -> Any:
    """What the handler gives, called as Gradio calls it: request and event where it wants them."""
    given, waiting = [], list(values)
    for parameter in inspect.signature(found.fn).parameters.values():
        wants = str(parameter.annotation)
        if "gr.Request" in wants:
            given.append(asked_by(person))
        elif wants == "gr.SelectData":
            given.append(gr.SelectData(None, {"index": 0, "value": "x", "selected": True}))
        elif wants == "gr.EventData":
            given.append(gr.EventData(None, {"action": "invite", "role": "lead"}))
        elif parameter.kind is parameter.VAR_POSITIONAL:
            given += waiting
        elif waiting:
            given.append(waiting.pop(0))
    return found.fn(*given)


def values_of(found: Any, project_id: int | None, rest: Any) -> list[Any]:
    ids = [getattr(component, "elem_id", None) for component in found.inputs]
    return [project_id if each == "project-picker" else rest for each in ids]


def where(found: Any) -> tuple[str, str]:
    inner = inspect.unwrap(found.fn)
    return inner.__module__.rpartition(".")[2], inner.__qualname__


def says_nothing(result: Any) -> bool:
    """Opening another tab, a timer's pace, and values left as they are hold no data."""
    results = result if isinstance(result, list | tuple) else [result]
    return all(
        isinstance(each, gr.Tabs | gr.Timer) or each == {"__type__": "update"} for each in results
    )


def test_no_handler_serves_a_person_without_the_role(page: gr.Blocks, here: Workspace) -> None:
    """The rule that matters: tabs that are hidden are called all the same by whoever likes."""
    project_id = make_project(here.database, open_pairs(2))
    offences = []
    for found in handlers(page):
        if where(found) in FOR_EVERYBODY:
            continue
        values = values_of(found, project_id, "x")
        try:
            result = called_by(Person("Nobody"), found, values)
        except gr.Error as error:
            result = str(error.message)
        if "needs the role" not in str(result) and not says_nothing(result):
            offences.append((where(found), str(result)[:200]))
    assert offences == []


def test_every_handler_asks_who_calls_it_or_touches_no_data(page: gr.Blocks) -> None:
    """Read from the syntax trees: a request among the parameters, and a question about it."""
    silent = []
    for found in handlers(page):
        inner = inspect.unwrap(found.fn)
        source = textwrap.dedent(inspect.getsource(inner))
        if "lambda" in source and inner.__name__ == "<lambda>":
            continue  # the test above saw that it says nothing
        takes_request = any(
            "gr.Request" in str(parameter.annotation)
            for parameter in inspect.signature(inner).parameters.values()
        )
        names = {
            node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)
        }
        passes_on = "request" in {
            argument.id
            for call in ast.walk(ast.parse(source))
            if isinstance(call, ast.Call)
            for argument in call.args
            if isinstance(argument, ast.Name)
        }
        if not takes_request or not (names & {"require", "person"} or passes_on):
            silent.append(where(found))
    assert silent == [], "these take no request, or do not look at it"


def test_untouched_boxes_are_empty_and_never_a_fault(page: gr.Blocks, here: Workspace) -> None:
    project = projects.create(here.database, "empty")
    faults = []
    for found in handlers(page):
        for project_id in (None, project.id):
            values = values_of(found, project_id, None)
            try:
                called_by(LOCAL, found, values)
            except gr.Error as error:
                if "fault in the studio" in str(error.message):
                    faults.append((where(found), values))
    assert faults == []


def test_the_train_button_without_a_project_says_so(page: gr.Blocks) -> None:
    with pytest.raises(gr.Error, match="No project is chosen"):
        called_by(LOCAL, handler(page, "train-button"), [None])


def test_cancelling_ends_the_run_that_was_shown_and_not_the_one_at_work_by_now(
    page: gr.Blocks, here: Workspace
) -> None:
    project_id = here.add(kindness(4))
    shown, next_one = (training.request_run(here.database, project_id, "test") for _ in range(2))
    run_queue.finish(here.database, shown, "failed", "out of memory")
    cancel = handler(page, "train-run", "cancel_run").fn
    cancel(project_id, asked_by(LOCAL), gr.EventData(None, {"run": shown}))
    assert run_queue.status_of(here.database, next_one) == "queued"
    cancel(project_id, asked_by(LOCAL), gr.EventData(None, {"run": next_one}))
    assert run_queue.status_of(here.database, next_one) == "cancelled"
