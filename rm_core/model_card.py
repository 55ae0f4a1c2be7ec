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
        ("Correlation of reward and length", _correlation(metrics)),
        ("Log loss", f"{metrics['log_loss']:.3f} nats (chance: 0.693)"),
        ("Brier score", f"{metrics['brier']:.3f}"),
        ("Calibration error (ECE)", _ece(metrics)),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in figures if value)
    by_length = metrics["by_length"]
    return f"""# Reward head for {backbone["name"]}

A linear reward head on layer {manifest["layer"]} of {backbone["num_layers"]} of the frozen backbone
`{backbone["name"]}` (revision `{backbone["revision"][:16]}`), readout `{manifest["readout"]}`,
objective `{manifest["objective"]}`, penalty {manifest["penalty"]:g}.{_further(manifest)}

## Data

Fitted on {metrics["num_train_pairs"]} judged pairs of {metrics["num_train_prompts"]} prompts, \
evaluated on {metrics["pairs"]} pairs of {metrics["prompts"]} prompts. \
{left_out(metrics) or "No judged pair was left out."}
{_votes(metrics.get("votes"))}{_agreement(metrics.get("human_agreement"))}
## Figures

| | |
|---|---|
{table}

Where the better answer is the shorter: {_slice(by_length["chosen_shorter"])}; where it is the \
longer: {_slice(by_length["chosen_longer"])}. Intervals are 95 %, by bootstrap over prompts.
{_comparison(metrics.get("comparison"))}
## Limits

A reward says which of two answers to *the same prompt* people like these annotators would prefer;
rewards of answers to different prompts do not compare. The head learned from the pairs above and
nothing else: on other kinds of prompt it may be no better than chance.
"""


def left_out(metrics: dict[str, Any]) -> str:
    """Judged pairs that took no part since an answer was refused, in words; "" without any.

    `num_pairs_left_out` is the caller's to add: older checkpoints lack it.
    """
    answers = metrics.get("left_out", {}).get("answers_refused", 0)
    if not answers:
        return ""
    said = f"{answers} answer{' is' if answers == 1 else 's are'} refused by the encoding, so "
    pairs = metrics.get("num_pairs_left_out")
    if pairs is None:
        said += "the pairs that they are in take no part."
    else:
        said += f"{pairs} judged pair{' takes' if pairs == 1 else 's take'} no part."
    reasons = list(dict.fromkeys(metrics.get("encoding", {}).get("refused", [])))
    if not reasons:
        return said
    which = "first reason" if len(reasons) > 1 else "reason"
    return f"{said} The {which}: {reasons[0].rstrip('.')}."


def _votes(votes: dict[str, Any] | None) -> str:
    """Whose votes they are, where the caller counted them."""
    if not votes:
        return ""
    named = ", ".join(f"`{each['name']}` {each['votes']}" for each in votes["by"][:10])
    rest = votes["people"] - min(10, len(votes["by"]))
    others = f", and {rest} others" if rest else ""
    people = f"{votes['people']} annotator{'' if votes['people'] == 1 else 's'}"
    return f"\n{votes['votes']} votes by {people}: {named}{others}.\n"


def _agreement(people: dict[str, Any] | None) -> str:
    """How far people agree, where several judged the same pair."""
    if not people:
        return "\nNo pair was judged by several people, so their agreement is not known.\n"
    alpha, ceiling = people["alpha"], people["ceiling"]
    parts = [f"Krippendorff's alpha {alpha:.2f}"] if alpha is not None else []
    if ceiling is not None:
        shown = _percent(ceiling, people["ceiling_ci"])
        parts.append(f"one person agrees with the others' majority {shown} of the time")
    return f"\nOn {people['pairs']} pairs that several people judged: {'; '.join(parts)}.\n"


def _comparison(compared: dict[str, Any] | None) -> str:
    """The paired difference to the checkpoint that was in use."""
    if not compared or compared.get("outcome") is None:
        return ""
    low, high = (100 * each for each in compared["accuracy_difference_ci"])
    return (
        f"\nAgainst checkpoint {compared['against']} on the same {compared['pairs']} pairs: "
        f"{100 * compared['accuracy_difference']:+.1f} points of accuracy "
        f"[{low:+.1f}, {high:+.1f}], {compared['outcome']}.\n"
    )


def _further(manifest: dict[str, Any]) -> str:
    """What else the fit had: a model of ties, target margins, a length column."""
    metrics = manifest["metrics"]
    said = ""
    if manifest.get("head_of") is not None:
        said += (
            " Layer, readout and penalty were not chosen anew: they are those of checkpoint "
            f"{manifest['head_of']}."
        )
    if manifest.get("tie_threshold") is not None:
        share = f"{100 * metrics['tie_share']:.0f} % of the votes"
        said += f" Ties ({share}) have their own outcome (`{manifest['ties']}`)."
    if metrics.get("num_target_margins"):
        said += f" {metrics['num_target_margins']} pairs ask for a lead by their votes' strength."
    if metrics.get("length_coefficient") is not None:
        said += (
            f" Length was fitted beside it ({metrics['length_coefficient']:+.2f} for each unit of "
            "log length) and dropped."
        )
    return said


def _percent(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "not known"
    shown = f"{100 * value:.1f} %"
    if interval is None:
        return shown
    return f"{shown} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _correlation(metrics: dict[str, Any]) -> str:
    """Empty for figures of a version that did not measure it."""
    if "reward_length_correlation" not in metrics:
        return ""
    r = metrics["reward_length_correlation"]
    return "not known" if r is None else f"{r:.2f} (1: the longer answer always has more)"


def _slice(figures: dict[str, Any]) -> str:
    return f"{_percent(figures['accuracy'], None)} of {figures['pairs']} pairs"


def _ece(metrics: dict[str, Any]) -> str:
    if metrics["ece"] is None:
        return "not known"
    return f"{metrics['ece']:.3f} (a perfect model at this size: {metrics['ece_noise_floor']:.3f})"
