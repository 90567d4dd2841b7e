"""The auto-encoder."""

import pytest
import torch

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, NotFittedError
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.encoders.autoencoder import AutoEncoder, feature_rows


def sparse(x):
    row, col = x.nonzero().t()
    return Adjacency.from_edge_index(torch.stack([col, row]), tuple(x.shape), x[row, col])


def graph_of(x):
    size = x.shape[0]
    return Graph.homogeneous(x, Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), (size, size)))


@pytest.fixture
def x():
    values = torch.randn(9, 7, generator=torch.Generator().manual_seed(0))
    values[values.abs() < 0.7] = 0.0
    values[4] = 0.0
    return values


def built(graph, **options):
    torch.manual_seed(0)
    return AutoEncoder(**{"out_channels": 3, "hidden_channels": (5, 4), **options}).build(graph.spec)


def test_both_halves_are_the_layers_one_after_the_other(x):
    encoder = built(graph_of(x))
    hidden = encoder.hidden(x)
    state = x
    for index, layer in enumerate(encoder.encoder_):
        state = torch.nn.functional.linear(state, layer.weight, layer.bias)
        state = state if index == 2 else state.relu()
        torch.testing.assert_close(hidden[index], state)
    back = state
    for index, layer in enumerate(encoder.decoder_):
        back = torch.nn.functional.linear(back, layer.weight, layer.bias)
        back = back if index == 2 else back.relu()
    assert [tuple(layer.weight.shape) for layer in encoder.decoder_] == [(4, 3), (5, 4), (7, 5)]
    torch.testing.assert_close(encoder.decode(state), back)
    torch.testing.assert_close(encoder.reconstruction_loss(x), ((back - x) ** 2).mean())
    torch.testing.assert_close(encoder(View.of(graph_of(x))), state)


def test_the_published_widths_have_the_published_number_of_parameters():
    encoder = built(graph_of(torch.ones(2, 256)), out_channels=10, hidden_channels=(500, 500, 2000))
    assert sum(p.numel() for p in encoder.encoder_.parameters()) == 500 * 256 + 1_273_010
    assert sum(p.numel() for p in encoder.decoder_.parameters()) == 501 * 256 + 1_273_000


def test_sparse_features_give_the_same_with_gradients_and_masks(x):
    dense, thin = graph_of(x), graph_of(sparse(x))
    encoder = built(dense)
    values = [encoder(View.of(graph)) for graph in (dense, thin)]
    torch.testing.assert_close(*values)
    grads = [torch.autograd.grad(value.square().sum(), encoder.encoder_[0].weight)[0] for value in values]
    torch.testing.assert_close(*grads)
    keep = torch.tensor([True, False, True, True, False, True, True])
    masked = [encoder(View.of(graph).mask_columns(keep)) for graph in (dense, thin)]
    torch.testing.assert_close(*masked)
    torch.testing.assert_close(masked[0], encoder.hidden(x * keep)[-1])


def test_rows_of_features(x):
    index = torch.tensor([8, 4, 0, 0])
    for features in (x, sparse(x)):
        torch.testing.assert_close(feature_rows(features, index), x[index])
        torch.testing.assert_close(feature_rows(features), x)
        assert feature_rows(features, index[:0]).shape == (0, 7)


def test_what_does_not_fit_is_refused(x):
    for options in (
        {"out_channels": 0},
        {"hidden_channels": (5, 0)},
        {"hidden_channels": 5},
        {"hidden_channels": "55"},
    ):
        with pytest.raises(ConfigError, match=next(iter(options))):
            AutoEncoder(**options)
    with pytest.raises(NotFittedError, match="call build"):
        AutoEncoder().hidden(x)
    with pytest.raises(DataError, match="built for 7 feature columns and got 6"):
        built(graph_of(x)).hidden(x[:, :6])
