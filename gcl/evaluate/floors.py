"""Embeddings that need no training: the floors that a method has to beat."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError
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
    Networks*, ICML 2019.

    Args:
        graph: with features and one relation.
        hops: h, from 0.

    Returns:
        Dense ``[N, F]``.

    Raises:
        DataError: the graph has no features, or more than one relation.
        ConfigError: ``hops`` below 0.
    """
    if isinstance(hops, bool) or not isinstance(hops, int) or hops < 0:
        raise ConfigError(f"hops must be a whole number from 0, got {hops!r}")
    require_features(graph)
    operator = Propagation(graph.adjacency, normalize="gcn")
    x = graph.x
    if not isinstance(graph.features[graph.target], Adjacency):
        x = x.clone()  # the graph's own is never written to
    for block in x.split(BLOCK, dim=1):  # views: one dense copy and a block, not a copy a hop
        y = block.contiguous()
        for _ in range(hops):
            y = operator.matmul(y)
        block.copy_(y)
    return x


FLOORS: dict[str, Callable[[Graph], Tensor]] = {"raw features": raw_features, "A²X": propagated_features}
