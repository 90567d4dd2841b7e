"""Recommenders that need no training: the floors that a trained one has to beat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.ops.largest import largest
from gcl.ops.sparse_product import sparse_product
from gcl.ops.top_items import BYTES_PER_SCORE, MEMORY, Scorer, entries_of_rows

NEIGHBORS = 100  # of each item, for `item_neighbors`


def popularity(train: Adjacency) -> Scorer:
    """Scores every item by its training interactions, for all users alike.

    Args:
        train: users by items; the weights are not looked at, here and below.
    """
    degree = (train.t_row_ptr[1:] - train.t_row_ptr[:-1]).float()  # [n]

    def score(users: Tensor) -> Tensor:
        return degree.to(users.device).repeat(users.numel(), 1)

    return score


def item_neighbors(train: Adjacency, *, neighbors: int = NEIGHBORS) -> Scorer:
    r"""Scores an item by its cosines with those of the user's training items that are among its nearest neighbours:

    .. math:: s(u, j) = \sum_{i \in R_u \cap \mathcal N(j)} \frac{|U_i \cap U_j|}{\sqrt{|U_i|\,|U_j|}}

    with :math:`U_i` the users of item i. Sarwar et al., *Item-Based Collaborative Filtering Recommendation Algorithms*,
    WWW 2001. The similarities are found a block of items at a time and kept as a sparse matrix of ``n * neighbors``
    entries at most; on the CPU.

    Args:
        train: users by items.
        neighbors: how many of each item are kept, those of equal cosine by id; an item without common users is none.
    """
    own = _scipy(train)  # [m, n]
    similarity = _similarity(own, neighbors)

    def score(users: Tensor) -> Tensor:
        return torch.from_numpy((own[users.cpu().numpy()] @ similarity).toarray()).float().to(users.device)

    return score


def graph_filter(train: Adjacency) -> Scorer:
    r"""Scores by two steps over the normalised graph, :math:`R N^\top N`, without any parameter.

    :math:`N_{ui} = R_{ui} / \sqrt{d_u d_i}`: from the user's items to their users and on to the items of these. The
    linear filter of Shen et al., *How Powerful is Graph Convolution for Recommendation?*, CIKM 2021 (GF-CF without its
    ideal low-pass part). A chunk of users at a time, by two products of a sparse and a dense matrix.

    Args:
        train: users by items.
    """
    degrees = [pointer.diff().clamp(min=1).float() for pointer in (train.row_ptr, train.t_row_ptr)]
    weight = (degrees[0][train.row.long()] * degrees[1][train.col.long()]).rsqrt()
    matrix = train.with_weight(weight)  # N, [m, n]
    transposed = matrix.t()

    def score(users: Tensor) -> Tensor:
        row, col = entries_of_rows(train, users.to(train.device))
        some = torch.zeros(train.shape[1], users.numel(), device=train.device)
        some[col, row] = 1  # R^T of these users, [n, b]
        filtered = sparse_product(transposed, sparse_product(matrix, some))
        return filtered.t().contiguous().to(users.device)

    return score


def _scipy(train: Adjacency) -> sp.csr_matrix:
    parts = (np.ones(train.num_arcs), train.col.cpu().numpy(), train.row_ptr.cpu().numpy())
    return sp.csr_matrix(parts, shape=train.shape)


def _similarity(own: sp.csr_matrix, neighbors: int) -> sp.csr_matrix:
    """Row i: the items that i is a neighbour of, with the cosines."""
    columns = own.T.tocsr()
    degree = np.diff(columns.indptr)
    num_items = own.shape[1]
    order = np.argsort(degree, kind="stable")  # rows of a block are of like length
    size = max(1, MEMORY // (BYTES_PER_SCORE * num_items))
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for items in np.split(order, range(size, num_items, size)):
        common = (columns[items] @ own).tocsr()  # users in common
        common.sort_indices()
        count = np.diff(common.indptr)
        row = np.repeat(np.arange(items.size), count)
        place = np.arange(common.nnz) - common.indptr[row]
        # cos^2 times the row's degree: a quotient of whole numbers, so that equal cosines are equal
        square = np.full((items.size, max(int(count.max()), 1)), -np.inf)
        square[row, place] = np.where(items[row] == common.indices, -np.inf, common.data**2 / degree[common.indices])
        best, value = largest(torch.from_numpy(square), min(neighbors, square.shape[1]))
        row, rank = (value > -torch.inf).numpy().nonzero()
        near = common.indices[common.indptr[row] + best.numpy()[row, rank]]
        found.append((near, items[row], np.sqrt(value.numpy()[row, rank] / degree[items[row]])))
    near, item, cosine = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return sp.csr_matrix((cosine, (near, item)), shape=(num_items, num_items))


RANKING_FLOORS: dict[str, Callable[[Adjacency], Scorer]] = {
    "popularity": popularity,
    "item-kNN": item_neighbors,
    "RNᵀN": graph_filter,
}
