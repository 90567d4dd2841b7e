"""The squared Frobenius norm without copies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def squared_norm(x: Tensor) -> Tensor:
    r""":math:`\lVert x \rVert_F^2`, a scalar; one array of the size of ``x`` is made, its gradient.

    Args:
        x: real numbers of any shape.

    Returns:
        A scalar of the type of ``x``, with gradients of any order.
    """
    result: Tensor = _SquaredNorm.apply(x)
    return result


class _SquaredNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.linalg.vector_norm(x).square()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return x * (2 * grad)
