"""A validation part out of the training interactions."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.data.interaction_splits import ranks, uniform


def carve_validation(graph: Graph, fraction: float = 0.1, seed: int | torch.Generator = 0) -> Graph:
    r"""The graph with a random part of each user's training interactions moved to ``held["valid"]``.

    Of a user with n interactions :math:`\lfloor fn + u\rfloor` are taken, with u uniform in [0, 1), so that in the mean
    it is the fraction f exactly, but never the last one: a user with one interaction keeps it.

    Args:
        graph: with one relation between two node types, and no validation part.
        fraction: f, between 0 and 1.
        seed: a seed, which gives the same part in every version, or a generator.

    Returns:
        A new graph, whose relation lacks the pairs in ``held["valid"]`` (int64 ``[2, n]``, user above item, sorted).

    Raises:
        ConfigError: the fraction is not between 0 and 1.
        DataError: there is a validation part already, or no user has two interactions.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"fraction must be between 0 and 1, got {fraction!r}")
    if "valid" in graph.held and graph.held["valid"].numel():
        raise DataError("the graph has a validation part already; use that, or load the set with another split")
    name, adjacency = next(iter(graph.relations)), graph.adjacency
    item, user = adjacency.edge_index().cpu()
    draw = uniform(seed)
    total = np.bincount(user.numpy(), minlength=adjacency.shape[0])
    taken = np.floor(fraction * total + draw(total.size)).astype(np.int64)
    taken = np.minimum(taken, np.maximum(total - 1, 0))
    order, rank = ranks(user.numpy(), draw(user.numel()))
    chosen = np.zeros(user.numel(), dtype=bool)
    chosen[order] = rank < taken[user.numpy()[order]]
    if not chosen.any():
        raise DataError(
            f"a share of {fraction:g} of the training interactions leaves nothing for validation; give a larger one"
        )
    valid = torch.from_numpy(chosen).to(graph.device)
    kept = ~valid
    weight = adjacency.edge_weight()
    rest = Adjacency.from_edge_index(
        adjacency.edge_index()[:, kept], adjacency.shape, None if weight is None else weight[kept]
    )
    attrs = {
        key: (value if adjacency.keep is None else value[adjacency.keep])[kept]
        for key, value in graph.edge_attrs.get(name, {}).items()
    }
    return dataclasses.replace(
        graph,
        relations={name: rest},
        edge_attrs={name: attrs} if attrs else {},
        held={**graph.held, "valid": torch.stack([user, item])[:, torch.from_numpy(chosen)].to(graph.device)},
    )
