"""Uniform edge dropping."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from gcl.augment.arcs import check_symmetric, choose_arcs, draw_uniform
from gcl.augment.augmenter import Augmenter, check_probability
from gcl.augment.pyg_data import graph_of
from gcl.core.graph import Graph
from gcl.core.view import View


class EdgeDrop(Augmenter):
    r"""Drops every stored arc with the same probability.

    .. math:: \Pr[\text{arc } a \text{ is dropped}] = p, \quad \text{independently}

    GRACE: Zhu et al., *Deep Graph Contrastive Representation Learning*, arXiv 2006.04131. The two arcs of an undirected
    edge are drawn independently, as there, so that a view is a directed graph. Relations are taken in order.

    Args:
        drop_prob: p, from 0 to 1.
        symmetric: draw each undirected edge once, so that both of its arcs stay or go.
        exact: keep exactly :math:`\lfloor (1 - p) E \rfloor` of the E arcs (edges, if symmetric), a uniform set of
            them, as SGL does (Wu et al., SIGIR 2021, arXiv 2010.10783).

    Raises:
        ConfigError: ``drop_prob`` is not a probability.
        DataError: ``symmetric`` on a directed graph (when called).
    """

    def __init__(self, drop_prob: float = 0.3, *, symmetric: bool = False, exact: bool = False):
        check_probability("drop_prob", drop_prob)
        self.drop_prob = drop_prob
        self.symmetric = symmetric
        self.exact = exact
        self.drops_all = drop_prob == 1

    def fit_graph(self, graph: Graph, generator: Generator | None) -> None:
        """Only looks whether the graph is undirected, if it has to be."""
        if self.symmetric:
            for adjacency in graph.relations.values():
                check_symmetric(adjacency, adjacency, "EdgeDrop")

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view with arcs dropped."""
        for name, adjacency in view.adjacency.items():
            if self.symmetric:
                check_symmetric(view.graph.relations[name], adjacency, "EdgeDrop")
            if self.exact:
                keep = choose_arcs(adjacency, 1 - self.drop_prob, generator, symmetric=self.symmetric)
            else:
                keep = draw_uniform(adjacency, generator, symmetric=self.symmetric) >= self.drop_prob
            view = view.with_adjacency(name, adjacency.masked(keep))
        return view

    def edge_drop_prob(self, graph: Graph | Any) -> Tensor:
        """Probability that each stored arc of the only relation is dropped, float64 ``[arcs]``."""
        adjacency = graph_of(graph).adjacency
        return torch.full((adjacency.num_arcs,), self.drop_prob, dtype=torch.float64, device=adjacency.device)
