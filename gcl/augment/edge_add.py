"""Uniform edge addition."""

from __future__ import annotations

import math

import torch
from torch import Generator

from gcl.augment.arcs import add_arcs, check_symmetric
from gcl.augment.augmenter import Augmenter
from gcl.core.adjacency import Adjacency
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
            one_type = len({*view.graph.relation_types[name]}) == 1
            # where only the view has each arc with its reverse, pairs are drawn of the view
            base = whole if whole.symmetric or not self.symmetric else adjacency
            row, col = sample_absent_pairs(
                base,
                self._count(whole, one_type),
                undirected=self.symmetric,
                loops=not one_type,
                side=side if one_type else None,
                generator=generator,
            )
            if self.symmetric:
                row, col = torch.cat([row, col]), torch.cat([col, row])
            for known in (whole, adjacency):  # what was dropped is not brought back, what was added not added again
                if known.derived is not base.derived or self.symmetric:
                    new = ~find_pairs(known, row, col)[1]
                    row, col = row[new], col[new]
            view = view.with_adjacency(name, add_arcs(adjacency, row, col, weight=self.weight))
        return view

    def _count(self, whole: Adjacency, one_type: bool) -> int:
        """How many arcs (edges, if symmetric) are added, by those that the graph has, without loops."""
        present = whole.values() != 0
        if one_type and whole.is_loop is not None:
            present = present & ~whole.is_loop
        # 0.1 + 0.2 and the like must not cost an arc
        return math.floor(round(self.share * int(present.sum()) / (2 if self.symmetric else 1), 6))
