"""A synthetic graph of users and items with blocks, for trying recommenders without a download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gcl.core.graph import Graph
from gcl.data.carve_validation import carve_validation
from gcl.data.interaction_filters import merge_duplicates
from gcl.data.interaction_table import InteractionTable
from gcl.data.prepare_interactions import graph_of_table
from gcl.data.splits import TEST, TRAIN


@dataclass(frozen=True)
class InteractionBlocks:
    """Users prefer the items of their block, and some users and items are far more active than others.

    Users weigh Pareto(1.5) + 1, items Pareto(1.2) + 1, and each is in one of ``num_blocks`` blocks by chance. Each draw
    takes a user by weight, and by weight an item, of the user's block with probability ``inside``, else of all. Repeats
    are merged, and users and items without an interaction left out. It is this package's own, of no paper. NumPy's
    legacy ``RandomState`` draws it, so that it is the same in every version.

    Args:
        num_users: users before the empty ones are left out.
        num_items: items likewise.
        num_blocks: blocks.
        num_draws: draws.
        inside: probability that a draw stays in the user's block.
        seed: 0 to 2**32 - 1.
    """

    num_users: int = 800
    num_items: int = 700
    num_blocks: int = 20
    num_draws: int = 30_000
    inside: float = 0.8
    seed: int = 0

    def table(self) -> InteractionTable:
        """The interactions, each pair once, without parts."""
        draw = np.random.RandomState(self.seed)
        user_weight, item_weight = draw.pareto(1.5, self.num_users) + 1, draw.pareto(1.2, self.num_items) + 1
        user_block = draw.randint(self.num_blocks, size=self.num_users)
        item_block = draw.randint(self.num_blocks, size=self.num_items)
        user = _by_weight(draw, np.cumsum(user_weight), 0, user_weight.sum(), self.num_draws)
        # Items by block, so that a block is an interval of the cumulated weights; that of an empty block is all.
        order = np.argsort(item_block, kind="stable")
        bounds = np.cumsum(item_weight[order])
        block_end = np.cumsum(np.bincount(item_block, item_weight, minlength=self.num_blocks))
        block_start = np.concatenate([[0], block_end[:-1]])
        block = user_block[user]
        stays = (draw.random_sample(self.num_draws) < self.inside) & (block_end > block_start)[block]
        low = np.where(stays, block_start[block], 0)
        high = np.where(stays, block_end[block], bounds[-1])
        item = order[_by_weight(draw, bounds, low, high, self.num_draws)]
        table = InteractionTable(user, item, (self.num_users, self.num_items), where="the graph of blocks")
        return merge_duplicates(table).without_empty()

    def graph(self, *, test: float = 0.2, valid: float = 0.1) -> Graph:
        """The graph, with a random share ``test`` of all interactions held out, and ``valid`` of each user's others."""
        table = self.table()
        part = np.full(len(table), TRAIN, dtype=np.uint8)
        chosen = np.random.RandomState(self.seed).permutation(len(table))[: int(test * len(table))]
        part[chosen] = TEST
        held = InteractionTable(table.user, table.item, table.shape, part=part, parts=("test",), where=table.where)
        return carve_validation(graph_of_table(held), valid, self.seed)


def _by_weight(
    draw: np.random.RandomState, bounds: np.ndarray, low: np.ndarray | float, high: np.ndarray | float, size: int
) -> np.ndarray:
    """Positions in cumulated weights, drawn by weight between two of their values."""
    at = np.searchsorted(bounds, low + draw.random_sample(size) * (high - low), side="right")
    return np.minimum(at, bounds.size - 1)
