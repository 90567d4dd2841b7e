"""How many clusters a graph shows."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError

MOST = 20


def eigengap(adjacency: Adjacency, *, most: int = MOST, seed: int = 0) -> int:
    r"""The number of clusters before the widest gap between eigenvalues of the normalised adjacency.

    The eigenvalues of :math:`\tilde D^{-1/2} (A + I) \tilde D^{-1/2}` on the largest connected component are ordered,
    and k is where :math:`\lambda_k - \lambda_{k+1}` is largest, from 2 on (von Luxburg, *A Tutorial on Spectral
    Clustering*, 2007, section 8.3). Arcs are taken in both directions. A heuristic: give k where it is known.

    Args:
        adjacency: ``[N, N]``.
        most: the largest answer.
        seed: starts the search for eigenvectors.

    Returns:
        k, from 1 (a component of fewer than three nodes) to ``most``.

    Raises:
        DataError: a rectangle, or no node.
    """
    rows, cols = adjacency.shape
    if rows != cols or not rows:
        raise DataError(f"the eigengap needs a square adjacency with nodes, got {[rows, cols]}")
    values = (adjacency.values() != 0).float().cpu().numpy()
    matrix = sp.csr_matrix((values, adjacency.col.cpu().numpy(), adjacency.row_ptr.cpu().numpy()), shape=(rows, cols))
    matrix = matrix.maximum(matrix.T)
    _, component = connected_components(matrix, directed=False)
    inside = component == np.bincount(component).argmax()
    matrix = matrix[inside][:, inside] + sp.identity(int(inside.sum()), format="csr")
    size = matrix.shape[0]
    if size < 3:
        return 1
    scale = sp.diags(1 / np.sqrt(np.asarray(matrix.sum(axis=1)).ravel()))
    normalised = sp.csr_matrix(scale @ matrix @ scale)
    wanted = min(most + 1, size)
    if wanted >= size:
        found = np.linalg.eigvalsh(normalised.toarray())
    else:
        start = np.random.default_rng(seed).random(size)
        found = eigsh(normalised, k=wanted, which="LA", v0=start, return_eigenvectors=False, tol=1e-6)
    gaps = -np.diff(np.sort(found)[::-1][:wanted])
    return int(gaps[1:].argmax()) + 2
