"""Community detection and its modularity, straight from arcs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.streams import Streams

CommunityMethod = Literal["leiden", "louvain", "louvain-networkx"]


def detect_communities(
    adjacency: Adjacency,
    *,
    method: CommunityMethod = "leiden",
    resolution: float = 1.0,
    seed: int = 0,
    runs: int = 1,
) -> Tensor:
    r"""A partition of the nodes that (locally) maximises modularity, reproducible from its seed.

    .. math:: Q = \sum_k \frac{e_k}{M} - \gamma \Big(\frac{\mathrm{vol}_k}{2M}\Big)^2

    Leiden (Traag, Waltman, van Eck: *From Louvain to Leiden*, Scientific Reports 2019) and Louvain are NetworKit's, on
    one thread, because with several one seed gives different partitions. Where NetworKit is not installed, networkx's
    Louvain stands in for both with a warning. The graph is taken as simple and undirected: an edge is there if either
    of its arcs is, weights do not count, self-loops do. NetworKit's own random generator is left seeded.

    Args:
        adjacency: square, ``[N, N]``; only kept arcs count.
        method: ``leiden``, ``louvain`` or ``louvain-networkx``.
        resolution: γ of the modularity, from 0; larger gives more communities.
        seed: whole number from 0.
        runs: how often to search; the partition with the largest modularity is kept (the first of equals).

    Returns:
        Labels ``[N]``, int64, 0 to K-1 by size, largest first, ties by smallest member. Isolated nodes stand alone.

    Raises:
        ConfigError: an unknown method, or a resolution, seed or number of runs out of range.
        DataError: the adjacency is not square.
    """
    _check_arguments(method, resolution, seed, runs)
    u, v = undirected_edges(adjacency)
    num_nodes = adjacency.shape[0]
    if not bool((u != v).any()):
        return torch.arange(num_nodes, device=adjacency.device)
    best, best_quality = None, -math.inf
    streams = Streams(seed)
    for run in range(runs):
        labels = _partition(
            u.cpu(), v.cpu(), num_nodes, method, resolution, streams.integer("communities", run, bits=31)
        )
        labels = relabel_by_size(labels.to(adjacency.device))
        quality = modularity(adjacency, labels, resolution=resolution) if runs > 1 else 0.0
        if quality > best_quality:
            best, best_quality = labels, quality
    assert best is not None
    return best


def modularity(adjacency: Adjacency, labels: Tensor, *, resolution: float = 1.0) -> float:
    """Newman's modularity of a partition on the simple undirected graph of the arcs; 0 where there is no edge.

    Args:
        adjacency: square, ``[N, N]``.
        labels: integer ``[N]``, from 0 to N-1.
        resolution: γ, weight of the expected share.
    """
    inner, volume, num_edges = community_counts(adjacency, labels)
    if num_edges == 0:
        return 0.0
    return float((inner / num_edges - resolution * (volume / (2 * num_edges)) ** 2).sum())


def community_counts(adjacency: Adjacency, labels: Tensor) -> tuple[Tensor, Tensor, int]:
    """Edges inside each community, its volume, and the number of edges, on the simple undirected graph of the arcs.

    Args:
        adjacency: square, ``[N, N]``.
        labels: integer ``[N]``, from 0 to N-1.

    Returns:
        Inner edges ``[K]`` (a self-loop counts 1) and volumes ``[K]`` (a self-loop counts 2), float64, and M.

    Raises:
        DataError: labels of another shape or dtype, or out of range.
    """
    num_nodes = adjacency.shape[0]
    if labels.shape != (num_nodes,) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError(f"labels must be whole numbers [{num_nodes}], got {labels.dtype} {list(labels.shape)}")
    labels = labels.to(adjacency.device).long()
    num_communities = int(labels.max()) + 1 if num_nodes else 0
    if num_nodes and (int(labels.min()) < 0 or num_communities > num_nodes):
        raise DataError(
            f"community labels must lie from 0 to {num_nodes - 1}, got {int(labels.min())} to {int(labels.max())}; "
            f"give every node a community and number them from 0"
        )
    u, v = undirected_edges(adjacency)
    first, second = labels[u], labels[v]
    inner = torch.bincount(first[first == second], minlength=num_communities).double()
    volume = torch.bincount(first, minlength=num_communities) + torch.bincount(second, minlength=num_communities)
    return inner, volume.double(), u.numel()


def undirected_edges(adjacency: Adjacency) -> tuple[Tensor, Tensor]:
    """Both ends ``u <= v`` of each edge of the simple undirected graph of the kept arcs, int64 ``[M]`` each."""
    if adjacency.shape[0] != adjacency.shape[1]:
        raise DataError(f"communities need a square relation, got {adjacency.shape[0]} by {adjacency.shape[1]} nodes")
    row, col = adjacency.row.long(), adjacency.col.long()
    if adjacency.keep is not None:
        row, col = row[adjacency.keep], col[adjacency.keep]
    elif adjacency.symmetric:  # each edge is there once with row <= col
        once = row <= col
        return row[once], col[once]
    key = torch.unique(torch.minimum(row, col) * adjacency.shape[0] + torch.maximum(row, col))
    return key // max(adjacency.shape[0], 1), key % max(adjacency.shape[0], 1)


def relabel_by_size(labels: Tensor) -> Tensor:
    """The same partition with labels 0 to K-1 by size, largest first, ties by smallest member; int64 ``[N]``."""
    _, labels, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    nodes = torch.arange(labels.numel(), device=labels.device)
    first = torch.full_like(counts, labels.numel()).scatter_reduce(0, labels, nodes, "amin")
    order = torch.argsort(first)
    order = order[torch.argsort(counts[order], descending=True, stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(order.numel(), device=order.device)
    return rank[labels]


# -- libraries ---------------------------------------------------------------------------------------------------------


def _check_arguments(method: str, resolution: float, seed: int, runs: int) -> None:
    if method not in get_args(CommunityMethod):
        raise ConfigError(f"method must be one of {', '.join(get_args(CommunityMethod))}, got {method!r}")
    number = isinstance(resolution, int | float) and not isinstance(resolution, bool)
    if not number or not math.isfinite(resolution) or resolution < 0:
        raise ConfigError(f"resolution must be a finite number from 0, got {resolution!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ConfigError(f"seed must be a whole number from 0 to 2**63 - 1, got {seed!r}")
    if isinstance(runs, bool) or not isinstance(runs, int) or runs < 1:
        raise ConfigError(f"runs must be a whole number from 1, got {runs!r}")


def _partition(u: Tensor, v: Tensor, num_nodes: int, method: str, resolution: float, seed: int) -> Tensor:
    if method != "louvain-networkx":
        try:
            import networkit
        except ImportError:
            warnings.warn(
                f"NetworKit is not installed, so networkx's Louvain replaces {method}; pip install networkit",
                stacklevel=3,
            )
        else:
            return _networkit(networkit, u, v, num_nodes, method, resolution, seed)
    return _networkx_louvain(u, v, num_nodes, resolution, seed)


def _networkit(
    networkit: Any, u: Tensor, v: Tensor, num_nodes: int, method: str, resolution: float, seed: int
) -> Tensor:
    graph = networkit.GraphFromCoo((u.numpy(), v.numpy()), n=num_nodes)
    with _one_thread(networkit):
        networkit.engineering.setSeed(seed, False)
        if method == "leiden":
            search = networkit.community.ParallelLeiden(graph, gamma=float(resolution))
        else:
            search = networkit.community.PLM(graph, gamma=float(resolution), par="none randomized")
        search.run()
        partition = search.getPartition()
    return torch.from_numpy(np.asarray(partition.getVector(), dtype=np.int64))


@contextmanager
def _one_thread(networkit: Any) -> Iterator[None]:
    before = networkit.getMaxNumberOfThreads()
    networkit.setNumberOfThreads(1)
    try:
        yield
    finally:
        networkit.setNumberOfThreads(before)


def _networkx_louvain(u: Tensor, v: Tensor, num_nodes: int, resolution: float, seed: int) -> Tensor:
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(zip(u.tolist(), v.tolist(), strict=True))
    labels = torch.empty(num_nodes, dtype=torch.int64)
    for label, members in enumerate(networkx.community.louvain_communities(graph, resolution=resolution, seed=seed)):
        labels[list(members)] = label
    return labels
