"""Settings come from flags, then variables, then defaults, and say what is wrong with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from studio.services.errors import StudioError, UsageError
from studio.settings import Settings


def test_a_flag_wins_over_its_variable_and_that_over_the_default(tmp_path: Path) -> None:
    environ = {"STUDIO_DATA_DIR": str(tmp_path / "a"), "STUDIO_PORT": "9000"}
    assert Settings.read(environ, data_dir=str(tmp_path / "b")).data_dir == tmp_path / "b"
    assert Settings.read(environ, data_dir=None).data_dir == tmp_path / "a"
    assert Settings.read(environ).port == 9000
    assert Settings.read(environ, port=0).port == 0
    assert Settings.read({}).host == "127.0.0.1"


def test_the_database_lies_in_the_data_directory_unless_a_url_names_another(tmp_path: Path) -> None:
    environ = {"STUDIO_DATA_DIR": str(tmp_path)}
    assert Settings.read(environ).db_url == f"sqlite:///{tmp_path}/studio.db"
    postgres = {**environ, "STUDIO_DB_URL": "postgresql://localhost/studio"}
    assert Settings.read(postgres).db_url == "postgresql://localhost/studio"


def test_settings_are_frozen_and_survive_the_way_to_a_child_process(tmp_path: Path) -> None:
    settings = Settings.read({}, data_dir=str(tmp_path), device="cpu", backbone="some/model")
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.port = 1  # type: ignore[misc]
    assert Settings.read(settings.as_environment()) == settings


def test_a_backbone_on_disk_is_kept_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Settings.read({}, backbone="model").backbone == str(tmp_path / "model")
    assert Settings.read({}, backbone="some/model").backbone == "some/model"
    assert Settings.read({}).backbone == "embedded"


@pytest.mark.parametrize("port", ["http", "-1", "65536", "7860.5"])
def test_a_wrong_port_is_named(port: str) -> None:
    with pytest.raises(UsageError, match=port):
        Settings.read({}, port=port)


def test_a_wrong_device_is_named() -> None:
    with pytest.raises(UsageError, match="'gpu'"):
        Settings.read({}, device="gpu")
    assert Settings.read({}, device="cuda:1").device == "cuda:1"


@pytest.mark.parametrize("place", ["/proc/no-such-place", "/proc"])
def test_a_data_directory_that_cannot_be_written_is_one_sentence(place: str) -> None:
    with pytest.raises(StudioError, match=rf"{place}.*cannot be written.*--data-dir"):
        Settings.read({}, data_dir=place).create_directories()


def test_a_file_in_the_place_of_the_data_directory_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(StudioError, match=r"taken.*cannot be written"):
        Settings.read({}, data_dir=str(tmp_path / "taken")).create_directories()
    assert (tmp_path / "taken").read_text() == "mine"
