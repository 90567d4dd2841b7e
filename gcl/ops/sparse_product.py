"""Sparse matrix times dense matrix."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError

FULL_PRECISION = (torch.float32, torch.float64)  # narrower types are summed in float32


def sparse_product(adjacency: Adjacency, x: Tensor, values: Tensor | None = None) -> Tensor:
    r"""The product of a sparse and a dense matrix, with gradients to both and no sorting.

    .. math:: y_i = \sum_{j} a_{ij} x_j

    The gradient to ``x`` is the product with the transpose's CSR; the gradient to ``values`` is one dot product an arc,
    with no ``[E, d]`` intermediate. Half precision is summed in float32.

    Args:
        adjacency: the structure, ``[rows, cols]``.
        x: floating point, ``[cols, d]``.
        values: value of each stored arc, ``[E]``, used as they are (dropped arcs included); ``None`` takes the
            adjacency's own, which are 0 where an arc is dropped.

    Returns:
        ``[rows, d]``, in the dtype of ``x``.

    Raises:
        DataError: a wrong shape, or integers.
    """
    if x.dim() != 2 or x.shape[0] != adjacency.shape[1] or not x.is_floating_point():
        raise DataError(
            f"x must be a floating-point matrix of shape [{adjacency.shape[1]}, d] to be multiplied by an adjacency of "
            f"shape {list(adjacency.shape)}, got {x.dtype} {list(x.shape)}"
        )
    dtype = x.dtype if x.dtype in FULL_PRECISION else torch.float32
    if values is None:
        values = adjacency.values(dtype)
    elif values.shape != adjacency.col.shape:
        raise DataError(f"values must have shape [{adjacency.num_arcs}], one an arc, got {list(values.shape)}")
    product: Tensor = _SparseProduct.apply(x.to(dtype), values.to(dtype), adjacency)
    return product.to(x.dtype)


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, adjacency: Adjacency) -> Tensor:
        ctx.adjacency = adjacency
        ctx.save_for_backward(values, x if ctx.needs_input_grad[1] else None)
        return _multiply(adjacency.row_ptr, adjacency.col, values, adjacency.shape, x)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, x = ctx.saved_tensors
        adjacency: Adjacency = ctx.adjacency
        grad_x = grad_values = None
        if ctx.needs_input_grad[0]:
            t_values = values.index_select(0, adjacency.t_perm)
            t_shape = (adjacency.shape[1], adjacency.shape[0])
            grad_x = _multiply(adjacency.t_row_ptr, adjacency.t_col, t_values, t_shape, grad)
        if ctx.needs_input_grad[1]:
            grad_values = dot_arcs(adjacency, grad, x)
        return grad_x, grad_values, None


def _multiply(row_ptr: Tensor, col: Tensor, values: Tensor, shape: tuple[int, int], x: Tensor) -> Tensor:
    """CSR times dense; autocast off, as CSR has no half-precision product on the CPU."""
    if 0 in (*shape, x.shape[1], col.numel()):
        return x.new_zeros(shape[0], x.shape[1])
    with torch.autocast(x.device.type, enabled=False):
        return _csr(row_ptr, col, values, shape) @ x.contiguous()


def dot_arcs(adjacency: Adjacency, a: Tensor, b: Tensor) -> Tensor:
    """``a[i] . b[j]`` for every arc (i, j), ``[E]``."""
    if 0 in (a.shape[1], adjacency.num_arcs):
        return a.new_zeros(adjacency.num_arcs)
    with torch.autocast(a.device.type, enabled=False):
        at = _csr(adjacency.row_ptr, adjacency.col, a.new_zeros(adjacency.num_arcs), adjacency.shape)
        return torch.sparse.sampled_addmm(at, a.contiguous(), b.contiguous().t(), beta=0.0).values()


def _csr(row_ptr: Tensor, col: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    _silence_beta_warning()
    return torch.sparse_csr_tensor(row_ptr, col, values, shape, check_invariants=False)


@functools.cache
def _silence_beta_warning() -> None:
    """Torch warns of the beta state of CSR once a process: let it do so here, unheard, and leave the filters alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zero = torch.zeros(1, dtype=torch.int64)
        torch.sparse_csr_tensor(zero, zero[:0], zero[:0], (0, 0), check_invariants=False)
