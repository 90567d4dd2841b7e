"""Rows of length 1."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-12


def unit_rows(z: Tensor) -> Tensor:
    r"""Rows :math:`z / \max(\lVert z \rVert, 10^{-12})`, as :func:`torch.nn.functional.normalize` gives them.

    The backward pass holds one matrix of that size beside its result, where autograd's holds three.

    Args:
        z: ``[N, d]``, floating point.

    Returns:
        ``[N, d]``.
    """
    if torch.is_autocast_enabled(z.device.type):
        return F.normalize(z, dim=1, eps=EPS)
    result: Tensor = _UnitRows.apply(z)
    return result


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(z, dim=1, keepdim=True)
        h = z / norm.clamp_min(EPS)
        ctx.save_for_backward(z, h, norm)
        return h

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        z, h, norm = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again: by autograd, from z on
            (again,) = torch.autograd.grad(F.normalize(z, dim=1, eps=EPS), z, grad, create_graph=True)
            return again
        along = (grad * h).sum(1, keepdim=True).masked_fill_(norm < EPS, 0.0)  # rows below eps are only scaled
        return torch.addcmul(grad, h, along, value=-1).div_(norm.clamp_min(EPS))
