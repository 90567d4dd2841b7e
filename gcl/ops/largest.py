"""The largest entries of every row, with ties in a stated order."""

from __future__ import annotations

import torch
from torch import Tensor


def largest(score: Tensor, k: int) -> tuple[Tensor, Tensor]:
    r"""The k largest entries of each row, largest first; equal ones by column, smallest first.

    ``torch.topk`` promises no order among equal entries and no choice between those at the border. Here only the rows
    that have a tie at the border are searched again. Entries of minus infinity come last, in no order that is promised;
    NaN counts as larger than all.

    Args:
        score: ``[b, n]``.
        k: 1 to n.

    Returns:
        Columns, int64 ``[b, k]``, and their entries, ``[b, k]``.
    """
    has_next = k < score.shape[1]
    value, col = score.topk(k + 1 if has_next else k, dim=1)
    if has_next:
        border, following = value[:, k - 1], value[:, k]
        value, col = value[:, :k], col[:, :k]
        tied = ((border == following) & (border > -torch.inf)).nonzero().squeeze(1)
        if tied.numel():
            col = col.index_copy(0, tied, _leftmost(score[tied], border[tied].unsqueeze(1), k))
    col = col.sort(dim=1).values
    value, order = score.gather(1, col).sort(dim=1, descending=True, stable=True)
    return col.gather(1, order), value


def _leftmost(score: Tensor, border: Tensor, k: int) -> Tensor:
    """All entries above the border ``[b, 1]``, and as many on it from the left as make k: their columns, ascending."""
    above = score > border
    above |= score.isnan()
    room = k - above.sum(1, keepdim=True)
    on = score == border
    on &= on.cumsum(1, dtype=torch.int32) <= room
    return (above | on).nonzero()[:, 1].view(-1, k)
