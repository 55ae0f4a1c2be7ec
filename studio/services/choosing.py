"""Which pair an annotator is shown next, and with what probability: one draw.

    showing = draw(s, project, annotator, standing, now=now, lease_until=until, chance=random)

A draw goes so. With probability `gold_rate` it is for a gold pair, with `repeat_rate` for an own
earlier pair; if there is none to show, and otherwise, it is for a pair to label. That is found by
walking through the queue in its random order (by content hash). Under the strategy *random* the
pair met is shown. Under any other, a held-out pair that is met is shown, and a training pair with
probability `random_share`; else the training pair that the strategy puts first is shown instead.
So held-out pairs and the random arm are samples of what is free, whatever the strategy.

`propensity` is the probability that this draw showed this pair, given what the draw was for and
what was free at the time; it is exact up to the counts of free pairs, which in a large project may
be a minute or two old. With n free pairs, h the share of held-out ones and e the random share:

    strategy random                     1 / n
    met in the walk, other strategy     1 / n held out; e / n, and (1 - h)(1 - e) more if the
                                        strategy puts it first
    shown by the strategy               (1 - h)(1 - e) + e / n
    gold or repeat                      1 / number of pairs it was drawn from
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from db import checks, showings, slots

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.checks import Check
    from db.models import Project, Selection
    from db.slots import ClaimedSlot
    from studio.services.progress import Standing

SCORED = ("uncertainty", "information")


@dataclass(frozen=True)
class _Draw:
    """What every step of a draw needs."""

    s: Session
    project: Project
    annotator: str
    standing: Standing
    num_free: int
    now: datetime
    lease_until: datetime
    chance: random.Random
    after: float  # the walk's place in the queue

    def claim(self) -> ClaimedSlot | None:
        return slots.claim(
            self.s, self.project.id, self.annotator, now=self.now, lease_until=self.lease_until,
            after=self.after,
        )  # fmt: skip

    def claim_first(self) -> ClaimedSlot | None:
        """Lease the training pair that the strategy puts first."""
        if not self._is_ranked():
            return None
        order, after = self._order()
        return slots.claim(
            self.s, self.project.id, self.annotator, now=self.now, lease_until=self.lease_until,
            order=order, after=after,
        )  # fmt: skip

    def peek_first(self) -> int | None:
        """The pair that `claim_first` would lease."""
        if not self._is_ranked():
            return None
        order, after = self._order()
        found = slots.peek(
            self.s, self.project.id, self.annotator, now=self.now, order=order, after=after
        )
        return found.pair_id if found else None

    def _order(self) -> tuple[slots.Order, int]:
        if self.project.queue_strategy == "in_order":
            return "import", showings.last_in_order(self.s, self.project.id, self.annotator)
        return "rank", 0

    def _is_ranked(self) -> bool:
        """The ranking at hand is the strategy's: after a change of strategy it is not, at first."""
        strategy = self.project.queue_strategy
        return strategy == "in_order" or self.project.ranking.get("strategy") == strategy


def draw(
    s: Session, project: Project, annotator: str, standing: Standing, *, num_free: int,
    now: datetime, lease_until: datetime, chance: random.Random,
) -> Selection | None:  # fmt: skip
    """Show the annotator one more pair; None when there is none left to label."""
    after = showings.last_position(s, project.id, annotator)
    this = _Draw(
        s, project, annotator, standing, num_free, now, lease_until, chance, after
    )  # fmt: skip
    if project.queue_strategy == "random" and not project.gold_rate and not project.repeat_rate:
        return _show_walked(this, 1.0)
    met = slots.peek(s, project.id, annotator, now=now, after=after)
    if met is None:
        return None  # checks come between labels, never after the last
    check = _draw_check(this)
    if check is not None:
        return _show_check(this, check)
    if project.queue_strategy == "random":
        return _show_walked(this, 1.0)
    if met.split == "train" and chance.random() >= project.random_share:
        slot = this.claim_first()
        if slot is not None:
            return _show_first(this, slot, met.position)
        return _show_walked(this, 1.0)  # nothing is ranked: the walk is all there is
    share = 1.0 if met.split == "heldout" else project.random_share
    return _show_walked(this, share, this.peek_first())


def _draw_check(this: _Draw) -> Check | None:
    at = this.chance.random()
    if at < this.project.gold_rate:
        return checks.draw_gold(this.s, this.project.id, this.annotator, this.chance)
    if at < this.project.gold_rate + this.project.repeat_rate:
        return checks.draw_repeat(this.s, this.project.id, this.annotator, this.chance)
    return None


def _show_check(this: _Draw, check: Check) -> Selection:
    return showings.add_showing(
        this.s, this.project.id, this.annotator, check.pair_id, purpose=check.purpose,
        slot_id=None, position=this.after, left_side=check.left_side or this.chance.choice("ab"),
        strategy="random", propensity=1 / check.num_candidates, now=this.now,
    )  # fmt: skip


def _show_walked(this: _Draw, share: float, first: int | None = None) -> Selection | None:
    """Show the pair that the walk meets; `share` of such draws do so where `first` is another."""
    slot = this.claim()
    if slot is None:
        return None
    if first is None:
        propensity = 1 / max(1, this.num_free)
    else:
        propensity = share / max(1, this.num_free) + (slot.pair_id == first) * _first_share(this)
    return showings.add_showing(
        this.s, this.project.id, this.annotator, slot.pair_id, slot_id=slot.slot_id,
        position=slot.position, left_side=this.chance.choice("ab"), strategy="random",
        propensity=min(1.0, propensity), now=this.now,
    )  # fmt: skip


def _show_first(this: _Draw, slot: ClaimedSlot, position: float) -> Selection:
    """Show the strategy's pair; the walk goes on behind the pair that it met."""
    project, is_scored = this.project, this.project.queue_strategy in SCORED
    propensity = _first_share(this) + project.random_share / max(1, this.num_free)
    return showings.add_showing(
        this.s, project.id, this.annotator, slot.pair_id, slot_id=slot.slot_id,
        position=position, left_side=this.chance.choice("ab"), strategy=project.queue_strategy,
        acquisition_score=slot.score if is_scored else None, propensity=min(1.0, propensity),
        checkpoint_id=project.ranking.get("checkpoint_id") if is_scored else None, now=this.now,
    )  # fmt: skip


def _first_share(this: _Draw) -> float:
    """How often a draw for a label shows the strategy's first pair for being first."""
    return (1 - this.standing.heldout_share) * (1 - this.project.random_share)
