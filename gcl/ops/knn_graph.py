"""A graph of nearest neighbours, for data that has none."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, unknown
from gcl.ops.nearest_neighbors import nearest_neighbors

Similarity = Literal["heat", "cosine", "shared_words", "normalised_words"]


def knn_graph(x: Tensor, k: int, *, similarity: Similarity = "heat", block: int | None = None) -> Adjacency:
    r"""Joins every row to its k most similar other rows, and takes the union of both directions.

    ====================  ===================================================================================
    ``heat``              :math:`e^{-\lVert x_i - x_j \rVert^2 / t}`: by distance, which has no underflow
    ``cosine``            the cosine
    ``shared_words``      how many columns are above 0 in both rows (SDCN's program calls it ``cos``)
    ``normalised_words``  the same, each row divided by how many it has (its ``ncos``)
    ====================  ===================================================================================

    Exact, in blocks; equally similar rows are taken in order of their index. Bo et al., SDCN (arXiv 2002.01633).

    Args:
        x: finite, ``[N, d]``.
        k: neighbours of each row, from 1 to N - 1.
        similarity: see the table.
        block: rows compared at once; ``None`` keeps the working memory near 64 MiB.

    Returns:
        ``[N, N]``, symmetric, without weights and loops; a row may have more than k arcs.

    Raises:
        ConfigError: an unknown similarity, or k out of range.
        DataError: ``x`` is not a finite matrix.
    """
    if similarity not in get_args(Similarity):
        raise ConfigError(unknown("similarity", str(similarity), get_args(Similarity)))
    if similarity in ("shared_words", "normalised_words") and x.dim() == 2:
        x = torch.where(x.isfinite(), (x > 0).double(), x.double())  # what is not finite stays, to be refused
        if similarity == "normalised_words":
            x = x / x.sum(dim=1, keepdim=True).clamp(min=1)
    metric: Literal["euclidean", "cosine", "dot"]
    metric = "euclidean" if similarity == "heat" else "cosine" if similarity == "cosine" else "dot"
    neighbours, _ = nearest_neighbors(x, k, metric=metric, block=block)
    num_rows = x.shape[0]
    row = torch.arange(num_rows, device=x.device).repeat_interleave(k)
    col = neighbours.flatten()
    arcs = torch.stack([torch.cat([row, col]), torch.cat([col, row])])
    merged = Adjacency.from_edge_index(arcs, (num_rows, num_rows), duplicates="first")
    return merged.with_weight(None)
