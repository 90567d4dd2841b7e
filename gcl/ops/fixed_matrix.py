"""A normalised adjacency whose values take no gradient, laid out for products on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.ops.csr import CSR
from gcl.ops.segment import segment_sum


class FixedMatrix:
    """A matrix and its transpose in CSR, without the dropped arcs.

    Args:
        csr: the matrix.
        transpose: makes its transpose, when a gradient first asks for it.
    """

    def __init__(self, csr: CSR, transpose: Callable[[], CSR]):
        self._csr: CSR | None = csr
        self._transpose = transpose
        self._t: CSR | None = None

    def matmul(self, x: Tensor) -> Tensor:
        """The product with ``x`` of shape ``[columns, d]``, with a gradient to it of any order."""
        product: Tensor = _FixedProduct.apply(x, self, False)
        return product

    def csr(self, transposed: bool) -> CSR:
        """The matrix or its transpose."""
        if not transposed:
            assert self._csr is not None
            return self._csr
        if self._t is None:
            self._t = self._transpose()
        return self._t


class _FixedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: FixedMatrix, transposed: bool) -> Tensor:
        ctx.matrix, ctx.transposed = matrix, transposed
        return matrix.csr(transposed).matmul(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _FixedProduct.apply(grad, ctx.matrix, not ctx.transposed), None, None


def fixed_matrix(
    adjacency: Adjacency,
    *,
    normalize: str = "none",
    values: Tensor | None = None,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> FixedMatrix:
    """The operator of :class:`~gcl.ops.propagation.Propagation` with these arguments, self-loops included.

    Nothing is sorted: kept arcs are picked out in order, and what depends on the structure alone is made once.

    Args:
        adjacency: the structure, its mask and its weights.
        normalize: ``gcn``, ``symmetric``, ``row`` or ``none``.
        values: ``[E]``, in place of the weights.
        scale: a factor of the whole.
        dtype: float32 or float64.
    """
    loops = normalize == "gcn"
    side, t_side = _layout(adjacency, loops)
    keep, values = adjacency.keep, adjacency.weight if values is None else values
    if values is not None:
        values = values.detach().to(dtype)
    if loops:  # the entry after the last arc stands for every added loop
        keep = None if keep is None else torch.cat([keep, keep.new_ones(1)])
        values = None if values is None else torch.cat([values, values.new_ones(1)])
    picked = _Picked.of(side, keep, values, dtype)
    # The transpose is made late, for a gradient, except where the column sums need it at once.
    made: list[_Picked] = []

    def transposed() -> _Picked:
        if not made:
            made.append(_Picked.of(t_side, keep, values, dtype))
        return made[0]

    left = right = None
    if normalize == "gcn":
        left = right = power(picked.sums(), -0.5)
    elif normalize == "symmetric":
        left, right = power(picked.sums(), -0.5), power(transposed().sums(), -0.5)
    elif normalize == "row":
        left = power(picked.sums(), -1.0)

    def transpose() -> CSR:
        csr = transposed().scaled(left, right, scale, t=True)
        made.clear()
        return csr

    return FixedMatrix(picked.scaled(left, right, scale), transpose)


@dataclass(frozen=True)
class _Side:
    """One CSR form of a structure; ``arc`` is the arc that each entry is (E: an added loop), ``None`` = arange."""

    row_ptr: Tensor
    row: Tensor
    col: Tensor
    arc: Tensor | None
    shape: tuple[int, int]


class _Picked(NamedTuple):
    """The kept entries of a side; ``values`` is ``None`` where all are 1."""

    row_ptr: Tensor
    row: Tensor
    col: Tensor
    values: Tensor | None
    shape: tuple[int, int]
    dtype: torch.dtype

    @classmethod
    def of(cls, side: _Side, keep: Tensor | None, values: Tensor | None, dtype: torch.dtype) -> _Picked:
        row_ptr, row, col, arc = side.row_ptr, side.row, side.col, side.arc
        if keep is not None:
            kept = keep if arc is None else keep.index_select(0, arc)
            index = _true_positions(kept)
            count = torch.zeros(kept.numel() + 1, dtype=row_ptr.dtype, device=kept.device)
            torch.cumsum(kept, 0, out=count[1:])
            row_ptr = count.index_select(0, row_ptr)
            row, col = row.index_select(0, index), col.index_select(0, index)
            if values is not None:
                arc = index if arc is None else arc.index_select(0, index)
        if values is not None and arc is not None:
            values = values.index_select(0, arc)
        return cls(row_ptr, row, col, values, side.shape, dtype)

    def sums(self) -> Tensor:
        """Sum of each row, ``[rows]``."""
        if self.values is None:
            return self.row_ptr.diff().to(self.dtype)
        return segment_sum(self.values, self.row, self.shape[0])

    def scaled(self, left: Tensor | None, right: Tensor | None, scale: float, *, t: bool = False) -> CSR:
        """diag(left) M diag(right) times a number; with ``t`` this is the transpose of M, and so is the result."""
        values, row, col = self.values, *((self.col, self.row) if t else (self.row, self.col))
        for factor, index in ((left, row), (right, col)):  # in this order on both sides, for equal bits
            if factor is not None:
                picked = factor.index_select(0, index)
                values = picked if values is None else values * picked
        if values is None:
            values = torch.ones(self.col.numel(), dtype=self.dtype, device=self.col.device)
        return CSR(self.row_ptr, self.col, values if scale == 1.0 else values * scale, self.shape)


def power(degree: Tensor, exponent: float) -> Tensor:
    """A negative power of a degree, and 0 (with zero gradient) where it is not positive."""
    positive = degree > 0
    return torch.where(positive, torch.where(positive, degree, 1.0).pow(exponent), 0.0)


def _true_positions(mask: Tensor) -> Tensor:
    """Where a boolean ``[E]`` is ``True``, int64."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))  # 9 times as fast as torch's nonzero
    return mask.nonzero().squeeze(1)


# -- what depends on the structure alone -------------------------------------------------------------------------------


def _layout(adjacency: Adjacency, loops: bool) -> tuple[_Side, _Side]:
    """Both CSR forms, with a loop in every row in place of the data's own if ``loops``; made once a structure."""
    key = "layout_with_loops" if loops else "layout"
    if key not in adjacency.derived:
        adjacency.derived[key] = _make_layout(adjacency, loops)
    layout: tuple[_Side, _Side] = adjacency.derived[key]
    return layout


def _make_layout(adjacency: Adjacency, loops: bool) -> tuple[_Side, _Side]:
    num_rows, num_cols = adjacency.shape
    t_row = adjacency.row if adjacency.symmetric else _rows_of(adjacency.t_row_ptr, adjacency.num_arcs)
    side = _Side(adjacency.row_ptr, adjacency.row, adjacency.col, None, (num_rows, num_cols))
    t_side = _Side(adjacency.t_row_ptr, t_row, adjacency.t_col, adjacency.t_perm, (num_cols, num_rows))
    if not loops:
        return side, t_side
    looped, t_looped = _with_loops(side), _with_loops(t_side)
    if adjacency.symmetric:  # stored once
        t_looped = _Side(looped.row_ptr, looped.row, looped.col, t_looped.arc, t_looped.shape)
    return looped, t_looped


def _with_loops(side: _Side) -> _Side:
    """The loop first in each row, then the row's other entries."""
    num_nodes, num_arcs, dtype = side.shape[0], side.col.numel(), side.col.dtype
    other = _true_positions(side.row != side.col)
    row = side.row.index_select(0, other).long()
    row_ptr = torch.zeros(num_nodes + 1, dtype=torch.int64, device=row.device)
    torch.cumsum(torch.bincount(row, minlength=num_nodes) + 1, 0, out=row_ptr[1:])
    place = torch.arange(1, row.numel() + 1, device=row.device) + row  # after its row's loop and those before
    col = torch.empty(row.numel() + num_nodes, dtype=dtype, device=row.device)
    arc = torch.full_like(col, num_arcs)
    col[row_ptr[:-1]] = torch.arange(num_nodes, dtype=dtype, device=row.device)
    col[place] = side.col.index_select(0, other)
    arc[place] = (other if side.arc is None else side.arc.index_select(0, other)).to(dtype)
    row_ptr = row_ptr.to(dtype)
    return _Side(row_ptr, _rows_of(row_ptr, col.numel()), col, arc, side.shape)


def _rows_of(row_ptr: Tensor, size: int) -> Tensor:
    rows = torch.arange(row_ptr.numel() - 1, dtype=row_ptr.dtype, device=row_ptr.device)
    return torch.repeat_interleave(rows, row_ptr.diff().long(), output_size=size)
