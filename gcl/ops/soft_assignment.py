"""Soft assignment of rows to centres, and the sharper distribution that it is pulled to."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gcl.core.errors import DataError


def squared_distances(z: Tensor, centers: Tensor) -> Tensor:
    r"""Squared distances of rows ``[N, d]`` to centres ``[K, d]``, ``[N, K]``.

    Without the cancellation of :math:`|z|^2 - 2 z \cdot \mu + |\mu|^2`, and with no N × K × d numbers.

    Raises:
        DataError: widths that differ.
    """
    if z.dim() != 2 or centers.dim() != 2 or z.shape[1] != centers.shape[1]:
        raise DataError(f"rows and centres must be [N, d] and [K, d], got {list(z.shape)} and {list(centers.shape)}")
    squared: Tensor = _SquaredDistances.apply(z, centers)
    return squared


class _SquaredDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, centers: Tensor) -> Tensor:
        ctx.save_for_backward(z, centers)
        out = z.new_empty(z.shape[0], centers.shape[0])
        for k, center in enumerate(centers):
            torch.sum((z - center).square_(), dim=1, out=out[:, k])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        z, centers = ctx.saved_tensors
        rows = cols = None
        if ctx.needs_input_grad[0]:
            rows = 2 * (z * grad.sum(dim=1, keepdim=True) - grad @ centers)
        if ctx.needs_input_grad[1]:
            cols = 2 * (centers * grad.sum(dim=0).unsqueeze(1) - grad.t() @ z)
        return rows, cols


def student_t_assignment(squared: Tensor, *, degrees: float = 1.0) -> Tensor:
    r"""How much each row belongs to each centre.

    .. math:: q_{ik} \propto \big(1 + \lVert z_i - \mu_k \rVert^2 / v\big)^{-(v+1)/2}

    Xie, Girshick, Farhadi: *Unsupervised Deep Embedding for Clustering Analysis*, ICML 2016, eq. 1.

    Args:
        squared: squared distances, ``[N, K]``.
        degrees: :math:`v`, above 0.

    Returns:
        ``[N, K]``, rows sum to 1.
    """
    return (-(degrees + 1) / 2 * (squared / degrees).log1p()).softmax(dim=1)


def target_distribution(q: Tensor) -> Tensor:
    r"""The assignment sharpened, :math:`p_{ik} \propto q_{ik}^2 / \sum_j q_{jk}`, a constant (Xie et al. 2016, eq. 3).

    Args:
        q: ``[N, K]``, rows sum to 1.

    Returns:
        ``[N, K]``, rows sum to 1; without gradient. A cluster without any mass stays without.
    """
    q = q.detach()
    weight = q.square() / q.sum(dim=0).clamp(min=torch.finfo(q.dtype).tiny)
    return weight / weight.sum(dim=1, keepdim=True)


def assignment_divergence(p: Tensor, q: Tensor) -> Tensor:
    r""":math:`\mathrm{KL}(p \,\|\, q) = \frac1N \sum_i \sum_k p_{ik} \log(p_{ik} / q_{ik})`, a scalar of 0 or more.

    Args:
        p: targets, ``[N, K]``.
        q: assignment, ``[N, K]``.
    """
    return F.kl_div(q.clamp(min=torch.finfo(q.dtype).tiny).log(), p, reduction="batchmean")
