"""Uniform edge addition."""

from __future__ import annotations

import math

import torch
from torch import Generator

from gcl.augment.arcs import add_arcs, check_symmetric
from gcl.augment.augmenter import Augmenter
from gcl.core.errors import ConfigError
from gcl.core.view import View
from gcl.ops.absent_pairs import sample_absent_pairs
from gcl.ops.arc_search import find_pairs
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
            loops = whole.is_loop
            present = whole.values() != 0 if loops is None else (whole.values() != 0) & ~loops
            size = int(present.sum()) / (2 if self.symmetric else 1)
            row, col = sample_absent_pairs(
                whole,
                math.floor(round(self.share * size, 6)),  # 0.1 + 0.2 and the like must not cost an arc
                undirected=self.symmetric,
                side=side if whole.shape[0] == whole.shape[1] else None,
                generator=generator,
            )
            new = ~find_pairs(adjacency, row, col)[1]  # an earlier part may have added some of them
            row, col = row[new], col[new]
            if self.symmetric:
                row, col = torch.cat([row, col]), torch.cat([col, row])
            view = view.with_adjacency(name, add_arcs(adjacency, row, col, weight=self.weight))
        return view
