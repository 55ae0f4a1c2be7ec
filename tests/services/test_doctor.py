"""What `doctor` says of the feature store and the checkpoints, and what --repair mends."""

from __future__ import annotations

import shutil
import sqlite3
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


def checks(settings: Settings, repair: bool = False) -> dict[str, doctor.Check]:
    return {check["name"]: check for check in doctor.run(settings, repair=repair)}


def test_a_checkpoint_whose_files_are_not_what_was_written_is_named(
    trained: Workspace, tmp_path: Path
) -> None:
    here = Settings.read({}, data_dir=str(tmp_path / "copy"), backbone=trained.settings.backbone)
    shutil.copytree(trained.settings.data_dir, here.data_dir)
    assert checks(here)["checkpoints"]["ok"]
    (weights,) = here.checkpoints_dir.glob("*/reward_head.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    sick = checks(here)["checkpoints"]
    assert not sick["ok"]
    assert f"{weights.parent.name}: reward_head.safetensors is damaged" in sick["detail"]
    assert "from a backup" in sick["remedy"]
    weights.write_bytes(whole)
    (weights.parent / "manifest.json").unlink()
    assert "manifest.json cannot be read" in checks(here)["checkpoints"]["detail"]


@pytest.mark.parametrize("repair", [False, True])
def test_encodings_that_cannot_be_written_just_now_are_kept(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, repair: bool
) -> None:
    """As in a folder that may only be read: the file itself is whole."""
    connect = sqlite3.connect

    def read_only(path: Path, **options: object) -> sqlite3.Connection:
        return connect(f"file:{path}?mode=ro&immutable=1", uri=True, **options)  # type: ignore[call-overload]

    monkeypatch.setattr("rm_core.feature_file.sqlite3.connect", read_only)
    monkeypatch.setattr("rm_core.feature_file.FORMAT", 4)  # something has to be written
    sick = features(settings, repair)
    assert not sick["ok"]
    assert "readonly" in sick["detail"]
    assert "keep the file" in sick["remedy"]
    assert settings.features_path.exists()


def test_encodings_of_a_newer_version_are_kept(settings: Settings) -> None:
    with sqlite3.connect(settings.features_path) as file:
        file.execute("PRAGMA user_version=99")
    file.close()
    for repair in (False, True):
        sick = features(settings, repair)
        assert "the version that wrote it" in sick["remedy"]
        assert settings.features_path.exists()


def test_a_database_of_a_newer_version_says_what_to_install(
    judged_workspace: Workspace,
) -> None:
    here = judged_workspace
    here.database.dispose()
    with sqlite3.connect(here.settings.data_dir / "studio.db") as file:
        file.execute("UPDATE alembic_version SET version_num='9999'")
    file.close()
    found = checks(here.settings)
    for name in ("database", "checkpoints"):
        assert found[name]["remedy"].startswith("install the version that wrote it")
