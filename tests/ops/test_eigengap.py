"""The number of clusters by the eigengap."""

import networkx as nx
import numpy as np
import pytest
import torch

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.ops.eigengap import eigengap


def of_networkx(graph):
    arcs = torch.tensor([*graph.edges, *((j, i) for i, j in graph.edges)], dtype=torch.int64).reshape(-1, 2).t()
    return Adjacency.from_edge_index(arcs, (graph.number_of_nodes(), graph.number_of_nodes()))


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_planted_blocks_are_counted_with_isolated_nodes_aside(k):
    graph = nx.planted_partition_graph(k, 40, 0.5, 0.01, seed=1)
    graph.add_nodes_from(range(40 * k, 40 * k + 30))
    assert eigengap(of_networkx(graph)) == k


def test_components_count_and_small_ones_do_not():
    graph = nx.disjoint_union_all([nx.gnp_random_graph(60, 0.4, seed=seed) for seed in range(3)])
    graph = nx.disjoint_union(graph, nx.path_graph(2))
    assert eigengap(of_networkx(graph)) == 3
    graph = nx.disjoint_union(graph, nx.planted_partition_graph(2, 60, 0.5, 0.01, seed=3))
    assert eigengap(of_networkx(graph)) == 5


def test_small_graphs_agree_with_dense_eigenvalues():
    for seed in range(5):
        graph = nx.connected_watts_strogatz_graph(12, 4, 0.3, seed=seed)
        matrix = nx.to_numpy_array(graph) + np.eye(12)
        scale = 1 / np.sqrt(matrix.sum(axis=1))
        values = np.sort(np.linalg.eigvalsh(scale[:, None] * matrix * scale))[::-1]
        for most in (5, 20):
            gaps = -np.diff(values[: min(most + 1, 12)])[1:]
            assert eigengap(of_networkx(graph), most=most) == int(gaps.argmax()) + 2


def test_tiny_graphs_and_bad_ones():
    assert eigengap(of_networkx(nx.empty_graph(4))) == 1
    assert eigengap(of_networkx(nx.path_graph(3))) == 2
    for count in (3, 30):
        assert eigengap(of_networkx(nx.disjoint_union_all([nx.complete_graph(4)] * count))) == count
    with pytest.raises(DataError, match="square"):
        eigengap(Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (2, 3)))
