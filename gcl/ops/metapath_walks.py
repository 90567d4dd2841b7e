"""Counts of meta-path instances by random walks, and the exact number from each node back to itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp
import torch
from torch import Generator

BLOCK_WALKS = 2**18  # that are on their way at a time
BLOCK_PRODUCTS = 2**22  # multiplications for the rows that are taken at a time


def walked_counts(
    steps: Sequence[sp.csr_matrix], num_walks: int, diagonal: np.ndarray, generator: Generator | None
) -> Iterator[sp.csr_matrix]:
    """Unbiased counts off the diagonal, in blocks of rows that follow each other.

    Each walk along the path counts for the number of ways it could have gone, over the walks.

    Args:
        steps: incidences of the steps, from 1.
        num_walks: from each node, from 1.
        diagonal: what stands there, ``[N]``.
        generator: on the CPU; ``None`` = torch's global one. The size of the blocks changes nothing.
    """
    num_nodes = steps[0].shape[0]
    degrees = [np.diff(step.indptr) for step in steps]
    size = max(1, BLOCK_WALKS // num_walks)
    for first in range(0, max(num_nodes, 1), size):
        nodes = np.arange(first, min(first + size, num_nodes))
        start = at = np.repeat(nodes, num_walks)
        weight = np.full(start.size, 1 / num_walks)
        draw = torch.rand(start.size, len(steps), generator=generator, dtype=torch.float64).numpy()
        for place, (step, degree) in enumerate(zip(steps, degrees, strict=True)):
            alive = degree[at] > 0
            start, at, weight, draw = start[alive], at[alive], weight[alive], draw[alive]
            weight *= degree[at]
            at = step.indices[step.indptr[at] + (draw[:, place] * degree[at]).astype(np.int64)]
        away, back = start != at, nodes[diagonal[nodes] > 0]
        value = np.concatenate([weight[away], diagonal[back]])
        row, col = (np.concatenate([ends[away], back]) for ends in (start, at))
        yield sp.coo_matrix((value, (row - first, col)), shape=(nodes.size, num_nodes)).tocsr()


def back_to_itself(steps: Sequence[sp.csr_matrix]) -> np.ndarray:
    r"""The number of instances from each node back to itself, exact, float64 ``[N]``.

    With the products H of the first half of the steps and G of the second half turned round it is
    :math:`\sum_k H_{ik} G_{ik}`: both are made for some rows at a time, and the whole product never.

    Args:
        steps: incidences of the steps, from 1.
    """
    num_nodes, half = steps[0].shape[0], len(steps) // 2
    if not half:
        return np.asarray(steps[0].diagonal())
    forth, back = list(steps[:half]), [step.T.tocsr() for step in reversed(steps[half:])]
    there_and_back = len(forth) == len(back) and all(map(_equal, forth, back))
    size = max(1, int(BLOCK_PRODUCTS * num_nodes / max(_instances(forth), _instances(back), 1.0)))
    found = np.zeros(num_nodes)
    for first in range(0, num_nodes, size):
        one = _rows_of_product(forth, slice(first, first + size))
        other = one if there_and_back else _rows_of_product(back, slice(first, first + size))
        found[first : first + size] = np.asarray(one.multiply(other).sum(axis=1)).ravel()
    return found


def _equal(one: sp.csr_matrix, other: sp.csr_matrix) -> bool:
    return one.shape == other.shape and (one != other).nnz == 0


def _rows_of_product(steps: Sequence[sp.csr_matrix], rows: slice) -> sp.csr_matrix:
    product = steps[0][rows]
    for step in steps[1:]:
        product = product @ step
    return product


def _instances(steps: Sequence[sp.csr_matrix]) -> float:
    """The number of instances of a whole path: no product of its rows takes more multiplications."""
    count = np.ones(steps[-1].shape[1])
    for step in reversed(steps):
        count = step @ count
    return float(count.sum())
