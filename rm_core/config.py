"""Settings of a training run: one frozen dataclass, read from TOML, stored with the run.

[train]                      # the table's name may be left out
objective = "outcome"
layers = [15, 18]
readouts = ["mean+last", "mean"]
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rm_core.backbone import BackboneInfo
from rm_core.conversation import Limits
from rm_core.errors import TrainingDataError
from rm_core.heads import Readout
from rm_core.links import Ties

Objective = Literal["outcome", "token", "token_coherent"]


@dataclass(frozen=True)
class TrainConfig:
    """Every field has a default that works.

    Attributes:
        objective: "outcome" (Bradley–Terry on rewards), "token" (the per-token loss, mended) or
            "token_coherent" (the same with terms that tie a token's value to the answer's end);
            see rm_core.objectives.
        layers: candidate backbone layers (1 = first); None takes two around the middle.
        readouts: candidates; None takes "mean+last" and "mean" for "outcome" ("last" is inside
            the first, and alone it gives a heatmap of one token), "last" for the per-token ones.
        penalty: a fixed L2 penalty a pair; None chooses by leaving prompts out.
        max_prompt_tokens, max_response_tokens, over_long: see rm_core.conversation.Limits.
        dtype: of the backbone's arithmetic: "float32" or "bfloat16".
        ties: what a tie says: "half" (half a win for each), "davidson" or "rao-kupper" (an outcome
            of its own, with a learned threshold; see rm_core.links). Without ties all are the same.
        margin_scale: factor on the pairs' target margins (reward units, from the votes' strength);
            0 leaves strength out.
        length_column: fit the log of the answers' length ratio beside the features and drop it
            when scoring: a reward that length explains less of.
        token_weight: weight of the per-token terms beside the term at the score position
            (per-token objectives only).
        lookahead_weight, smoothness_weight: of the two further terms ("token_coherent" only).
        max_token_positions: per-token terms of a pair at most, spread evenly (per-token objectives
            only).
        min_heldout_prompts: with fewer judged held-out prompts the figures come from
            cross-validation over all judged pairs.
        num_folds: of every cross-validation.
        seed: of the bootstrap intervals; the fit itself draws nothing.
    """

    objective: Objective = "outcome"
    layers: list[int] | None = None
    readouts: list[Readout] | None = None
    penalty: float | None = None
    max_prompt_tokens: int = 2048
    max_response_tokens: int = 4096
    over_long: Literal["refuse", "cut"] = "refuse"
    dtype: Literal["float32", "bfloat16"] = "float32"
    ties: Ties = "davidson"
    margin_scale: float = 1.0
    length_column: bool = False
    token_weight: float = 1.0
    lookahead_weight: float = 1.0
    smoothness_weight: float = 1.0
    max_token_positions: int = 64
    min_heldout_prompts: int = 30
    num_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ["max_prompt_tokens", "max_response_tokens", "max_token_positions"]
        checks = [(name, getattr(self, name) >= 1, "at least 1") for name in positive]
        checks += [
            ("num_folds", self.num_folds >= 2, "at least 2"),
            ("penalty", self.penalty is None or self.penalty > 0, "above 0"),
            ("token_weight", self.token_weight >= 0, "0 or more"),
            ("lookahead_weight", self.lookahead_weight >= 0, "0 or more"),
            ("smoothness_weight", self.smoothness_weight >= 0, "0 or more"),
            ("margin_scale", self.margin_scale >= 0, "0 or more"),
            ("layers", self.layers is None or len(self.layers) > 0, "a list of at least one"),
            ("readouts", self.readouts is None or len(self.readouts) > 0, "at least one"),
        ]
        for name, holds, wanted in checks:
            if not holds:
                raise TrainingDataError(
                    f"The training setting {name} = {getattr(self, name)!r} must be {wanted}."
                )
        if self.needs_token_states and "mean+last" in (self.readouts or []):
            raise TrainingDataError(
                f'The objective "{self.objective}" fits one value vector and the readout '
                '"mean+last" has two; use readouts = ["last"] or ["mean"].'
            )

    @property
    def needs_token_states(self) -> bool:
        """Whether the objective reads every token's state, not only an answer's summary."""
        return self.objective != "outcome"

    @property
    def limits(self) -> Limits:
        """The token limits as rm_core.conversation takes them."""
        return Limits(self.max_prompt_tokens, self.max_response_tokens, self.over_long)

    def candidate_layers(self, info: BackboneInfo) -> list[int]:
        """The layers to try, deepest last.

        Raises:
            TrainingDataError: a layer that the backbone does not have.
        """
        layers = sorted(set(self.layers or default_layers(info)))
        for layer in layers:
            if not 1 <= layer <= info.num_layers:
                raise TrainingDataError(
                    f"The training setting layers names layer {layer} and {info.name} has layers "
                    f"1 to {info.num_layers}."
                )
        return layers

    def candidate_readouts(self) -> list[Readout]:
        """The readouts to try."""
        if self.readouts:
            return list(self.readouts)
        return ["mean+last", "mean"] if self.objective == "outcome" else ["last"]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` reads it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> TrainConfig:
        """Check names and types and build the config.

        Raises:
            TrainingDataError: an unknown field or a value of the wrong type.
        """
        hints = typing.get_type_hints(cls)
        for name, value in fields.items():
            if name not in hints:
                raise TrainingDataError(
                    f"The training setting {name!r} is not known; the known ones are "
                    f"{', '.join(hints)}."
                )
            if not _fits(value, hints[name]):
                raise TrainingDataError(
                    f"The training setting {name} = {value!r} is not of the wanted kind: "
                    f"{_spelled(hints[name])}."
                )
        return cls(**fields)

    @classmethod
    def from_toml(cls, path: Path) -> TrainConfig:
        """Read a TOML file, its fields at the top or in a table [train].

        Raises:
            TrainingDataError: the file cannot be read or has a field that does not fit.
        """
        try:
            fields = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise TrainingDataError(
                f"The training settings {path} cannot be read: {error}."
            ) from error
        return cls.from_dict(fields.get("train", fields))


def default_layers(info: BackboneInfo) -> list[int]:
    """Two candidates, at half and three fifths of the depth: 15 and 18 of SmolLM2's 30."""
    return sorted({max(1, round(info.num_layers * share)) for share in (0.5, 0.6)})


def _fits(value: Any, hint: Any) -> bool:
    """Whether a TOML or JSON value has the type of a field's annotation."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in arguments and isinstance(value, str)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in arguments)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and not isinstance(value, bool)


def _spelled(hint: Any) -> str:
    """An annotation as people read it."""
    return str(hint).replace("typing.", "").replace("<class '", "").replace("'>", "")
