"""Multi-hop transition probabilities as sparse weights of pairs."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp
import torch
from torch import Generator

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.ops.row_top import row_top
from gcl.ops.scipy_matrix import adjacency_of

Hops = Literal["cumulative", "power"]

MOST_ENTRIES = 2**27  # 1.5 GiB of the result, and about four times that while it is made
BLOCK_ENTRIES = 2**22  # of the rows that are multiplied at a time
DENSE = 0.1  # share of stored pairs from which sparse storage brings little
SKETCHES = 64


def transition_weights(
    adjacency: Adjacency,
    order: int,
    *,
    hops: Hops = "cumulative",
    top: int | None = None,
    max_entries: int = MOST_ENTRIES,
) -> Adjacency:
    r"""How likely a random walk from i is at j: the weights of positives in SCGC and PamC.

    .. math:: \Gamma = \sum_{r=1}^{R} T^r \quad (\text{cumulative}) \qquad \Gamma = T^R \quad (\text{power}), \qquad
        T = \tilde D^{-1} (A + I)

    Rows sum to R, or to 1. A row of the graph without arcs has itself alone. Rows are multiplied in blocks, in float64;
    nothing is dense, and with ``top`` only what is kept of each row is held.

    Kulatilleke, Portmann, Chandra: SCGC (arXiv 2204.12656) and PamC (arXiv 2209.14067).

    Args:
        adjacency: ``[N, N]``, values of 0 or more; stored loops add to the identity.
        order: R, from 1.
        hops: ``cumulative`` or ``power``.
        top: entries kept of each row, the largest (of equal ones those of the smallest columns); rows then sum to less.
            ``None`` = all.
        max_entries: stored entries above which nothing is computed.

    Returns:
        ``[N, N]`` with float32 weights.

    Raises:
        ConfigError: an unknown word, or a number out of range.
        DataError: a rectangle, a negative or non-finite value, or more entries than ``max_entries``, as estimated.
    """
    check_hops(order, hops, top)
    step, _ = transition_matrix(adjacency)
    num_nodes = step.shape[0]
    expected = estimated_reach(adjacency, order) if order > 1 else float(step.nnz)
    kept = expected if top is None else min(expected, float(top) * num_nodes)
    if kept > max_entries:
        raise DataError(
            f"{order} hops reach about {expected:,.0f} pairs of nodes, more than the {max_entries:,} that are stored; "
            "lower the order, keep the largest of each row (top=100), or estimate them by random walks (num_walks=100 "
            "of a method, or walk_weights)"
        )
    if top is None and num_nodes > 1000 and expected > DENSE * num_nodes**2:
        warnings.warn(
            f"{order} hops reach about {expected / num_nodes**2:.0%} of all pairs of nodes, which is hardly sparse; "
            "lower the order, or keep the largest of each row (top=100)",
            stacklevel=2,
        )
    size = max(1, int(BLOCK_ENTRIES * num_nodes / max(expected, 1.0)))
    blocks = [
        row_top(_hops(step, slice(start, start + size), order, hops), top or num_nodes)
        for start in range(0, num_nodes, size)
    ]
    return adjacency_of(sp.vstack(blocks, format="csr") if blocks else step, weighted=True)


def walk_weights(
    adjacency: Adjacency, order: int, *, num_walks: int, hops: Hops = "cumulative", generator: Generator | None = None
) -> Adjacency:
    r"""An unbiased estimate of :func:`transition_weights` that stores ``num_walks`` entries a row at most.

    A row of :math:`\Gamma / R` is the distribution of where a walk stands after a number of steps that is uniform from
    1 to R (``power``: after R steps). Each row is the share of its walks that end in each column, times R (1).

    Args:
        adjacency: ``[N, N]``, values of 0 or more.
        order: R, from 1.
        num_walks: walks from each node, from 1.
        hops: ``cumulative`` or ``power``.
        generator: on the CPU; ``None`` = torch's global one.

    Returns:
        ``[N, N]`` with float32 weights; rows sum to R, or to 1.

    Raises:
        ConfigError, DataError: as :func:`transition_weights`.
    """
    check_hops(order, hops, None)
    check_num_walks(num_walks)
    step, _ = transition_matrix(adjacency)
    num_nodes = step.shape[0]
    ends = np.tile(np.arange(num_nodes), num_walks)  # [walks * N]
    starts = ends.copy()
    lengths = np.full(ends.size, order)
    if hops == "cumulative":
        lengths = 1 + torch.randint(order, (ends.size,), generator=generator).numpy()
    # running sums inside each row, one row above the other: a step is one search
    counts, total = np.diff(step.indptr), np.cumsum(step.data)
    before = np.concatenate([[0.0], total])[step.indptr[:-1]]
    last = step.indptr[1:] - 1
    ladder = np.repeat(np.arange(num_nodes), counts) + np.minimum(total - np.repeat(before, counts), 1.0)
    ladder[last] = np.arange(num_nodes) + 1.0
    for taken in range(order):
        walking = np.flatnonzero(lengths > taken)
        draw = torch.rand(walking.size, generator=generator, dtype=torch.float64).numpy()
        at = ends[walking]
        place = np.minimum(np.searchsorted(ladder, at + draw, side="right"), last[at])
        ends[walking] = step.indices[place]
    share = np.full(ends.size, (order if hops == "cumulative" else 1) / num_walks)
    return adjacency_of(sp.coo_matrix((share, (starts, ends)), shape=step.shape).tocsr(), weighted=True)


def estimated_reach(adjacency: Adjacency, order: int) -> float:
    """About how many pairs (i, j) have j within ``order`` steps of i, i itself among them.

    Each node draws ranks, and takes over the smallest of its neighbours' ``order`` times: the smaller, the more nodes
    it reaches (Cohen, JCSS 1997). 64 draws are off by about a tenth, and each takes ``order`` passes over the arcs.

    Args:
        adjacency: ``[N, N]``.
        order: steps, 0 or more.
    """
    num_nodes = adjacency.shape[0]
    if not num_nodes:
        return 0.0
    values = adjacency.values()
    row, col = adjacency.row[values != 0].long().cpu(), adjacency.col[values != 0].long().cpu()
    ranks = torch.empty(SKETCHES, num_nodes, dtype=torch.float64)
    ranks.exponential_(generator=torch.Generator().manual_seed(0))
    for rank in ranks:  # one at a time: E numbers, and not E for each sketch
        for _ in range(order):
            rank.scatter_reduce_(0, row, rank[col], "amin")
    return float(((SKETCHES - 1) / ranks.sum(dim=0)).clamp(1, num_nodes).sum())


def check_hops(order: int, hops: str, top: int | None) -> None:
    """Refuses settings of :func:`transition_weights` that cannot be.

    Raises:
        ConfigError: an unknown word, or a number out of range.
    """
    if hops not in get_args(Hops):
        raise ConfigError(unknown("hops", str(hops), get_args(Hops)))
    for name, value in (("order", order), ("top", 1 if top is None else top)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name} must be a whole number from 1, got {value!r}")


def check_num_walks(num_walks: int) -> None:
    """Refuses anything but a whole number from 1."""
    if isinstance(num_walks, bool) or not isinstance(num_walks, int) or num_walks < 1:
        raise ConfigError(f"num_walks must be a whole number from 1, got {num_walks!r}")


def transition_matrix(adjacency: Adjacency) -> tuple[sp.csr_matrix, np.ndarray]:
    r""":math:`T = \tilde D^{-1} (A + I)` in float64, columns ascending, and :math:`\tilde d`, ``[N]``.

    Raises:
        DataError: a rectangle, or a value that is negative or not finite.
    """
    rows, cols = adjacency.shape
    if rows != cols:
        raise DataError(f"transitions need a square adjacency, got {[rows, cols]}")
    values = adjacency.values(torch.float64).detach().cpu().numpy()
    if values.size and not (np.isfinite(values).all() and values.min() >= 0):
        raise DataError("transitions need finite weights of 0 or more; mend or drop the others")
    pointer, col = adjacency.row_ptr.cpu().numpy(), adjacency.col.cpu().numpy()
    matrix = sp.csr_matrix((values, col, pointer), shape=(rows, cols)) + sp.identity(rows, format="csr")
    matrix.eliminate_zeros()
    total = np.asarray(matrix.sum(axis=1)).ravel()  # 1 or more
    matrix = sp.csr_matrix(sp.diags(1 / total) @ matrix)
    matrix.sort_indices()
    return matrix, total


def _hops(step: sp.csr_matrix, rows: slice, order: int, hops: str) -> sp.csr_matrix:
    """Some rows of Γ."""
    power = step[rows]
    total = power
    for _ in range(order - 1):
        power = power @ step
        total = total + power if hops == "cumulative" else power
    total.sort_indices()
    return total
