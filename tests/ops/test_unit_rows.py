from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gcl.ops.unit_rows import unit_rows


def rows(dtype):
    z = torch.randn(9, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    z[2] = 0
    z[3] *= 1e-14  # shorter than any length that is divided by
    z[4] *= 1e10
    return z


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_gradient_are_torchs(dtype):
    grad = torch.randn(9, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    results = []
    for function in (unit_rows, F.normalize):
        z = rows(dtype).requires_grad_()
        h = function(z)
        results.append((h, *torch.autograd.grad(h, z, grad)))
    for one, other in zip(*results, strict=True):
        largest = other.abs().amax(1, keepdim=True).clamp_min(1e-30)
        assert ((one - other).abs() <= largest * (1e-5 if dtype == torch.float32 else 1e-12)).all()


def test_derivatives_of_both_orders():
    z = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_rows, z)
    assert torch.autograd.gradgradcheck(unit_rows, z)


def test_nan_stays():
    z = torch.ones(2, 3)
    z[1, 1] = torch.nan
    assert unit_rows(z)[1].isnan().all()
    assert not unit_rows(z)[0].isnan().any()


def test_no_rows_and_autocast():
    assert unit_rows(torch.zeros(0, 4)).shape == (0, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = torch.randn(3, 2)
        assert torch.equal(unit_rows(z), F.normalize(z))
