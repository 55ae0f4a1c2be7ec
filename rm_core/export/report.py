"""What an export says of itself: for people, and as JSON for programs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["standard", "exact"]


@dataclass(frozen=True)
class SelfCheck:
    """The reloaded directory beside the studio's own scores.

    Attributes:
        num_rewards: conversations compared, each alone and padded in a batch.
        num_token_values: tokens whose own value was compared (0: no class gives them).
        max_difference: the largest difference of a reward, in the reward's unit.
        tolerance: above it the export would have failed.
        reward_spread: standard deviation of the compared rewards.
        left_padding: whether rewards are the same with padding on the left; where they are not
            (absolute positions), the tokenizer pads on the right.
    """

    num_rewards: int
    num_token_values: int
    max_difference: float
    tolerance: float
    reward_spread: float
    left_padding: bool


@dataclass(frozen=True)
class ExportedDirectory:
    """One directory that a consumer loads.

    Attributes:
        kind: "standard" loads without any code of ours; "exact" carries its modelling file.
        directory: relative to the export's own ("." is the export itself).
        architecture: the class named in config.json.
        token_architecture: the class that gives token values from the same directory, if any.
        accuracy, accuracy_ci, evaluation: from the head's manifest.
        pad_token: never the end of turn, never written by the template.
        limits: sentences on where it is not the same as the studio.
    """

    kind: Kind
    directory: str
    architecture: str
    token_architecture: str | None
    readout: str
    layer: int
    accuracy: float | None
    accuracy_ci: list[float] | None
    evaluation: str | None
    pad_token: str
    check: SelfCheck
    limits: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it compares with the checkpoint.

    Attributes:
        out: as the caller named it.
        readout, layer, accuracy …: of the checkpoint that was exported.
        directories: what was written, the standard one first.
        why_not_standard: a sentence where no standard directory could be written.
    """

    out: str
    backbone: str
    readout: str
    layer: int
    num_layers: int
    accuracy: float | None
    accuracy_ci: list[float] | None
    evaluation: str | None
    directories: list[ExportedDirectory]
    why_not_standard: str | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON-able."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """The report as a person reads it."""
        lines = [
            f"Exported the head on layer {self.layer} of {self.num_layers} of {self.backbone}, "
            f"readout {self.readout}, {stated(self.accuracy, self.accuracy_ci, self.evaluation)}"
        ]
        for one in self.directories:
            where = self.out if one.directory == "." else f"{self.out}/{one.directory}"
            lines.append(f"  {where}: {one.architecture}, {_what(one)}")
            if self.readout != one.readout:
                figures = stated(one.accuracy, one.accuracy_ci, one.evaluation)
                lines.append(f"    its own head, fitted to the same votes: {figures}")
            lines.append(f"    {_checked(one.check)}")
            lines += [f"    limit: {limit}" for limit in one.limits]
        if self.why_not_standard:
            lines.append(f"  no standard directory: {self.why_not_standard}")
        return "\n".join(lines)


def stated(accuracy: float | None, interval: list[float] | None, evaluation: str | None) -> str:
    """An accuracy as every place of an export states it."""
    if accuracy is None:
        return "accuracy not known"
    between = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return f"accuracy {100 * accuracy:.1f} %{between} ({evaluation})"


def _what(one: ExportedDirectory) -> str:
    if one.kind == "exact":
        return f"the exact {one.readout} reward, by its own modelling file (trust_remote_code)"
    return "a `last` head that loads anywhere, without any code of its own"


def _checked(check: SelfCheck) -> str:
    tokens = f" and {check.num_token_values} token values" if check.num_token_values else ""
    return (
        f"reloaded: {check.num_rewards} rewards{tokens} alone and padded as the studio's, within "
        f"{check.max_difference:.1e} (rewards spread by {check.reward_spread:.2g})"
    )
