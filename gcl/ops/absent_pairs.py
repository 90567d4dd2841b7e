"""Uniform sets of pairs of nodes that no arc joins."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.ops.arc_search import find_pairs, pair_keys


def sample_absent_pairs(
    adjacency: Adjacency,
    count: int,
    *,
    undirected: bool = False,
    side: Tensor | None = None,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Distinct pairs (row, column) that are no stored arcs, each set of them as likely.

    Of a square adjacency the ends are two nodes. Pairs are drawn until there are enough; where few are free, or nearly
    all are wanted, all are listed.

    Args:
        adjacency: ``[n, m]``; dropped arcs count as there.
        count: how many; all that are free where there are fewer.
        undirected: of a pair and its reverse one at most, the larger row first; arcs are there with their reverse.
        side: of a square adjacency, 0 or 1 for each node, ``[n]``: the ends are of different sides, as arcs are.
        generator: on the adjacency's device; ``None`` = torch's global one.

    Returns:
        Rows and columns, int64 ``[count]`` each, in random order.
    """
    num_rows, num_cols = adjacency.shape
    device, square = adjacency.device, num_rows == num_cols
    ends = 2 if undirected else 1
    pairs = num_rows * num_cols
    if side is not None:
        pairs = 2 * int(side.sum()) * (num_rows - int(side.sum()))
    elif square:
        pairs -= num_rows
    loops = 0 if adjacency.is_loop is None else int(adjacency.is_loop.sum())
    free = (pairs - (adjacency.num_arcs - loops)) // ends
    wanted = min(count, free)
    listed = free < 2 * wanted or free * ends < pairs / 16  # a search would find the same ones over and over
    found = torch.zeros(0, dtype=torch.int64, device=device)
    while found.numel() < wanted:
        if listed:
            drawn = torch.arange(num_rows * num_cols, device=device)
            row, col = drawn // num_cols, drawn % num_cols
        else:
            unit = torch.rand(2, 2 * wanted + 16, generator=generator, device=device, dtype=torch.float64)
            row, col = (unit[0] * num_rows).long(), (unit[1] * num_cols).long()
        valid = ~find_pairs(adjacency, row, col)[1]
        if side is not None:
            valid &= side[row] != side[col]
        elif square:
            valid &= row != col
        if undirected:
            row, col = torch.maximum(row, col), torch.minimum(row, col)
        found = torch.cat([found, pair_keys(adjacency, row, col)[valid]]).unique()
    order = torch.randperm(found.numel(), generator=generator, device=device)[:wanted]
    chosen = found[order]
    return chosen // max(num_cols, 1), chosen % max(num_cols, 1)
