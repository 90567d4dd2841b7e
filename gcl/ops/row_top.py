"""The entries of each row of a sparse matrix that rank first."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp


def row_top(matrix: sp.csr_matrix, top: int, *, score: np.ndarray | None = None) -> sp.csr_matrix:
    """A matrix with at most ``top`` entries of each row, those of the largest score; of equal ones the leftmost.

    Args:
        matrix: columns ascending inside each row.
        top: from 1.
        score: of each entry, ``[nnz]``; ``None`` = its value.
    """
    counts = np.diff(matrix.indptr)
    if not counts.size or counts.max() <= top:
        return matrix
    row = np.repeat(np.arange(matrix.shape[0]), counts)
    long = counts[row] > top  # the others are not sorted
    entry = np.flatnonzero(long)
    order = entry[np.lexsort((-(matrix.data if score is None else score)[entry], row[entry]))]  # stable: columns ascend
    place = np.arange(order.size) - np.repeat(
        np.cumsum(counts[counts > top]) - counts[counts > top], counts[counts > top]
    )
    kept = ~long
    kept[order[place < top]] = True
    return sp.csr_matrix((matrix.data[kept], (row[kept], matrix.indices[kept])), shape=matrix.shape)
