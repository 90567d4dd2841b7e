"""Neighbour sampling as a program without a compiled sampler writes it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def sample_neighbors(
    row_ptr: Tensor, col: Tensor, seeds: Tensor, fanout: Sequence[int], generator: Generator
) -> tuple[Tensor, Tensor]:
    """Nodes, the seeds first, and the drawn arcs as ``edge_index`` of positions (source above target).

    Every arc of the frontier gets a random key, and of each node those with the smallest are taken: the vectorised form
    without replacement. ``row_ptr`` and ``col`` are int64, -1 in ``fanout`` takes all.
    """
    place = torch.full((row_ptr.numel() - 1,), -1)
    place[seeds] = torch.arange(seeds.numel())
    nodes, edges, frontier = seeds, [], seeds
    for size in fanout:
        degree = row_ptr[frontier + 1] - row_ptr[frontier]
        row = torch.repeat_interleave(torch.arange(frontier.numel()), degree)
        first = degree.cumsum(0) - degree
        arc = torch.arange(row.numel()) - first[row] + row_ptr[frontier][row]
        if size >= 0:
            key = row + torch.rand(row.numel(), generator=generator, dtype=torch.float64)
            arc = arc[key.argsort()]  # still row by row
            kept = torch.arange(row.numel()) - first[row] < size
            row, arc = row[kept], arc[kept]
        new = col[arc][place[col[arc]] < 0].unique()
        place[new] = torch.arange(nodes.numel(), nodes.numel() + new.numel())
        edges.append(torch.stack([place[col[arc]], place[frontier][row]]))
        nodes, frontier = torch.cat([nodes, new]), new
    return nodes, torch.cat(edges, dim=1)
