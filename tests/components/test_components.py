"""Properties of every component: no data in templates, no foreign request, a known key map."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import gradio as gr
import pytest

from studio.components import assets
from studio.components.curves import curves, curves_value
from studio.components.data_table import data_table, table_value
from studio.components.history import history
from studio.components.notice import notice, notice_value
from studio.components.picker import row_picker
from studio.components.prose import prose, prose_value
from studio.components.token_heatmap import token_heatmap
from studio.components.train_panel import (
    goes_on_as,
    headline_value,
    results_value,
    run_value,
    train_panel,
)
from studio.components.vote_card import (
    ACTIONS,
    VERDICTS,
    VIEWS,
    vote_card,
    vote_card_value,
)
from studio.theme import CSS, HEAD, theme

MAKERS = [
    vote_card,
    history,
    token_heatmap,
    lambda: notice("n"),
    lambda: data_table("t", "T"),
    lambda: train_panel("run"),
    lambda: curves("p"),
    lambda: prose("g"),
]


@pytest.mark.parametrize("make", MAKERS)
def test_templates_take_no_data(make) -> None:
    """Gradio fills `${value}` unescaped, and runs `${...}` even inside what {{value}} wrote."""
    with gr.Blocks():
        component = make()
    for text in (component.html_template, component.css_template):
        assert "${" not in text
        assert "{{" not in text
        assert "`" not in text


def test_nothing_refers_to_another_host() -> None:
    package = files("studio.components")
    texts = [entry.read_text("utf-8") for entry in package.iterdir() if entry.is_file()]
    for text in [*texts, CSS, HEAD, theme()._get_theme_css()]:
        assert "https://" not in text
        # The name of SVG's namespace is no address, nor is an example in an empty box.
        for harmless in ("http://www.w3.org/2000/svg", "http://localhost:8000/v1"):
            text = text.replace(harmless, "")
        assert "http://" not in text
        assert "@import" not in text


def test_a_style_that_gradio_would_rewrite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "asset", lambda name: 'a::before { content: "\\2026"; }')
    with pytest.raises(ValueError, match=r"bad\.css has"):
        assets.style("bad.css")


def test_keys_are_unique_and_stronger_verdicts_stand_further_out() -> None:
    keys = [each.key for each in (*VERDICTS, *ACTIONS, *VIEWS) if each.key]
    assert len(set(keys)) == len(keys)
    assert not {"r", "a"} & set(keys)  # reasons and ratings, in vote_keys.js
    assert [v.key for v in VERDICTS if v.choice == "left"] == ["1", "2", "3"]
    assert [v.strength for v in VERDICTS if v.choice == "left"] == [3, 2, 1]
    assert [v.strength for v in VERDICTS if v.choice == "right"] == [1, 2, 3]


def test_the_card_names_its_projects_routes_and_nothing_without_a_project() -> None:
    assert json.loads(vote_card_value(7))["base"] == "/api/projects/7/label"
    assert vote_card_value(7, "7/t/ann") != vote_card_value(7, "7/t/ben")
    assert vote_card_value(None) == ""


def test_a_notice_without_text_is_empty() -> None:
    assert notice_value("") == ""
    assert json.loads(notice_value("No <b>", "error")) == {"text": "No <b>", "kind": "error"}


def test_table_cells_are_text() -> None:
    value = json.loads(table_value(["a", "b"], [(1, None)]))
    assert value["rows"] == [["1", ""]]


def test_a_picker_takes_ids_only_and_does_not_ask_what_it_once_offered() -> None:
    picker = row_picker(label="Project")
    assert picker.preprocess(2) == 2
    assert picker.preprocess("2") is None
    assert picker.preprocess(None) is None
    assert picker.get_block_name() == "dropdown"
    # What Gradio does at every update of the choices.
    updated = type(picker)(**{**picker.constructor_args, "choices": [("demo", 1)]})
    assert updated.preprocess(2) == 2


def status(**changes) -> dict:
    run = {
        "id": 4,
        "kind": "train",
        "status": "succeeded",
        "trigger": "click",
        "stage": None,
        "done": 0,
        "total": 0,
        "device": "cpu",
        "created_at": "2026-01-01T10:00:00+00:00",
        "finished_at": "2026-01-01T10:00:09+00:00",
        "elapsed_s": 9.0,
        "eta_s": None,
        "error": None,
        "checkpoint_id": 2,
    }
    return {
        "project_id": 1,
        "new_judged": 5,
        "checkpoint": None,
        "active": None,
        "unfinished": [],
        "recent": [run],
        "why_not_trainable": None,
    } | changes


def test_a_run_at_work_moves_only_its_own_part_of_the_page() -> None:
    running = dict(status()["recent"][0], status="running", finished_at=None, checkpoint_id=None)
    early, late = ({**running, "elapsed_s": elapsed} for elapsed in (1.0, 3.0))
    before = status(active=early, unfinished=[early], recent=[early])
    after = status(active=late, unfinished=[late], recent=[late])
    assert run_value(before) != run_value(after)
    assert headline_value(before) == headline_value(after)
    assert results_value(before) == results_value(after)


def test_a_failure_is_shown_until_something_newer_ran() -> None:
    failed = dict(status()["recent"][0], status="failed", error="out of disk")
    shown = json.loads(run_value(status(recent=[failed])))
    assert (shown["failed"]["error"], shown["project_id"]) == ("out of disk", 1)
    later = [dict(status()["recent"][0], id=5), failed]
    assert json.loads(run_value(status(recent=later)))["failed"] is None


def test_an_encoding_that_goes_on_does_not_hide_the_training_that_failed() -> None:
    failed = dict(status()["recent"][0], status="failed", error="out of disk")
    goes_on = dict(failed, id=5, kind="encode", status="running", error=None, finished_at=None)
    both = status(active=goes_on, unfinished=[goes_on], recent=[goes_on, failed])
    shown = json.loads(run_value(both))
    assert (shown["active"]["id"], shown["failed"]["id"]) == (5, 4)
    assert json.loads(results_value(both))["told_above"] == 4


def test_an_encoding_that_made_way_for_training_names_the_run_that_goes_on() -> None:
    base = status()["recent"][0]
    first = dict(base, id=1, kind="encode", status="cancelled", trigger="start")
    training = dict(base, id=2)
    rest = dict(base, id=3, kind="encode", trigger="resumed")
    runs = [rest, training, first]
    assert [goes_on_as(run, runs) for run in runs] == [None, None, 3]
    assert json.loads(results_value(status(recent=runs)))["recent"][2]["goes_on_as"] == 3


def test_an_encoding_that_somebody_cancelled_did_not_make_way() -> None:
    base = status()["recent"][0]
    first = dict(base, id=1, kind="encode", status="cancelled")
    later = dict(base, id=3, kind="encode", trigger="import")
    assert goes_on_as(first, [first]) is None
    assert goes_on_as(first, [later, first]) is None


def test_curves_leave_out_what_has_no_points_and_keep_the_order_of_steps() -> None:
    rows = [{"step": step, "name": "loss", "value": 1.0 / step} for step in (2, 1)]
    rows.append({"step": 1, "name": "something else", "value": 3.0})
    (chart,) = json.loads(curves_value(rows))
    assert chart["title"] == "Loss"
    assert chart["series"] == [{"name": "loss", "colour": "accent", "points": [[1, 1.0], [2, 0.5]]}]
    assert curves_value([]) == ""


def test_guidelines_travel_as_data() -> None:
    assert prose_value("  \n") == ""
    value = prose_value("**Be fair** <img src=x>")
    assert "<" not in value
    assert json.loads(value) == {"text": "**Be fair** <img src=x>"}


def test_the_page_claims_the_coverage_that_the_backtest_measured() -> None:
    results = Path(__file__).parents[2] / "benchmarks/results/learning_curve.json"
    held = json.loads(results.read_text())["held"]
    claimed = re.search(
        r"HELD = \{ accuracy: (\d+), log_loss: (\d+) \}", assets.asset("checkpoint_curve.js")
    )
    assert claimed is not None
    measured = [round(100 * held[name]["held"]) for name in ("accuracy", "log_loss")]
    assert [int(each) for each in claimed.groups()] == measured
