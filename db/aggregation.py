"""How the votes on a pair become its training target: docs/training-rules.md, as code.

    rules = Rules.from_settings(project.aggregation)
    merged = merge(table, rules)            # table: see db/vote_table.py
    merged.target[merged.has_target]        # probability that response_a is better

Whoever changes what a vote means here raises RULE_VERSION and adds a line to that page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from db import dawid_skene
from db.models import CHOICES
from db.vote_table import CHOICE_CODE, PURPOSE_CODE, VoteTable

if TYPE_CHECKING:
    import numpy as np

RULE_VERSION = 2
METHODS = ("shares", "majority", "reliability")
TIES = ("half", "drop")
MAX_MIN_VOTES = 100
TRAINING = ("label", "adjudication")  # the purposes of votes that train; gold and repeats never do
A, B, TIE, BOTH_BAD, SKIP, FLAG = range(len(CHOICES))
# Why a pair has no target; the first that holds is the one that is counted.
REASONS = (
    "has_target",
    "adjudicated_both_bad",
    "too_few_votes",
    "flag_only",
    "both_bad_only",
    "tie_only",
    "skip_only",
    "excluded_only",
)


@dataclass(frozen=True)
class Rules:
    """A project's choice among the rules; the defaults are what a project starts with.

    Attributes:
        method: `shares`: the share of the votes; `majority`: 1, 0 or one half; `reliability`: the
            probability given how reliable each annotator is (Dawid and Skene).
        ties: `half` a vote for each answer, or `drop`.
        min_votes: pairs with fewer votes that say which answer is better are left out.
        exclude: annotators whose votes are left out.
        pseudo_votes: for `reliability`: how many votes the average annotator weighs in the
            estimate of each one.
    """

    method: str = "shares"
    ties: str = "half"
    min_votes: int = 1
    exclude: tuple[str, ...] = ()
    pseudo_votes: float = 4.0

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Rules:
        """From `project.aggregation`; ValueError says which key and value cannot be."""
        unknown = sorted(set(settings) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(
                f"aggregation has the unknown key {unknown[0]!r}; "
                f"use {', '.join(cls.__dataclass_fields__)}"
            )
        values = dict(settings)
        for name, allowed in (("method", METHODS), ("ties", TIES)):
            if values.get(name, allowed[0]) not in allowed:
                raise ValueError(
                    f"aggregation.{name} is {values[name]!r}; use one of {', '.join(allowed)}"
                )
        _check_number("min_votes", values.get("min_votes", 1), 1, MAX_MIN_VOTES, whole=True)
        _check_number("pseudo_votes", values.get("pseudo_votes", 4.0), 0, 1000, whole=False)
        exclude = values.get("exclude", ())
        if not isinstance(exclude, list | tuple) or not all(isinstance(e, str) for e in exclude):
            raise ValueError(f"aggregation.exclude is {exclude!r}; give a list of annotators")
        values["exclude"] = tuple(sorted(set(exclude)))
        return cls(**values)

    def as_settings(self) -> dict[str, Any]:
        """Every key with its value, as JSON keeps it."""
        return {**asdict(self), "exclude": list(self.exclude)}


def _check_number(name: str, value: Any, low: float, high: float, *, whole: bool) -> None:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        what = "a whole number" if whole else "a number"
        raise ValueError(f"aggregation.{name} is {value!r}; use {what} from {low} to {high}")


class Verdict(NamedTuple):
    """What a pair's votes come to; see Merged for the fields."""

    target: float
    tie_share: float
    mean_strength: float | None
    num_votes: int


@dataclass(frozen=True)
class Merged:
    """Every pair that has a vote for training, in order of id, and what its votes come to.

    Attributes:
        pair: int64 [M].
        reason: int8 [M], index into REASONS; 0 where the pair has a target.
        target: float64 [M], probability that `response_a` is better.
        tie_share: float64 [M], the part of it that ties make: 0 to 1.
        mean_strength: float64 [M], mean strength (1 to 3) of the votes for the answer that the
            target favours, negative when that is `response_b`; NaN when none has a strength.
        num_votes: int64 [M], votes that say which answer is better, behind the target.
        num_left_out: votes set aside within pairs that have a target, by kind.
        reliability: for that method, what was estimated of each annotator.
    """

    pair: np.ndarray
    reason: np.ndarray
    target: np.ndarray
    tie_share: np.ndarray
    mean_strength: np.ndarray
    num_votes: np.ndarray
    num_left_out: dict[str, int]
    reliability: dict[str, Reliability] | None = None
    has_converged: bool = True  # the estimate of reliability had settled

    @property
    def has_target(self) -> np.ndarray:
        return self.reason == 0

    @property
    def num_with_target(self) -> int:
        return int(self.has_target.sum())

    def left_out(self, num_pairs: int) -> dict[str, int]:
        """What is left out and why, of a project of `num_pairs`; see docs/training-rules.md."""
        counts = {f"votes_{kind}": number for kind, number in self.num_left_out.items()}
        for code, reason in enumerate(REASONS[1:], start=1):
            counts[f"pairs_{reason}"] = int((self.reason == code).sum())
        counts["pairs_not_judged"] = num_pairs - len(self.pair)
        return {reason: number for reason, number in sorted(counts.items()) if number}

    def verdict(self, pair_id: int) -> Verdict | str:
        """What the pair's votes come to, or why it has no target."""
        import numpy as np

        at = int(np.searchsorted(self.pair, pair_id))
        if at == len(self.pair) or self.pair[at] != pair_id:
            return "not_judged"
        return self.verdict_at(at) if self.reason[at] == 0 else REASONS[self.reason[at]]

    def verdict_at(self, at: int) -> Verdict:
        strength = float(self.mean_strength[at])
        return Verdict(
            float(self.target[at]),
            float(self.tie_share[at]),
            None if strength != strength else strength,
            int(self.num_votes[at]),
        )


class Reliability(NamedTuple):
    """What Dawid and Skene's model holds an annotator to be."""

    right: float  # names the better answer where there is one
    wrong: float  # names the worse one
    tie: float  # calls it a tie although one is better
    num_votes: int


def merge(table: VoteTable, rules: Rules) -> Merged:
    """Merge votes with the purposes in TRAINING by the rules."""
    import numpy as np

    pair, at = np.unique(table.pair, return_inverse=True)
    used = table.purpose == PURPOSE_CODE["label"]
    by_excluded = np.array([name in rules.exclude for name in table.names], dtype=bool)
    is_excluded = used & (by_excluded[table.annotator] if len(by_excluded) else False)
    used &= ~is_excluded
    counts = _count(at[used], table.choice[used], len(pair))
    judging = counts[:, :3].copy()
    if rules.ties == "drop":
        judging[:, TIE] = 0
    num_votes = judging.sum(axis=1)
    reliability, has_converged = None, True
    verdict = _verdict_of_table(table, at, len(pair))
    if rules.method == "reliability":
        target, tie_share, reliability, has_converged = _by_reliability(
            table, at, used, verdict, rules
        )
    elif rules.method == "majority":
        target, tie_share = _by_majority(judging)
    else:
        target, tie_share = _by_shares(judging)
    reason = _reasons(counts, num_votes, rules)
    strength = _mean_strength(table, at, used, target)
    is_settled = verdict >= 0
    target = np.where(is_settled, np.array([1.0, 0.0, 0.5, 0.5])[verdict], target)
    tie_share = np.where(is_settled, verdict == TIE, tie_share)
    own = _mean_strength(table, at, table.purpose == PURPOSE_CODE["adjudication"], target)
    strength = np.where(is_settled, own, strength)
    reason = np.where(is_settled, np.where(verdict == BOTH_BAD, 1, 0), reason).astype(np.int8)
    has_target = reason == 0
    excluded = np.bincount(at[is_excluded], minlength=len(pair))
    num_left_out = {
        CHOICES[code]: int(counts[has_target, code].sum()) for code in (BOTH_BAD, SKIP, FLAG)
    }
    num_left_out["excluded"] = int(excluded[has_target].sum())
    num_left_out["overridden"] = int(num_votes[has_target & is_settled].sum())
    num_left_out["tie"] = int((counts[:, TIE] - judging[:, TIE])[has_target].sum())
    return Merged(
        pair, reason, target, tie_share, strength, np.where(is_settled, 1, num_votes),
        num_left_out, reliability, has_converged,
    )  # fmt: skip


def _count(at: np.ndarray, choice: np.ndarray, num_pairs: int) -> np.ndarray:
    """How often each choice was made on each pair, int [M, 6]."""
    import numpy as np

    size = len(CHOICES)
    return np.bincount(at * size + choice, minlength=num_pairs * size).reshape(num_pairs, size)


def _verdict_of_table(table: VoteTable, at: np.ndarray, num_pairs: int) -> np.ndarray:
    """The adjudicated choice of each pair, or -1; the database allows one standing a pair."""
    import numpy as np

    verdict = np.full(num_pairs, -1)
    is_adjudication = table.purpose == PURPOSE_CODE["adjudication"]
    verdict[at[is_adjudication]] = table.choice[is_adjudication]
    return verdict


def _by_shares(judging: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    total = np.maximum(judging.sum(axis=1), 1)
    return (judging[:, A] + judging[:, TIE] / 2) / total, judging[:, TIE] / total


def _by_majority(judging: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A draw between the answers is a tie; so are pairs with more ties than votes for either."""
    import numpy as np

    a, b, tie = judging.T
    is_tie = (a == b) | (tie > np.maximum(a, b))
    return np.where(is_tie, 0.5, (a > b).astype(float)), is_tie.astype(float)


def _by_reliability(
    table: VoteTable, at: np.ndarray, used: np.ndarray, verdict: np.ndarray, rules: Rules
) -> tuple[np.ndarray, np.ndarray, dict[str, Reliability], bool]:
    """Targets from what each annotator's votes are worth; adjudicated pairs count as known."""
    import numpy as np

    takes_ties = rules.ties == "half"
    judges = used & (table.choice < (3 if takes_ties else 2))
    # In one order, whatever the database's: sums of floats then come out the same to the last bit.
    order = np.lexsort((table.choice[judges], table.annotator[judges], at[judges]))
    present, rater = np.unique(table.annotator[judges][order], return_inverse=True)
    names = [table.names[code] for code in present]
    num_classes = 3 if takes_ties else 2
    found = dawid_skene.fit(
        at[judges][order],
        rater,
        table.choice[judges][order],
        num_classes=num_classes,
        known=np.where(verdict < num_classes, verdict, -1),
        mirror=(1, 0, 2)[:num_classes],
        pseudo_votes=rules.pseudo_votes,
    )
    tie_share = found.posterior[:, 2] if takes_ties else np.zeros(len(verdict))
    num_votes = np.bincount(rater, minlength=len(names))
    reliability = {
        name: Reliability(
            float(matrix[0, 0]), float(matrix[0, 1]),
            float(matrix[0, 2]) if takes_ties else 0.0, int(number),
        )
        for name, matrix, number in zip(names, found.confusion, num_votes, strict=True)
    }  # fmt: skip
    target = found.posterior[:, 0] + tie_share / 2
    return target, tie_share, reliability, found.has_converged


def _mean_strength(
    table: VoteTable, at: np.ndarray, used: np.ndarray, target: np.ndarray
) -> np.ndarray:
    import numpy as np

    favoured = np.where(target > 0.5, A, np.where(target < 0.5, B, -1))
    counts = used & (table.strength > 0) & (table.choice == favoured[at])
    number = np.bincount(at[counts], minlength=len(target))
    total = np.bincount(at[counts], table.strength[counts], minlength=len(target))
    with np.errstate(invalid="ignore"):
        return np.where(favoured == B, -1, 1) * total / np.where(number, number, np.nan)


def _reasons(counts: np.ndarray, num_votes: np.ndarray, rules: Rules) -> np.ndarray:
    """Index into REASONS for pairs that nobody has adjudicated."""
    import numpy as np

    code = {reason: number for number, reason in enumerate(REASONS)}
    conditions = [
        num_votes >= rules.min_votes,
        num_votes > 0,
        counts[:, FLAG] > 0,
        counts[:, BOTH_BAD] > 0,
        counts[:, TIE] > 0,
        counts[:, SKIP] > 0,
    ]
    names = ["has_target", "too_few_votes", "flag_only", "both_bad_only", "tie_only", "skip_only"]
    return np.select(conditions, [code[name] for name in names], code["excluded_only"])


assert (CHOICE_CODE["a"], CHOICE_CODE["b"], CHOICE_CODE["tie"]) == (A, B, TIE)
