"""What the normalised adjacency can become when a bounded number of edges is deleted at every node."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.ops.segment import segment_sum
from gcl.ops.sparse_product import sparse_product

Deletion = Literal["arcs", "edges"]


@dataclass(frozen=True, eq=False)
class PropagationBounds:
    r"""Entry-wise bounds :math:`L \le \hat A(G) \le U` of the GCN matrix over all admissible graphs G.

    Admissible is every graph that arises by deleting at most :math:`q_i` edges at each node i. Both matrices have the
    entries of the graph and its self-loops, so they take memory linear in the edges. With :math:`\tilde d_i = d_i + 1`
    and :math:`d_i` the in-degree,

    .. math::
        U_{ii} = \frac{1}{\tilde d_i - q_i}, \quad L_{ii} = \frac{1}{\tilde d_i}, \qquad
        U_{ij} = \frac{1}{\sqrt{(\tilde d_i - \min(q_i, d_i - 1))\, s_j}}, \quad L_{ij} = 0

    with :math:`s_j = \tilde d_j - q_j` where arcs are deleted one by one, and :math:`s_j = \tilde d_j -
    \min(q_j, d_j - 1)` where an edge loses both its arcs: an arc that is there proves that its target still has one,
    and in the second case its source too. ``tight`` raises :math:`L_{ij}` to :math:`1 / \sqrt{\tilde d_i \tilde d_j}`
    where the budget leaves no way to delete the arc.

    Products with an interval matrix use its middle M = (U + L) / 2 and its radius D = (U - L) / 2.

    Args:
        looped: the structure, with a self-loop in every row, weights M.
        radius: D on the same entries, ``[E + N]``.
        upper, lower: U and L on them, float64 ``[E + N]``.
    """

    looped: Adjacency
    radius: Adjacency
    upper: Tensor
    lower: Tensor

    @classmethod
    def of(
        cls, adjacency: Adjacency, budget: Tensor, *, deletion: Deletion = "arcs", tight: bool = True
    ) -> PropagationBounds:
        """Bounds of a graph's GCN matrix.

        Args:
            adjacency: ``[N, N]``, without weights; its own self-loops are ignored, as GCN does.
            budget: how many edges each node can lose at most, ``[N]``, 0 or more; more than it has counts as all.
            deletion: ``arcs``: every stored arc goes or stays by itself, and the budget counts those that come in;
                ``edges``: both arcs of an undirected edge go together, and the budget counts all edges of a node.
            tight: use that an arc stays where no budget reaches it.

        Raises:
            ConfigError: an unknown ``deletion``.
            DataError: a rectangle, weights, hidden arcs, a budget of another shape, or ``edges`` on a directed graph.
        """
        if deletion not in get_args(Deletion):
            raise ConfigError(unknown("deletion", str(deletion), get_args(Deletion)))
        check_boundable(adjacency)
        num_nodes = adjacency.shape[0]
        if budget.shape != (num_nodes,):
            raise DataError(f"budget must have one entry a node, [{num_nodes}], got {list(budget.shape)}")
        looped = with_loops(adjacency)
        if deletion == "edges" and not looped.symmetric:
            raise DataError("deletion='edges' needs an undirected graph, every arc with its reverse; use 'arcs'")
        row, col = looped.row.long(), looped.col.long()
        loop = row == col
        degree = looped.row_ptr.diff().double()  # d + 1
        q = torch.minimum(budget.to(degree.device, torch.float64).clamp(min=0), degree - 1)
        left = (degree - q).rsqrt()
        kept = (degree - torch.minimum(q, (degree - 2).clamp(min=0))).rsqrt()  # of an end that has an edge left
        source = left if deletion == "arcs" else kept
        upper = torch.where(loop, left[row].square(), kept[row] * source[col])
        full = degree.rsqrt()
        stays = loop
        if tight:
            stays = stays | (q[row] == 0)
            if deletion == "edges":
                stays = stays | (q[col] == 0)
        lower = torch.where(stays, full[row] * full[col], 0.0)
        return cls._of_values(looped, upper, lower)

    @classmethod
    def _of_values(cls, looped: Adjacency, upper: Tensor, lower: Tensor) -> PropagationBounds:
        middle = dataclasses.replace(looped, weight=(upper + lower) / 2)
        return cls(middle, dataclasses.replace(looped, weight=(upper - lower) / 2), upper, lower)

    def block(self, rows: Tensor, cols: Tensor | None = None) -> PropagationBounds:
        """Only some rows, and only some columns (``None`` = all): entries outside do not exist."""
        cols = torch.arange(self.looped.shape[1], device=rows.device) if cols is None else cols
        middle, radius = self.looped.subgraph(rows, cols), self.radius.subgraph(rows, cols)
        assert middle.weight is not None
        assert radius.weight is not None
        return PropagationBounds(middle, radius, middle.weight + radius.weight, middle.weight - radius.weight)

    def of_matrix(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Middle and radius of :math:`\hat A x` for a known x ``[N, d]``, each ``[N, d]``: M x and D \|x\|."""
        return sparse_product(self.looped, x), sparse_product(self.radius, x.abs())

    def of_interval(self, middle: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        r"""Middle and radius of :math:`\hat A x` for every x between ``middle - radius`` and ``middle + radius``.

        .. math:: lo = U x_{lo}^- + L x_{lo}^+, \qquad hi = U x_{hi}^+ + L x_{hi}^-

        Args:
            middle, radius: ``[N, d]``.

        Returns:
            Two matrices ``[N, d]``.
        """
        low, high = middle - radius, middle + radius
        # U x⁻ + L x⁺ = M x - D |x| and U x⁺ + L x⁻ = M x + D |x|
        low_abs, high_abs = low.abs(), high.abs()
        middle = sparse_product(self.looped, middle) + sparse_product(self.radius, high_abs - low_abs) / 2
        radius = sparse_product(self.looped, radius) + sparse_product(self.radius, high_abs + low_abs) / 2
        return middle, radius

    def minimum(self, values: Tensor) -> Tensor:
        r"""The least :math:`\sum_j a_{ij} g_{ij}` over :math:`a_{ij} \in [L_{ij}, U_{ij}]`, ``[N]``.

        Args:
            values: g, one entry for each entry of ``looped``, ``[E + N]``.
        """
        upper, lower = self.upper.to(values.dtype), self.lower.to(values.dtype)
        worst = torch.where(values < 0, upper, lower) * values
        return segment_sum(worst, row_ptr=self.looped.row_ptr)


def check_boundable(adjacency: Adjacency) -> None:
    """Refuses what has no bounds here.

    Raises:
        DataError: a rectangle, edge weights, or arcs that a mask hides.
    """
    if adjacency.shape[0] != adjacency.shape[1]:
        raise DataError(f"bounds need a graph of one node type, a square adjacency, got {list(adjacency.shape)}")
    if adjacency.weight is not None:
        raise DataError("bounds are for graphs without edge weights, and this one has some; leave the weights out")
    if adjacency.keep is not None:
        raise DataError(
            "bounds are for graphs whose stored arcs are all there, and a mask hides some of this one's; take them out "
            "for good with adjacency.masked(keep, compact=True)"
        )


def with_loops(adjacency: Adjacency) -> Adjacency:
    """The arcs of a graph without weights or mask, with exactly one self-loop a row; made once for a structure."""
    if "with_loops" not in adjacency.derived:
        whole = adjacency.without_self_loops()
        loops = torch.arange(adjacency.shape[0], device=adjacency.device).expand(2, -1)
        arcs = torch.cat([torch.stack([whole.col.long(), whole.row.long()]), loops], dim=1)
        adjacency.derived["with_loops"] = Adjacency.from_edge_index(arcs, adjacency.shape)
    looped: Adjacency = adjacency.derived["with_loops"]
    return looped


def deletion_budget(drop_prob: Tensor, adjacency: Adjacency, *, keep_neighbor: bool = True) -> Tensor:
    r"""How many edges a node may lose: the expected number, rounded, ``[N]`` int64.

    .. math:: q_i = \min\Big(\max(d_i - 1, 0),\ \mathrm{rint} \sum_{j} \pi_{j \to i} \Big)

    with :math:`d_i` the number of arcs into i, self-loops left out, and halves rounded to even.

    Args:
        drop_prob: probability that each stored arc is dropped, ``[E]``.
        adjacency: ``[N, N]``.
        keep_neighbor: leave every node one neighbour; ``False`` lets it lose all :math:`d_i`.
    """
    real = torch.ones_like(drop_prob, dtype=torch.float64)
    if adjacency.is_loop is not None:
        real = (~adjacency.is_loop).double()
    row = adjacency.row.long()
    degree = segment_sum(real, row, adjacency.shape[0])
    expected = segment_sum(drop_prob.double() * real, row, adjacency.shape[0])
    # Rounded to 6 digits first: the probability may have come as float32, and 0.3 * 15 is to be 4.5.
    most = (degree - 1).clamp(min=0) if keep_neighbor else degree
    return torch.minimum(torch.round(expected, decimals=6).round(), most).long()


def covering_budget(drop_prob: float, degree: Tensor, coverage: float, *, keep_neighbor: bool = True) -> Tensor:
    """The smallest budget that random dropping keeps with a probability, for each node by itself, ``[N]`` int64.

    Args:
        drop_prob: the probability with which each edge is dropped, independently.
        degree: edges of each node, ``[N]``.
        coverage: the probability that a node loses no more than its budget.
        keep_neighbor: leave every node one neighbour, whatever the coverage.
    """
    quantile = torch.from_numpy(np.asarray(binom.ppf(coverage, degree.cpu().numpy(), drop_prob))).to(degree.device)
    most = (degree - 1).clamp(min=0) if keep_neighbor else degree
    return torch.minimum(quantile.clamp(min=0).long(), most.long())
