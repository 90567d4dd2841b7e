"""How many clusters a graph shows."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError

MOST = 20


def eigengap(adjacency: Adjacency, *, most: int = MOST, seed: int = 0) -> int:
    r"""The number of clusters before the widest gap between eigenvalues of the normalised adjacency.

    The eigenvalues of :math:`\tilde D^{-1/2} (A + I) \tilde D^{-1/2}` are ordered, and k is where
    :math:`\lambda_k - \lambda_{k+1}` is largest, from 2 on (von Luxburg, *A Tutorial on Spectral Clustering*, 2007,
    section 8.3). Of several connected components their number is the answer, unless a later gap is more than twice as
    wide. Components of less than a hundredth of the nodes, or of fewer than three, are set aside. Arcs are taken in
    both directions. A heuristic: give k where it is known.

    Args:
        adjacency: ``[N, N]``.
        most: the largest answer.
        seed: starts the search for eigenvectors.

    Returns:
        k, from 1 (no component of three nodes) to ``most``, or the number of components.

    Raises:
        DataError: a rectangle, no node, or eigenvalues that cannot be told apart.
    """
    rows, cols = adjacency.shape
    if rows != cols or not rows:
        raise DataError(f"the eigengap needs a square adjacency with nodes, got {[rows, cols]}")
    values = (adjacency.values() != 0).float().cpu().numpy()
    matrix = sp.csr_matrix((values, adjacency.col.cpu().numpy(), adjacency.row_ptr.cpu().numpy()), shape=(rows, cols))
    matrix = matrix.maximum(matrix.T)
    count, component = connected_components(matrix, directed=False)
    sizes = np.bincount(component, minlength=count)
    kept = np.flatnonzero(sizes >= max(3, 0.01 * rows))
    parts = [_largest(matrix[component == at][:, component == at], most + 1, seed) for at in kept]
    found = np.concatenate([np.zeros(0), *parts])
    ordered = np.sort(found)[::-1][: most + 1]
    gaps, first = -np.diff(ordered), max(2, len(kept)) - 1
    if len(gaps) <= first:
        return max(1, len(kept))
    if len(kept) > 1 and gaps[first] >= 0.5 * gaps[first:].max():
        return len(kept)  # whole components, unless one of them falls apart more clearly
    return int(gaps[first:].argmax()) + first + 1


def _largest(matrix: sp.csr_matrix, count: int, seed: int) -> np.ndarray:
    """The largest eigenvalues of a connected graph, at most ``count``."""
    size = matrix.shape[0]
    matrix = matrix + sp.identity(size, format="csr")
    scale = sp.diags(1 / np.sqrt(np.asarray(matrix.sum(axis=1)).ravel()))
    normalised = sp.csr_matrix(scale @ matrix @ scale)
    if size <= 4 * count:
        return np.linalg.eigvalsh(normalised.toarray())
    start = np.random.default_rng(seed).random(size)
    try:
        values: np.ndarray = eigsh(
            normalised, k=count, which="LA", v0=start, return_eigenvectors=False, tol=1e-4, maxiter=300
        )
    except ArpackNoConvergence as error:
        raise DataError(
            "the number of clusters could not be told by the eigengap: the eigenvalues of the graph lie too close; "
            "give the number"
        ) from error
    return values
