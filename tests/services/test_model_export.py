"""A checkpoint leaves as Hugging Face directories, with a `last` head fitted to the same votes."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from rm_core.export import ExportReport
from studio.services import model_export, playground, scoring
from studio.services.errors import StudioError
from tests.workspace import Workspace, kindness

PROMPT = [{"role": "user", "content": "How do I fold a letter?"}]


def newest(workspace: Workspace) -> Path:
    found = scoring.newest_checkpoint(workspace.database, workspace.project_id)
    return workspace.settings.checkpoints_dir / found.directory


@dataclass(frozen=True)
class Exported:
    """The trained project's export, and what was said meanwhile."""

    out: Path
    report: ExportReport
    said: list[str]


@pytest.fixture(scope="module")
def exported(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    said: list[str] = []
    out = tmp_path_factory.mktemp("export") / "out"
    report = model_export.export_model(
        trained.database, trained.settings, newest(trained), out, said.append
    )
    return Exported(out, report, said)


def test_a_last_head_is_fitted_to_the_runs_own_votes_and_stated_beside_the_original(
    trained: Workspace, exported: Exported
) -> None:
    report = exported.report
    manifest = json.loads((newest(trained) / "manifest.json").read_text())
    assert manifest["readout"] != "last"
    standard, exact = report.directories
    fitted = json.loads((exported.out / "manifest.json").read_text())
    assert (standard.readout, fitted["readout"]) == ("last", "last")
    assert fitted["snapshot"] == manifest["snapshot"]
    assert fitted["metrics"]["pairs"] == manifest["metrics"]["pairs"]
    assert fitted["metrics"]["encoding"]["num_encoded"] == 0  # features were there already
    assert {c["layer"] for c in fitted["candidates"]} == {
        c["layer"] for c in manifest["candidates"]
    }
    assert standard.accuracy == fitted["metrics"]["accuracy"]
    assert exact.accuracy == report.accuracy == manifest["metrics"]["accuracy"]
    assert f"{100 * (standard.accuracy or 0):.1f} %" in report.as_text()
    assert any(
        "fitting a `last` head to the same 60 judged pairs" in line for line in exported.said
    )


def test_votes_cast_since_do_not_reach_the_exported_head(
    judged_workspace: Workspace, tmp_path: Path
) -> None:
    from studio.services import training

    space = judged_workspace
    space.run_here(training.request_run(space.database, space.project_id, "test"))
    source = newest(space)
    space.add(kindness(20, first=500))
    model_export.export_model(space.database, space.settings, source, tmp_path / "out", str)
    fitted = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert fitted["metrics"]["num_pairs"] == 60


def test_the_exact_directory_scores_as_the_playground_does(
    trained: Workspace, exported: Exported
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    exact = exported.out / exported.report.directories[-1].directory
    tokenizer = AutoTokenizer.from_pretrained(exact, trust_remote_code=True)
    model = AutoModelForSequenceClassification.from_pretrained(exact, trust_remote_code=True)
    answers = ["gladly thanks", "never, stupid 世界"]
    texts = [
        tokenizer.apply_chat_template(
            [*PROMPT, {"role": "assistant", "content": answer}], tokenize=False
        )
        for answer in answers
    ]
    with torch.inference_mode():
        rewards = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits[:, 0].tolist()
    shown = playground.compare(
        trained.database, trained.settings, trained.project_id, PROMPT, answers
    )
    assert rewards == pytest.approx([a["reward"] for a in shown["answers"]], abs=1e-4)


def test_a_checkpoint_that_the_database_does_not_know_is_exported_exactly_and_it_says_so(
    trained: Workspace, empty_workspace: Workspace, tmp_path: Path
) -> None:
    copy = tmp_path / "from-elsewhere"
    shutil.copytree(newest(trained), copy)
    said: list[str] = []
    report = model_export.export_model(
        empty_workspace.database, empty_workspace.settings, copy, tmp_path / "out", said.append
    )
    assert [one.kind for one in report.directories] == ["exact"]
    assert "takes a `last` head" in (report.why_not_standard or "")
    assert any("does not know the checkpoint's votes" in line for line in said)


def test_an_existing_directory_is_refused_before_anything_is_fitted(
    trained: Workspace, tmp_path: Path
) -> None:
    said: list[str] = []
    with pytest.raises(StudioError, match="exists already"):
        model_export.export_model(
            trained.database, trained.settings, newest(trained), tmp_path, said.append
        )
    assert said == []
