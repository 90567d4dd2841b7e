"""How central each node is."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, eigs, eigsh
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.ops.segment import segment_sum

CentralityName = Literal["degree", "pagerank", "eigenvector"]
DAMPING = 0.85
TOLERANCE = 1e-12
MOST_STEPS = 1000
TIE = 1e-9  # relative difference below which two parts of a graph have the same eigenvalue
DENSE = 64  # nodes up to which the dense eigensolver is used


def centrality(adjacency: Adjacency, kind: CentralityName = "degree") -> Tensor:
    r"""The centrality of each node, float64 ``[N]``.

    ===============  ================================================================================================
    ``degree``       number of arcs into the node
    ``pagerank``     the fixed point of :math:`x_i = 0.15 / N + 0.85 \sum_{j \to i} x_j / d^{out}_j`, with the mass of
                     nodes without outgoing arcs spread over all nodes
    ``eigenvector``  the leading eigenvector of :math:`x_i = \lambda^{-1} \sum_{j \to i} x_j`, of length 1, negative
                     entries set to 0; of an undirected graph only the parts with the largest eigenvalue have one above
                     0, and a directed graph without a cycle has none
    ===============  ================================================================================================

    Weights and dropped arcs are not looked at.

    Args:
        adjacency: ``[N, N]``.
        kind: see the table.

    Raises:
        ConfigError: an unknown kind.
        DataError: a rectangle.
    """
    if kind not in get_args(CentralityName):
        raise ConfigError(unknown("centrality", str(kind), get_args(CentralityName)))
    num_nodes = adjacency.shape[0]
    if num_nodes != adjacency.shape[1]:
        raise DataError(f"centrality needs a square adjacency, got {list(adjacency.shape)}")
    if kind == "degree":
        return adjacency.row_ptr.diff().double()
    if kind == "pagerank":
        return _pagerank(adjacency)
    return _eigenvector(adjacency)


def walk_steps(adjacency: Adjacency, num_steps: int) -> Tensor:
    r"""Steps :math:`x_i \leftarrow 0.15\, x_i + 0.85 \sum_{j \to i} x_j / d^{out}_j` from 1, float64 ``[N]``.

    What the program of GCA calls PageRank: it returns to where it is, not to a uniform node, and so tends to the
    stationary distribution of the random walk, which is the degree on a connected graph.
    """
    x = torch.ones(adjacency.shape[0], dtype=torch.float64, device=adjacency.device)
    for _ in range(num_steps):
        x = (1 - DAMPING) * x + DAMPING * _spread(adjacency, x)
    return x


def _spread(adjacency: Adjacency, x: Tensor) -> Tensor:
    """What every node receives where each shares its value evenly among its outgoing arcs."""
    out_degree = adjacency.t_row_ptr.diff().double().clamp(min=1)
    return segment_sum((x / out_degree)[adjacency.col.long()], row_ptr=adjacency.row_ptr)


def _pagerank(adjacency: Adjacency) -> Tensor:
    num_nodes = max(adjacency.shape[0], 1)
    x = torch.full((adjacency.shape[0],), 1 / num_nodes, dtype=torch.float64, device=adjacency.device)
    dangling = adjacency.t_row_ptr.diff() == 0
    for _ in range(MOST_STEPS):
        new = DAMPING * (_spread(adjacency, x) + x[dangling].sum() / num_nodes) + (1 - DAMPING) / num_nodes
        change = float((new - x).abs().sum())
        x = new
        if change < TOLERANCE:
            break
    return x


def _eigenvector(adjacency: Adjacency) -> Tensor:
    vector = np.zeros(adjacency.shape[0])
    if adjacency.num_arcs:
        row_ptr, col = adjacency.row_ptr.cpu().numpy(), adjacency.col.cpu().numpy()
        matrix = sp.csr_matrix((np.ones(adjacency.num_arcs), col, row_ptr), adjacency.shape)
        vector = _by_part(matrix) if adjacency.symmetric else _directed(matrix)
    return torch.from_numpy(vector).to(adjacency.device)


def _by_part(matrix: sp.csr_matrix) -> np.ndarray:
    """The leading eigenvector of an undirected graph, exactly 0 outside the parts that have the largest eigenvalue.

    A connected part has one leading eigenvector. Where several parts share the eigenvalue, this is the projection of
    the uniform vector on theirs, which does not depend on the order of the nodes.
    """
    num_parts, part = connected_components(matrix, directed=False)
    members = np.split(np.argsort(part, kind="stable"), np.cumsum(np.bincount(part, minlength=num_parts))[:-1])
    most = np.zeros(num_parts)  # largest degree in each part, which its eigenvalue does not exceed
    np.maximum.at(most, part, np.diff(matrix.indptr))
    best, vector = 0.0, np.zeros(matrix.shape[0])
    for index in np.argsort(-most, kind="stable"):
        if most[index] < best * (1 - TIE):
            break
        nodes = members[index]
        value, own = _leading(matrix if num_parts == 1 else matrix[nodes][:, nodes])
        if value > best * (1 + TIE):
            vector[:] = 0
        if value >= best * (1 - TIE):
            best = max(best, value)
            vector[nodes] = own * own.sum()
    return vector / np.linalg.norm(vector)


def _directed(matrix: sp.csr_matrix) -> np.ndarray:
    """The leading eigenvector of a directed graph; 0 where there is no cycle, as every eigenvalue is 0 there."""
    num_nodes = matrix.shape[0]
    num_parts, _ = connected_components(matrix, connection="strong")
    if num_parts == num_nodes and not matrix.diagonal().any():
        return np.zeros(num_nodes)
    return _leading(matrix, symmetric=False)[1]


def _leading(matrix: sp.csr_matrix, *, symmetric: bool = True) -> tuple[float, np.ndarray]:
    """The largest eigenvalue and its vector, of length 1 and without negative entries."""
    if matrix.shape[0] <= DENSE:
        values, vectors = (np.linalg.eigh if symmetric else np.linalg.eig)(matrix.toarray())
    else:
        try:
            start = np.ones(matrix.shape[0])
            if symmetric:
                values, vectors = eigsh(matrix, k=1, which="LA", v0=start)
            else:
                values, vectors = eigs(matrix, k=1, which="LR", v0=start)
        except ArpackNoConvergence as error:
            raise DataError(
                "the leading eigenvector does not converge on this graph; use centrality='degree'"
            ) from error
    leading = values.real.argmax()
    vector = vectors[:, leading].real
    vector = np.maximum(vector if vector.sum() >= 0 else -vector, 0)
    return float(values[leading].real), vector / np.linalg.norm(vector)
