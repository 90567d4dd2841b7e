"""Sparse matrix times dense matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.ops.backend import Backend, use_triton
from gcl.ops.csr import CSR
from gcl.ops.fixed_matrix import FixedMatrix, fixed_matrix

FULL_PRECISION = (torch.float32, torch.float64)  # narrower types are summed in float32


def sparse_product(
    adjacency: Adjacency, x: Tensor, values: Tensor | None = None, *, backend: Backend = "auto"
) -> Tensor:
    r"""The product of a sparse and a dense matrix, with gradients of any order to both and no sorting.

    .. math:: y_i = \sum_{j} a_{ij} x_j

    The gradient to ``x`` is the product with the transpose's CSR; the gradient to ``values`` is one dot product an arc,
    with no ``[E, d]`` intermediate. Half precision is summed in float32.

    Args:
        adjacency: the structure, ``[rows, cols]``.
        x: floating point, ``[cols, d]``.
        values: value of each stored arc, ``[E]``, used as they are (dropped arcs included); ``None`` takes the
            adjacency's own, which are 0 where an arc is dropped.
        backend: ``torch``, ``triton``, or ``auto``: triton on CUDA where it is installed.

    Returns:
        ``[rows, d]``, in the dtype of ``x``.

    Raises:
        DataError: a wrong shape, or integers.
    """
    check_factor(adjacency.shape, x)
    if values is not None and values.shape != adjacency.col.shape:
        raise DataError(f"values must have shape [{adjacency.num_arcs}], one an arc, got {list(values.shape)}")
    if use_triton(backend, x):
        from gcl.ops.triton.sparse_product import sparse_product_triton

        return sparse_product_triton(adjacency, x, values)
    dtype = x.dtype if x.dtype in FULL_PRECISION else torch.float32
    if values is None and is_fixed(adjacency):
        return own_matrix(adjacency, dtype).matmul(x.to(dtype)).to(x.dtype)
    values = adjacency.values(dtype) if values is None else values.to(dtype)
    product: Tensor = _SparseProduct.apply(x.to(dtype), values, adjacency, False)
    return product.to(x.dtype)


def check_factor(shape: tuple[int, int], x: Tensor) -> None:
    """Refuses what cannot be multiplied by a sparse matrix of a shape."""
    if x.dim() != 2 or x.shape[0] != shape[1] or not x.is_floating_point():
        raise DataError(
            f"x must be a floating-point matrix of shape [{shape[1]}, d] to be multiplied by an adjacency of "
            f"shape {list(shape)}, got {x.dtype} {list(x.shape)}"
        )


def is_fixed(adjacency: Adjacency) -> bool:
    """Whether the adjacency's own values take no gradient and lie on the CPU, so that their products are prepared."""
    return adjacency.device.type == "cpu" and not (adjacency.weight is not None and adjacency.weight.requires_grad)


def own_matrix(adjacency: Adjacency, dtype: torch.dtype, *, normalize: str = "none", scale: float = 1.0) -> FixedMatrix:
    """The matrix of the adjacency's own values, made once."""
    key = (normalize, scale, dtype)
    if key not in adjacency.memo:
        adjacency.memo[key] = fixed_matrix(adjacency, normalize=normalize, scale=scale, dtype=dtype)
    matrix: FixedMatrix = adjacency.memo[key]
    return matrix


class _SparseProduct(torch.autograd.Function):
    """A x, or Aᵀ x; the values are in the order of A's arcs in both."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, adjacency: Adjacency, transposed: bool) -> Tensor:
        ctx.adjacency, ctx.transposed = adjacency, transposed
        ctx.save_for_backward(values, x if ctx.needs_input_grad[1] else None)
        if not transposed:
            return CSR(adjacency.row_ptr, adjacency.col, values, adjacency.shape).matmul(x)
        t_values = values.index_select(0, adjacency.t_perm)
        t_shape = (adjacency.shape[1], adjacency.shape[0])
        return CSR(adjacency.t_row_ptr, adjacency.t_col, t_values, t_shape).matmul(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # type: ignore[override]
        values, x = ctx.saved_tensors
        grad_x = grad_values = None
        if ctx.needs_input_grad[0]:
            grad_x = _SparseProduct.apply(grad, values, ctx.adjacency, not ctx.transposed)
        if ctx.needs_input_grad[1]:
            ends = (x, grad) if ctx.transposed else (grad, x)
            grad_values = dot_arcs(ctx.adjacency, *ends)
        return grad_x, grad_values, None, None


def dot_arcs(adjacency: Adjacency, a: Tensor, b: Tensor) -> Tensor:
    """``a[i] . b[j]`` for every stored arc (i, j), ``[E]``, with gradients of any order to both."""
    dots: Tensor = _DotArcs.apply(a, b, adjacency)
    return dots


class _DotArcs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, adjacency: Adjacency) -> Tensor:
        ctx.adjacency = adjacency
        ctx.save_for_backward(b if ctx.needs_input_grad[0] else None, a if ctx.needs_input_grad[1] else None)
        if 0 in (a.shape[1], adjacency.num_arcs):
            return a.new_zeros(adjacency.num_arcs)
        with torch.autocast(a.device.type, enabled=False):
            zeros = CSR(adjacency.row_ptr, adjacency.col, a.new_zeros(adjacency.num_arcs), adjacency.shape)
            return torch.sparse.sampled_addmm(zeros.tensor(), a.contiguous(), b.contiguous().t(), beta=0.0).values()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        b, a = ctx.saved_tensors
        grad_a = _SparseProduct.apply(b, grad, ctx.adjacency, False) if ctx.needs_input_grad[0] else None
        grad_b = _SparseProduct.apply(a, grad, ctx.adjacency, True) if ctx.needs_input_grad[1] else None
        return grad_a, grad_b, None
