"""Centralities and the adaptive augmenters of GCA, against networkx, the formulas and golden values."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcl.augment import AdaptiveEdgeDrop, AdaptiveFeatureMask
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.ops.centrality import centrality, walk_steps

F64 = torch.float64


def adjacency_of(graph, size):
    arcs = torch.tensor([(u, v) for u, v in graph.edges] or np.zeros((0, 2)), dtype=torch.int64).t()
    if not graph.is_directed():
        arcs = torch.cat([arcs, arcs.flip(0)], 1)
    return Adjacency.from_edge_index(arcs, (size, size), duplicates="first")


def graph_of(adjacency, x=None):
    return Graph.homogeneous(torch.ones(adjacency.shape[0], 2) if x is None else x, adjacency)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 90), st.floats(0.02, 0.4), st.integers(0, 10**6), st.booleans())
def test_centralities_are_those_of_networkx(size, density, seed, directed):
    graph = nx.gnp_random_graph(size, density, seed=seed, directed=directed)
    adjacency = adjacency_of(graph, size)
    degrees = graph.in_degree if directed else graph.degree
    assert centrality(adjacency, "degree").tolist() == [degrees[node] for node in range(size)]
    expected = nx.pagerank(graph, alpha=0.85, tol=1e-13, max_iter=2000)
    found = centrality(adjacency, "pagerank")
    np.testing.assert_allclose(found.numpy(), [expected[node] for node in range(size)], rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("size", [5, 34, 120])
def test_eigenvector_centrality_is_that_of_networkx(size):
    graph = nx.karate_club_graph() if size == 34 else nx.barabasi_albert_graph(size, 2, seed=1)
    for _, _, data in graph.edges(data=True):
        data.clear()
    expected = nx.eigenvector_centrality_numpy(graph)
    found = centrality(adjacency_of(graph, size), "eigenvector")
    np.testing.assert_allclose(found.numpy(), [expected[node] for node in range(size)], atol=1e-8)


def test_degenerate_graphs_have_centralities():
    empty = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (3, 3))
    assert centrality(empty, "degree").tolist() == [0, 0, 0]
    assert centrality(empty, "pagerank").tolist() == pytest.approx([1 / 3] * 3)
    assert centrality(empty, "eigenvector").tolist() == [0, 0, 0]
    with pytest.raises(ConfigError, match="eigenvector"):
        centrality(empty, "eigenvectr")
    with pytest.raises(DataError, match="square"):
        centrality(Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (3, 4)), "degree")


def test_the_programs_pagerank_tends_to_the_degrees():
    graph = nx.karate_club_graph()
    adjacency = adjacency_of(graph, 34)
    degree = centrality(adjacency, "degree")
    torch.testing.assert_close(walk_steps(adjacency, 2000), degree * 34 / degree.sum())
    x = np.ones(34)
    matrix = nx.to_numpy_array(graph, weight=None)
    for _ in range(10):
        x = 0.15 * x + 0.85 * matrix @ (x / matrix.sum(1))
    np.testing.assert_allclose(walk_steps(adjacency, 10).numpy(), x)


def four_nodes():
    edges = torch.tensor([[0, 0, 1, 2], [1, 2, 2, 3]])
    x = torch.tensor([[1, 0], [0, 1], [0.5, 0.5], [1, 1]])
    return graph_of(Adjacency.from_edge_index(torch.cat([edges, edges.flip(0)], 1), (4, 4)), x)


def test_golden_values_by_degree():
    graph = four_nodes()
    fitted = AdaptiveEdgeDrop(0.3).fit(graph)
    score = {0: 1.192337, 1: 1.192337, 2: 0.0, 3: 3.230651}
    drop = {0: 0.357701, 1: 0.357701, 2: 0.0, 3: 0.7}
    target = graph.adjacency.row.tolist()
    assert fitted.score_.tolist() == pytest.approx([score[node] for node in target], abs=1e-6)
    assert fitted.edge_drop_prob(graph).tolist() == pytest.approx([drop[node] for node in target], abs=1e-6)
    assert float(fitted.edge_drop_prob(graph).mean()) == pytest.approx(0.266351, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(3, 40), st.integers(0, 10**6), st.sampled_from(["degree", "pagerank", "eigenvector"]), st.floats(0, 1)
)
def test_scores_average_to_1_and_probabilities_stay_below_the_cap(size, seed, name, probability):
    adjacency = adjacency_of(nx.gnp_random_graph(size, 0.3, seed=seed), size)
    graph = graph_of(adjacency)
    fitted = AdaptiveEdgeDrop(probability, centrality=name).fit(graph)
    drop = fitted.edge_drop_prob(graph)
    assert torch.isfinite(fitted.score_).all()
    if not adjacency.num_arcs:
        return
    assert float(fitted.score_.mean()) == pytest.approx(1, abs=1e-6)
    assert float(drop.max()) <= 0.7
    assert float(drop.mean()) <= probability + 1e-9
    values = centrality(adjacency, name) + (1e-8 if name == "eigenvector" else 0)
    log = values[adjacency.row.long()].log()
    if float(log.max() - log.mean()) > 1e-8:  # nothing goes from the most central node
        assert float(fitted.score_[log.argmax()]) == 0
        expected = (log.max() - log) / (log.max() - log.mean())
        torch.testing.assert_close(fitted.score_, expected)
    else:
        assert (fitted.score_ == 1).all()


def test_arcs_are_dropped_as_often_as_they_should_be():
    graph = four_nodes()
    fitted, generator = AdaptiveEdgeDrop(0.3).fit(graph), torch.Generator().manual_seed(0)
    count, draws = torch.zeros(8, dtype=F64), 4000
    for _ in range(draws):
        count += ~fitted(graph, generator=generator).adjacency["edge"].keep
    expected = fitted.edge_drop_prob(graph)
    error = (expected * (1 - expected) / draws).sqrt()
    assert ((count / draws - expected).abs() <= 4.5 * error + 1e-12).all()


def test_the_attributes_of_central_nodes_are_spared():
    x = torch.zeros(4, 5)
    x[2, 0] = 3  # of the most central node
    x[3, 1] = 1  # of the least central
    x[0, 2] = x[1, 2] = 0.1  # of two in between: degree 2 + 2 as many as node 2 has and one more
    x[:, 4] = 1  # column 3 is nobody's
    graph = graph_of(four_nodes().adjacency, x)
    fitted = AdaptiveFeatureMask(0.3).fit(graph)
    eta = [math.log(value) for value in (3, 1, 4, 8)]
    mean = sum(eta) / 4
    expected = [(math.log(8) - value) / (math.log(8) - mean) for value in eta]
    expected.insert(3, 0.0)
    assert fitted.score_.tolist() == pytest.approx(expected)
    assert (fitted.drop_prob_ <= 0.7).all()
    weighted = AdaptiveFeatureMask(0.3, binary=False).fit(graph)
    assert weighted.score_.tolist() != pytest.approx(expected)
    arcs = torch.stack([torch.arange(4), torch.arange(4)])
    sparse = Adjacency.from_edge_index(torch.nonzero(x).t().flip(0), (4, 5), x[x != 0])
    assert arcs.shape == (2, 4)
    torch.testing.assert_close(AdaptiveFeatureMask(0.3).fit(graph_of(graph.adjacency, sparse)).score_, fitted.score_)
    view = AdaptiveFeatureMask(1.0, max_drop_prob=1.0).fit(graph)(graph, generator=torch.Generator().manual_seed(0))
    assert isinstance(view, View)
    assert view.feature_mask["node"][4]


def test_attributes_of_equal_weight_or_none_are_masked_evenly():
    graph = graph_of(four_nodes().adjacency, torch.ones(4, 3))
    assert AdaptiveFeatureMask(0.3).fit(graph).score_.tolist() == [1, 1, 1]
    graph = graph_of(four_nodes().adjacency, torch.zeros(4, 3))
    assert AdaptiveFeatureMask(0.3).fit(graph).score_.tolist() == [1, 1, 1]


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="compat='gca' is about pagerank"):
        AdaptiveEdgeDrop(0.3, compat="gca")
    with pytest.raises(ConfigError, match="degree"):
        AdaptiveFeatureMask(0.3, centrality="degre")
    assert AdaptiveEdgeDrop(0.3, centrality="pagerank", compat="gca").fit(four_nodes()).score_.isfinite().all()
