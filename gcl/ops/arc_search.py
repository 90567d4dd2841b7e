"""Where pairs are among the stored arcs of an adjacency; nothing is sorted."""

from __future__ import annotations

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency


def arc_keys(adjacency: Adjacency) -> Tensor:
    """A number for each stored arc, row before column, ascending, int64 ``[E]``; made once a structure."""
    if "arc_keys" not in adjacency.derived:
        adjacency.derived["arc_keys"] = pair_keys(adjacency, adjacency.row.long(), adjacency.col.long())
    keys: Tensor = adjacency.derived["arc_keys"]
    return keys


def pair_keys(adjacency: Adjacency, row: Tensor, col: Tensor) -> Tensor:
    """The number that an arc between these ends would have, int64 ``[n]``."""
    return row * adjacency.shape[1] + col


def find_pairs(adjacency: Adjacency, row: Tensor, col: Tensor) -> tuple[Tensor, Tensor]:
    """Position of pairs among the stored arcs, int64 ``[n]``, and whether they are any, boolean ``[n]``.

    Arcs that are dropped in a view are stored.
    """
    keys, wanted = arc_keys(adjacency), pair_keys(adjacency, row, col)
    if not keys.numel():
        return torch.zeros_like(wanted), torch.zeros_like(wanted, dtype=torch.bool)
    position = torch.searchsorted(keys, wanted).clamp(max=keys.numel() - 1)
    return position, keys[position] == wanted
