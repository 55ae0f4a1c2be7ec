"""Answers to one prompt as a tree, and how many trees lie in one flat sequence of tokens.

A *tree* is the ids that its answers share (the prefix) and each answer's own ids (the branches).
Trees are laid end to end without padding; positions restart behind each prefix. What all trees of
a pack begin with (a template's system message, most often) is their *root*: it is encoded once and
then left out of the layout altogether, its keys and values standing before everyone's own.

    layout = lay_out([Tree([1, 2, 3], [[4], [5, 6]])], num_root=2)
    layout.ids == [3, 4, 5, 6]; layout.positions == [2, 3, 3, 4]
    layout.segments == [Segment(0, 1, None), Segment(1, 2, (0, 1)), Segment(2, 4, (0, 1))]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# A shorter root saves less than its own forward costs.
MIN_ROOT_TOKENS = 8


@dataclass(frozen=True)
class Tree:
    """One prompt and its answers: ids they share, and each answer's own ids."""

    prefix: list[int]
    branches: list[list[int]]

    @property
    def num_tokens(self) -> int:
        """Tokens of the tree, each counted once."""
        return len(self.prefix) + sum(len(branch) for branch in self.branches)


@dataclass(frozen=True)
class Segment:
    """Rows `begin` … `end` of the flat sequence: they see the root, `before`, and themselves."""

    begin: int
    end: int
    before: tuple[int, int] | None


@dataclass(frozen=True)
class Layout:
    """Trees laid end to end, N tokens in all.

    Attributes:
        ids, positions: [N].
        segments: every prefix and branch that has a token, in order.
        rows: for each tree and branch, the row of the token before it (-1: none) and its own.
        num_root: tokens before every tree that are not in the layout.
    """

    ids: list[int]
    positions: list[int]
    segments: list[Segment]
    rows: list[list[list[int]]]
    num_root: int

    @property
    def is_chain(self) -> bool:
        """Whether it is one ordinary sequence, for which plain causal attention is right."""
        return self.num_root == 0 and len(self.rows) == 1 and len(self.rows[0]) == 1


def lay_out(trees: Sequence[Tree], num_root: int = 0) -> Layout:
    """The flat sequence of `trees`, each without the first `num_root` ids of its prefix."""
    layout = Layout([], [], [], [], num_root)
    for tree in trees:
        first = len(layout.ids)
        own = tree.prefix[num_root:]
        end = first + len(own)
        _append(layout, own, num_root, None)
        layout.rows.append([])
        for branch in tree.branches:
            begin = len(layout.ids)
            _append(layout, branch, len(tree.prefix), (first, end) if own else None)
            layout.rows[-1].append([end - 1 if own else -1, *range(begin, len(layout.ids))])
    return layout


def _append(layout: Layout, ids: list[int], position: int, before: tuple[int, int] | None) -> None:
    if ids:
        begin = len(layout.ids)
        layout.ids.extend(ids)
        layout.positions.extend(range(position, position + len(ids)))
        layout.segments.append(Segment(begin, begin + len(ids), before))


def common_ids(trees: Sequence[Tree]) -> list[int]:
    """The ids that every tree's prefix begins with, its last id left to the tree itself.

    The last one stays because its states are asked for (the value before the first token).
    """
    shared = trees[0].prefix[:-1]
    for tree in trees[1:]:
        shared = shared[: num_common(shared, tree.prefix[:-1])]
    return shared


def num_common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    limit = min(len(one), len(other))
    return next((i for i in range(limit) if one[i] != other[i]), limit)
