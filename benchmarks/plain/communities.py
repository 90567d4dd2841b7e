"""CSGCL's preparation with a networkx graph and loops in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx
import torch
from torch import Tensor

Loop = Callable[[Tensor, list[int], list[float]], Tensor]


def to_networkx(edge_index: Tensor, num_nodes: int) -> Any:
    graph = networkx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edge_index.T.tolist())
    return graph


def prepare(
    edge_index: Tensor, num_nodes: int, x: Tensor, loop: Loop, seed: int = 0
) -> tuple[list[int], Tensor, Tensor]:
    """Communities, the normalised score of each arc, and that of each attribute."""
    graph = to_networkx(edge_index, num_nodes)
    labels = [0] * num_nodes
    for index, members in enumerate(networkx.community.louvain_communities(graph, seed=seed)):
        for node in members:
            labels[node] = index
    return labels, *scores(graph, edge_index, x, labels, loop)


def scores(graph: Any, edge_index: Tensor, x: Tensor, labels: list[int], loop: Loop) -> tuple[Tensor, Tensor]:
    """Scores of arcs and attributes for a partition."""
    strength = community_strength(graph, labels)
    weight = loop(edge_index, labels, strength)
    weight = (weight - weight.min()) / (weight.max() - weight.min())
    node_strength = torch.tensor([strength[label] for label in labels])
    votes = x.abs().T @ node_strength
    votes[votes == 0] = votes.max()
    votes = votes.log()
    return weight, (votes.max() - votes) / (votes.max() - votes.min())


def community_strength(graph: Any, labels: list[int]) -> list[float]:
    """The share of each community in the modularity."""
    num_edges = graph.number_of_edges()
    inner, volume = [0] * (max(labels) + 1), [0] * (max(labels) + 1)
    for u, v in graph.edges():
        if labels[u] == labels[v]:
            inner[labels[u]] += 1
    for node, degree in graph.degree():
        volume[labels[node]] += degree
    return [e / num_edges - (v / (2 * num_edges)) ** 2 for e, v in zip(inner, volume, strict=True)]


def edge_weights(edge_index: Tensor, labels: list[int], strength: list[float]) -> Tensor:
    """The strength of an arc inside a community, minus both strengths between two."""
    weights = []
    for u, v in zip(edge_index[0].tolist(), edge_index[1].tolist(), strict=True):
        a, b = labels[u], labels[v]
        weights.append(strength[a] if a == b else -(strength[a] + strength[b]))
    return torch.tensor(weights)


def edge_weights_by_element(edge_index: Tensor, labels: list[int], strength: list[float]) -> Tensor:
    """The same, each end read out of the tensor and each weight written into one."""
    weights = torch.zeros(edge_index.shape[1])
    for index in range(edge_index.shape[1]):
        a, b = labels[edge_index[0, index].item()], labels[edge_index[1, index].item()]
        weights[index] = strength[a] if a == b else -(strength[a] + strength[b])
    return weights
