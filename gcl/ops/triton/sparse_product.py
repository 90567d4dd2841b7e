# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""The Triton twin of :func:`gcl.ops.sparse_product.sparse_product`, and its gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.ops.triton.rows import TRITON_TYPE, accumulator, interpretable, longest_first, row_tiling

if TYPE_CHECKING:
    from gcl.ops.triton.resources import Case


@triton.jit
def product_kernel(
    row_ptr, col, perm, values, keep, order, x, out,
    D: tl.constexpr, ACC: tl.constexpr, BLOCK_ARCS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One row of the product, ``BLOCK_D`` columns of it. Grid (rows, blocks of columns).

    ``perm`` says where the value of each arc stands. Rows of x whose arc is dropped or has value 0 are not read.
    """
    row = tl.program_id(0)
    if order is not None:
        row = tl.load(order + row)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = columns < D
    start = tl.load(row_ptr + row).to(tl.int64)
    stop = tl.load(row_ptr + row + 1).to(tl.int64)
    total = tl.zeros((BLOCK_ARCS, BLOCK_D), ACC)
    for first in range(start, stop, BLOCK_ARCS):
        arcs = first + tl.arange(0, BLOCK_ARCS)
        present = arcs < stop
        source = tl.load(col + arcs, mask=present, other=0).to(tl.int64)
        place = arcs
        if perm is not None:
            place = tl.load(perm + arcs, mask=present, other=0).to(tl.int64)
        if keep is not None:
            present = present & (tl.load(keep + place, mask=present, other=0) != 0)
        if values is not None:
            value = tl.load(values + place, mask=present, other=0.0).to(ACC)
            present = present & (value != 0)
        terms = tl.load(
            x + source[:, None] * D + columns[None, :], mask=present[:, None] & inside[None, :], other=0.0
        ).to(ACC)
        if values is not None:
            terms = terms * value[:, None]
        total += terms
    tl.store(out + tl.cast(row, tl.int64) * D + columns, tl.sum(total, 0), mask=inside)


@triton.jit
def dot_kernel(
    row_ptr, col, keep, order, a, b, out,
    D: tl.constexpr, ACC: tl.constexpr, BLOCK_ARCS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """``a[i] . b[j]`` for every arc (i, j) of one row, 0 where it is dropped. Grid (rows,)."""
    row = tl.program_id(0)
    if order is not None:
        row = tl.load(order + row)
    start = tl.load(row_ptr + row).to(tl.int64)
    stop = tl.load(row_ptr + row + 1).to(tl.int64)
    a_row = a + tl.cast(row, tl.int64) * D
    for first in range(start, stop, BLOCK_ARCS):
        arcs = first + tl.arange(0, BLOCK_ARCS)
        inside = arcs < stop
        present = inside
        if keep is not None:
            present = present & (tl.load(keep + arcs, mask=inside, other=0) != 0)
        b_rows = b + tl.load(col + arcs, mask=present, other=0).to(tl.int64) * D
        total = tl.zeros((BLOCK_ARCS, BLOCK_D), ACC)
        for begin in range(0, D, BLOCK_D):
            columns = begin + tl.arange(0, BLOCK_D)
            left = tl.load(a_row + columns, mask=columns < D, other=0.0).to(ACC)
            right = tl.load(
                b_rows[:, None] + columns[None, :], mask=present[:, None] & (columns < D)[None, :], other=0.0
            ).to(ACC)
            total += left[None, :] * right
        tl.store(out + arcs, tl.sum(total, 1), mask=inside)


def sparse_product_triton(adjacency: Adjacency, x: Tensor, values: Tensor | None = None) -> Tensor:
    r"""The product :math:`y_i = \sum_j a_{ij} x_j`, with gradients of any order to ``x`` and ``values``; no atomics.

    One program a row and up to 256 columns: 2 E d operations and E d numbers read, no intermediate, the same sum in
    the same order every time. A row of ``x`` whose value is 0, or whose arc is dropped where ``values`` is left out,
    is not read: it costs nothing, and what is not finite there does not spread.

    Args:
        adjacency: the structure, ``[rows, cols]``.
        x: ``[cols, d]``, float64, or float32, bfloat16 and float16 summed in float32.
        values: value of each stored arc, ``[E]``, dropped arcs included; ``None``: the adjacency's weight and mask.

    Returns:
        ``[rows, d]``, in the dtype of ``x``.
    """
    keep = adjacency.keep if values is None else None
    values = adjacency.weight if values is None else values
    product: Tensor = _Product.apply(x, values, adjacency, keep, False)
    return product


class _Product(torch.autograd.Function):
    """A x, or Aᵀ x; values and mask are in the order of A's arcs in both."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, values: Tensor | None, adjacency: Adjacency, keep: Tensor | None, transposed: bool
    ) -> Tensor:
        ctx.adjacency, ctx.keep, ctx.transposed = adjacency, keep, transposed
        ctx.save_for_backward(values, x if ctx.needs_input_grad[1] else None)
        if transposed:
            row_ptr, col, perm = adjacency.t_row_ptr, adjacency.t_col, adjacency.t_perm
        else:
            row_ptr, col, perm = adjacency.row_ptr, adjacency.col, None
        order = longest_first(adjacency, transposed=transposed)
        return gathered_sum(row_ptr, col, perm, x, values=values, keep=keep, order=order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        values, x = ctx.saved_tensors
        grad_x = grad_values = None
        if ctx.needs_input_grad[0]:
            grad_x = _Product.apply(grad, values, ctx.adjacency, ctx.keep, not ctx.transposed)
        if ctx.needs_input_grad[1]:
            ends = (x, grad) if ctx.transposed else (grad, x)
            grad_values = _Dots.apply(*ends, ctx.adjacency, ctx.keep).to(values.dtype)
        return grad_x, grad_values, None, None, None


class _Dots(torch.autograd.Function):
    """``a[i] . b[j]`` of the kept arcs, 0 at the others, ``[E]``, in the accumulator's type."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, adjacency: Adjacency, keep: Tensor | None) -> Tensor:
        ctx.adjacency, ctx.keep = adjacency, keep
        ctx.save_for_backward(b if ctx.needs_input_grad[0] else None, a if ctx.needs_input_grad[1] else None)
        a, b = interpretable(a.detach()), interpretable(b.detach())
        d, rows = a.shape[1], adjacency.shape[0]
        dtype = accumulator(torch.promote_types(a.dtype, b.dtype))
        out = torch.zeros(adjacency.num_arcs, dtype=dtype, device=a.device)
        if 0 in (d, rows, adjacency.num_arcs):
            return out
        tiling = row_tiling(d)
        dot_kernel[(rows,)](
            adjacency.row_ptr, adjacency.col, keep, longest_first(adjacency), a, b, out,
            D=d, ACC=TRITON_TYPE[dtype], BLOCK_ARCS=tiling.arcs, BLOCK_D=tiling.width,
            num_warps=tiling.num_warps, num_stages=tiling.num_stages,
        )  # fmt: skip
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        b, a = ctx.saved_tensors
        grad_a = _Product.apply(b, grad, ctx.adjacency, ctx.keep, False) if ctx.needs_input_grad[0] else None
        grad_b = _Product.apply(a, grad, ctx.adjacency, ctx.keep, True) if ctx.needs_input_grad[1] else None
        return grad_a, grad_b, None, None


def gathered_sum(
    row_ptr: Tensor,
    col: Tensor,
    perm: Tensor | None,
    x: Tensor,
    *,
    values: Tensor | None = None,
    keep: Tensor | None = None,
    order: Tensor | None = None,
) -> Tensor:
    """Weighted sums of rows of ``x`` by CSR, ``[rows, d]``, in the dtype of ``x``; outside autograd."""
    dtype, x = x.dtype, interpretable(x.detach())
    rows, d = row_ptr.numel() - 1, x.shape[1]
    out = torch.zeros(rows, d, dtype=x.dtype, device=x.device)
    if 0 in (rows, d, col.numel()):
        return out.to(dtype)
    tiling = row_tiling(d)
    product_kernel[(rows, triton.cdiv(d, tiling.width))](
        row_ptr, col, perm, None if values is None else interpretable(values.detach()), keep, order, x, out,
        D=d, ACC=TRITON_TYPE[accumulator(dtype)], BLOCK_ARCS=tiling.arcs, BLOCK_D=tiling.width,
        num_warps=tiling.num_warps, num_stages=tiling.num_stages,
    )  # fmt: skip
    return out.to(dtype)


def cases() -> list[Case]:
    """What to compile ahead of time."""
    return [
        case
        for dtype in ("fp32", "bf16", "fp64")
        for index in ("i32", "i64")
        for d in (16, 128, 256, 500)
        if index == "i32" or (dtype, d) == ("fp32", 128)
        for case in _cases(dtype, index, d)
    ]


def _cases(dtype: str, index: str, d: int) -> list[Case]:
    from gcl.ops.triton.resources import Case

    tiling, acc = row_tiling(d), "fp64" if dtype == "fp64" else "fp32"
    types = {"row_ptr": f"*{index}", "col": f"*{index}", "perm": f"*{index}", "keep": "*i1", "order": "*i32"}
    types |= {"x": f"*{dtype}", "a": f"*{dtype}", "b": f"*{dtype}", "values": f"*{acc}"}
    found = []
    for kernel, out, forms in (
        (product_kernel, dtype, {"values": ("perm", "keep"), "transposed": ("keep",), "mask": ("perm", "values")}),
        (dot_kernel, acc, {"all": ("keep",), "mask": ()}),
    ):
        for form, absent in forms.items():
            constexprs: dict[str, Any] = dict.fromkeys(absent)
            constexprs |= {"D": d, "ACC": getattr(tl, acc.replace("fp", "float"))}
            constexprs |= {"BLOCK_ARCS": tiling.arcs, "BLOCK_D": tiling.width}
            signature = {
                name: "constexpr" if name in constexprs else f"*{out}" if name == "out" else types[name]
                for name in kernel.arg_names
            }
            name = f"sparse_product/{kernel.__name__}/{dtype}-{index}/d{d}/{form}"
            found.append(Case(name, kernel, signature, constexprs, tiling.num_warps, tiling.num_stages))
    return found
