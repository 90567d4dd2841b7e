"""Uniform draws from what a row does not have."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError

NONE = -1  # where a row has every column


def sample_negatives(adjacency: Adjacency, rows: Tensor, *, generator: Generator | None = None) -> Tensor:
    r"""For each row asked for, a column that the row does not have, uniformly; no draw is ever rejected.

    A rank :math:`r` below :math:`n - d_u` is drawn, and the r-th missing column is found by one binary search: with the
    columns :math:`c_0 < c_1 < \dots` of the row, :math:`c_k - k` columns are missing below :math:`c_k`, so it is
    :math:`r + |\{k : c_k - k \le r\}|`.

    Args:
        adjacency: interactions, ``[m, n]``; dropped arcs count as there.
        rows: users, integer ``[b]``, repeats welcome.
        generator: on the adjacency's device; ``None`` = torch's global one.

    Returns:
        int64 ``[b]``; -1 for a row that has every column.

    Raises:
        DataError: a row out of range.
    """
    num_rows, num_cols = adjacency.shape
    rows = rows.long()
    if rows.numel() and (int(rows.min()) < 0 or int(rows.max()) >= num_rows):
        raise DataError(f"rows must lie from 0 to {num_rows - 1}, got some from {int(rows.min())} to {int(rows.max())}")
    row_ptr = adjacency.row_ptr.long()
    first = row_ptr[rows]
    missing = num_cols - (row_ptr[rows + 1] - first)
    draw = torch.rand(rows.numel(), generator=generator, device=adjacency.device, dtype=torch.float64)
    rank = torch.minimum((draw * missing).long(), (missing - 1).clamp(min=0))
    keys = _keys(adjacency)
    below = torch.searchsorted(keys, rows * (num_cols + 1) + rank, right=True) - first
    return torch.where(missing > 0, rank + below, NONE)


def _keys(adjacency: Adjacency) -> Tensor:
    r"""Row and :math:`c_k - k` of every arc as one ascending number, int64 ``[E]``; made once a structure."""
    if "missing_below" not in adjacency.derived:
        row = adjacency.row.long()
        position = torch.arange(adjacency.num_arcs, device=adjacency.device) - adjacency.row_ptr.long()[row]
        adjacency.derived["missing_below"] = row * (adjacency.shape[1] + 1) + adjacency.col.long() - position
    keys: Tensor = adjacency.derived["missing_below"]
    return keys
