"""What `doctor` says of the feature store and the checkpoints, and what --repair mends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rm_core.features import FeatureStore, Record
from studio.services import doctor
from studio.settings import Settings
from tests.workspace import Workspace

SUMMARY = np.arange(16, dtype=np.float32).reshape(2, 8)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings.read({"STUDIO_DATA_DIR": str(tmp_path)})
    with FeatureStore(settings.features_path) as store:
        store.put(Record(f"key {i}", 1, 3, SUMMARY + 100 * i) for i in range(40))
    return settings


def features(settings: Settings, repair: bool = False) -> doctor.Check:
    found = {check["name"]: check for check in doctor.run(settings, repair=repair)}
    return found["features"]


def test_flipped_bytes_are_told_repaired_and_counted(settings: Settings) -> None:
    assert features(settings)["detail"].startswith("40 summaries, 0 whole token states, 0 answers")
    content = bytearray(settings.features_path.read_bytes())
    content[content.index((SUMMARY + 700).tobytes()) + 9] ^= 0x10
    settings.features_path.write_bytes(content)
    sick = features(settings)
    assert not sick["ok"]
    assert "1 records damaged" in sick["detail"]
    assert "doctor --repair" in sick["remedy"]
    mended = features(settings, repair=True)
    assert mended["ok"]
    assert "1 damaged records dropped" in mended["detail"]
    assert features(settings)["detail"].startswith("39 summaries")


def test_a_file_that_sqlite_cannot_read_is_set_aside(settings: Settings) -> None:
    content = settings.features_path.read_bytes()
    settings.features_path.write_bytes(content[:16_384] + b"\xa5" * (len(content) - 16_384))
    sick = features(settings)
    assert not sick["ok"]
    assert "damaged as a file" in sick["detail"]
    mended = features(settings, repair=True)
    assert mended["ok"]
    assert "features.db.damaged-1" in mended["detail"]
    assert features(settings)["detail"] == "none yet"


def test_a_limit_that_summaries_alone_exceed_is_told(settings: Settings) -> None:
    tight = Settings.read(settings.as_environment() | {"STUDIO_FEATURES_MAX_GB": "0.00001"})
    sick = features(tight)
    assert not sick["ok"]
    assert "the 40 summaries" in sick["detail"]
    assert "STUDIO_FEATURES_MAX_GB" in sick["remedy"]


def test_a_checkpoint_without_its_files_is_named(judged_workspace: Workspace) -> None:
    here = judged_workspace
    found = {check["name"]: check for check in doctor.run(here.settings)}
    assert found["checkpoints"]["detail"].startswith("0, ")
