"""How good clusters are without labels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import davies_bouldin_score, silhouette_score
from threadpoolctl import threadpool_limits
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.evaluate.embeddings import as_embeddings
from gcl.ops.communities import community_counts, modularity

SAMPLE = 5_000  # rows whose distances to each other the silhouette takes


def cluster_quality(
    z: Tensor | None, labels: Tensor, *, adjacency: Adjacency | None = None, normalize: bool = True, seed: int = 0
) -> dict[str, float]:
    r"""Measures of a clustering that look at no label.

    ==================  ===========================================================================  ============
    ``silhouette``      mean of :math:`(b_i - a_i) / \max(a_i, b_i)`; of 5,000 random rows at most    -1 to 1, high
    ``davies_bouldin``  how near clusters are for their spread                                        from 0, low
    ``modularity``      of the partition, on the graph                                                high
    ``conductance``     mean over the clusters of cut / min(volume inside, volume outside)            0 to 1, low
    ==================  ===========================================================================  ============

    The first two are left out without embeddings and where there is one cluster or each row is one, the last two
    without a graph. Clusters
    without arcs, and one that holds all of them, have no conductance.

    Args:
        z: ``[N, d]``, or ``None``.
        labels: cluster of each row, ``[N]``.
        adjacency: a graph over the rows, ``[N, N]``.
        normalize: measure distances between unit rows.
        seed: of the sample.

    Raises:
        DataError: lengths that differ, or rows that are not finite.
    """
    points = None if z is None else as_embeddings(z)
    if points is not None and labels.shape != points.shape[:1]:
        raise DataError(f"there are {labels.numel()} cluster labels for {points.shape[0]} rows; give one a row")
    found: dict[str, float] = {}
    kinds, code = labels.unique(return_inverse=True)
    if points is not None and 1 < kinds.numel() < labels.numel():
        points = points / points.abs().max().clamp(min=1e-30)  # neither measure depends on the unit
        rows, own = (F.normalize(points, dim=1) if normalize else points).numpy(), code.numpy()
        with threadpool_limits(1):
            silhouette = _silhouette(rows, own, seed)
            if silhouette is not None:
                found["silhouette"] = silhouette
            found["davies_bouldin"] = float(davies_bouldin_score(rows, own))
    if adjacency is not None:
        if adjacency.shape != (labels.numel(), labels.numel()):
            raise DataError(f"the graph has {adjacency.shape[0]} nodes for {labels.numel()} rows; give one of the rows")
        found["modularity"] = modularity(adjacency, code)
        value = conductance(adjacency, code)
        if value is not None:
            found["conductance"] = value
    return found


def conductance(adjacency: Adjacency, labels: Tensor) -> float | None:
    """Mean conductance of the clusters that have one, on the simple undirected graph; ``None`` where none has.

    Args:
        adjacency: ``[N, N]``.
        labels: ``[N]``, from 0.
    """
    inner, volume, num_edges = community_counts(adjacency, labels)
    smaller = torch.minimum(volume, 2 * num_edges - volume)
    cut = volume - 2 * inner
    some = smaller > 0
    return float((cut[some] / smaller[some]).mean()) if bool(some.any()) else None


def _silhouette(rows: np.ndarray, own: np.ndarray, seed: int) -> float | None:
    if len(rows) > SAMPLE:
        chosen = np.random.default_rng(seed).choice(len(rows), SAMPLE, replace=False)
        rows, own = rows[chosen], own[chosen]
    if not 1 < len(np.unique(own)) < len(own):
        return None
    return float(silhouette_score(rows, own))
