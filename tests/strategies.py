"""Hypothesis strategies for small random graphs."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.graph import Graph

# Weights that float32 holds exactly, so that sums in another order are equal.
WEIGHTS = st.integers(1, 16).map(lambda value: value / 4)


@st.composite
def edge_indices(
    draw,
    *,
    min_nodes: int = 1,
    max_nodes: int = 8,
    max_arcs: int = 24,
    bipartite: bool = False,
    self_loops: bool = True,
    undirected: bool = False,
) -> tuple[Tensor, tuple[int, int]]:
    """``(edge_index, (num_targets, num_sources))`` without duplicates, in random order; isolated nodes are common."""
    rows = draw(st.integers(min_nodes, max_nodes))
    cols = draw(st.integers(min_nodes, max_nodes)) if bipartite else rows
    pairs = st.tuples(st.integers(0, cols - 1), st.integers(0, rows - 1)) if rows and cols else st.nothing()
    arcs = draw(st.lists(pairs, unique=True, max_size=max_arcs)) if rows and cols else []
    if not self_loops:
        arcs = [(source, target) for source, target in arcs if source != target]
    if undirected:
        arcs = draw(st.permutations(sorted({*arcs, *((target, source) for source, target in arcs)})))
    return torch.tensor(arcs, dtype=torch.int64).reshape(-1, 2).t().contiguous(), (rows, cols)


@st.composite
def adjacencies(draw, *, weighted: bool | None = None, masked: bool | None = None, **options) -> Adjacency:
    """A small :class:`Adjacency`; ``weighted`` and ``masked`` are drawn where they are ``None``."""
    edge_index, shape = draw(edge_indices(**options))
    num_arcs = edge_index.shape[1]
    weight = None
    if draw(st.booleans()) if weighted is None else weighted:
        weight = torch.tensor(draw(st.lists(WEIGHTS, min_size=num_arcs, max_size=num_arcs)), dtype=torch.float32)
    adjacency = Adjacency.from_edge_index(edge_index, shape, weight)
    if draw(st.booleans()) if masked is None else masked:
        adjacency = adjacency.masked(draw(masks(num_arcs)), compact=draw(st.sampled_from([True, False, None])))
    return adjacency


def masks(size: int) -> st.SearchStrategy[Tensor]:
    """Boolean ``[size]``."""
    bits = st.lists(st.booleans(), min_size=size, max_size=size)
    return bits.map(lambda values: torch.tensor(values, dtype=torch.bool))


def matrices(num_rows: int, num_cols: int, dtype: torch.dtype = torch.float64) -> st.SearchStrategy[Tensor]:
    """A dense matrix of small multiples of 1/4, ``[num_rows, num_cols]``."""
    size = num_rows * num_cols
    entries = st.lists(st.integers(-8, 8), min_size=size, max_size=size)
    return entries.map(lambda values: torch.tensor(values, dtype=dtype).reshape(num_rows, num_cols) / 4)


@st.composite
def graphs(draw, *, in_channels: int = 3, **options) -> Graph:
    """A homogeneous graph with dense features ``[N, in_channels]`` and labels."""
    adjacency = draw(adjacencies(**{"masked": False, **options}))
    num_nodes = adjacency.shape[0]
    x = draw(matrices(num_nodes, in_channels, torch.float32))
    y = draw(st.lists(st.integers(0, 2), min_size=num_nodes, max_size=num_nodes))
    return Graph.homogeneous(x, adjacency, attrs={"y": torch.tensor(y, dtype=torch.int64)})
