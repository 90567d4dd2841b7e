"""GCN against a dense float64 reference written node by node, and against PyG."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import graphs, masks
from torch_geometric.nn import GCNConv

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, NotFittedError
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.view import View
from gcl.encoders.gcn import GCN

SLOPES = {"relu": 0.0, "prelu": 0.25, "rrelu": 11 / 48, "none": 1.0}


def random_graph(num_nodes=12, num_arcs=40, in_channels=5, seed=0, weighted=False, sparse=False) -> Graph:
    """A directed graph with self-loops and an isolated last node."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randperm((num_nodes - 1) ** 2, generator=generator)[:num_arcs]
    edge_index = torch.stack([pairs // (num_nodes - 1), pairs % (num_nodes - 1)])
    edge_index = torch.cat([edge_index, torch.tensor([[0, 3], [0, 3]])], dim=1).unique(dim=1)
    weight = torch.rand(edge_index.shape[1], generator=generator) + 0.5 if weighted else None
    x = torch.randn(num_nodes, in_channels, generator=generator)
    x[x.abs() < 0.4] = 0
    if sparse:
        rows, cols = x.nonzero().t()
        x = Adjacency.from_edge_index(torch.stack([cols, rows]), (num_nodes, in_channels), x[rows, cols])
    return Graph.homogeneous(x, Adjacency.from_edge_index(edge_index, (num_nodes, num_nodes), weight))


def random_view(graph: Graph, seed=1) -> View:
    generator = torch.Generator().manual_seed(seed)
    keep = torch.rand(graph.adjacency.num_arcs, generator=generator) < 0.7
    columns = torch.rand(graph.spec.in_channels["node"], generator=generator) < 0.6
    view = View.of(graph).with_adjacency("edge", graph.adjacency.masked(keep))
    return view.mask_columns(columns)


def build(graph: Graph, seed=0, **arguments) -> GCN:
    torch.manual_seed(seed)
    encoder = GCN(**{"out_channels": 4, **arguments}).build(graph.spec)
    for bias in encoder.layers_.biases:
        torch.nn.init.normal_(bias)
    return encoder


def slow_gcn(encoder: GCN, view: View) -> torch.Tensor:
    """The definition, node by node, in float64."""
    x = view.x.double()
    num_nodes = x.shape[0]
    arcs = {}
    weight = view.edge_weight
    for position, (source, target) in enumerate(view.edge_index.t().tolist()):
        if source != target:
            arcs[source, target] = 1.0 if weight is None else float(weight[position])
    degree = [1.0 + sum(w for (_, t), w in arcs.items() if t == i) for i in range(num_nodes)]
    for w, b in zip(encoder.layers_.weights, encoder.layers_.biases, strict=True):
        y = x @ w.double()
        rows = []
        for i in range(num_nodes):
            row = y[i] / degree[i]
            for (source, target), value in arcs.items():
                if target == i:
                    row = row + value * y[source] / math.sqrt(degree[i] * degree[source])
            rows.append(row + b.double())
        x = torch.stack(rows)
        if encoder.activation == "elu":
            x = torch.where(x > 0, x, x.exp() - 1)
        else:
            x = torch.where(x > 0, x, SLOPES[encoder.activation] * x)
    return x


@pytest.mark.parametrize("activation", ["relu", "prelu", "rrelu", "elu", "none"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_equals_the_definition(activation, num_layers):
    graph = random_graph()
    encoder = build(graph, activation=activation, num_layers=num_layers)
    view = random_view(graph)
    torch.testing.assert_close(encoder(view).double(), slow_gcn(encoder, view), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("hidden", [3, 11])  # narrower and wider than the input: both orders of the products
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_both_orders_and_both_feature_forms(hidden, sparse, weighted):
    graph = random_graph(sparse=sparse, weighted=weighted)
    encoder = build(graph, hidden_channels=hidden)
    for view in (View.of(graph), random_view(graph)):
        torch.testing.assert_close(encoder(view).double(), slow_gcn(encoder, view), rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_small_graph(data):
    graph = data.draw(graphs())
    view = View.of(graph).with_adjacency("edge", graph.adjacency.masked(data.draw(masks(graph.adjacency.num_arcs))))
    view = view.mask_columns(data.draw(masks(3)))
    encoder = build(graph, activation="prelu")
    torch.testing.assert_close(encoder(view).double(), slow_gcn(encoder, view), rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_relabelling_the_nodes_relabels_the_rows(data):
    graph = data.draw(graphs())
    order = torch.tensor(data.draw(st.permutations(range(graph.num_nodes))))
    encoder = build(graph)
    torch.testing.assert_close(encoder(View.of(graph.subgraph(order))), encoder(View.of(graph))[order])


@pytest.mark.parametrize("sparse", [False, True])
def test_equals_pyg_with_the_same_weights(sparse):
    graph = random_graph(sparse=sparse)
    view = random_view(graph)
    assert bool((view.edge_index[0] == view.edge_index[1]).any())  # stored self-loops are among the kept arcs
    encoder = build(graph, activation="rrelu")
    x = view.x
    for weight, bias in zip(encoder.layers_.weights, encoder.layers_.biases, strict=True):
        conv = GCNConv(*weight.shape)
        with torch.no_grad():
            conv.lin.weight.copy_(weight.t())
            conv.bias.copy_(bias)
        x = torch.nn.functional.leaky_relu(conv(x, view.edge_index), 11 / 48)
    torch.testing.assert_close(encoder(view), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_are_those_of_the_definition(sparse):
    graph = random_graph(sparse=sparse)
    view = random_view(graph)
    encoder = build(graph, activation="prelu", num_layers=3).double()
    graph = Graph.homogeneous(
        graph.features["node"].double() if not sparse else graph.features["node"], graph.adjacency
    )
    view = View(graph, view.adjacency, feature_mask=view.feature_mask)
    target = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    parameters = list(encoder.parameters())
    ours = torch.autograd.grad((encoder(view) * target).sum(), parameters)

    def slow() -> torch.Tensor:
        dense = torch.zeros(12, 12, dtype=torch.float64)
        for source, to in view.edge_index.t().tolist():
            dense[to, source] = float(source != to)
        dense += torch.eye(12, dtype=torch.float64)
        scale = dense.sum(dim=1).rsqrt()
        dense, x = scale[:, None] * dense * scale, view.x.double()
        for weight, bias in zip(encoder.layers_.weights, encoder.layers_.biases, strict=True):
            x = torch.nn.functional.prelu(dense @ x @ weight + bias, encoder.layers_.activation.slope_)
        return x

    theirs = torch.autograd.grad((slow() * target).sum(), parameters)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected)


def test_initial_parameters():
    graph = random_graph(in_channels=50)
    torch.manual_seed(3)
    encoder = GCN(out_channels=20, num_layers=4, activation="prelu").build(graph.spec)
    widths = [tuple(weight.shape) for weight in encoder.layers_.weights]
    assert widths == [(50, 40), (40, 40), (40, 40), (40, 20)]
    for weight in encoder.layers_.weights:
        bound = math.sqrt(6 / sum(weight.shape))
        assert 0.9 * bound < float(weight.detach().abs().max()) <= bound
    assert all(not bias.any() for bias in encoder.layers_.biases)
    slopes = [name for name, value in encoder.named_parameters() if value.numel() == 1]
    assert len(slopes) == 1  # one slope for all layers
    assert encoder.layers_.activation.slope_.tolist() == [0.25]
    torch.manual_seed(3)
    again = GCN(out_channels=20, num_layers=4, activation="prelu").build(graph.spec)
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), again.parameters(), strict=True))


def test_trace_and_affine_layers_tell_the_forward_pass():
    graph = random_graph()
    encoder = build(graph, activation="prelu", num_layers=3)
    trace = []
    z = encoder(View.of(graph), trace=trace)
    layers = encoder.affine_layers()
    assert len(trace) == len(layers) == 3
    assert trace[0].input is graph.features["node"]
    for index, (entry, layer) in enumerate(zip(trace, layers, strict=True)):
        value = entry.preactivation
        assert value.shape[1] == layer.weight.shape[1]
        output = torch.where(value > 0, value, layer.negative_slope * value)
        torch.testing.assert_close(output, z if index == 2 else trace[index + 1].input)
    assert layers[0].weight is encoder.layers_.weights[0]
    assert layers[0].weight.requires_grad


def test_affine_layers_of_elu_are_refused():
    with pytest.raises(ConfigError, match="not linear below 0"):
        build(random_graph(), activation="elu").affine_layers()


def test_column_mask_equals_zeroed_columns_and_gives_no_gradient_to_their_weights():
    graph = random_graph()
    encoder = build(graph)
    columns = torch.tensor([True, False, True, True, False])
    masked = encoder(View.of(graph).mask_columns(columns))
    zeroed = Graph.homogeneous(graph.x * columns, graph.adjacency)
    torch.testing.assert_close(masked, encoder(View.of(zeroed)))
    masked.sum().backward()
    assert not encoder.layers_.weights[0].grad[~columns].any()


def test_a_dropped_node_neither_sends_nor_keeps_features():
    graph = random_graph()
    alive = torch.ones(12, dtype=torch.bool)
    alive[[2, 5]] = False
    adjacency = graph.adjacency
    keep = alive[adjacency.row.long()] & alive[adjacency.col.long()]
    view = View(graph, {"edge": adjacency.masked(keep)}, node_mask=alive)
    encoder = build(graph)
    torch.testing.assert_close(encoder(view).double(), slow_gcn(encoder, view), rtol=1e-5, atol=1e-5)


def test_degenerate_graphs():
    for num_nodes in (1, 3):
        adjacency = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (num_nodes, num_nodes))
        graph = Graph.homogeneous(torch.ones(num_nodes, 2), adjacency)
        encoder = build(graph, activation="none")
        x = graph.x
        for weight, bias in zip(encoder.layers_.weights, encoder.layers_.biases, strict=True):
            x = x @ weight + bias
        torch.testing.assert_close(encoder(View.of(graph)), x)


def test_embed_is_deterministic_without_gradient_and_restores_each_mode():
    graph = random_graph()
    encoder = build(graph, dropout=0.5).train()
    encoder.layers_.activation.eval()
    first, second = encoder.embed(graph), encoder.embed(graph)
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert encoder.training
    assert encoder.layers_.training
    assert not encoder.layers_.activation.training
    torch.testing.assert_close(first.double(), slow_gcn(encoder, View.of(graph)), rtol=1e-5, atol=1e-5)


def test_dropout_acts_in_training_only_and_between_layers_only():
    graph = random_graph()
    encoder = build(graph, dropout=0.5)
    torch.manual_seed(0)
    first = encoder(View.of(graph))
    assert not torch.equal(first, encoder(View.of(graph)))
    torch.manual_seed(0)
    assert torch.equal(first, encoder(View.of(graph)))
    single = build(graph, dropout=0.5, num_layers=1)
    assert torch.equal(single(View.of(graph)), single(View.of(graph)))


def test_stores_its_arguments_and_reads_back_from_a_state_dict():
    graph = random_graph()
    encoder = GCN(out_channels=4, activation="prelu")
    assert (encoder.out_channels, encoder.hidden_channels, encoder.activation) == (4, None, "prelu")
    encoder.build(graph.spec)
    assert encoder.hidden_channels is None
    torch.manual_seed(9)
    other = GCN(out_channels=4, activation="prelu").build(GraphSpec.from_json(graph.spec.to_json()))
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other.embed(graph), encoder.embed(graph))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"out_channels": 0}, "out_channels"),
        ({"out_channels": True}, "out_channels"),
        ({"hidden_channels": -1}, "hidden_channels"),
        ({"num_layers": 0}, "num_layers"),
        ({"activation": "rleu"}, "did you mean 'relu'"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
    ],
)
def test_refuses_bad_arguments(arguments, word):
    with pytest.raises(ConfigError, match=word):
        GCN(**arguments)


def test_refuses_what_it_cannot_use():
    graph = random_graph()
    with pytest.raises(NotFittedError, match="build"):
        GCN()(View.of(graph))
    with pytest.raises(NotFittedError, match="build"):
        GCN().affine_layers()
    with pytest.raises(DataError, match="no features"):
        GCN().build(Graph.homogeneous(None, graph.adjacency).spec)
    with pytest.raises(DataError, match="5 feature columns and got 6"):
        build(graph)(View.of(random_graph(in_channels=6)))
