"""Graphs of meta-path neighbours: instance counts, PathSim's nearest, and their normalised operators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp
import torch
from torch import Generator, Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, unknown
from gcl.core.graph import Graph
from gcl.ops.fixed_matrix import power
from gcl.ops.metapath import MetaPath, chain_ends, check_size, estimated_pairs
from gcl.ops.metapath_walks import back_to_itself, walked_counts
from gcl.ops.propagation import Propagation
from gcl.ops.row_top import row_top
from gcl.ops.scipy_matrix import adjacency_of
from gcl.ops.segment import segment_sum

Ties = Literal["index", "random", "numpy"]
Orientation = Literal["reference", "row", "symmetric"]

ENTRY_BYTES = 32  # of memory while a graph is made: 23 to 33 measured, of which 12 or 16 stay
MOST_BYTES = 2**32
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
    max_bytes: int = MOST_BYTES,
    mend: str = MEND,
) -> Adjacency:
    r"""The target nodes that a meta-path joins, with the number of its instances as weights.

    .. math:: C = B_1 B_2 \cdots B_L, \qquad s_{ij} = \frac{2 C_{ij}}{C_{ii} + C_{jj}}

    with the binary incidences of the steps. ``top`` keeps the entries of the largest PathSim :math:`s_{ij}` in each row
    (Sun et al., VLDB 2011), which still carry the **count**. Rows are multiplied in blocks and cut at once, so that
    nothing of N × N is ever held. Where no instance leads from either node back to itself, which happens on paths that
    are no way there and back, :math:`s_{ij} = 2 C_{ij}`.

    Args:
        graph: with the relations of the path; weights of arcs are not read.
        path: from :meth:`~gcl.ops.metapath.MetaPath.parse`.
        top: entries kept of each row, from 1; ``None`` = all.
        counts: whether an entry is the number of instances, or 1; where 1, PathSim ranks by that, too.
        ties: order of equal similarities: ``index`` (smallest first), ``random``, or ``numpy``: the order of NumPy's
            unstable sort, reversed, as in MEOW's program; it differs between machines.
        keep_self: whether the node itself is kept in any case; else it competes, with a similarity of 1.
        drop_self: leave the node itself out, before the nearest are taken.
        num_walks: estimate the counts from so many random walks a node along the path, in place of the product. The
            counts are unbiased and the diagonal is exact; of those that ``top`` keeps too many are overestimates.
        generator: of random ties and walks, on the CPU; ``None`` = torch's global one.
        max_bytes: memory for the result and its making; where it would take more, nothing is computed.
        mend: what an error of size advises.

    Returns:
        ``[N, N]``, row i with the nodes that i reaches.

    Raises:
        ConfigError: an unknown word, a number out of range, ``keep_self`` with ``drop_self``, or ``ties`` or
            ``keep_self`` without ``top``.
        DataError: more entries than fit into ``max_bytes``, as estimated, or a product on the way that would not fit.
    """
    if ties not in get_args(Ties):
        raise ConfigError(unknown("ties", str(ties), get_args(Ties)))
    for name, value in (("top", top), ("num_walks", num_walks)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError(f"{name} must be a whole number from 1, got {value!r}")
    if keep_self and drop_self:
        raise ConfigError("keep_self and drop_self contradict each other; set one of them")
    if top is None:
        check_unused(ties, keep_self)
    num_nodes = graph.num_nodes
    if num_walks is None:
        left, right, expected = metapath_ends(graph, path, top=top, max_bytes=max_bytes, mend=mend)
        diagonal = np.asarray(left.multiply(right.T).sum(axis=1)).ravel()
        blocks = _multiplied(left, right, expected)
    else:
        steps = path.steps(graph)
        expected = num_nodes * min(num_walks + 1, top or num_walks + 1)
        if expected * ENTRY_BYTES > max_bytes:
            expected = min(expected, estimated_pairs(steps))
        _check_entries(expected, path, max_bytes, mend)
        diagonal = back_to_itself(steps)
        blocks = walked_counts(steps, num_walks, diagonal, generator)
    if not counts:
        diagonal = np.minimum(diagonal, 1)
    counted, cols, values, start = [], [], [], 0
    for block in blocks:
        rows = block.shape[0]
        if drop_self:
            block = _without_diagonal(block, start)
        block.sort_indices()
        if not counts:
            block.data[:] = 1.0
        if top is not None:
            block = _nearest(block, diagonal, start, top, ties, keep_self, generator)
        counted.append(np.diff(block.indptr))
        cols.append(block.indices.copy())  # what it is a part of goes
        if counts:
            values.append(block.data.astype(np.float32))
        start += rows
    row_ptr = np.concatenate([[0], *counted]).cumsum()
    col, weight = _joined(cols), _joined(values) if counts else None
    return Adjacency.from_csr(torch.from_numpy(row_ptr), col, (num_nodes, num_nodes), weight)


def check_unused(ties: str, keep_self: bool) -> None:
    """Refuses what decides about the nearest where all are kept.

    Raises:
        ConfigError: ``ties`` or ``keep_self`` are not at their defaults.
    """
    for name, value, default in (("ties", ties, "index"), ("keep_self", keep_self, False)):
        if value != default:
            raise ConfigError(f"{name}={value} decides which neighbours top keeps, and all are kept; give top")


def metapath_ends(
    graph: Graph, path: MetaPath, *, top: int | None = None, max_bytes: int = MOST_BYTES, mend: str = MEND
) -> tuple[sp.csr_matrix, sp.csr_matrix, float]:
    """Two matrices whose product counts the instances, and about how many entries it has.

    Raises:
        DataError: what :func:`metapath_graph` refuses.
    """
    left, right = chain_ends(path.steps(graph), f"meta-path {path.name}", mend)
    expected = estimated_pairs([left, right])
    _check_entries(min(expected, graph.num_nodes * (top or graph.num_nodes)), path, max_bytes, mend)
    return left, right, expected


def _check_entries(expected: float, path: MetaPath, max_bytes: int, mend: str) -> None:
    what = f"meta-path {path.name}"
    check_size(expected, entry_bytes=ENTRY_BYTES, most_bytes=max_bytes, what=what, mend=mend)


def _multiplied(left: sp.csr_matrix, right: sp.csr_matrix, expected: float) -> Iterator[sp.csr_matrix]:
    """The product in blocks of rows."""
    num_rows = left.shape[0]
    size = max(1, int(BLOCK_ENTRIES * num_rows / max(expected, 1.0)))
    for start in range(0, max(num_rows, 1), size):
        yield left[start : start + size] @ right


def _joined(parts: list[np.ndarray]) -> Tensor:
    """One vector of several, which are given up."""
    whole = torch.from_numpy(np.concatenate(parts))
    parts.clear()
    return whole


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
    score = 2 * block.data / np.maximum(diagonal[row + start] + diagonal[block.indices], 1)
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
        kept = both_ways(kept)
    weight = kept.values(torch.float64)
    factor = power(segment_sum(weight, kept.row, kept.shape[0]), -0.5)
    weight = weight * factor.index_select(0, kept.row) * factor.index_select(0, kept.col)
    scaled = kept.with_weight(weight)
    return Propagation(scaled if orientation != "reference" else scaled.t(), normalize="none")


def both_ways(neighbors: Adjacency) -> Adjacency:
    """The larger value of each pair of opposite arcs, on both; :math:`\\max(K, K^\\top)`."""
    if neighbors.symmetric and neighbors.keep is None:
        values = neighbors.values()
        return neighbors.with_weight(torch.maximum(values, values[neighbors.t_perm.long()]))
    one, other = (
        sp.csr_matrix(tuple(part.cpu().numpy() for part in (way.values(), way.col, way.row_ptr)), shape=way.shape)
        for way in (neighbors, neighbors.t())
    )
    return adjacency_of(one.maximum(other), weighted=True).to(neighbors.device)


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
