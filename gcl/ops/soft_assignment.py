"""Soft assignment of rows to centres, and the sharper distribution that it is pulled to."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gcl.core.errors import DataError


def squared_distances(z: Tensor, centers: Tensor) -> Tensor:
    r"""Squared distances of rows ``[N, d]`` to centres ``[K, d]``, ``[N, K]``.

    Differences are squared, and summed for the gradients, too: there is no cancellation as in
    :math:`|z|^2 - 2 z \cdot \mu + |\mu|^2`, wherever rows and centres lie, and there are no N × K × d numbers. The
    result is float32 at least, and so are the sums of the gradients.

    Raises:
        DataError: widths that differ.
    """
    if z.dim() != 2 or centers.dim() != 2 or z.shape[1] != centers.shape[1]:
        raise DataError(f"rows and centres must be [N, d] and [K, d], got {list(z.shape)} and {list(centers.shape)}")
    dtype = torch.promote_types(torch.promote_types(z.dtype, centers.dtype), torch.float32)
    squared: Tensor = _SquaredDistances.apply(z.to(dtype), centers.to(dtype))
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
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        z, centers = ctx.saved_tensors
        rows, cols = torch.zeros_like(z), torch.zeros_like(centers)
        # products with the matrix of gradients would be faster, but lose the difference of what lies far from 0
        for k, (center, share) in enumerate(zip(centers, grad.t(), strict=True)):
            pull = 2 * (z - center) * share.unsqueeze(1)  # [N, d]
            rows += pull
            cols[k] -= pull.sum(dim=0)
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
