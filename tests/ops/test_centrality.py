"""Eigenvector centrality where it is not one simple vector, PageRank with sinks, and what all centralities promise."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcl.augment import AdaptiveEdgeDrop, AdaptiveFeatureMask
from gcl.core.adjacency import Adjacency
from gcl.core.graph import Graph
from gcl.ops.centrality import centrality

KINDS = ("degree", "pagerank", "eigenvector")


def adjacency_of(graph):
    size = graph.number_of_nodes()
    arcs = torch.tensor(list(graph.edges), dtype=torch.int64).reshape(-1, 2).t()
    if not graph.is_directed():
        arcs = torch.cat([arcs, arcs.flip(0)], 1)
    return Adjacency.from_edge_index(arcs, (size, size), duplicates="first")


def eigenvector(graph):
    return centrality(adjacency_of(graph), "eigenvector").numpy()


def projected(graph):
    """The uniform vector projected on the leading eigenvectors: an oracle for any undirected graph."""
    values, vectors = np.linalg.eigh(nx.to_numpy_array(graph))
    top = vectors[:, values > values[-1] - 1e-7]
    vector = top @ top.sum(0)
    return vector / np.linalg.norm(vector)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 45), min_size=1, max_size=4), st.floats(0.1, 0.6), st.integers(0, 10**6))
def test_eigenvector_of_several_parts(sizes, density, seed):
    parts = [nx.gnp_random_graph(size, density, seed=seed + index) for index, size in enumerate(sizes)]
    graph = nx.disjoint_union_all([*parts, parts[0]])  # one part twice: the eigenvalue may be shared
    if not graph.number_of_edges():
        return
    np.testing.assert_allclose(eigenvector(graph), projected(graph), atol=1e-6)


@pytest.mark.parametrize("copies", [3, 50])
def test_copies_of_a_part_are_equally_central(copies):
    star = nx.star_graph(3)
    found = eigenvector(nx.disjoint_union_all([star] * copies)).reshape(copies, 4)
    np.testing.assert_allclose(found, np.tile(found[0], (copies, 1)), atol=1e-12)
    np.testing.assert_allclose(found[0] / found[0, 1], [3**0.5, 1, 1, 1])


@pytest.mark.parametrize("size", [20, 90])
def test_a_lesser_part_has_exactly_none(size):
    large, small = nx.barabasi_albert_graph(size, 3, seed=1), nx.cycle_graph(30)
    found = eigenvector(nx.disjoint_union(small, large))
    assert (found[:30] == 0).all()
    expected = nx.eigenvector_centrality_numpy(large)
    np.testing.assert_allclose(found[30:], [expected[node] for node in range(size)], atol=1e-8)


@pytest.mark.parametrize("size", [10, 100])
def test_directed_graphs(size):
    path = nx.path_graph(size, create_using=nx.DiGraph)
    assert (eigenvector(path) == 0).all()  # no cycle, no eigenvalue
    cycle = nx.cycle_graph(size, create_using=nx.DiGraph)
    np.testing.assert_allclose(eigenvector(cycle), size**-0.5)
    random = nx.gnp_random_graph(size, 0.4, seed=3, directed=True)
    assert nx.is_strongly_connected(random)
    expected = nx.eigenvector_centrality_numpy(random)
    np.testing.assert_allclose(eigenvector(random), [expected[node] for node in range(size)], atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 80), st.integers(0, 10**6), st.sampled_from(KINDS))
def test_renaming_nodes_renames_centralities(size, seed, kind):
    graph = nx.gnp_random_graph(size, 1.5 / size, seed=seed)
    order = np.random.default_rng(seed).permutation(size)
    renamed = nx.Graph()
    renamed.add_nodes_from(range(size))
    renamed.add_edges_from((int(order[u]), int(order[v])) for u, v in graph.edges)
    before, after = centrality(adjacency_of(graph), kind), centrality(adjacency_of(renamed), kind)
    assert before.dtype == torch.float64
    assert (before >= 0).all()
    torch.testing.assert_close(after[torch.from_numpy(order)], before, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("directed", [False, True])
def test_isolated_nodes_and_one_way_graphs_give_finite_probabilities(kind, directed):
    graph = nx.DiGraph([(0, 1), (1, 2), (0, 2), (2, 3)]) if directed else nx.Graph([(0, 1), (1, 2), (0, 2), (2, 3)])
    graph.add_nodes_from([4, 5])  # isolated
    x = torch.zeros(6, 4)
    x[4, 0] = x[0, 1] = x[2, 2] = x[3, 2] = 1  # column 0 is an isolated node's, column 3 nobody's
    whole = Graph.homogeneous(x, adjacency_of(graph))
    drop = AdaptiveEdgeDrop(0.4, centrality=kind).fit(whole).edge_drop_prob(whole)
    mask = AdaptiveFeatureMask(0.4, centrality=kind).fit(whole).drop_prob_
    for probability in (drop, mask):
        assert probability.isfinite().all()
        assert probability.min() >= 0
        assert probability.max() <= 0.7
