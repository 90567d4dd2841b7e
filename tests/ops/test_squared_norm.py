"""The squared Frobenius norm."""

import torch

from gcl.ops.squared_norm import squared_norm


def test_equals_the_sum_of_squares_with_gradients_of_two_orders():
    x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(squared_norm(x), x.square().sum())
    assert torch.autograd.gradcheck(squared_norm, (x,))
    assert torch.autograd.gradgradcheck(squared_norm, (x,))


def test_zeros_have_gradient_zero():
    x = torch.zeros(4, 2, requires_grad=True)
    assert torch.equal(torch.autograd.grad(squared_norm(x), x)[0], torch.zeros(4, 2))
