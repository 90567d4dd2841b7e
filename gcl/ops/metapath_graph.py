"""Graphs of meta-path neighbours: instance counts, PathSim's nearest, and their normalised operators."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp
import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import Graph
from gcl.ops.fixed_matrix import power
from gcl.ops.metapath import MetaPath, chain_ends, check_size
from gcl.ops.propagation import Propagation
from gcl.ops.row_top import row_top
from gcl.ops.scipy_matrix import csr_adjacency
from gcl.ops.segment import segment_sum

Ties = Literal["index", "random", "numpy"]
Orientation = Literal["reference", "row", "symmetric"]

MOST_ENTRIES = 2**27  # 2 GiB of the result
BLOCK_ENTRIES = 2**22  # of the rows that are multiplied at a time
MEND = "keep the nearest of each node (top=100), or estimate them by random walks (num_walks=100)"


def metapath_graph(
    graph: Graph,
    path: MetaPath,
    *,
    top: int | None = None,
    counts: bool = True,
    ties: Ties = "index",
    keep_self: bool = False,
    drop_self: bool = False,
    num_walks: int | None = None,
    generator: Generator | None = None,
    max_entries: int = MOST_ENTRIES,
    mend: str = MEND,
) -> Adjacency:
    r"""The target nodes that a meta-path joins, with the number of its instances as weights.

    .. math:: C = B_1 B_2 \cdots B_L, \qquad s_{ij} = \frac{2 C_{ij}}{C_{ii} + C_{jj}}

    with the binary incidences of the steps. ``top`` keeps the entries of the largest PathSim :math:`s_{ij}` in each row
    (Sun et al., VLDB 2011), which still carry the **count**. Rows are multiplied in blocks and cut at once, so that
    nothing of N × N is ever held.

    Args:
        graph: with the relations of the path; weights of arcs are not read.
        path: from :meth:`~gcl.ops.metapath.MetaPath.parse`.
        top: entries kept of each row, from 1; ``None`` = all.
        counts: whether an entry is the number of instances, or 1; where 1, PathSim ranks by that, too.
        ties: order of equal similarities: ``index`` (smallest first), ``random``, or ``numpy``: the order of NumPy's
            unstable sort, reversed, as in MEOW's program; it differs between machines.
        keep_self: whether the node itself is kept in any case; else it competes, with a similarity of 1.
        drop_self: leave the node itself out, before the nearest are taken.
        num_walks: estimate the counts from so many random walks a node along the path, unbiased, in place of the
            product; the diagonal stays exact where it can be had.
        generator: of random ties and walks, on the CPU; ``None`` = torch's global one.
        max_entries: entries above which nothing is computed, where ``top`` and ``num_walks`` are ``None``.
        mend: what an error of size advises.

    Returns:
        ``[N, N]``, row i with the nodes that i reaches.

    Raises:
        ConfigError: an unknown word, or a number out of range.
        DataError: more entries than ``max_entries``, as estimated, or a product on the way that would not fit.
    """
    if ties not in get_args(Ties):
        raise ConfigError(unknown("ties", str(ties), get_args(Ties)))
    for name, value in (("top", top), ("num_walks", num_walks)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError(f"{name} must be a whole number from 1, got {value!r}")
    if keep_self and drop_self:
        raise ConfigError("keep_self and drop_self contradict each other; set one of them")
    steps, what = path.steps(graph), f"meta-path {path.name}"
    if num_walks is None:
        left, right = chain_ends(steps, what, mend)
        diagonal = _diagonal(left, right)
        expected = check_size([left, right], max_entries if top is None else 2**62, what, mend)
        size = max(1, int(BLOCK_ENTRIES * graph.num_nodes / max(expected, 1.0)))
        blocks: Iterable[sp.csr_matrix] = (
            left[start : start + size] @ right for start in range(0, max(graph.num_nodes, 1), size)
        )
    else:
        try:
            exact: np.ndarray | None = _diagonal(*chain_ends(steps, what, mend))
        except DataError:
            exact = None
        size, walked = graph.num_nodes, _walked(steps, num_walks, exact, generator)
        blocks, diagonal = (walked,), walked.diagonal()
    if not counts:
        diagonal = np.minimum(diagonal, 1)
    parts, start = [], 0
    for block in blocks:
        if drop_self:
            block = _without_diagonal(block, start)
        block.sort_indices()
        if not counts:
            block.data[:] = 1.0
        if top is not None:
            block = _nearest(block, diagonal, start, top, ties, keep_self, generator)
        parts.append(block)
        start += size
    adjacency = csr_adjacency(sp.vstack(parts, format="csr"))
    return adjacency if counts else adjacency.with_weight(None)


def _diagonal(left: sp.csr_matrix, right: sp.csr_matrix) -> np.ndarray:
    return np.asarray(left.multiply(right.T).sum(axis=1)).ravel()


def _without_diagonal(block: sp.csr_matrix, start: int) -> sp.csr_matrix:
    """A block of rows, which begins at row ``start``, without the nodes themselves."""
    entries = block.tocoo()
    other = entries.row + start != entries.col
    return sp.csr_matrix((entries.data[other], (entries.row[other], entries.col[other])), shape=block.shape)


def _nearest(
    block: sp.csr_matrix,
    diagonal: np.ndarray,
    start: int,
    top: int,
    ties: str,
    keep_self: bool,
    generator: Generator | None,
) -> sp.csr_matrix:
    """The entries of largest PathSim of each row of a block, which begins at row ``start``."""
    count = np.diff(block.indptr)
    row = np.repeat(np.arange(block.shape[0]), count)
    score = 2 * block.data / np.maximum(diagonal[row + start] + diagonal[block.indices], 1e-300)
    if keep_self:
        score[row + start == block.indices] = np.inf
    if ties == "numpy":
        for at in np.flatnonzero(count > top):
            entries = slice(block.indptr[at], block.indptr[at + 1])
            dense = np.zeros(block.shape[1])
            dense[block.indices[entries]] = score[entries]
            rank = np.empty(block.shape[1])
            rank[np.argsort(dense)] = np.arange(block.shape[1])
            score[entries] = rank[block.indices[entries]]
    elif ties == "random":
        order = np.lexsort((torch.rand(score.size, generator=generator, dtype=torch.float64).numpy(), score))
        score = np.empty(score.size)
        score[order] = np.arange(score.size)
    return row_top(block, top, score=score)


def _walked(
    steps: list[sp.csr_matrix], num_walks: int, diagonal: np.ndarray | None, generator: Generator | None
) -> sp.csr_matrix:
    """Unbiased counts: each walk along the path counts for the number of ways it could have gone, over the walks."""
    num_nodes = steps[0].shape[0]
    start = np.tile(np.arange(num_nodes), num_walks)
    at, weight = start.copy(), np.full(start.size, 1 / num_walks)
    for step in steps:
        degree = np.diff(step.indptr)
        alive = degree[at] > 0
        start, at, weight = start[alive], at[alive], weight[alive]
        draw = torch.rand(at.size, generator=generator, dtype=torch.float64).numpy()
        weight *= degree[at]
        at = step.indices[step.indptr[at] + (draw * degree[at]).astype(np.int64)]
    counts = sp.coo_matrix((weight, (start, at)), shape=(num_nodes, num_nodes)).tocsr()
    return counts if diagonal is None else (counts + sp.diags(diagonal - counts.diagonal())).tocsr()


def metapath_operator(
    neighbors: Adjacency, *, orientation: Orientation = "reference", values: Tensor | None = None
) -> Propagation:
    r"""The normalised operator of a graph of kept neighbours K, with :math:`d_i` the sum of its row i.

    ==============  =====================================================================================
    orientation     operator
    ==============  =====================================================================================
    ``reference``   :math:`D^{-1/2} K^\top D^{-1/2}`: node i receives from the nodes that kept i
    ``row``         :math:`D^{-1/2} K D^{-1/2}`: node i receives from the nodes that it kept
    ``symmetric``   ``row`` of :math:`\max(K, K^\top)`
    ==============  =====================================================================================

    A node whose row is empty has :math:`d_i^{-1/2} = 0`. In ``reference`` a node that none kept receives nothing. Yu
    and Li, MEOW (SDM 2023), whose program normalises as ``reference`` does.

    Args:
        neighbors: K, ``[N, N]``, values of 0 or more.
        orientation: see the table.
        values: of its arcs, ``[E]``, in place of its own.

    Raises:
        ConfigError: an unknown orientation.
    """
    if orientation not in get_args(Orientation):
        raise ConfigError(unknown("orientation", str(orientation), get_args(Orientation)))
    kept = neighbors if values is None else neighbors.with_weight(values)
    if orientation == "symmetric":
        kept = _union(kept)
    weight = kept.values(torch.float64)
    factor = power(segment_sum(weight, kept.row, kept.shape[0]), -0.5)
    weight = weight * factor.index_select(0, kept.row) * factor.index_select(0, kept.col)
    scaled = kept.with_weight(weight)
    return Propagation(scaled if orientation != "reference" else scaled.t(), normalize="none")


def _union(adjacency: Adjacency) -> Adjacency:
    """The larger value of each pair of opposite arcs, on both."""
    values = adjacency.values()
    arcs = torch.stack([adjacency.col.long(), adjacency.row.long()])
    both, weight = torch.cat([arcs, arcs.flip(0)], dim=1), torch.cat([values, values])
    order = weight.argsort(descending=True, stable=True)
    return Adjacency.from_edge_index(both[:, order], adjacency.shape, weight[order], duplicates="first")


def without_loops(neighbors: Adjacency) -> Tensor:
    """Positions of the arcs between two different nodes, int64."""
    return (neighbors.row != neighbors.col).nonzero().squeeze(1)


def thinned_operator(neighbors: Adjacency, keep: Tensor, *, orientation: Orientation = "reference") -> Propagation:
    """The operator after some arcs are gone: those left count 1, every node has one loop.

    Args:
        neighbors: K, ``[N, N]``.
        keep: boolean ``[E]``; arcs from a node to itself are not read.
        orientation: see :func:`metapath_operator`.
    """
    arcs = keep & (neighbors.row != neighbors.col)
    loops = torch.arange(neighbors.shape[0], device=neighbors.device)
    index = torch.stack(
        [torch.cat([neighbors.col[arcs].long(), loops]), torch.cat([neighbors.row[arcs].long(), loops])]
    )
    return metapath_operator(Adjacency.from_edge_index(index, neighbors.shape), orientation=orientation)


def mean_operator(operators: list[Propagation]) -> Propagation:
    """The mean of operators of :func:`metapath_operator` on the same nodes."""
    parts = [operator.adjacency for operator in operators]
    index = torch.cat([torch.stack([part.col.long(), part.row.long()]) for part in parts], dim=1)
    weight = torch.cat([part.values(torch.float64) for part in parts]) / len(parts)
    total = Adjacency.from_edge_index(index, parts[0].shape, weight, duplicates="sum")
    return Propagation(total, normalize="none")
