"""Admissible graphs on which a node's compactness may be low."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor

from gcl.augment.arcs import draw_uniform
from gcl.core.adjacency import Adjacency
from gcl.ops.compactness import BoundedLayer
from gcl.ops.matmul import linear
from gcl.ops.propagation_bounds import Deletion
from gcl.ops.segment import segment_sum
from gcl.ops.sparse_product import dot_arcs

ROUNDS = 50  # in which an attack spends the budgets of edges; most are spent in the first few


def toward_the_value(
    adjacency: Adjacency, hidden: Tensor, z: Tensor, direction: Tensor, layers: Sequence[BoundedLayer]
) -> Tensor:
    """What each arc adds to its target's value on the whole graph, up to a factor of the target, ``[E]``."""
    slope = torch.where(z > 0, 1.0, layers[-1].slope).to(z.dtype)
    image = hidden if len(layers) == 1 else linear(hidden, layers[-1].weight.t())  # [N, d]
    degree = adjacency.row_ptr.diff().double() + 1
    return dot_arcs(adjacency, slope * direction, image * degree.rsqrt().unsqueeze(1))


class DeletionAttack:
    """Draws admissible graphs: arcs, or edges, go in the order of their keys while the budgets allow."""

    def __init__(self, adjacency: Adjacency, budget: Tensor, deletion: Deletion):
        self.adjacency, self.budget, self.deletion = adjacency, budget, deletion

    def graphs(
        self, drop_prob: float, num_samples: int, toward: Tensor, generator: Generator | None
    ) -> Iterator[Adjacency]:
        """The greedy graph, then random ones: every second with whole budgets, the others with random parts of them."""
        if not num_samples or not int(self.budget.sum()):
            return
        symmetric = self.deletion == "edges"
        reverse = self.adjacency.t_perm.long() if symmetric else None
        greedy = -toward if reverse is None else -(toward + toward[reverse])
        yield self.without(greedy, self.budget)
        for sample in range(1, num_samples):
            keys = draw_uniform(self.adjacency, generator, symmetric=symmetric).double()
            budget = self.budget
            if sample % 2 == 0:
                dropped = draw_uniform(self.adjacency, generator, symmetric=symmetric) < drop_prob
                count = segment_sum(dropped.double(), row_ptr=self.adjacency.row_ptr).long()
                budget = torch.minimum(budget, count)
            yield self.without(keys, budget)

    def without(self, keys: Tensor, budget: Tensor) -> Adjacency:
        """The graph without the arcs of the lowest keys, at most ``budget`` at each node.

        An edge goes where it is among the lowest at both of its ends; what is left of the budgets is spent in further
        rounds, on edges whose ends both have some.
        """
        row, col = self.adjacency.row.long(), self.adjacency.col.long()
        order = keys.argsort(stable=True)
        order = order[row[order].argsort(stable=True)]  # by row, and by key in it
        if self.deletion == "arcs":
            return self.adjacency.masked(~self._lowest(order, budget, torch.ones_like(row, dtype=torch.bool)))
        reverse, left = self.adjacency.t_perm.long(), budget.clone()
        gone = torch.zeros_like(row, dtype=torch.bool)
        for _ in range(ROUNDS):
            open_ = ~gone & (left[row] > 0) & (left[col] > 0)
            picked = self._lowest(order, left, open_)
            picked &= picked[reverse]
            if not bool(picked.any()):
                break
            gone |= picked
            left = budget - segment_sum(gone.double(), row_ptr=self.adjacency.row_ptr).long()
        return self.adjacency.masked(~gone)

    def _lowest(self, order: Tensor, budget: Tensor, candidate: Tensor) -> Tensor:
        """The first candidates of every row in an order by rows, as many as its budget, boolean ``[E]``."""
        sorted_ = candidate[order].long()
        before = sorted_.cumsum(0) - sorted_  # candidates that come first, over all rows
        row = self.adjacency.row.long()
        start = torch.cat([before, before.new_zeros(1)])[self.adjacency.row_ptr.long()[:-1].clamp(max=before.numel())]
        picked = torch.empty_like(candidate)
        picked[order] = sorted_.bool() & (before - start[row[order]] < budget[row[order]])
        return picked
