"""Export a checkpoint as Hugging Face directories that give the studio's rewards.

    report = export_model(checkpoint_dir, Path("out"), backbones_dir=…, last_checkpoint=…)

    out/          `*ForSequenceClassification`, the backbone cut to the head's layer: loads anywhere
    out/exact/    only where the readout is not `last`: its own modelling file, the exact reward

The standard classes read the last token only. For the readouts `mean` and `mean+last` the caller
passes `last_checkpoint`, a `last` head fitted to the same votes; without one, only `out/exact/` is
written. Every directory is loaded again and compared with the studio's own scores before the whole
gets its name; where it differs, nothing is left behind.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rm_core.backbone import Report
from rm_core.errors import ExportError
from rm_core.export.probes import studio_scores
from rm_core.export.report import ExportedDirectory, ExportReport, Kind, SelfCheck
from rm_core.export.writing import NotStandard, Written, write_exact, write_standard
from rm_core.scoring import RewardModel

EXACT = "exact"

__all__ = ["EXACT", "ExportReport", "ExportedDirectory", "check_absent", "export_model"]


def export_model(
    checkpoint_dir: Path,
    out: Path,
    *,
    backbones_dir: Path,
    last_checkpoint: Path | None = None,
    device: str = "auto",
    report: Report | None = None,
) -> ExportReport:
    """Write, reload and compare; `out` appears only when everything agrees.

    Args:
        checkpoint_dir: the checkpoint to export.
        out: a directory that does not exist yet.
        backbones_dir: as for RewardModel.from_checkpoint.
        last_checkpoint: a checkpoint with readout `last` fitted to the same votes; used where the
            exported one has another readout.
        report: told each step.

    Raises:
        ExportError: `out` exists or cannot be written, or the export gives other rewards.
        CheckpointError, BackboneError: as RewardModel.from_checkpoint.
    """
    from rm_core.backbone import _quiet_transformers

    check_absent(out)
    job = _Job(backbones_dir, device, report or (lambda _: None))
    _quiet_transformers()
    part = out.absolute().with_name(f".{out.absolute().name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        written = job.write(checkpoint_dir, last_checkpoint, part, str(out))
        _settle(part)
        os.rename(part, out)
    except OSError as error:
        raise ExportError(
            f"The export {out} cannot be written: {error}; free space or choose another place."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return written


def check_absent(out: Path) -> None:
    """Raise ExportError where something has the export's name already."""
    if out.exists() or out.is_symlink():
        raise ExportError(
            f"The directory {out} exists already; exports are never overwritten: choose another "
            "name or remove it."
        )


@dataclass
class _Job:
    """One export: the settings that its steps share."""

    backbones_dir: Path
    device: str
    say: Callable[[str], None]

    def write(
        self, checkpoint_dir: Path, last_checkpoint: Path | None, part: Path, name: str
    ) -> ExportReport:
        """Both directories under `part`."""
        model = self._load(checkpoint_dir)
        metrics = model.manifest["metrics"]
        report = ExportReport(
            out=name,
            backbone=model.info.name,
            readout=model.head.readout,
            layer=model.head.layer,
            num_layers=model.info.num_layers,
            accuracy=metrics.get("accuracy"),
            accuracy_ci=metrics.get("accuracy_ci"),
            evaluation=metrics.get("evaluation"),
            directories=[],
        )
        why = None
        if model.head.readout != "last" and last_checkpoint is None:
            why = f"it takes a `last` head, and this one's readout is {model.head.readout}"
        else:
            is_last = model.head.readout == "last"
            standard = model if is_last else self._load(_given(last_checkpoint))
            try:
                self._add("standard", standard, part, ".", report)
            except NotStandard as error:
                why = str(error)
        report = dataclasses.replace(report, why_not_standard=why)
        if model.head.readout != "last" or why:
            self._add("exact", model, part, EXACT, report)
        return report

    def _load(self, directory: Path) -> RewardModel:
        return RewardModel.from_checkpoint(
            directory, backbones_dir=self.backbones_dir, device=self.device, report=self.say
        )

    def _add(
        self, kind: Kind, model: RewardModel, part: Path, name: str, report: ExportReport
    ) -> None:
        """Write one directory, compare it, and put it into the report."""
        from rm_core.export.readme import readme
        from rm_core.export.selfcheck import check_exact, check_standard

        target = part / name
        if kind == "standard" and model.head.readout != "last":
            raise ExportError(
                f"The head fitted for the standard directory has the readout "
                f"{model.head.readout}; it must be last."
            )
        self.say(f"writing the {kind} directory, layer {model.head.layer}, {model.head.readout}")
        written = (write_standard if kind == "standard" else write_exact)(target, model)
        self.say("scoring generated conversations with the studio's own model")
        probes = studio_scores(model)
        self.say(f"loading the {kind} directory and comparing {len(probes)} rewards")
        how: dict[str, Any] = {
            "dtype": model.manifest["backbone"]["dtype"],
            "device": model.warm().device,
        }
        if kind == "standard":
            check = check_standard(target, written, probes, **how)
        else:
            check = check_exact(target, probes, **how)
        metrics = model.manifest["metrics"]
        one = ExportedDirectory(
            kind=kind,
            directory=name,
            architecture=written.architecture,
            token_architecture=written.token_architecture,
            readout=model.head.readout,
            layer=model.head.layer,
            accuracy=metrics.get("accuracy"),
            accuracy_ci=metrics.get("accuracy_ci"),
            evaluation=metrics.get("evaluation"),
            pad_token=written.pad_token,
            check=check,
            limits=_limits(kind, model, written, check),
        )
        report.directories.append(one)
        (target / "README.md").write_text(readme(one, report, model), encoding="utf-8")


def _limits(kind: Kind, model: RewardModel, written: Written, check: SelfCheck) -> list[str]:
    """Sentences on where the directory is not the studio's equal."""
    limits = []
    if not check.left_padding:
        limits.append("pad on the right (absolute positions shift with padding on the left)")
    if kind == "standard" and written.token_architecture is None:
        limits.append("transformers has no token classification class for this family")
    if written.frame is not None and model.head.readout != "last":
        limits += written.frame.limits
    dtype = model.manifest["backbone"]["dtype"]
    if dtype != "float32":
        limits.append(f"trained on {dtype} features, exported in float32")
    return limits


def _given(directory: Path | None) -> Path:
    assert directory is not None
    return directory


def _settle(part: Path) -> None:
    """Synced to disk, and readable by whoever may read the directory (safetensors writes 0600)."""
    mode = part.stat().st_mode & 0o666
    for file in part.rglob("*"):
        if file.is_file():
            os.chmod(file, mode)
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
