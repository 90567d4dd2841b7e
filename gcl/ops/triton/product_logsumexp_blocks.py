"""Block sizes of the kernels of :mod:`gcl.ops.triton.product_logsumexp`, and the list of what to compile ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import triton

from gcl.ops.triton.product_logsumexp_kernels import gradient_kernel, sum_kernel

if TYPE_CHECKING:
    from gcl.ops.triton.resources import Case


@dataclass(frozen=True)
class Tiling:
    """How one kernel cuts its work; all sizes are powers of 2 from 16 on."""

    rows: int
    cols: int
    width: int  # step along d; at least d: the row block stays on the chip
    num_warps: int = 8
    num_stages: int = 2


@dataclass(frozen=True)
class Blocks:
    """The tilings of both kernels."""

    sums: Tiling
    gradients: Tiling


def block_sizes(d: int, precision: str, dtype: torch.dtype) -> Blocks:
    """Fixed tilings for a width: without bias and weights none spills registers on sm_80 and sm_90, and all fit.

    - IEEE float32 runs on the ordinary units, which want both operands in registers: short steps along d.
    - TF32 in three parts (``tf32x3``) holds each operand twice: short steps, and small tiles for the gradients.
    - TF32 up to d = 128, bfloat16 up to 128 (gradients) or 256 (sums): the row block and its gradient stay on the chip.
    - Wider: a step holds 128 bytes of each row, and both gradients are added atomically.
    """
    whole = max(16, triton.next_power_of_2(d))
    if dtype == torch.bfloat16:
        sums = Tiling(128, 64, whole if d <= 256 else 64)
        return Blocks(sums, Tiling(64, 64, whole, num_stages=3) if d <= 128 else Tiling(128, 64, 64))
    if precision == "ieee":
        return Blocks(Tiling(128, 64, 16), Tiling(128, 64, 16))
    if precision == "tf32x3":
        return Blocks(Tiling(128, 64, 32), Tiling(64, 64, 16))
    if d <= 128:
        return Blocks(Tiling(128, 64, whole), Tiling(64, 64, whole))
    return Blocks(Tiling(128, 64, 32), Tiling(128, 64, 32))


def cases() -> list[Case]:
    """What to compile ahead of time: both kernels in every precision, in plain forms and with every option."""
    return [
        case
        for dtype, precision in (("fp32", "ieee"), ("fp32", "tf32x3"), ("fp32", "tf32"), ("bf16", "tf32"))
        for d in (64, 128, 256, 1024)
        for case in _cases(d, dtype, precision)
    ]


def _cases(d: int, dtype: str, precision: str) -> list[Case]:
    from gcl.ops.triton.resources import Case

    blocks = block_sizes(d, precision, torch.bfloat16 if dtype == "bf16" else torch.float32)
    extras = ("bias", "row_labels", "col_labels", "bias_out")
    found = []
    for kind, kernel, tiling in (("sum", sum_kernel, blocks.sums), ("gradient", gradient_kernel, blocks.gradients)):
        forms = {
            "rows": (*extras, "col_out", "col_lse", "col_grad"),
            "both": extras,
            "symmetric": extras,
            "all-options": (),
        }
        for form, absent in forms.items():
            constexprs: dict[str, Any] = {name: None for name in kernel.arg_names if name in absent}
            constexprs |= {"D": d, "BLOCK_ROWS": tiling.rows, "BLOCK_COLS": tiling.cols, "BLOCK_D": tiling.width}
            constexprs |= {"SWAPPED": False, "SYMMETRIC": form == "symmetric", "PRECISION": precision}
            found.append(
                Case(
                    name=f"product_logsumexp/{kind}/{dtype}-{precision}/d{d}/{form}",
                    kernel=kernel,
                    signature={
                        name: "constexpr" if name in constexprs else _TYPES.get(name, "*fp32").replace("DTYPE", dtype)
                        for name in kernel.arg_names
                    },
                    constexprs=constexprs,
                    num_warps=tiling.num_warps,
                    num_stages=tiling.num_stages,
                    plain=form != "all-options",
                )
            )
    return found


_TYPES = {
    "a": "*DTYPE",
    "b": "*DTYPE",
    "exclude": "*i32",
    "row_labels": "*i64",
    "col_labels": "*i64",
    "n": "i32",
    "m": "i32",
    "num_clusterings": "i32",
    "first_block": "i32",
    "tiles_per_split": "i32",
    "scale": "fp32",
}  # all others are pointers to float32
