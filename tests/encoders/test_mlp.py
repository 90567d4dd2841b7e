"""MLP against plain torch, and its blindness to edges."""

from __future__ import annotations

import pytest
import torch

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, NotFittedError
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.encoders.mlp import MLP


def make_graph(arcs, sparse=False) -> Graph:
    x = torch.tensor([[1.0, 0, 2], [0, -1, 0], [0.5, 0, -3], [0, 0, 0]])
    if sparse:
        rows, cols = x.nonzero().t()
        x = Adjacency.from_edge_index(torch.stack([cols, rows]), (4, 3), x[rows, cols])
    return Graph.homogeneous(x, Adjacency.from_edge_index(torch.tensor(arcs).reshape(2, -1).long(), (4, 4)))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_equals_plain_torch_whatever_the_edges(sparse, num_layers):
    graph = make_graph([[0, 1], [1, 0]], sparse)
    torch.manual_seed(0)
    encoder = MLP(out_channels=2, hidden_channels=5, num_layers=num_layers, activation="elu").build(graph.spec)
    columns = torch.tensor([True, True, False])
    x = graph.x * columns
    for weight, bias in zip(encoder.layers_.weights, encoder.layers_.biases, strict=True):
        torch.nn.init.normal_(bias)
        x = torch.nn.functional.elu(x @ weight + bias)
    torch.testing.assert_close(encoder(View.of(graph).mask_columns(columns)), x)
    torch.testing.assert_close(encoder(View.of(make_graph([], sparse)).mask_columns(columns)), x)


def test_embed_trace_and_errors():
    graph = make_graph([])
    encoder = MLP(out_channels=2)
    with pytest.raises(NotFittedError, match="MLP"):
        encoder.embed(graph)
    trace = []
    z = encoder.build(graph.spec)(View.of(graph), trace=trace)
    assert [tuple(entry.preactivation.shape) for entry in trace] == [(4, 4), (4, 2)]
    assert torch.equal(encoder.embed(graph), z.detach())
    with pytest.raises(ConfigError, match="num_layers"):
        MLP(num_layers=0)
    assert not hasattr(encoder, "affine_layers")  # bounds of the GCN do not hold for it
