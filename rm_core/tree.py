"""Answers to one prompt as a tree, and how many trees lie in one flat sequence of tokens.

A *tree* is the ids that its answers share (the prefix) and each answer's own ids (the branches).
Trees are laid end to end without padding; positions restart behind each prefix. What all trees of
a pack begin with (a template's system message, most often) is their *root*: it is encoded once and
then left out of the layout altogether, its keys and values standing before everyone's own.

    layout = lay_out([Tree([1, 2, 3], [[4], [5, 6]])], num_root=2)
    layout.ids == [3, 4, 5, 6]; layout.positions == [2, 3, 3, 4]
    layout.segments == [Segment(0, 1, None), Segment(1, 2, (0, 1)), Segment(2, 4, (0, 1))]

For attention under a mask the sequence can be folded into rows that no tree crosses: a mask over R
rows of W tokens is R times smaller than one over all of them, and so is the attention's work.
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
        ids, positions: [N]; where rows are filled up, 0.
        segments: every prefix and branch that has a token, in order.
        places: for each tree and branch, the place of the token before it (-1: none) and its own.
        num_root: tokens before every tree that are not in the layout.
        num_rows: the sequence is that many rows of equal length.
    """

    ids: list[int]
    positions: list[int]
    segments: list[Segment]
    places: list[list[list[int]]]
    num_root: int
    num_rows: int = 1

    @property
    def width(self) -> int:
        """Tokens in a row."""
        return len(self.ids) // self.num_rows

    @property
    def num_tokens(self) -> int:
        """Tokens of the trees, without what fills up rows."""
        return sum(segment.end - segment.begin for segment in self.segments)

    @property
    def is_chain(self) -> bool:
        """Whether it is one ordinary sequence, for which plain causal attention is right."""
        return self.num_root == 0 and len(self.places) == 1 and len(self.places[0]) == 1


def lay_out(trees: Sequence[Tree], num_root: int = 0) -> Layout:
    """The flat sequence of `trees`, each without the first `num_root` ids of its prefix."""
    layout = Layout([], [], [], [], num_root)
    for tree in trees:
        layout.places.append(_append_tree(layout, tree))
    return layout


def lay_out_in_rows(trees: Sequence[Tree], width: int) -> Layout:
    """The same folded into rows of `width` tokens, or as long as the longest tree if that is more.

    Each tree goes into the first row that has room for it, the longest first.
    """
    sizes = [tree.num_tokens for tree in trees]
    width = min(max(width, *sizes), sum(sizes))
    rows: list[list[int]] = []
    free: list[int] = []
    for index in sorted(range(len(trees)), key=lambda i: -sizes[i]):
        row = next((r for r, room in enumerate(free) if room >= sizes[index]), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(width)
        rows[row].append(index)
        free[row] -= sizes[index]
    layout = Layout([], [], [], [[] for _ in trees], 0, num_rows=len(rows))
    for number, row_trees in enumerate(rows, 1):
        for index in row_trees:
            layout.places[index] = _append_tree(layout, trees[index])
        filling = [0] * (number * width - len(layout.ids))
        layout.ids.extend(filling)
        layout.positions.extend(filling)
    return layout


def _append_tree(layout: Layout, tree: Tree) -> list[list[int]]:
    """Add a tree at the end; the places of its branches."""
    first = len(layout.ids)
    own = tree.prefix[layout.num_root :]
    end = first + len(own)
    _append(layout, own, layout.num_root, None)
    places = []
    for branch in tree.branches:
        begin = len(layout.ids)
        _append(layout, branch, len(tree.prefix), (first, end) if own else None)
        places.append([end - 1 if own else -1, *range(begin, len(layout.ids))])
    return places


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
