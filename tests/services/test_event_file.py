"""Event files, read by TensorBoard's own reader."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from studio.services.event_file import EventFile


def test_tensorboard_reads_what_a_run_wrote(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    steps = [0, 1, 127, 128, 70_000]
    with EventFile(tmp_path / "run-7") as events:
        for number, step in enumerate(steps):
            events.scalars(step, {"loss": 0.7 - number / 10, "a long name / ä": -float(number)})
    reader = EventAccumulator(str(tmp_path / "run-7"))
    reader.Reload()
    assert sorted(reader.Tags()["scalars"]) == ["a long name / ä", "loss"]
    assert [event.step for event in reader.Scalars("loss")] == steps
    found = [event.value for event in reader.Scalars("loss")]
    assert found == pytest.approx([0.7, 0.6, 0.5, 0.4, 0.3])
    assert reader.Scalars("loss")[0].wall_time > 1e9


def test_a_run_without_curves_leaves_no_file(tmp_path: Path) -> None:
    with EventFile(tmp_path / "run-8"):
        pass
    assert not (tmp_path / "run-8").exists()
