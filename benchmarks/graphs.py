"""Synthetic graphs of a given size: communities, heavy-tailed degrees, no order in the node ids."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.graph import Graph

HERE = Path(__file__).resolve().parents[1]


def community_graph(
    num_nodes: int,
    num_edges: int,
    *,
    num_communities: int | None = None,
    inside: float = 0.75,
    exponent: float = 2.5,
    seed: int = 0,
) -> Tensor:
    """A planted partition with degrees corrected by a power law, as both arcs of each edge: int64 ``[2, 2 num_edges]``.

    Each edge chooses its first end by weight; its second end is one of the same community with probability ``inside``,
    else any node, by weight again. Simple and undirected; arcs sorted by (source, target), as PyG's ``coalesce`` does.

    Args:
        num_nodes, num_edges: exact.
        num_communities: ``None`` = about the square root of a quarter of the nodes; their sizes are uneven.
        inside: share of edges that stay in a community by choice.
        exponent: of the degrees' power law.
        seed: decides everything.
    """
    if num_edges > num_nodes * (num_nodes - 1) // 4:
        raise ValueError(f"{num_edges} edges are too many for a sparse simple graph of {num_nodes} nodes")
    generator = torch.Generator().manual_seed(seed)
    uniform = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    num_communities = num_communities or max(2, round((num_nodes / 4) ** 0.5))
    sizes = uniform(num_communities).clamp(min=0.05).cumsum(0)
    labels = torch.searchsorted(sizes / sizes[-1], uniform(num_nodes)).clamp(max=num_communities - 1)
    weight = uniform(num_nodes).clamp(min=1e-9).pow(-1 / (exponent - 1)).clamp(max=num_nodes**0.5)

    order = torch.argsort(labels, stable=True)  # position -> node; a community is a range of positions
    total = weight[order].cumsum(0)
    ends = torch.bincount(labels, minlength=num_communities).cumsum(0)
    high = torch.where(ends > 0, total[(ends - 1).clamp(min=0)], 0.0)  # weight up to the end of each community
    low = torch.cat([high.new_zeros(1), high[:-1]])

    def draw(low: Tensor | float, high: Tensor | float, count: int) -> Tensor:
        target = low + (high - low) * uniform(count)
        return order[torch.searchsorted(total, target).clamp(max=num_nodes - 1)]

    keys = torch.empty(0, dtype=torch.int64)
    while keys.numel() < num_edges:
        count = 64 + int(1.2 * (num_edges - keys.numel()))
        u = draw(0.0, float(total[-1]), count)
        within = uniform(count) < inside
        k = labels[u]
        v = torch.where(within, draw(low[k], high[k], count), draw(0.0, float(total[-1]), count))
        new = torch.minimum(u, v) * num_nodes + torch.maximum(u, v)
        keys = torch.unique(torch.cat([keys, new[u != v]]))
    keys = keys[torch.randperm(keys.numel(), generator=generator)[:num_edges]]
    u, v = keys // num_nodes, keys % num_nodes
    both = torch.cat([u * num_nodes + v, v * num_nodes + u]).sort().values
    return torch.stack([both // num_nodes, both % num_nodes])


def sparse_features(num_nodes: int, num_columns: int, density: float, *, seed: int = 0) -> Tensor:
    """Bags of words: 0 and 1 with the given share of ones, dense float32 ``[N, F]``; every column has a one."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(num_nodes, num_columns, generator=generator) < density).float()
    x[torch.randint(num_nodes, (num_columns,), generator=generator), torch.arange(num_columns)] = 1.0
    return x


def graph_of(edge_index: Tensor, num_nodes: int, x: Tensor | None = None) -> Graph:
    """A ``Graph`` of arcs and dense features, which it keeps sparse where the package's loader would."""
    from gcl.data.features import as_features

    features = None if x is None else as_features(x)
    return Graph.homogeneous(features, Adjacency.from_edge_index(edge_index, (num_nodes, num_nodes)))


def real_graph(name: str) -> Graph | None:
    """A benchmark graph from ``GCL_DATA`` or ``../shared/data``, for training; ``None`` where it is not there."""
    from gcl.core.errors import GCLError
    from gcl.data.load import load_dataset

    root = Path(os.environ.get("GCL_DATA") or HERE.parent / "shared" / "data")
    if not root.is_dir():
        return None
    try:
        return load_dataset(name, data_root=root).graph.for_training()
    except GCLError:
        return None


def interaction_graph(
    num_users: int,
    num_items: int,
    num_pairs: int,
    *,
    seed: int = 0,
    keep: Tensor | None = None,
    test: Tensor | None = None,
) -> Graph:
    """Interactions of heavy-tailed users and items, with some structure: most stay inside one of 50 blocks.

    Args:
        num_users, num_items, num_pairs: exact.
        seed: decides everything.
        keep: which of the pairs to leave in, boolean ``[num_pairs]`` in the order of the adjacency.
        test: held-out pairs, ``[2, n]``.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    blocks = min(50, num_items)
    weight = [uniform(count).clamp(min=1e-6).pow(-0.6) for count in (num_users, num_items)]
    label = [torch.randint(blocks, (count,), generator=generator) for count in (num_users, num_items)]
    order = torch.argsort(label[1], stable=True)
    total, users = weight[1][order].cumsum(0), weight[0].cumsum(0)
    ends = torch.bincount(label[1], minlength=blocks).cumsum(0)
    high = torch.where(ends > 0, total[(ends - 1).clamp(min=0)], 0.0)
    low = torch.cat([high.new_zeros(1), high[:-1]])
    keys = torch.empty(0, dtype=torch.int64)
    while keys.numel() < num_pairs:
        count = 64 + int(1.5 * (num_pairs - keys.numel()))
        user = torch.searchsorted(users, users[-1] * uniform(count)).clamp(max=num_users - 1)
        inside, block = uniform(count) < 0.7, label[0][user]
        target = torch.where(inside, low[block] + (high - low)[block] * uniform(count), total[-1] * uniform(count))
        item = order[torch.searchsorted(total, target).clamp(max=num_items - 1)]
        keys = torch.unique(torch.cat([keys, user * num_items + item]))
    keys = keys[torch.randperm(keys.numel(), generator=generator)[:num_pairs]].sort().values
    keys = keys if keep is None else keys[keep]
    pairs = torch.stack([keys % num_items, keys // num_items])
    return Graph(
        relations={"interaction": Adjacency.from_edge_index(pairs, (num_users, num_items))},
        relation_types={"interaction": ("item", "user")},
        num_nodes_by_type={"user": num_users, "item": num_items},
        target="user",
        held={} if test is None else {"test": test},
    )
