"""How central each node is."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import ArpackNoConvergence, eigs, eigsh
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.ops.segment import segment_sum

CentralityName = Literal["degree", "pagerank", "eigenvector"]
DAMPING = 0.85
TOLERANCE = 1e-12
MOST_STEPS = 1000
DENSE = 64  # nodes up to which the dense eigensolver is used


def centrality(adjacency: Adjacency, kind: CentralityName = "degree") -> Tensor:
    r"""The centrality of each node, float64 ``[N]``.

    ===============  ================================================================================================
    ``degree``       number of arcs into the node
    ``pagerank``     the fixed point of :math:`x_i = 0.15 / N + 0.85 \sum_{j \to i} x_j / d^{out}_j`, with the mass of
                     nodes without outgoing arcs spread over all nodes
    ``eigenvector``  the leading eigenvector of :math:`x_i = \lambda^{-1} \sum_{j \to i} x_j`, of length 1, negative
                     entries set to 0
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
    num_nodes = adjacency.shape[0]
    if not num_nodes or not adjacency.num_arcs:
        return torch.zeros(num_nodes, dtype=torch.float64, device=adjacency.device)
    row_ptr, col = adjacency.row_ptr.cpu().numpy(), adjacency.col.cpu().numpy()
    matrix = sp.csr_matrix((np.ones(adjacency.num_arcs), col, row_ptr), adjacency.shape)
    if num_nodes <= DENSE:
        values, vectors = np.linalg.eig(matrix.toarray())
        vector = vectors[:, values.real.argmax()].real
    else:
        start = np.ones(num_nodes)
        try:
            if adjacency.symmetric:
                vector = eigsh(matrix, k=1, which="LA", v0=start)[1][:, 0]
            else:
                vector = eigs(matrix, k=1, which="LR", v0=start)[1][:, 0].real
        except ArpackNoConvergence as error:
            raise DataError(
                "the leading eigenvector does not converge on this graph; use centrality='degree'"
            ) from error
    vector = vector * (1 if vector.sum() >= 0 else -1)
    vector = np.maximum(vector, 0) / np.linalg.norm(vector)
    return torch.from_numpy(vector).to(adjacency.device)
