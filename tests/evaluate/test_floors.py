from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import graphs

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.data.features import as_features
from gcl.evaluate import floors
from gcl.evaluate.floors import FLOORS, propagated_features, raw_features


def dense_propagation(graph: Graph, hops: int) -> torch.Tensor:
    A = graph.adjacency.to_dense()
    A.fill_diagonal_(1.0)
    factor = A.sum(dim=1).rsqrt()
    return torch.linalg.matrix_power(factor[:, None] * A * factor, hops) @ graph.x.double()


@settings(max_examples=40, deadline=None)
@given(graphs(weighted=False), st.integers(0, 3), st.booleans())
def test_propagated_features_are_the_dense_product(graph, hops, sparse):
    features = {"node": as_features(graph.x, sparse=True)} if sparse else graph.features
    graph = Graph(features=features, relations=graph.relations)
    before = graph.x.clone()
    z = propagated_features(graph, hops)
    torch.testing.assert_close(z.double(), dense_propagation(graph, hops), atol=1e-5, rtol=1e-5)
    assert torch.equal(graph.x, before)
    assert torch.equal(raw_features(graph), before)


def test_blocks_change_nothing(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    edges = torch.randint(0, 30, (2, 80), generator=draw).unique(dim=1)
    graph = Graph.homogeneous(torch.randn(30, 7, generator=draw), Adjacency.from_edge_index(edges, (30, 30)))
    whole = propagated_features(graph)
    monkeypatch.setattr(floors, "BLOCK", 2)
    torch.testing.assert_close(propagated_features(graph), whole)


def test_no_edges_leaves_features():
    graph = Graph.homogeneous(
        torch.randn(4, 3), Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (4, 4))
    )
    torch.testing.assert_close(propagated_features(graph), graph.x)
    assert set(FLOORS) == {"raw features", "A²X"}


def test_on_several_node_types_a_hop_goes_there_and_back_along_every_relation():
    draw = torch.Generator().manual_seed(0)
    dense = {kind: (torch.rand(6, size, generator=draw) < 0.4).double() for kind, size in (("author", 5), ("venue", 3))}
    dense["author"][2] = 0  # a paper without authors
    index = {kind: matrix.nonzero().t() for kind, matrix in dense.items()}
    graph = Graph(
        features={"paper": torch.randn(6, 4, generator=draw)},
        relations={
            "by": Adjacency.from_edge_index(index["author"].flip(0), (6, 5)),
            "holds": Adjacency.from_edge_index(index["venue"], (3, 6)),
            "cites": Adjacency.from_edge_index(torch.tensor([[0, 1], [2, 3]]), (6, 6)),
        },
        relation_types={"by": ("author", "paper"), "holds": ("paper", "venue"), "cites": ("paper", "paper")},
        target="paper",
    )

    def rownorm(matrix):
        return matrix / matrix.sum(dim=1, keepdim=True).clamp(min=1)

    step = sum(rownorm(matrix) @ rownorm(matrix.t()) for matrix in dense.values()) / 2
    expected = step @ step @ graph.x.double()
    torch.testing.assert_close(propagated_features(graph).double(), expected, atol=1e-5, rtol=1e-5)


def test_graphs_without_features_and_bad_hops_are_refused():
    empty = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (4, 4))
    for floor in FLOORS.values():
        with pytest.raises(DataError, match="features"):
            floor(Graph.homogeneous(None, empty))
    with pytest.raises(ConfigError, match="hops"):
        propagated_features(Graph.homogeneous(torch.ones(4, 1), empty), hops=-1)
