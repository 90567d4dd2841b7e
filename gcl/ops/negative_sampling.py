"""Uniform draws from what a row does not have."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError

NONE = -1  # where a row has every column
GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # 2^64 over the golden ratio, as a signed number
MOST_BITS = 24  # of a hash: 16 MiB of marks, however many arcs there are


def sample_negatives(adjacency: Adjacency, rows: Tensor, *, generator: Generator | None = None) -> Tensor:
    r"""For each row asked for, a column that the row does not have, uniformly; in one round, however full a row is.

    A column is drawn among all n. If the row has it, it gives way to the r-th column that the row does not have, with
    :math:`r` drawn below :math:`n - d_u`: by the columns :math:`c_0 < c_1 < \dots` of the row, of which :math:`c_k - k`
    are missing below :math:`c_k`, that is :math:`r + |\{k : c_k - k \le r\}|`, found by one binary search. Each of the
    :math:`n - d_u` then comes with probability :math:`\frac1n + \frac{d_u}{n} \frac{1}{n - d_u} = \frac{1}{n - d_u}`.

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
    if not num_cols:
        return torch.full_like(rows, NONE)
    drawn = torch.randint(num_cols, (rows.numel(),), generator=generator, device=adjacency.device)
    taken = _taken(adjacency, rows, drawn)
    drawn[taken] = _missing_column(adjacency, rows[taken], generator)
    return drawn


def _missing_column(adjacency: Adjacency, rows: Tensor, generator: Generator | None) -> Tensor:
    """A column of a random rank among those that a row does not have, ``[b]``."""
    num_cols = adjacency.shape[1]
    row_ptr = adjacency.row_ptr.long()
    first = row_ptr[rows]
    missing = num_cols - (row_ptr[rows + 1] - first)
    draw = torch.rand(rows.numel(), generator=generator, device=adjacency.device, dtype=torch.float64)
    rank = torch.minimum((draw * missing).long(), (missing - 1).clamp(min=0))
    below = torch.searchsorted(_keys(adjacency), rows * (num_cols + 1) + rank, right=True) - first
    return torch.where(missing > 0, rank + below, NONE)


def _taken(adjacency: Adjacency, rows: Tensor, cols: Tensor) -> Tensor:
    """Positions of the pairs that are arcs, ascending."""
    arcs, marks, shift = _marked(adjacency)
    pairs = rows * adjacency.shape[1] + cols
    # most pairs end at the marks, which lie in a cache, and are spared the binary search
    places = marks.index_select(0, _hash(pairs, shift)).nonzero().squeeze(1)
    found = pairs[places]
    at = torch.searchsorted(arcs, found).clamp_(max=max(0, arcs.numel() - 1))
    return places[arcs[at] == found] if arcs.numel() else places


def _hash(pairs: Tensor, shift: int) -> Tensor:
    """Multiplicative hashing into ``64 - shift`` bits."""
    return ((pairs * GOLDEN) >> shift) & ((1 << (64 - shift)) - 1)


def _marked(adjacency: Adjacency) -> tuple[Tensor, Tensor, int]:
    """All arcs as ascending numbers ``[E]``, the marks of their hashes ``[2 ** bits]``, the shift; made once."""
    if "arc_marks" not in adjacency.derived:
        arcs = adjacency.row.long() * adjacency.shape[1] + adjacency.col.long()
        shift = 64 - min(MOST_BITS, (8 * arcs.numel() + 1).bit_length())
        marks = torch.zeros(1 << (64 - shift), dtype=torch.bool, device=adjacency.device)
        marks[_hash(arcs, shift)] = True
        adjacency.derived["arc_marks"] = (arcs, marks, shift)
    made: tuple[Tensor, Tensor, int] = adjacency.derived["arc_marks"]
    return made


def _keys(adjacency: Adjacency) -> Tensor:
    r"""Row and :math:`c_k - k` of every arc as one ascending number, int64 ``[E]``; made once a structure."""
    if "missing_below" not in adjacency.derived:
        row = adjacency.row.long()
        position = torch.arange(adjacency.num_arcs, device=adjacency.device) - adjacency.row_ptr.long()[row]
        adjacency.derived["missing_below"] = row * (adjacency.shape[1] + 1) + adjacency.col.long() - position
    keys: Tensor = adjacency.derived["missing_below"]
    return keys
