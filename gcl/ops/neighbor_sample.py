"""A fixed number of neighbours of every node, drawn at random."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError


def sample_neighbors(adjacency: Adjacency, size: int, *, generator: Generator | None = None) -> Tensor:
    """So many neighbours of each row: without replacement where there are enough, else with.

    Args:
        adjacency: ``[N, m]``; dropped arcs are not drawn, weights are not read.
        size: from 1.
        generator: on the CPU; ``None`` = torch's global one.

    Returns:
        Columns, int64 ``[N, size]``; -1 in all places of a row without neighbours.

    Raises:
        ConfigError: a size below 1.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(f"the number of sampled neighbours must be a whole number from 1, got {size!r}")
    row, col = adjacency.row.long(), adjacency.col.long()
    if adjacency.keep is not None:
        row, col = row[adjacency.keep], col[adjacency.keep]
    num_rows = adjacency.shape[0]
    degree = row.bincount(minlength=num_rows)
    first = degree.cumsum(0) - degree
    draw = torch.rand(num_rows, size, generator=generator).to(row.device)
    chosen = first.unsqueeze(1) + (draw * degree.unsqueeze(1)).long().clamp_max((degree - 1).clamp_min(0).unsqueeze(1))
    many = degree >= size
    if bool(many.any()):  # the first of a random order inside each row
        key = torch.rand(row.numel(), generator=generator, dtype=torch.float64).to(row.device)
        order = (row.double() + key.clamp_max(1 - 1e-9)).argsort()
        place = torch.arange(size, device=row.device)
        chosen[many] = order[first[many].unsqueeze(1) + place]
    if not row.numel():
        return torch.full((num_rows, size), -1, device=row.device)
    picked = col[chosen.clamp_max(row.numel() - 1)]
    return torch.where((degree > 0).unsqueeze(1), picked, -1)
