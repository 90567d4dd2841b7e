"""An order of the nodes in which neighbours lie close together."""

from __future__ import annotations

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.ops.communities import detect_communities


def community_order(adjacency: Adjacency, communities: Tensor | None = None, *, seed: int = 0) -> Tensor:
    """Nodes of one community side by side, so that a product with the adjacency finds its rows in the cache.

    Inside a community the order stays; by degree or breadth first it measured no faster.

    Args:
        adjacency: square, ``[N, N]``.
        communities: whole number of each node's community, ``[N]``; ``None`` finds them by Leiden.
        seed: of the search for communities.

    Returns:
        A permutation of the nodes, int64 ``[N]``: position k belongs to node ``order[k]``.

    Raises:
        DataError: the adjacency is not square, or communities of another shape or type.
    """
    num_nodes = adjacency.shape[0]
    if communities is None:
        communities = detect_communities(adjacency, seed=seed)
    if communities.shape != (num_nodes,) or communities.is_floating_point() or communities.dtype == torch.bool:
        raise DataError(
            f"communities must be whole numbers [{num_nodes}], got {communities.dtype} {list(communities.shape)}"
        )
    return torch.argsort(communities.to(adjacency.device), stable=True)


def reorder_nodes(graph: Graph, order: Tensor) -> Graph:
    """The same graph with its target nodes in another order: features, attributes, arcs and ids go with the nodes.

    ``node_id`` and the ids of arcs lead back to the order that was, so what was fitted on that graph serves this one.

    Args:
        graph: any graph.
        order: a permutation of the target nodes, ``[N]``, as :func:`community_order` gives it.

    Raises:
        DataError: not a permutation.
    """
    nodes = torch.arange(graph.num_nodes, device=order.device)
    if order.shape != nodes.shape or order.is_floating_point() or not torch.equal(order.sort().values, nodes):
        raise DataError(f"order must name each of the {graph.num_nodes} nodes once, got {list(order.shape)} entries")
    return graph.subgraph(order.long().to(graph.device))


def inverse_order(order: Tensor) -> Tensor:
    """Where each node stands in an order, int64 ``[N]``: rows in that order, taken at it, are in the old order."""
    position = torch.empty_like(order)
    position[order] = torch.arange(order.numel(), dtype=order.dtype, device=order.device)
    return position
