"""The least that a normalised sum over neighbours can become when a node may lose a number of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.ops.propagation_bounds import Deletion, PropagationBounds
from gcl.ops.segment import segment_sum

ENTRIES = 2**22  # of one piece of padded rows


@dataclass(frozen=True, eq=False)
class _Bucket:
    """Rows of like degree: their nodes, and their neighbours padded to one width."""

    nodes: Tensor  # [r]
    entry: Tensor  # [r, w] position among the looped entries, the loop itself left out; 0 where padded
    real: Tensor  # [r, w] whether there is one
    can_go: Tensor  # [r, w] whether it can be deleted
    most: int  # the largest budget


class BudgetedBounds:
    r"""Bounds of :math:`\hat A(G) x` over all admissible graphs that count a node's deletions.

    Where :class:`~gcl.ops.propagation_bounds.PropagationBounds` lets every entry of a row take its worst value by
    itself, here a row that loses m neighbours has exactly m entries less and the degree :math:`\tilde d_i - m`:

    .. math:: \min_{m \le q_i}\ \frac{1}{\sqrt{\tilde d_i - m}} \Big( \sum_j g_j s_j - \operatorname{top}_m(g \circ s)
        \Big) + \frac{g_i}{\tilde d_i - m}

    with the sum of the m largest terms taken out, and the factor :math:`s_j` of a neighbour's own degree as large as
    its budget allows where :math:`g_j < 0`, else as small as the whole graph makes it. It is the exact minimum over
    the row's deletions and all such factors, and never below the entry-wise one. Not differentiable.

    Args:
        adjacency, budget, deletion: as :meth:`gcl.ops.propagation_bounds.PropagationBounds.of` takes them.
    """

    def __init__(self, adjacency: Adjacency, budget: Tensor, *, deletion: Deletion = "arcs"):
        self.entrywise = PropagationBounds.of(adjacency, budget, deletion=deletion)
        looped = self.entrywise.looped
        degree = looped.row_ptr.diff().double()  # d + 1
        self.looped, self.degree = looped, degree
        self.budget = torch.minimum(budget.to(degree.device).double().clamp(min=0), degree - 1).long()
        self.can_go = looped.row != looped.col
        if deletion == "edges":  # an edge goes only where both of its ends have a budget
            self.can_go &= (self.budget > 0)[looped.col.long()]
            reach = segment_sum(self.can_go.double(), row_ptr=looped.row_ptr)
            self.budget = torch.minimum(self.budget, reach.long())
        lost = self.budget.double()
        if deletion == "edges":  # a neighbour that is still there has the edge to this node left
            lost = torch.minimum(lost, (degree - 2).clamp(min=0))
        self.source_low, self.source_high = degree.rsqrt(), (degree - lost).rsqrt()
        self._buckets = list(self._make_buckets())

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The ends of :math:`\\hat A x` for every x in ``[low, high]``, each ``[N, d]``, float64."""
        return self._least_sum(low), -self._least_sum(-high)

    def minimum(self, values: Tensor) -> Tensor:
        """The least :math:`\\sum_j \\hat A_{ij} g_{ij}`, ``[N]``; g has one value an entry of ``looped``."""
        values = values.double()
        loop = self._of_loops(values)
        result = values.new_empty(self.looped.shape[0])
        for bucket in self._buckets:
            terms = self._terms(bucket, values[bucket.entry].unsqueeze(2), self.looped.col[bucket.entry].long())
            result[bucket.nodes] = self._least(bucket.nodes, terms, bucket, loop[bucket.nodes].unsqueeze(1)).squeeze(1)
        return result

    def arcs_into(self, node_of: Tensor, weigh: Callable[[Tensor, Tensor], Tensor], own: Tensor) -> Tensor:
        """Least sums around other nodes: for every row r, over the neighbours of node ``node_of[r]``, ``[R]``.

        Args:
            node_of: ``[R]``.
            weigh: ``weigh(rows, nodes)`` gives g for rows ``[p]`` and their neighbours ``[p, w]``, as ``[p, w]``.
            own: g of the loop of each row's node, ``[R]``.
        """
        result = own.new_empty(node_of.numel())
        place = torch.full((self.looped.shape[0],), -1, dtype=torch.int64, device=own.device)
        for bucket in self._buckets:
            place[:] = -1
            place[bucket.nodes] = torch.arange(bucket.nodes.numel(), device=own.device)
            rows = (place[node_of] >= 0).nonzero().squeeze(1)
            width = max(bucket.entry.shape[1], 1)
            for start in range(0, rows.numel(), max(1, ENTRIES // (256 * width))):
                here = rows[start : start + max(1, ENTRIES // (256 * width))]
                at = place[node_of[here]]
                part = _Bucket(bucket.nodes[at], bucket.entry[at], bucket.real[at], bucket.can_go[at], bucket.most)
                neighbors = self.looped.col[part.entry].long()
                terms = self._terms(part, weigh(here, neighbors).unsqueeze(2), neighbors)
                result[here] = self._least(part.nodes, terms, part, own[here].unsqueeze(1)).squeeze(1)
        return result

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _make_buckets(self) -> Iterator[_Bucket]:
        """Rows by degree, padded to the next power of two, in pieces that are not too large."""
        counts = (self.degree - 1).long()
        widths = torch.where(counts > 0, 2 ** (counts - 1).clamp(min=1).double().log2().floor().add(1).long(), 0)
        widths = torch.where(counts == 1, 1, widths)
        loop = self._loop_positions()
        for width in widths.unique().tolist():
            nodes = (widths == width).nonzero().squeeze(1)
            for part in nodes.split(max(1, ENTRIES // max(width, 1))):
                offset = torch.arange(width, device=nodes.device)
                entry = self.looped.row_ptr[part].long().unsqueeze(1) + offset
                entry = entry + (entry >= loop[part].unsqueeze(1))  # over the loop
                real = offset < counts[part].unsqueeze(1)
                entry = torch.where(real, entry, 0)
                yield _Bucket(part, entry, real, real & self.can_go[entry], int(self.budget[part].max()))

    def _loop_positions(self) -> Tensor:
        return (self.looped.row == self.looped.col).nonzero().squeeze(1)

    def _of_loops(self, values: Tensor) -> Tensor:
        return values[self._loop_positions()]

    def _least_sum(self, x: Tensor) -> Tensor:
        x = x.double()
        result = torch.empty_like(x)
        for bucket in self._buckets:
            step = max(1, ENTRIES // max(bucket.entry.numel(), 1))
            neighbors = self.looped.col[bucket.entry].long()
            for start in range(0, x.shape[1], step):
                part = x[:, start : start + step]
                terms = self._terms(bucket, part[neighbors], neighbors)
                result[bucket.nodes, start : start + step] = self._least(
                    bucket.nodes, terms, bucket, part[bucket.nodes]
                )
        return result

    def _terms(self, bucket: _Bucket, values: Tensor, neighbors: Tensor) -> Tensor:
        """g s of every neighbour, ``[r, w, c]``."""
        factor = torch.where(
            values < 0, self.source_high[neighbors].unsqueeze(2), self.source_low[neighbors].unsqueeze(2)
        )
        return torch.where(bucket.real.unsqueeze(2), values * factor, 0.0)

    def _least(self, nodes: Tensor, terms: Tensor, bucket: _Bucket, loop: Tensor) -> Tensor:
        """The least over the number of deletions, ``[r, c]``."""
        degree, budget = self.degree[nodes].unsqueeze(1), self.budget[nodes].unsqueeze(1)
        total = terms.sum(1)  # [r, c]
        least = total * degree.rsqrt() + loop / degree
        if bucket.most == 0:
            return least
        ranked = torch.where(bucket.can_go.unsqueeze(2), terms, -torch.inf).topk(bucket.most, dim=1).values
        count = torch.arange(1, bucket.most + 1, device=nodes.device).view(1, -1, 1)  # m
        allowed = budget.unsqueeze(2) >= count  # [r, q, 1]
        rest = total.unsqueeze(1) - torch.where(allowed, ranked, 0.0).cumsum_(1)  # [r, q, c]
        left = (degree.unsqueeze(2) - count).clamp(min=1)
        fewer = rest.mul_(left.rsqrt()).add_(loop.unsqueeze(1) / left).masked_fill_(~allowed, torch.inf)
        return torch.minimum(least, fewer.amin(1))
