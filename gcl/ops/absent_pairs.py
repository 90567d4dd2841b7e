"""Uniform sets of pairs of nodes that no arc joins."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.ops.arc_search import find_pairs, pair_keys


def sample_absent_pairs(
    adjacency: Adjacency,
    count: int,
    *,
    undirected: bool = False,
    loops: bool = False,
    side: Tensor | None = None,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Distinct pairs (row, column) that are no stored arcs, each set of them as likely.

    Pairs are drawn until there are enough; where few are free, or nearly all are wanted, all are listed.

    Args:
        adjacency: ``[n, m]``; dropped arcs count as there.
        count: how many; all that are free where there are fewer.
        undirected: of a pair and its reverse one at most, the larger row first; the structure is symmetric.
        loops: whether a row and the column of the same number are a pair, as between two node types.
        side: of a square adjacency, 0 or 1 for each node, ``[n]``: the ends are of different sides, as arcs are.
        generator: on the adjacency's device; ``None`` = torch's global one.

    Returns:
        Rows and columns, int64 ``[count]`` each, in random order.
    """
    space = _Sides(side, undirected) if side is not None else _Square(adjacency.shape, undirected, loops)
    stored = adjacency.num_arcs
    if not loops and adjacency.is_loop is not None:
        stored -= int(adjacency.is_loop.sum())
    if undirected:
        stored = (stored + (int(adjacency.is_loop.sum()) if loops and adjacency.is_loop is not None else 0)) // 2
    free = space.size - stored
    wanted = min(count, free)
    listed = free < 2 * wanted or free < space.size / 16  # a search would find the same ones over and over
    found = torch.zeros(0, dtype=torch.int64, device=adjacency.device)
    while found.numel() < wanted:
        row, col = space.all(adjacency.device) if listed else space.draw(2 * wanted + 16, adjacency.device, generator)
        new = ~find_pairs(adjacency, row, col)[1]
        found = torch.cat([found, pair_keys(adjacency, row, col)[new]]).unique()
    order = torch.randperm(found.numel(), generator=generator, device=adjacency.device)[:wanted]
    chosen = found[order]
    return chosen // max(adjacency.shape[1], 1), chosen % max(adjacency.shape[1], 1)


class _Square:
    """Pairs of a row and a column."""

    def __init__(self, shape: tuple[int, int], undirected: bool, loops: bool):
        self.shape, self.undirected = shape, undirected
        self.loops = loops or shape[0] != shape[1]
        self.size = shape[0] * shape[1] - (0 if self.loops else shape[0])
        if undirected:
            self.size = (self.size + (shape[0] if self.loops else 0)) // 2

    def draw(self, count: int, device: torch.device, generator: Generator | None) -> tuple[Tensor, Tensor]:
        unit = torch.rand(2, count, generator=generator, device=device, dtype=torch.float64)
        return self._valid((unit[0] * self.shape[0]).long(), (unit[1] * self.shape[1]).long())

    def all(self, device: torch.device) -> tuple[Tensor, Tensor]:
        pairs = torch.arange(self.shape[0] * self.shape[1], device=device)
        return self._valid(pairs // self.shape[1], pairs % self.shape[1])

    def _valid(self, row: Tensor, col: Tensor) -> tuple[Tensor, Tensor]:
        if not self.loops:
            row, col = row[row != col], col[row != col]
        return (torch.maximum(row, col), torch.minimum(row, col)) if self.undirected else (row, col)


class _Sides:
    """Pairs of a node of one side and one of the other."""

    def __init__(self, side: Tensor, undirected: bool):
        self.sides = [(side == which).nonzero().squeeze(1) for which in (0, 1)]
        self.undirected = undirected
        self.size = self.sides[0].numel() * self.sides[1].numel() * (1 if undirected else 2)

    def draw(self, count: int, device: torch.device, generator: Generator | None) -> tuple[Tensor, Tensor]:
        unit = torch.rand(3, count, generator=generator, device=device, dtype=torch.float64)
        ends = [nodes[(part * nodes.numel()).long()] for nodes, part in zip(self.sides, unit, strict=False)]
        return self._in_order(ends[0], ends[1], unit[2] < 0.5)

    def all(self, device: torch.device) -> tuple[Tensor, Tensor]:
        first, second = self.sides
        row, col = first.repeat_interleave(second.numel()), second.repeat(first.numel())
        if not self.undirected:
            return torch.cat([row, col]), torch.cat([col, row])
        return torch.maximum(row, col), torch.minimum(row, col)

    def _in_order(self, row: Tensor, col: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        turned = row < col if self.undirected else turned
        return torch.where(turned, col, row), torch.where(turned, row, col)
