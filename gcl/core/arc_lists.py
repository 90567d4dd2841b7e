"""Checks of the arrays that an adjacency is built from."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gcl.core.errors import DataError

Duplicates = Literal["error", "sum", "first"]


def sorted_arcs(
    edge_index: Tensor, shape: tuple[int, int], weight: Tensor | None, duplicates: Duplicates
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Rows, columns and weights of a PyG ``edge_index``, sorted by (row, column), each arc once.

    Args:
        edge_index: integer ``[2, E]``, columns above rows.
        shape: ``(num_rows, num_cols)``.
        weight: ``[E]`` or ``None``.
        duplicates: what to do with an arc that is listed twice: refuse, add the weights, or keep the first.

    Raises:
        DataError: wrong shape or dtype, an index out of range, or a duplicate under ``duplicates="error"``.
    """
    if edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise DataError(f"edge_index must have shape [2, E], got {list(edge_index.shape)}")
    if edge_index.is_floating_point() or edge_index.dtype in (torch.bool, torch.complex64, torch.complex128):
        raise DataError(f"edge_index must hold integers, got {edge_index.dtype}; node ids are whole numbers from 0")
    col, row = edge_index.long()
    num_rows, num_cols = shape
    for name, index, size in (("source", col, num_cols), ("target", row, num_rows)):
        if index.numel() and int(index.min()) < 0:
            raise DataError(f"edge_index has a negative {name} node id {int(index.min())}; ids start at 0")
        if index.numel() and int(index.max()) >= size:
            raise DataError(
                f"edge_index has {name} node id {int(index.max())}, out of range for {size} nodes "
                f"(valid: 0 to {size - 1}); give the right number of nodes or drop the edge"
            )
    if weight is not None and weight.shape != col.shape:
        raise DataError(f"edge weights must have shape [{col.numel()}], got {list(weight.shape)}")
    key = row * max(num_cols, 1) + col
    key, order = torch.sort(key, stable=True)
    weight = None if weight is None else weight[order]
    if key.numel() > 1 and bool((key[1:] == key[:-1]).any()):
        if duplicates == "error":
            first = int(key[1:][key[1:] == key[:-1]][0])
            source, target = first % num_cols, first // num_cols
            raise DataError(
                f"edge {source} -> {target} is listed more than once; pass duplicates='sum' or 'first' to merge"
            )
        key, inverse, counts = torch.unique_consecutive(key, return_inverse=True, return_counts=True)
        if duplicates == "sum":
            base = torch.ones_like(inverse, dtype=torch.get_default_dtype()) if weight is None else weight
            weight = torch.zeros(key.numel(), dtype=base.dtype, device=base.device).index_add_(0, inverse, base)
        elif weight is not None:
            weight = weight[torch.cumsum(counts, 0) - counts]
    return key // max(num_cols, 1), key % max(num_cols, 1), weight


def check_csr(row_ptr: Tensor, col: Tensor, shape: tuple[int, int], weight: Tensor | None) -> None:
    """Refuses CSR arrays that are none, as :meth:`gcl.core.adjacency.Adjacency.from_csr` says.

    Raises:
        DataError: such arrays.
    """
    for name, index in (("row_ptr", row_ptr), ("col", col)):
        if index.dim() != 1 or index.dtype not in (torch.int32, torch.int64):
            raise DataError(f"{name} must be a vector of int32 or int64, got {index.dtype} {list(index.shape)}")
    num_rows, num_cols = shape
    num_arcs = col.numel()
    ends = row_ptr.numel() == num_rows + 1 and int(row_ptr[0]) == 0 and int(row_ptr[-1]) == num_arcs
    if not ends or bool((row_ptr.diff() < 0).any()):
        raise DataError(f"row_ptr must be {num_rows + 1} numbers that do not fall, from 0 to the {num_arcs} arcs")
    if num_arcs and not 0 <= int(col.min()) <= int(col.max()) < num_cols:
        raise DataError(f"col must be from 0 to {num_cols - 1}, got {int(col.min())} to {int(col.max())}")
    ascends = col[1:] > col[:-1]
    first = row_ptr[(row_ptr > 0) & (row_ptr < num_arcs)].long()  # of a row, whatever stands before it
    ascends[first - 1] = True
    if not bool(ascends.all()):
        raise DataError("col must ascend inside each row, without repetition; use from_edge_index for other orders")
    if weight is not None and weight.shape != col.shape:
        raise DataError(f"weights must have shape [{num_arcs}], got {list(weight.shape)}")
