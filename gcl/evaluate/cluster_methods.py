"""Ways to cluster rows or the nodes of a graph."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import AgglomerativeClustering
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.evaluate.clustering import KMeansAlgorithm, kmeans_assign, kmeans_protocol
from gcl.evaluate.embeddings import as_embeddings
from gcl.ops.communities import detect_communities, modularity

ClusterMethod = Literal["kmeans", "gmm", "agglomerative", "leiden"]

MOST_PAIRS = 20_000  # rows whose distances to each other, 1.6 GB, agglomerative clustering holds
WIDE = 32  # columns from which a full covariance for each cluster has too many entries to be estimated


@dataclass(frozen=True, eq=False)
class Clusters:
    """One clustering.

    Args:
        labels: cluster of each row, int64 ``[N]``, from 0.
        score: what the method itself maximises, by which seeds are compared; no label is in it.
        protocol: the name that results carry.
    """

    labels: Tensor
    score: float
    protocol: str


def find_clusters(
    z: Tensor | None,
    k: int | None,
    *,
    method: ClusterMethod = "kmeans",
    adjacency: Adjacency | None = None,
    normalize: bool = True,
    seed: int = 0,
    n_init: int = 10,
    algorithm: KMeansAlgorithm = "auto",
    resolution: float = 1.0,
) -> Clusters:
    """Clusters rows, or for ``leiden`` the nodes of a graph.

    ==================  ==========================================================================================
    ``kmeans``          see :func:`gcl.evaluate.clustering.kmeans_assign`
    ``gmm``             a mixture of Gaussians (scikit-learn's), with a covariance each, diagonal from 32 columns on
    ``agglomerative``   Ward's minimal variance (scikit-learn's); up to 20,000 rows, no seed matters
    ``leiden``          :func:`gcl.ops.communities.detect_communities`; finds the number of clusters itself
    ==================  ==========================================================================================

    Args:
        z: ``[N, d]``, finite; ``leiden`` does not look at it, and takes ``None``.
        k: clusters, from 1 to N; ``None`` for ``leiden``.
        method: see the table.
        adjacency: the graph, for ``leiden``.
        normalize: scale rows to unit length first.
        seed: from 0 to 2**32 - 1.
        n_init, algorithm: of k-means.
        resolution: of ``leiden``; larger gives more clusters.

    Raises:
        ConfigError: an unknown method, or a number out of range.
        DataError: not a matrix of finite real numbers, or too many rows.
    """
    if method not in get_args(ClusterMethod):
        raise ConfigError(unknown("clustering method", str(method), get_args(ClusterMethod)))
    if method == "leiden":
        if adjacency is None:
            raise ConfigError("leiden clusters the nodes of a graph; give one")
        if z is not None and adjacency.shape != (z.shape[0], z.shape[0]):
            raise DataError(f"the graph has {adjacency.shape[0]} nodes for {z.shape[0]} rows; give one of the rows")
        labels = detect_communities(adjacency, seed=seed, resolution=resolution)
        return Clusters(labels, modularity(adjacency, labels, resolution=resolution), "leiden")
    if z is None:
        raise ConfigError(f"{method} clusters rows; give embeddings")
    if k is None:
        raise ConfigError(f"{method} needs k, the number of clusters")
    if method == "kmeans":
        fit = kmeans_assign(z, k, normalize=normalize, seed=seed, n_init=n_init, algorithm=algorithm)
        return Clusters(fit.labels, -fit.inertia, kmeans_protocol(normalize, fit))
    rows = as_embeddings(z).double()
    rows = _scaled(rows)  # no square overflows
    if normalize:
        rows = F.normalize(rows, dim=1)
    points = _scaled(rows - rows.mean(dim=0)).numpy()  # neither place nor unit changes a clustering
    _check_k(k, len(points))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found, score = _mixture(points, k, seed) if method == "gmm" else _ward(points, k)
    return Clusters(torch.from_numpy(found.astype(np.int64)), score, f"{method}{'-l2' if normalize else ''}")


def _scaled(rows: Tensor) -> Tensor:
    return rows / rows.abs().max().clamp(min=1e-300)


def _mixture(points: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, float]:
    if isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ConfigError(f"a seed must be a whole number from 0 to 2**32 - 1, got {seed!r}")
    if k == len(points):
        return np.arange(k), 0.0
    kind = "diag" if points.shape[1] >= WIDE else "full"
    # of the variance of the data, so that the unit of the columns does not matter
    floor = max(1e-6 * float(points.var(axis=0).mean()), 1e-12)
    model = GaussianMixture(k, covariance_type=kind, random_state=int(seed), reg_covar=floor, max_iter=200).fit(points)
    return model.predict(points), float(model.lower_bound_)


def _ward(points: np.ndarray, k: int) -> tuple[np.ndarray, float]:
    if len(points) > MOST_PAIRS:
        raise DataError(
            f"agglomerative clustering compares all pairs and takes up to {MOST_PAIRS:,} rows, got {len(points):,}; "
            "use kmeans or gmm"
        )
    if k == len(points):
        return np.arange(k), 0.0
    labels = AgglomerativeClustering(k, linkage="ward").fit_predict(points)
    inside = sum(float(np.square(part - part.mean(axis=0)).sum()) for c in range(k) if len(part := points[labels == c]))
    return labels, -inside


def _check_k(k: int, num_rows: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= num_rows:
        raise ConfigError(f"k={k!r} clusters cannot be made of {num_rows} rows; give a k from 1 to {num_rows}")
