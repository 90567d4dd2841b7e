"""Features times weights, dense and sparse."""

from __future__ import annotations

import pytest
import torch

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.ops.feature_product import feature_product, masked_weight


@pytest.fixture
def parts():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    x = x * (torch.rand(7, 5, generator=generator) < 0.5)
    row, col = x.nonzero(as_tuple=True)
    sparse = Adjacency.from_edge_index(torch.stack([col, row]), (7, 5), x[row, col])
    weight, bias = (torch.randn(size, generator=generator, dtype=torch.float64) for size in ((3, 5), (3,)))
    return x, sparse, weight.requires_grad_(), bias.requires_grad_()


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("with_mask", [True, False])
def test_sparse_is_dense_with_gradients(parts, with_bias, with_mask):
    x, sparse, weight, bias = parts
    mask = torch.tensor([True, False, True, True, False]) if with_mask else None
    kept = x if mask is None else x * mask
    expected = kept @ weight.t() + (bias if with_bias else 0)
    probe = torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = torch.autograd.grad((expected * probe).sum(), [weight, bias], allow_unused=True)
    for given in (x, sparse):
        found = feature_product(given, masked_weight(weight, mask), bias if with_bias else None)
        torch.testing.assert_close(found, expected)
        gradients = torch.autograd.grad((found * probe).sum(), [weight, bias], allow_unused=True)
        torch.testing.assert_close(gradients, wanted)


def test_the_result_has_the_weights_type(parts):
    x, sparse, weight, _ = parts
    for given in (x.float(), sparse):
        assert feature_product(given, weight).dtype == torch.float64
        assert feature_product(given, weight.detach().float()).dtype == torch.float32


def test_another_width_is_refused(parts):
    _, sparse, weight, _ = parts
    with pytest.raises(DataError, match="5"):
        feature_product(sparse, weight[:, :4])
