from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import GCNConv

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.ops.propagation import Propagation

X = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0], [4.0, 5.0, 0.0], [0.0, 0.0, 6.0]])
EDGES = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]])


def sparse(x: Tensor) -> Adjacency:
    row, col = x.nonzero().unbind(1)
    return Adjacency.from_edge_index(torch.stack([col, row]), tuple(x.shape), x[row, col])


@pytest.fixture(params=["dense", "sparse"])
def graph(request) -> Graph:
    features = X if request.param == "dense" else sparse(X)
    return Graph.homogeneous(features, Adjacency.from_edge_index(EDGES, (4, 4)))


def test_the_unchanged_view(graph):
    view = View.of(graph)
    assert View.of(view) is view
    assert torch.equal(view.x, X)
    assert torch.equal(view.edge_index, graph.adjacency.edge_index())
    assert view.edge_weight is None
    assert view.features() is graph.features["node"]
    assert view.num_nodes == 4


def test_column_and_node_masks_in_x(graph):
    columns = torch.tensor([True, False, True])
    nodes = torch.tensor([True, True, False, True])
    view = View(graph, feature_mask={"node": columns}, node_mask=nodes)
    assert torch.equal(view.x, X * columns * nodes.unsqueeze(1))
    assert view.num_nodes == 4  # the row axis never changes
    features = view.features()  # node mask yes, column mask no: encoders fold that into their weight
    dense = features.to_dense(torch.float32) if isinstance(features, Adjacency) else features
    assert torch.equal(dense, X * nodes.unsqueeze(1))
    assert torch.equal(View(graph).x, X)  # the graph is as it was


def test_dropping_every_node_or_column(graph):
    assert View(graph, node_mask=torch.zeros(4, dtype=torch.bool)).x.eq(0).all()
    assert View(graph, feature_mask={"node": torch.zeros(3, dtype=torch.bool)}).x.eq(0).all()


def test_changed_feature_values(graph):
    features = graph.features["node"]
    if isinstance(features, Adjacency):
        values = torch.arange(1.0, features.num_arcs + 1)
        expected = X.clone()
        expected[X != 0] = values
    else:
        values = expected = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    nodes = torch.tensor([False, True, True, True])
    assert torch.equal(View(graph, feature_values={"node": values}).x, expected)
    masked = View(graph, feature_values={"node": values}, node_mask=nodes)
    assert torch.equal(masked.x, expected * nodes.unsqueeze(1))


def test_column_masks_add_up(graph):
    view = View.of(graph)
    first = view.mask_columns(torch.tensor([True, False, True]))
    second = first.mask_columns(torch.tensor([False, True, True]))
    assert second.feature_mask["node"].tolist() == [False, False, True]
    assert first.feature_mask["node"].tolist() == [True, False, True]
    assert view.feature_mask == {}


def test_replaced_adjacency_reaches_pyg_modules_and_ours_alike(graph):
    for compact in (True, False):
        keep = torch.tensor([True, False, True, True, False])
        view = View.of(graph).with_adjacency("edge", graph.adjacency.masked(keep, compact=compact))
        assert torch.equal(view.edge_index, graph.adjacency.edge_index()[:, keep])
        torch.manual_seed(0)
        layer = GCNConv(3, 2, bias=False)
        ours = Propagation(view.relation()).matmul(view.x @ layer.lin.weight.t())
        torch.testing.assert_close(ours, layer(view.x, view.edge_index))


def test_weights_follow_their_arcs():
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    graph = Graph.homogeneous(X, Adjacency.from_edge_index(EDGES, (4, 4), weight))
    keep = torch.tensor([True, False, True, False, True])
    for compact in (True, False):
        view = View(graph, adjacency={"edge": graph.adjacency.masked(keep, compact=compact)})
        dense = torch.zeros(4, 4)
        dense[view.edge_index[1], view.edge_index[0]] = view.edge_weight
        assert torch.equal(dense.double(), view.relation().to_dense())


def test_several_relations_must_be_named():
    loops = Adjacency.from_edge_index(torch.tensor([[0, 1], [0, 1]]), (2, 2))
    view = View(Graph(relations={"cites": loops, "likes": loops}))
    assert view.relation("likes") is loops
    with pytest.raises(DataError, match="name one"):
        view.relation()
    with pytest.raises(DataError, match="have no features"):
        view.x  # noqa: B018
