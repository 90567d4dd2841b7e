"""Embeddings that need no training: the floors that a method has to beat."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.data.features import require_features
from gcl.ops.propagation import Propagation

BLOCK = 512  # feature columns that are propagated together


def raw_features(graph: Graph) -> Tensor:
    """The features themselves, dense ``[N, F]``.

    Raises:
        DataError: the graph has none.
    """
    require_features(graph)
    return graph.x


def propagated_features(graph: Graph, hops: int = 2) -> Tensor:
    r"""The features after some hops of propagation, :math:`\hat A^h X`, without any parameter.

    :math:`\hat A` is the GCN-normalised adjacency with self-loops: Wu et al., *Simplifying Graph Convolutional
    Networks*, ICML 2019. On a graph of several node types a hop goes there and back: :math:`\hat A` is the mean, over
    the relations of the target type with others, of the row-normalised way to the other type times that back.

    Args:
        graph: with features.
        hops: h, from 0.

    Returns:
        Dense ``[N, F]``.

    Raises:
        DataError: the graph has no features, or no relation to propagate along.
        ConfigError: ``hops`` below 0.
    """
    if isinstance(hops, bool) or not isinstance(hops, int) or hops < 0:
        raise ConfigError(f"hops must be a whole number from 0, got {hops!r}")
    require_features(graph)
    propagate = _there_and_back(graph) if len(graph.num_nodes_by_type) > 1 else _along_edges(graph)
    x = graph.x
    if not isinstance(graph.features[graph.target], Adjacency):
        x = x.clone()  # the graph's own is never written to
    for block in x.split(BLOCK, dim=1):  # views: one dense copy and a block, not a copy a hop
        y = block.contiguous()
        for _ in range(hops):
            y = propagate(y)
        block.copy_(y)
    return x


def _along_edges(graph: Graph) -> Callable[[Tensor], Tensor]:
    return Propagation(graph.adjacency, normalize="gcn").matmul


def _there_and_back(graph: Graph) -> Callable[[Tensor], Tensor]:
    ways = []
    for name, (source, receiver) in graph.relation_types.items():
        if source != receiver and graph.target in (source, receiver):
            into = graph.relations[name] if receiver == graph.target else graph.relations[name].t()
            ways.append((Propagation(into, normalize="row"), Propagation(into.t(), normalize="row")))
    if not ways:
        raise DataError(f"no relation joins {graph.target!r} with another node type, so nothing is propagated")
    return lambda y: torch.stack([into.matmul(out.matmul(y)) for into, out in ways]).mean(dim=0)


FLOORS: dict[str, Callable[[Graph], Tensor]] = {"raw features": raw_features, "A²X": propagated_features}
