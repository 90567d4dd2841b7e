"""The adapter for PyG models."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.nn import GCNConv
from torch_geometric.nn import models as pyg

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, NotFittedError
from gcl.core.graph import Graph
from gcl.core.resolve import describe, resolve
from gcl.core.view import View
from gcl.encoders.gcn import GCN
from gcl.encoders.pyg_encoder import PyGEncoder, as_encoder


def make_view(weighted=False) -> View:
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.tensor([[0, 1, 2, 2, 3, 4, 4, 1], [1, 0, 1, 2, 2, 0, 3, 4]])
    weight = torch.rand(8, generator=generator) + 0.5 if weighted else None
    graph = Graph.homogeneous(
        torch.randn(6, 4, generator=generator), Adjacency.from_edge_index(edge_index, (6, 6), weight)
    )
    keep = torch.tensor([True, True, False, True, True, True, True, False])
    view = View.of(graph).with_adjacency("edge", graph.adjacency.masked(keep))
    return view.mask_columns(torch.tensor([True, True, False, True]))


@pytest.mark.parametrize("model", ["GCN", "GraphSAGE", "GIN", "GAT"])
@pytest.mark.parametrize("weighted", [False, True])
def test_by_name_equals_the_model_itself(model, weighted):
    view = make_view(weighted)
    torch.manual_seed(0)
    encoder = PyGEncoder(model=model, hidden_channels=8, out_channels=3, num_layers=2).build(view.graph.spec)
    torch.manual_seed(0)
    theirs = getattr(pyg, model)(4, 8, 2, 3)
    expected = theirs(view.x, view.edge_index, edge_weight=view.edge_weight)
    torch.testing.assert_close(encoder(view), expected)
    assert encoder(view).shape == (6, 3)


@pytest.mark.parametrize("weighted", [False, True])
def test_pyg_gcn_and_ours_agree_on_a_masked_directed_view(weighted):
    # PyG keeps the weight of a stored self-loop; ours sets it to 1. They coincide at weight 1.
    view = make_view(weighted)
    if weighted:
        adjacency = view.graph.adjacency
        weight = torch.where(adjacency.row == adjacency.col, 1.0, adjacency.weight)
        view = view.with_adjacency("edge", view.relation().with_weight(weight[view.relation().arc_ids()]))
    theirs = PyGEncoder(model="GCN", hidden_channels=8, out_channels=3).build(view.graph.spec)
    ours = GCN(hidden_channels=8, out_channels=3, activation="relu").build(view.graph.spec)
    with torch.no_grad():
        for index, conv in enumerate(theirs.module_.convs):
            ours.layers_.weights[index].copy_(conv.lin.weight.t())
            ours.layers_.biases[index].copy_(conv.bias.normal_())
    torch.testing.assert_close(ours(view), theirs(view).relu(), rtol=1e-5, atol=1e-5)


def test_a_module_is_wrapped_as_it_is():
    view = make_view(weighted=True)
    module = pyg.GIN(4, 8, 2, 3, dropout=0.5)
    encoder = as_encoder(module).build(view.graph.spec)
    assert encoder.module is encoder.module_ is module
    assert encoder.out_channels == 3
    assert set(encoder.parameters()) == set(module.parameters())
    assert len(list(encoder.named_parameters())) == len(list(module.named_parameters()))
    assert torch.equal(encoder.embed(view.graph), module.eval()(view.graph.x, view.graph.adjacency.edge_index()))


def test_weights_go_to_modules_that_take_them_only():
    class Mean(torch.nn.Module):
        def forward(self, x, edge_index):
            return x.mean(dim=1, keepdim=True)

    view = make_view(weighted=True)
    torch.testing.assert_close(as_encoder(Mean(), out_channels=1)(view), view.x.mean(dim=1, keepdim=True))
    conv = GCNConv(4, 3)
    torch.testing.assert_close(as_encoder(conv)(view), conv(view.x, view.edge_index, view.edge_weight))
    assert not torch.allclose(as_encoder(conv)(view), conv(view.x, view.edge_index))


def test_configuration_resolves_and_describes():
    record = {"name": "pyg", "model": "GraphSAGE", "out_channels": 3, "options": {"aggr": "max"}}
    encoder = resolve("encoder", record)
    again = resolve("encoder", describe(encoder))
    assert describe(again) == describe(encoder)
    view = make_view()
    assert again.build(view.graph.spec)(view).shape == (6, 3)
    assert again.module_.convs[0].out_channels == 6  # twice out_channels
    assert again.module_.convs[0].aggr == "max"


def test_errors():
    with pytest.raises(ConfigError, match="either a module or the name"):
        PyGEncoder()
    with pytest.raises(ConfigError, match="either a module or the name"):
        PyGEncoder(torch.nn.Identity(), model="GCN")
    with pytest.raises(ConfigError, match="give out_channels"):
        as_encoder(torch.nn.Identity())
    with pytest.raises(ConfigError, match="as_encoder"):
        PyGEncoder(pyg.GCN(4, 8, 2, 3))
    view = make_view()
    with pytest.raises(NotFittedError, match="build"):
        PyGEncoder(model="GCN")(view)
    with pytest.raises(ConfigError, match="GraphSAGE"):
        PyGEncoder(model="GraphSage").build(view.graph.spec)
    with pytest.raises(ConfigError, match="refuses its arguments"):
        PyGEncoder(model="GCN", options={"heads": 2}).build(view.graph.spec)
