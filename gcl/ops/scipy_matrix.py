"""Adjacencies from and to SciPy, whose products of two sparse matrices are the fast ones on a CPU."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from gcl.core.adjacency import Adjacency


def adjacency_of(matrix: sp.csr_matrix, *, weighted: bool = False) -> Adjacency:
    """The adjacency of a matrix without repeated entries, which is sorted in place; its index arrays are shared."""
    matrix.sort_indices()
    weight = torch.from_numpy(matrix.data.astype(np.float32)) if weighted else None
    parts = (part if part.flags.writeable else part.copy() for part in (matrix.indptr, matrix.indices))
    row_ptr, col = map(torch.from_numpy, parts)
    return Adjacency.from_csr(row_ptr, col, matrix.shape, weight)


def binary_matrix(adjacency: Adjacency, *, transposed: bool = False) -> sp.csr_matrix:
    """The kept arcs of weight other than 0 as ones, float64, columns ascending."""
    matrix = adjacency.t() if transposed else adjacency
    present = matrix.values(torch.float64).detach().cpu().numpy() != 0
    pointer, col = matrix.row_ptr.cpu().numpy(), matrix.col.cpu().numpy()
    # Copied: zeros are taken out in place, and the index arrays are the adjacency's.
    binary = sp.csr_matrix((present.astype(np.float64), col, pointer), shape=matrix.shape, copy=True)
    binary.eliminate_zeros()
    return binary
