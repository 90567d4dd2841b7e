"""Meta-nodes: one row in place of all rows of a cluster."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gcl.core.errors import DataError
from gcl.ops.backend import Backend, use_triton
from gcl.ops.csr import CSR, clusters_as_rows

FEW_BYTES = 2**20  # rows that lie in cache are added faster than they are sorted


def meta_node_sum(z: Tensor, labels: Tensor, num_clusters: int, *, backend: Backend = "auto") -> Tensor:
    r"""Sum of the rows of each cluster, :math:`s_k = \sum_{i: c_i = k} z_i` (Kulatilleke et al. 2022, meta-nodes).

    N d numbers are read and K d written; there is no N × K matrix of memberships. Gradients of any order go to ``z``.
    The same input gives the same bits, except for ``backend="torch"`` on CUDA, whose ``index_add_`` adds in no fixed
    order (``torch.use_deterministic_algorithms(True)`` gives it one).

    Args:
        z: floating point, ``[N, d]``; half precision is summed in float32.
        labels: cluster of each node, integers from 0 to ``num_clusters - 1``, in any order; -1 = in none, ``[N]``.
        num_clusters: number of clusters K, empty ones included.
        backend: ``torch``, ``triton``, or ``auto``: triton on CUDA where it is installed.

    Returns:
        ``[num_clusters, d]``, 0 for an empty cluster, in the dtype of ``z``.

    Raises:
        DataError: shapes or types that do not fit, or a label out of range.
        ConfigError: a backend that cannot do it.
    """
    if z.dim() != 2 or not z.is_floating_point():
        raise DataError(f"z must be a matrix of real numbers, got {z.dtype} {list(z.shape)}")
    if labels.dtype not in (torch.int32, torch.int64) or labels.shape != z.shape[:1]:
        raise DataError(
            f"labels must hold one integer a node, shape [{z.shape[0]}], got {labels.dtype} {list(labels.shape)}"
        )
    if labels.numel():
        low, high = (int(end) for end in labels.aminmax())
        if low < -1 or high >= num_clusters:
            raise DataError(
                f"labels must lie between 0 and {num_clusters - 1}, or be -1 for no cluster, got {low} to {high}"
            )
    total: Tensor = _MetaNodeSum.apply(z, labels.detach(), num_clusters, use_triton(backend, z))
    return total


class _MetaNodeSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, labels: Tensor, num_clusters: int, triton: bool) -> Tensor:
        ctx.save_for_backward(labels)
        if 0 in (num_clusters, z.numel()):
            return z.new_zeros(num_clusters, z.shape[1])
        if triton:
            from gcl.ops.triton.meta_node_sum import meta_node_sum_triton

            return meta_node_sum_triton(z, labels, num_clusters)
        return _sum(z.detach(), labels, num_clusters)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (labels,) = ctx.saved_tensors
        rows = grad.index_select(0, labels.clamp(min=0))
        return torch.where((labels >= 0).unsqueeze(1), rows, 0.0), None, None, None


def _sum(z: Tensor, labels: Tensor, num_clusters: int) -> Tensor:
    wide = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
    if wide.numel() * wide.element_size() <= FEW_BYTES or wide.is_cuda:
        out = wide.new_zeros(num_clusters + 1, z.shape[1])  # the last row is for those in no cluster
        return out.index_add_(0, torch.where(labels < 0, num_clusters, labels), wide)[:-1].to(z.dtype)
    row_ptr, members = clusters_as_rows(labels, num_clusters)
    ones = wide.new_ones(members.numel())
    return CSR(row_ptr, members, ones, (num_clusters, z.shape[0])).matmul(wide).to(z.dtype)
