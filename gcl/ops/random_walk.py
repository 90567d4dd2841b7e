"""Random walks on a graph."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency


class RandomWalk:
    """Many walks at once, each from a node to one that it receives from; one that cannot go on stays.

    Each kept arc is as likely as the next, or by its weight where arcs have weights; weights below 0 count as 0.

    Args:
        adjacency: square, ``[N, N]``.
    """

    def __init__(self, adjacency: Adjacency):
        self.row_ptr, self.col = adjacency.row_ptr.long(), adjacency.col.long()
        # running sum of the weights: a step is one search, and dropped arcs take no room in it
        self.total = torch.cat([self.row_ptr.new_zeros(1), adjacency.values(torch.float64).clamp(min=0).cumsum(0)])

    def step(self, at: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Where walks that stand at some nodes stand next, int64 ``[w]``; the generator is on their device."""
        first, last = self.total[self.row_ptr[at]], self.total[self.row_ptr[at + 1]]
        draw = torch.rand(at.numel(), generator=generator, device=at.device, dtype=torch.float64)
        target = torch.minimum(
            first + draw * (last - first), torch.nextafter(last, first)
        )  # rounding never leaves the row
        place = (torch.searchsorted(self.total, target, right=True) - 1).clamp(max=max(self.col.numel() - 1, 0))
        return torch.where(last > first, self.col[place], at) if self.col.numel() else at

    def visited(self, roots: Tensor, length: int, *, generator: Generator | None = None) -> Tensor:
        """Which nodes walks of ``length`` steps from ``roots`` visit, their roots among them, boolean ``[N]``."""
        visited = torch.zeros(self.row_ptr.numel() - 1, dtype=torch.bool, device=roots.device)
        visited[roots] = True
        for _ in range(length):
            roots = self.step(roots, generator=generator)
            visited[roots] = True
        return visited
