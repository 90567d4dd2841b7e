# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""The Triton twin of :func:`gcl.ops.segment.segment_sum` for segments that lie one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gcl.ops.triton.rows import TRITON_TYPE, accumulator, interpretable, row_tiling

if TYPE_CHECKING:
    from gcl.ops.triton.resources import Case


@triton.jit
def segment_sum_kernel(
    values, row_ptr, out, num_values,
    D: tl.constexpr, ACC: tl.constexpr, BLOCK_ARCS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Sum of one segment, ``BLOCK_D`` columns of it. Grid (segments, blocks of columns)."""
    segment = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = columns < D
    start = tl.maximum(tl.load(row_ptr + segment).to(tl.int64), 0)
    stop = tl.minimum(tl.load(row_ptr + segment + 1).to(tl.int64), num_values)  # pointers are not checked on a GPU
    total = tl.zeros((BLOCK_ARCS, BLOCK_D), ACC)
    for first in range(start, stop, BLOCK_ARCS):
        rows = first + tl.arange(0, BLOCK_ARCS)
        mask = (rows < stop)[:, None] & inside[None, :]
        total += tl.load(values + rows[:, None] * D + columns[None, :], mask=mask, other=0.0).to(ACC)
    tl.store(out + tl.cast(segment, tl.int64) * D + columns, tl.sum(total, 0), mask=inside)


def supports(values: Tensor, row_ptr: Tensor | None) -> bool:
    """Whether the kernel can do this: floating point, and segments given by a pointer."""
    return row_ptr is not None and values.is_floating_point()


def segment_sum_triton(values: Tensor, row_ptr: Tensor) -> Tensor:
    """Sum of each segment, with gradients of any order; one program a segment, no atomics.

    Args:
        values: ``[E]`` or ``[E, d]``, float64, or float32, bfloat16 and float16 summed in float32.
        row_ptr: int32 or int64, ``[num_segments + 1]``.

    Returns:
        ``[num_segments]`` or ``[num_segments, d]``, in the dtype of ``values``.
    """
    total: Tensor = _SegmentSum.apply(values, row_ptr)
    return total


class _SegmentSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, row_ptr: Tensor) -> Tensor:
        ctx.save_for_backward(row_ptr)
        ctx.num_values = values.shape[0]
        dtype, wide = values.dtype, interpretable(values.detach())
        segments, d = row_ptr.numel() - 1, wide.shape[1] if wide.dim() == 2 else 1
        out = torch.zeros(segments, *wide.shape[1:], dtype=wide.dtype, device=wide.device)
        if 0 in (segments, wide.numel()):
            return out.to(dtype)
        tiling = row_tiling(d)
        segment_sum_kernel[(segments, triton.cdiv(d, tiling.width))](
            wide, row_ptr.contiguous(), out, wide.shape[0],
            D=d, ACC=TRITON_TYPE[accumulator(dtype)], BLOCK_ARCS=tiling.arcs, BLOCK_D=tiling.width,
            num_warps=tiling.num_warps, num_stages=tiling.num_stages,
        )  # fmt: skip
        return out.to(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (row_ptr,) = ctx.saved_tensors
        return torch.repeat_interleave(grad, row_ptr.diff().long(), dim=0, output_size=ctx.num_values), None


def cases() -> list[Case]:
    """What to compile ahead of time."""
    from gcl.ops.triton.resources import Case

    found = []
    for dtype in ("fp32", "bf16", "fp64"):
        for index in ("i32", "i64"):
            for d in (1, 16, 128, 500):
                tiling, acc = row_tiling(d), tl.float64 if dtype == "fp64" else tl.float32
                constexprs = {"D": d, "ACC": acc, "BLOCK_ARCS": tiling.arcs, "BLOCK_D": tiling.width}
                signature = {"values": f"*{dtype}", "row_ptr": f"*{index}", "out": f"*{dtype}", "num_values": "i32"}
                signature |= dict.fromkeys(constexprs, "constexpr")
                name = f"segment_sum/{dtype}-{index}/d{d}"
                found.append(Case(name, segment_sum_kernel, signature, constexprs, tiling.num_warps, tiling.num_stages))
    return found
