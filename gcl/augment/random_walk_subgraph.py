"""Subgraphs of random walks."""

from __future__ import annotations

import dataclasses

import torch
from torch import Generator

from gcl.augment.augmenter import Augmenter
from gcl.core.errors import ConfigError
from gcl.core.view import View
from gcl.ops.random_walk import RandomWalk


class RandomWalkSubgraph(Augmenter):
    r"""Keeps the nodes that random walks visit, with the edges among them; the others lose their edges and features.

    Walks begin at ``num_roots`` nodes, drawn without repetition, and go from a node to one that it receives from, each
    kept arc as likely as the next (by its weight, where arcs have weights); one that cannot go on stays. The rows of
    nodes that no walk visits stay, so that views pair. Relations of other node types are left as they are.

    You et al., *Graph Contrastive Learning with Augmentations*, NeurIPS 2020, arXiv 2010.13902 (subgraph); walks from
    several roots as GraphSAINT's sampler, Zeng et al., ICLR 2020, arXiv 1907.04931.

    Args:
        num_roots: walks, from 1; one from each node where there are fewer nodes.
        walk_length: steps of a walk, 0 or more.

    Raises:
        ConfigError: a number out of range.
        DataError: several relations (when called).
    """

    def __init__(self, num_roots: int = 1000, *, walk_length: int = 10):
        for name, value, least in (("num_roots", num_roots, 1), ("walk_length", walk_length, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} must be a whole number from {least}, got {value!r}")
        self.num_roots = num_roots
        self.walk_length = walk_length

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view without the nodes that were not visited, on top of those dropped before."""
        walk = RandomWalk(view.relation())
        alive = torch.arange(view.num_nodes, device=view.device)
        if view.node_mask is not None:
            alive = alive[view.node_mask]
        order = torch.randperm(alive.numel(), generator=generator, device=view.device)
        roots = alive[order[: self.num_roots]]
        visited = walk.visited(roots, self.walk_length, generator=generator)
        return dataclasses.replace(view, node_mask=visited)
