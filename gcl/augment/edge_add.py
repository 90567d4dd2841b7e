"""Uniform edge addition."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from gcl.augment.arcs import add_arcs, check_symmetric, has_arcs
from gcl.augment.augmenter import Augmenter
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError
from gcl.core.view import View
from gcl.ops.bipartite import SIDE


class EdgeAdd(Augmenter):
    r"""Adds arcs between nodes that have none, a uniform set of them.

    .. math:: \lfloor \text{share} \cdot E \rfloor \text{ of the pairs } (i, j) \notin \mathcal E, \; i \ne j

    You et al., *Graph Contrastive Learning with Augmentations*, NeurIPS 2020, arXiv 2010.13902 (edge perturbation).
    What an earlier part dropped is not brought back. In a graph of users and items a user is joined with an item.
    Relations are taken in order.

    Args:
        share: of the number of arcs (of edges, if symmetric) of the graph that are added to each relation, from 0; all
            free pairs where there are fewer.
        symmetric: add undirected edges, an arc and its reverse.
        weight: of an added arc, where arcs have weights; above 0.

    Raises:
        ConfigError: an argument out of range.
        DataError: ``symmetric`` on a directed graph (when called).
    """

    def __init__(self, share: float = 0.1, *, symmetric: bool = False, weight: float = 1.0):
        for name, value, least in (("share", share, 0.0), ("weight", weight, math.ulp(0.0))):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < least:
                raise ConfigError(f"{name} must be a finite number {'from' if not least else 'above'} 0, got {value!r}")
        self.share = share
        self.symmetric = symmetric
        self.weight = weight
        self.keeps_edges = share == 0
        self.adds_edges = share > 0

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view with arcs added."""
        side = view.graph.attr(SIDE)
        for name, adjacency in view.adjacency.items():
            whole = view.graph.relations[name]
            if self.symmetric:
                check_symmetric(whole, adjacency, "EdgeAdd")
            row, col = self._draw(whole, side if whole.shape[0] == whole.shape[1] else None, generator)
            new = ~has_arcs(adjacency, row, col)  # an earlier part may have added some of them
            row, col = row[new], col[new]
            if self.symmetric:
                row, col = torch.cat([row, col]), torch.cat([col, row])
            view = view.with_adjacency(name, add_arcs(adjacency, row, col, weight=self.weight))
        return view

    def _draw(self, whole: Adjacency, side: Tensor | None, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Distinct pairs that are no arcs of the graph, int64 ``[n]`` each; if symmetric, one order of each."""
        num_rows, num_cols = whole.shape
        ends = 2 if self.symmetric else 1
        pairs = num_rows * num_cols
        if side is not None:
            pairs = 2 * int(side.sum()) * (num_rows - int(side.sum()))
        elif num_rows == num_cols:
            pairs -= num_rows
        loops = whole.is_loop
        stored = whole.num_arcs - (0 if loops is None else int(loops.sum()))
        present = whole.values() != 0 if loops is None else (whole.values() != 0) & ~loops
        free = (pairs - stored) // ends
        # 0.1 + 0.2 and the like must not cost an arc
        wanted = min(math.floor(round(self.share * int(present.sum()) / ends, 6)), free)
        # few are free: a search would find the same ones over and over
        few = free < 2 * wanted or free * ends < pairs / 16
        found = whole.col.new_empty(0, dtype=torch.int64)
        while found.numel() < wanted:
            if few:
                drawn = torch.arange(num_rows * num_cols, device=whole.device)
                row, col = drawn // num_cols, drawn % num_cols
            else:
                size = (2, 2 * wanted + 16)
                unit = torch.rand(size, generator=generator, device=whole.device, dtype=torch.float64)
                row, col = (unit[0] * num_rows).long(), (unit[1] * num_cols).long()
            valid = ~has_arcs(whole, row, col)
            if side is not None:
                valid &= side[row] != side[col]
            elif num_rows == num_cols:
                valid &= row != col
            if self.symmetric:
                row, col = torch.maximum(row, col), torch.minimum(row, col)
            found = torch.cat([found, (row * num_cols + col)[valid]]).unique()
        order = torch.randperm(found.numel(), generator=generator, device=whole.device)[:wanted]
        return found[order] // num_cols, found[order] % num_cols
