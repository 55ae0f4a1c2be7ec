"""Whether a new checkpoint is put to use, and the sentence that says why.

    decision = promotion.decide(project.promotion_rule, unseen)
    decision.promoted, decision.as_dict()["because"]

A project's rule (`project.promotion_rule`): `unless_worse` (the default) promotes unless the 95 %
interval of the paired difference in accuracy lies wholly below zero; `always`; `manual`: a lead
does it. The playground and the scoring use the newest promoted one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.services.errors import UsageError

if TYPE_CHECKING:
    from studio.services.predictions import Unseen

RULES = ("unless_worse", "always", "manual")


@dataclass(frozen=True)
class Decision:
    """What became of a new checkpoint."""

    rule: str
    promoted: bool
    because: str
    comparison: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """For `checkpoint.promotion`; the comparison is kept with the figures."""
        return {"rule": self.rule, "promoted": self.promoted, "because": self.because}


def check_rule(rule: str) -> str:
    """The rule, if it is one."""
    if rule not in RULES:
        raise UsageError(f"the promotion rule {rule!r} is not known; use {', '.join(RULES)}")
    return rule


def compare(unseen: Unseen) -> dict[str, Any] | None:
    """The new head against the one in use on the pairs that both can be asked about."""
    from rm_core import comparison

    if unseen.against is None:
        return None
    rows = unseen.compared()
    if not rows:
        return {"against": unseen.against, "pairs": 0, "outcome": None, "problem": unseen.problem}
    figures = comparison.compare(
        [row.target for row in rows],
        [row.group for row in rows],
        [row.logit for row in rows],
        [row.old_logit or 0.0 for row in rows],
    )
    return {"against": unseen.against, **figures}


def decide(rule: str, unseen: Unseen) -> Decision:
    """Apply the rule; a comparison is made and kept whatever the rule says."""
    compared = compare(unseen)
    if rule == "manual":
        why = "Not put to use by itself: in this project a lead promotes by hand."
        return Decision(rule, False, why, compared)
    if compared is None:
        return Decision(rule, True, "Promoted: nothing was in use before it.", None)
    if rule == "always":
        why = f"Promoted: this project promotes every new checkpoint. {in_words(compared)}"
        return Decision(rule, True, why.strip(), compared)
    if compared["outcome"] == "worse":
        return Decision(rule, False, f"Not promoted. {in_words(compared)}", compared)
    return Decision(rule, True, f"Promoted. {in_words(compared)}", compared)


def in_words(compared: dict[str, Any]) -> str:
    """The paired difference as a sentence."""
    against = f"checkpoint {compared['against']}"
    outcome = compared["outcome"]
    if outcome is None:
        problem = compared.get("problem") or "too few pairs of different prompts are decided"
        return f"It could not be compared with {against} ({problem})."
    points = 100 * compared["accuracy_difference"]
    low, high = (100 * each for each in compared["accuracy_difference_ci"])
    pairs = f"{compared['pairs']} pair{'' if compared['pairs'] == 1 else 's'}"
    interval = f"95 %: {_signed(low)} to {_signed(high)}"
    if abs(points) < 0.05:
        how = f"right as often as {against}"
    else:
        more = "more" if points > 0 else "less"
        how = f"right {abs(points):.1f} points {more} often than {against}"
    verdict = {
        "worse": "that is worse by more than chance explains",
        "better": "that is better by more than chance explains",
        "no difference shown": "that shows neither better nor worse",
    }[outcome]
    return f"On {pairs} that neither was fitted to, it is {how} ({interval}): {verdict}."


def _signed(points: float) -> str:
    return (
        f"{'−' if round(points, 1) < 0 else '+' if round(points, 1) > 0 else ''}{abs(points):.1f}"
    )
