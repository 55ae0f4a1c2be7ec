"""The model card of a checkpoint: what its manifest says, for people."""

from __future__ import annotations

from typing import Any


def model_card(manifest: dict[str, Any]) -> str:
    """Markdown from a manifest; figures that are not there are left out."""
    backbone, metrics = manifest["backbone"], manifest["metrics"]
    figures = [
        (
            "Held-out accuracy"
            if metrics["evaluation"] == "heldout"
            else "Cross-validated accuracy",
            _percent(metrics["accuracy"], metrics["accuracy_ci"]),
        ),
        ("Length-only baseline", _percent(metrics.get("length_only_accuracy"), None)),
        ("Log loss", f"{metrics['log_loss']:.3f} nats (chance: 0.693)"),
        ("Brier score", f"{metrics['brier']:.3f}"),
        ("Calibration error (ECE)", _ece(metrics)),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in figures)
    left_out = ", ".join(f"{k}: {v}" for k, v in metrics["left_out"].items()) or "nothing"
    by_length = metrics["by_length"]
    return f"""# Reward head for {backbone["name"]}

A linear reward head on layer {manifest["layer"]} of {backbone["num_layers"]} of the frozen backbone
`{backbone["name"]}` (revision `{backbone["revision"][:16]}`), readout `{manifest["readout"]}`,
objective `{manifest["objective"]}`, penalty {manifest["penalty"]:g}.

## Data

Fitted on {metrics["num_train_pairs"]} judged pairs of {metrics["num_train_prompts"]} prompts, \
evaluated on {metrics["pairs"]} pairs of {metrics["prompts"]} prompts. Left out: {left_out}.

## Figures

| | |
|---|---|
{table}

Where the better answer is the shorter: {_slice(by_length["chosen_shorter"])}; where it is the \
longer: {_slice(by_length["chosen_longer"])}. Intervals are 95 %, by bootstrap over prompts.

## Limits

A reward says which of two answers to *the same prompt* people like these annotators would prefer;
rewards of answers to different prompts do not compare. The head learned from the pairs above and
nothing else: on other kinds of prompt it may be no better than chance.
"""


def _percent(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "not known"
    shown = f"{100 * value:.1f} %"
    if interval is None:
        return shown
    return f"{shown} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _slice(figures: dict[str, Any]) -> str:
    return f"{_percent(figures['accuracy'], None)} of {figures['pairs']} pairs"


def _ece(metrics: dict[str, Any]) -> str:
    if metrics["ece"] is None:
        return "not known"
    return f"{metrics['ece']:.3f} (a perfect model at this size: {metrics['ece_noise_floor']:.3f})"
