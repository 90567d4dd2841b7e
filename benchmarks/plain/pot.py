"""POT's term as its formulas read: dense N by N matrices, made once, and autograd for everything."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class PlainPOT:
    """The reference score with dense bounds.

    Args:
        edge_index: both arcs of every edge, int64 ``[2, E]``.
        num_nodes: N.
        drop_probs: of both views.
    """

    def __init__(self, edge_index: Tensor, num_nodes: int, drop_probs: tuple[float, float]):
        self.num_nodes = num_nodes
        adjacency = self.dense(edge_index)
        degree = adjacency.sum(1)  # with the loop
        self.clean = self.normalized(adjacency)
        self.lower = torch.diag(1 / degree)
        self.upper = []
        for p in drop_probs:
            budget = torch.minimum((degree - 2).clamp(min=0), torch.round(p * (degree - 1)))
            root = (degree - budget).rsqrt()
            self.upper.append(adjacency * root * root.unsqueeze(1))

    def dense(self, edge_index: Tensor) -> Tensor:
        """0 and 1, rows receive, with loops, ``[N, N]``."""
        adjacency = torch.eye(self.num_nodes)
        adjacency[edge_index[1], edge_index[0]] = 1.0
        return adjacency

    def normalized(self, adjacency: Tensor) -> Tensor:
        """The GCN matrix."""
        factor = adjacency.sum(1).rsqrt()
        return adjacency * factor * factor.unsqueeze(1)

    def term(
        self,
        x: Tensor,
        weights: list[Tensor],
        biases: list[Tensor],
        views: list[Tensor],
        embeddings: list[Tensor],
    ) -> Tensor:
        """The mean softplus of minus the score over nodes and views; ``views`` are GCN matrices of both."""
        product = x @ weights[0]
        hidden = F.relu(self.clean @ product + biases[0]) @ weights[1]
        terms = []
        for view, upper in enumerate(self.upper):
            other = F.normalize(embeddings[1 - view])
            w = other - (other.sum(0) - other) / (self.num_nodes - 1)
            s1, t1 = self.lines(upper, product, biases[0])
            s2, t2 = self.lines(upper, hidden, biases[1])
            weights2 = s2 * w
            back = weights2 @ weights[1].t()
            weights1 = s1 * back
            own2 = (weights2 * biases[1]).sum(1) + (w.clamp(max=0) * t2).sum(1)
            own1 = (weights1 * biases[0]).sum(1) + (back.clamp(max=0) * t1).sum(1)
            sums = (product * weights1).sum(1)
            score = views[view].t() @ (views[view].t() @ sums + own1) + own2
            terms.append(F.softplus(-score).mean())
        return (terms[0] + terms[1]) / 2

    def lines(self, upper: Tensor, r: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes and intercepts of ReLU's relaxation."""
        up, down = r.clamp(min=0), r.clamp(max=0)
        low = upper @ down + self.lower @ up + bias
        high = upper @ up + self.lower @ down + bias
        bent = (low < 0) & (high > 0)
        width = torch.where(bent, high - low, 1.0)
        slope = torch.where(low >= 0, 1.0, torch.where(high <= 0, 0.0, high / width))
        return slope, torch.where(bent, -high * low / width, 0.0)
