"""What the kernels over CSR rows share: launch sizes and the order in which rows are taken."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from gcl.core.adjacency import Adjacency

LONG_ROW = 1024  # arcs; longer rows are started first


@dataclass(frozen=True)
class RowTiling:
    """How a program walks over one row: ``arcs`` at a time, ``width`` columns of each; powers of 2."""

    arcs: int
    width: int
    num_warps: int
    num_stages: int = 1


def row_tiling(d: int, *, whole: bool = False, elements: int = 2048) -> RowTiling:
    """A block of about ``elements`` numbers, 16 a thread, that spans at most 256 columns, or all where ``whole``."""
    width = triton.next_power_of_2(max(d, 1))
    if not whole:
        width = min(width, 256)
    arcs = min(max(elements // width, 2), 64)
    return RowTiling(arcs, width, num_warps=min(max(arcs * width // 512, 1), 8))


def longest_first(adjacency: Adjacency, *, transposed: bool = False) -> Tensor:
    """Rows in the order of their start, int32: long ones first, longest first, so that none still runs at the end.

    The others keep their order, in which neighbours may lie close together.
    """
    transposed = transposed and not adjacency.symmetric
    key = "columns_longest_first" if transposed else "rows_longest_first"
    if key not in adjacency.derived:
        pointer = adjacency.t_row_ptr if transposed else adjacency.row_ptr
        length = pointer.diff().clamp_(min=LONG_ROW)
        adjacency.derived[key] = torch.argsort(length, descending=True, stable=True).to(torch.int32)
    order: Tensor = adjacency.derived[key]
    return order


def interpretable(x: Tensor) -> Tensor:
    """Contiguous; off the GPU bfloat16 as float32, whose bits Triton's interpreter would take for integers."""
    if x.dtype == torch.bfloat16 and not x.is_cuda:
        x = x.float()
    return x.contiguous()


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The type that a kernel sums in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


TRITON_TYPE = {torch.float32: tl.float32, torch.float64: tl.float64}
