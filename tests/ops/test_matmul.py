from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gcl.ops import matmul


@pytest.fixture(params=["the routine of this machine", "torch"], autouse=True)
def routine(request, monkeypatch):
    """Both ways on any machine that has them; every size takes them."""
    monkeypatch.setattr(matmul, "SMALLEST", 0)
    if request.param == "torch":
        monkeypatch.setattr(matmul, "_has_onednn", lambda: False)


def layouts(rows, columns, dtype=torch.float32):
    """The same kind of matrix contiguous, transposed, cut out of a wider one, and with a step."""
    draw = torch.Generator().manual_seed(rows)

    def normal(*shape):
        return torch.randn(*shape, generator=draw).to(dtype)

    return [
        normal(rows, columns),
        normal(columns, rows).t(),
        normal(rows, columns + 3)[:, 1:-2],
        normal(2 * rows, columns)[::2],
    ]


@pytest.mark.parametrize(("n", "k", "m"), [(37, 19, 23), (1, 1, 1), (5, 300, 2), (64, 64, 64)])
def test_products_of_every_layout(n, k, m):
    for x in layouts(n, k):
        for y in layouts(k, m):
            expected = x.double() @ y.double()
            tolerance = 1e-6 * float(x.double().norm(dim=1).max() * y.double().norm(dim=0).max())
            out, base = torch.empty(n, m), torch.randn(n, m)
            assert torch.allclose(matmul.product_into(out, x, y).double(), expected, rtol=0, atol=tolerance)
            added = matmul.add_product(base.clone(), x, y, 0.5)
            assert torch.allclose(added.double(), base + 0.5 * expected, rtol=0, atol=2 * tolerance)
            power = matmul.exp2_product_into(out, x / 4, y / 4)
            assert torch.allclose(power.double(), (expected / 16).exp2(), rtol=tolerance, atol=0)


def test_double_precision_stays():
    x, y = torch.randn(7, 5, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(matmul.product_into(torch.empty(7, 3, dtype=torch.float64), x, y), x @ y)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_linear_is_torchs(with_bias, transposed):
    draw = torch.Generator().manual_seed(0)
    x, w, b, g = (torch.randn(*shape, generator=draw) for shape in ((40, 12), (9, 12), (9,), (40, 9)))
    results = []
    for function in (matmul.linear, F.linear):
        leaves = [x.clone().requires_grad_(), (w.t().contiguous() if transposed else w.clone()).requires_grad_()]
        bias = b.clone().requires_grad_() if with_bias else None
        out = function(leaves[0], leaves[1].t() if transposed else leaves[1], bias)
        results.append([out, *torch.autograd.grad(out, leaves + ([bias] if with_bias else []), g)])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_linear_has_a_second_derivative():
    x, w = torch.randn(6, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    results = []
    for function in (matmul.linear, F.linear):
        (grad,) = torch.autograd.grad(function(x, w).square().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(grad.square().sum(), (x, w)))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_linear_under_autocast_is_torchs():
    x, w = torch.randn(6, 4), torch.randn(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert matmul.linear(x, w).dtype == torch.bfloat16


def test_only_needed_gradients():
    x, w = torch.randn(6, 4), torch.randn(3, 4, requires_grad=True)
    matmul.linear(x, w).sum().backward()
    assert x.grad is None
    assert torch.allclose(w.grad, x.sum(0).expand(3, 4), atol=1e-5)


def test_the_same_bits_twice():
    x, w = torch.randn(200, 64), torch.randn(50, 64)
    assert torch.equal(matmul.linear(x, w), matmul.linear(x, w))
