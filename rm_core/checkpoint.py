"""A checkpoint directory: a few kilobytes that, with the backbone, are the reward model.

    reward_head.safetensors   value_weight [H] and, for mean+last, end_weight [H]; float64
    manifest.json             backbone and revision, template, layer, readout, objective, penalty,
                              calibration, figures, configuration, versions, sha256 of the weights
    model_card.md             the same for people
    posterior.safetensors     how sure the head is (rm_core.uncertainty); some megabytes, optional

It is written under a temporary name, synced to disk and renamed: a directory that has its final
name is whole. Never a pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rm_core.errors import CheckpointError
from rm_core.heads import RewardHead
from rm_core.model_card import model_card
from rm_core.training import TrainResult
from rm_core.uncertainty import POSTERIOR

WEIGHTS, MANIFEST, CARD = "reward_head.safetensors", "manifest.json", "model_card.md"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    head: RewardHead
    manifest: dict[str, Any]
    directory: Path


def save(
    directory: Path,
    result: TrainResult,
    extra: dict[str, Any] | None = None,
    attachments: Mapping[str, bytes] | None = None,
) -> str:
    """Write a checkpoint; `extra` (project, run, snapshot digest …) goes into the manifest.

    Args:
        attachments: further files by name, written with the others: all are there, or none.

    Returns:
        sha256 hex of the weights file: equal heads have equal hashes.

    Raises:
        CheckpointError: the directory exists already or cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    if directory.exists():
        raise CheckpointError(
            f"The checkpoint directory {directory} exists already; checkpoints are never "
            "overwritten: choose another name."
        )
    tensors = {"value_weight": result.head.value_weight}
    if result.head.end_weight is not None:
        tensors["end_weight"] = result.head.end_weight
    weights = to_bytes(tensors)
    digest = hashlib.sha256(weights).hexdigest()
    manifest = result.manifest | (extra or {}) | {"weights_sha256": digest}
    posterior = result.posterior.to_bytes() if result.posterior is not None else None
    if posterior is not None:
        manifest["posterior_sha256"] = hashlib.sha256(posterior).hexdigest()
    part = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        _write(part / WEIGHTS, weights)
        _write(part / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1).encode())
        if posterior is not None:
            _write(part / POSTERIOR, posterior)
        _write(part / CARD, model_card(manifest).encode())
        for name, content in (attachments or {}).items():
            _write(part / name, content)
        _sync_directory(part)
        os.rename(part, directory)
        _sync_directory(directory.parent)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise CheckpointError(
            f"The checkpoint {directory} cannot be written: {error}; free space or mend the "
            "folder's permissions and train again."
        ) from error
    return digest


def load(directory: Path) -> Checkpoint:
    """Read a checkpoint and verify its weights against the manifest.

    Raises:
        CheckpointError: missing, incomplete, damaged, or of a newer format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        weights = (directory / WEIGHTS).read_bytes()
        tensors = from_bytes(weights)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"No checkpoint can be read from {directory}: {error}; name a directory with "
            f"{MANIFEST} and {WEIGHTS}."
        ) from error
    if manifest.get("format", 0) > FORMAT:
        raise CheckpointError(
            f"The checkpoint {directory} has format {manifest['format']} and this version reads up "
            f"to {FORMAT}; update Reward Studio."
        )
    seen = hashlib.sha256(weights).hexdigest()
    if seen != manifest["weights_sha256"]:
        raise CheckpointError(
            f"The weights in {directory} have sha256 {seen[:12]}… and the manifest says "
            f"{manifest['weights_sha256'][:12]}…: the checkpoint is damaged; train again."
        )
    head = RewardHead(
        readout=manifest["readout"],
        layer=manifest["layer"],
        value_weight=tensors["value_weight"],
        end_weight=tensors.get("end_weight"),
    )
    return Checkpoint(head, manifest, directory)


def remove_leftovers(parent: Path, known: set[str]) -> list[Path]:
    """Delete half-written directories (a run that died) under `parent`; the paths removed.

    Args:
        known: names of processes' directories that are still being written, left alone.
    """
    removed = []
    for part in parent.glob(".*.part"):
        if part.name not in known:
            shutil.rmtree(part, ignore_errors=True)
            removed.append(part)
    return removed


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
