"""Compressed rows: the index arithmetic that sparse structures share."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gcl.core.errors import DataError

Turned = tuple[Tensor, Tensor, Tensor]  # row pointer, columns and permutation of a transpose


def index_dtype(num_arcs: int, shape: tuple[int, int]) -> torch.dtype:
    """The smallest type that counts so many arcs, rows and columns."""
    return torch.int32 if max(num_arcs, *shape) < 2**31 else torch.int64


def row_pointer(rows: Tensor, num_rows: int) -> Tensor:
    """CSR row pointer of row indices, int64 ``[num_rows + 1]``."""
    counts = torch.bincount(rows, minlength=num_rows)
    pointer = torch.zeros(num_rows + 1, dtype=torch.int64, device=rows.device)
    torch.cumsum(counts, 0, out=pointer[1:])
    return pointer


def transposed(row_ptr: Tensor, col: Tensor, shape: tuple[int, int]) -> Turned:
    """The transpose of a CSR structure, its rows ascending; all of the type of ``col``, whose order does not matter."""
    return (counted if col.device.type == "cpu" else by_sorting)(row_ptr, col, shape)


def counted(row_ptr: Tensor, col: Tensor, shape: tuple[int, int]) -> Turned:
    """By SciPy, which counts where torch would sort: a quarter of the time, and no copies in int64."""
    place = np.arange(col.numel(), dtype=col.numpy().dtype)
    turned = sp.csr_matrix((place, col.numpy(), row_ptr.numpy()), shape=shape).tocsc()
    pointer, row, perm = (torch.from_numpy(part) for part in (turned.indptr, turned.indices, turned.data))
    return pointer.to(col.dtype), row.to(col.dtype), perm


def by_sorting(row_ptr: Tensor, col: Tensor, shape: tuple[int, int]) -> Turned:
    """On any device."""
    rows = torch.arange(shape[0], dtype=col.dtype, device=col.device)
    row = torch.repeat_interleave(rows, row_ptr.diff(), output_size=col.numel())
    perm = torch.argsort(col, stable=True)  # rows stay ascending inside each column
    return row_pointer(col, shape[1]).to(col.dtype), row[perm], perm.to(col.dtype)


def sort_rows(row_ptr: Tensor, col: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor, Turned, Tensor]:
    """Sorts the columns inside each row, by transposing twice: no comparison.

    Returns:
        Row pointer and columns; the transpose of the sorted structure; and for each sorted entry its place before.
    """
    t_row_ptr, t_col, before = transposed(row_ptr, col, shape)
    row_ptr, col, perm = transposed(t_row_ptr, t_col, (shape[1], shape[0]))
    return row_ptr, col, (t_row_ptr, t_col, inverse_of(perm)), before.index_select(0, perm)


def inverse_of(perm: Tensor) -> Tensor:
    """The permutation that undoes another."""
    inverse = torch.empty_like(perm)
    return inverse.scatter_(0, perm.long(), torch.arange(perm.numel(), dtype=perm.dtype, device=perm.device))


def compacted(row_ptr: Tensor, turned: Turned, keep: Tensor) -> tuple[Tensor, Turned]:
    """The row pointer and the transpose of the entries that are kept (boolean ``[E]``), without a sort."""
    t_row_ptr, t_col, t_perm = turned
    kept = torch.zeros(keep.numel() + 1, dtype=t_col.dtype, device=keep.device)
    torch.cumsum(keep, 0, out=kept[1:])  # kept[e] = kept entries before e = new position of e
    t_keep = keep[t_perm.long()]
    t_kept = torch.zeros_like(kept)
    torch.cumsum(t_keep, 0, out=t_kept[1:])
    return kept[row_ptr.long()], (t_kept[t_row_ptr.long()], t_col[t_keep], kept[t_perm[t_keep].long()])


def position_of(index: Tensor, size: int) -> Tensor:
    """Where each of ``size`` nodes stands in ``index``, -1 where it does not, int64 ``[size]``."""
    if index.dtype == torch.bool:
        raise DataError("a subgraph takes node ids, got a boolean mask; pass mask.nonzero().squeeze(1)")
    position = torch.full((size,), -1, dtype=torch.int64, device=index.device)
    order = torch.arange(index.numel(), device=index.device)
    position[index.long()] = order
    if not torch.equal(position[index.long()], order):
        raise DataError("a subgraph takes each node once, got a node id that is listed twice; pass index.unique()")
    return position


def entries_of_rows(row_ptr: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of some rows, one row after the other: position in ``rows`` and place, both int64 ``[e]``.

    Args:
        row_ptr: ``[num_rows + 1]``.
        rows: row indices, repeats allowed, ``[r]``.
    """
    rows = rows.long()
    start = row_ptr.index_select(0, rows).long()
    count = row_ptr.index_select(0, rows + 1).long() - start
    position = torch.repeat_interleave(torch.arange(rows.numel(), device=rows.device), count)
    before = count.cumsum(0) - count  # entries of the rows before
    shift = (start - before).index_select(0, position)
    return position, torch.arange(position.numel(), device=rows.device) + shift
