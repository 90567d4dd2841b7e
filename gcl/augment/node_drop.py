"""Uniform node dropping."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Generator, Tensor

from gcl.augment.augmenter import Augmenter, check_probability
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.ops.bipartite import SIDE


class NodeDrop(Augmenter):
    r"""Drops nodes with all their edges and features. Their rows stay, so that views pair.

    .. math:: \Pr[\text{node } v \text{ is dropped}] = p, \quad \text{independently}

    You et al., *Graph Contrastive Learning with Augmentations*, NeurIPS 2020, arXiv 2010.13902; of users and items:
    SGL, Wu et al., SIGIR 2021, arXiv 2010.10783.

    Args:
        drop_prob: p, from 0 to 1.
        exact: drop exactly :math:`N - \lfloor (1 - p) N \rfloor` of the N nodes, a uniform set of them, as SGL does; of
            a graph of users and items, that many of each.

    Raises:
        ConfigError: ``drop_prob`` is not a probability.
    """

    def __init__(self, drop_prob: float = 0.1, *, exact: bool = False):
        check_probability("drop_prob", drop_prob)
        self.drop_prob = drop_prob
        self.exact = exact

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view without the dropped nodes, on top of those dropped before."""
        keep = self._keep(view.graph, generator)
        return dataclasses.replace(view, node_mask=keep if view.node_mask is None else keep & view.node_mask)

    def _keep(self, graph: Graph, generator: Generator | None) -> Tensor:
        size, device = graph.num_nodes, graph.device
        if not self.exact:
            return torch.rand(size, generator=generator, device=device) >= self.drop_prob
        side = graph.attr(SIDE)
        groups = [torch.arange(size, device=device)] if side is None else [(side == s).nonzero()[:, 0] for s in (0, 1)]
        keep = torch.zeros(size, dtype=torch.bool, device=device)
        for nodes in groups:
            count = math.floor(round((1 - self.drop_prob) * nodes.numel(), 6))
            order = torch.randperm(nodes.numel(), generator=generator, device=device)
            keep[nodes[order[:count]]] = True
        return keep
