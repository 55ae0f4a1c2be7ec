"""Evaluation on a file: the figures, what is left out, and files that hold nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio.services import evaluating, scoring
from studio.services.errors import StudioError
from tests.rows import write_jsonl
from tests.workspace import Workspace, kindness


@pytest.fixture
def directory(trained: Workspace) -> Path:
    newest = scoring.newest_checkpoint(trained.database, trained.project_id)
    return trained.settings.checkpoints_dir / newest.directory


def test_figures_on_new_pairs_are_complete_and_repeatable(
    trained: Workspace, directory: Path, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "test.jsonl", kindness(25, first=500))
    seen: list[Any] = []
    first = evaluating.evaluate_file(trained.settings, path, directory, on_progress=seen.append)
    assert first["pairs"] == 25
    assert first["accuracy"] > 0.9
    assert {"accuracy_ci", "log_loss", "brier", "ece", "length_only_accuracy"} <= set(first)
    assert seen[-1].done == seen[-1].total == 50
    seen.clear()
    again = evaluating.evaluate_file(trained.settings, path, directory, on_progress=seen.append)
    assert again == first
    assert seen == []  # everything was kept


def test_answers_that_training_encoded_are_not_encoded_again(
    trained: Workspace, directory: Path, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "trained.jsonl", kindness(60))
    seen: list[Any] = []
    figures = evaluating.evaluate_file(trained.settings, path, directory, on_progress=seen.append)
    assert figures["pairs"] == 60
    assert seen == []


def test_the_figures_are_of_what_score_prints(
    trained: Workspace, directory: Path, tmp_path: Path
) -> None:
    rows = kindness(6, first=900)
    path = write_jsonl(tmp_path / "test.jsonl", rows)
    model = scoring.load_directory(trained.settings, directory)
    margins = [
        model.score(row["prompt"], [row["chosen"]])[0]
        - model.score(row["prompt"], [row["rejected"]])[0]
        for row in rows
    ]
    figures = evaluating.evaluate_file(trained.settings, path, directory)
    assert figures["reward_margin"] == pytest.approx(sum(margins) / len(margins), abs=1e-4)


def test_votes_become_soft_targets_and_rows_without_a_verdict_are_counted(
    trained: Workspace, directory: Path, tmp_path: Path
) -> None:
    def row(*choices: str) -> dict[str, Any]:
        number = len(rows)
        votes = [{"annotator": f"a{i}", "choice": choice} for i, choice in enumerate(choices)]
        return {"id": str(number), "prompt": f"p {number}", "answers": ["x", "y"], "votes": votes}

    rows: list[dict[str, Any]] = []
    for choices in (("a", "a", "b"), ("tie",), ("skip",), ("both_bad",)):
        rows.append(row(*choices))
    rows.append({"prompt": "p", "chosen": "same", "rejected": "same"})
    found = evaluating.read_pairs(write_jsonl(tmp_path / "v.jsonl", rows))
    targets = sorted(max(p.target, 1 - p.target) for p in found.pairs)
    assert targets == [0.5, pytest.approx(2 / 3)]
    assert sum(found.left_out.values()) == 3
    figures = evaluating.evaluate_file(trained.settings, tmp_path / "v.jsonl", directory)
    assert figures["pairs"] == 2
    assert figures["ties_left_out_of_accuracy"] == 1
    assert figures["left_out"]["chosen and rejected are equal"] == 1


def test_a_last_word_in_the_file_is_the_verdict(tmp_path: Path) -> None:
    row = {
        "prompt": "p", "answers": ["x", "y"],
        "votes": [{"annotator": name, "choice": "a"} for name in ("ada", "bo")],
    }  # fmt: skip
    rows = [row | {"adjudication": {"annotator": "lea", "choice": each}} for each in ("b", "tie")]
    found = evaluating.read_pairs(write_jsonl(tmp_path / "v.jsonl", rows))
    for pair, better in zip(found.pairs, ("y", None), strict=True):
        chosen = {0.0: pair.answer_b, 0.5: None, 1.0: pair.answer_a}[pair.target]
        assert (chosen and chosen.response) == better


def test_no_side_betrays_the_winner() -> None:
    """Which answer stands first must not follow from which one was chosen."""
    from studio.services.import_rows import row_pairs

    pairs = [evaluating._pair("1", row_pairs(row)) for row in kindness(40)]
    assert {pair.target for pair in pairs} == {0.0, 1.0}


@pytest.mark.parametrize(
    "content", ["", "not json\n", '{"prompt": "x", "responses": ["a", "b"]}\n']
)
def test_a_file_without_judged_pairs_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "none.jsonl"
    path.write_text(content)
    with pytest.raises(StudioError, match=r"none\.jsonl.*holds no (rows|judged pair)"):
        evaluating.read_pairs(path)
