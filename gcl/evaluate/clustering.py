"""Node clustering by k-means, scored against labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, f1_score, normalized_mutual_info_score
from threadpoolctl import threadpool_limits
from torch import Tensor

from gcl.core.context import Outputs
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.data.labels import as_labels
from gcl.evaluate.embeddings import as_embeddings
from gcl.evaluate.scores import by_metric

KMeansAlgorithm = Literal["auto", "lloyd", "minibatch"]
MINI_BATCH_FROM = 200_000  # rows from which `auto` looks at batches of them: ten times sooner done there
BATCH = 4096


def cluster_scores(assignment: Tensor, y: Tensor) -> dict[str, float]:
    r"""Scores a clustering against classes.

    ``accuracy`` is the share of nodes in the cluster that is matched to their class,

    .. math:: \max_{\pi} \frac1n \sum_i \mathbb 1[\pi(a_i) = y_i]

    over matchings :math:`\pi` of clusters with classes, each used at most once (Kuhn, 1955); the nodes of a cluster
    without a class count as wrong. ``nmi`` is the mutual information over the arithmetic mean of the entropies, ``ari``
    the adjusted Rand index, ``macro_f1`` the mean F1 over the classes after the matching.

    Args:
        assignment: cluster of each node, whole numbers from 0, ``[N]``; any number of clusters.
        y: class of each node, ``[N]``; -1 = unlabelled, left out.

    Raises:
        DataError: lengths that differ, values that are no ids, or no label at all.
    """
    assignment, y = torch.as_tensor(assignment).detach().cpu(), torch.as_tensor(y)
    if assignment.dim() != 1 or assignment.is_floating_point() or assignment.is_complex() or not assignment.numel():
        raise DataError(
            f"a clustering must be one whole number a node, got {assignment.dtype} {list(assignment.shape)}"
        )
    if int(assignment.min()) < 0:
        raise DataError(f"cluster ids must start at 0, got {int(assignment.min())}; number the clusters from 0")
    y = as_labels(y, assignment.numel())
    labelled = y >= 0
    if not bool(labelled.any()):
        raise DataError(f"none of the {y.numel()} nodes has a label (all are -1); scoring clusters needs labels")
    clusters, cluster = np.unique(assignment[labelled].numpy(), return_inverse=True)
    classes, truth = np.unique(y[labelled].numpy(), return_inverse=True)
    together = np.zeros((len(clusters), len(classes)), dtype=np.int64)  # nodes in cluster and class
    np.add.at(together, (cluster, truth), 1)
    matched, to = linear_sum_assignment(together, maximize=True)
    class_of = np.full(len(clusters), -1)  # -1 = no class left for this cluster
    class_of[matched] = to
    predicted = class_of[cluster]
    present = range(len(classes))
    return {
        "accuracy": float(np.mean(predicted == truth)),
        "nmi": float(normalized_mutual_info_score(truth, cluster, average_method="arithmetic")),
        "ari": float(adjusted_rand_score(truth, cluster)),
        "macro_f1": float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
    }


def hard_assignment(assignment: Tensor) -> Tensor:
    """The cluster of each row ``[N]``: of a soft assignment ``[N, K]`` the likeliest, a hard one ``[N]`` as it is."""
    return assignment if assignment.dim() == 1 else assignment.argmax(dim=1)


@dataclass(frozen=True, eq=False)
class KMeansFit:
    """A clustering by k-means.

    Args:
        labels: cluster of each row, int64 ``[N]``.
        inertia: sum of squared distances to the centres.
        algorithm: ``lloyd`` or ``minibatch``.
    """

    labels: Tensor
    inertia: float
    algorithm: str


def kmeans_assign(
    z: Tensor, k: int, *, normalize: bool = True, seed: int = 0, n_init: int = 10, algorithm: KMeansAlgorithm = "auto"
) -> KMeansFit:
    """Clusters rows by k-means (scikit-learn's, from k-means++ starts).

    Runs on one thread: with several, sums are added in an order that changes from run to run.

    Args:
        z: ``[N, d]``.
        k: clusters, 1 to N.
        normalize: scale rows to unit length first.
        seed: 0 to 2**32 - 1.
        n_init: starts, from 1; ``lloyd`` follows each to its end and keeps the best, ``minibatch`` follows the best.
        algorithm: ``lloyd``: passes over all rows; ``minibatch``: steps on 4,096 random rows (Sculley, *Web-Scale
            K-Means Clustering*, WWW 2010), a little less exact; ``auto``: ``minibatch`` from 200,000 rows on.

    Returns:
        The assignment, its inertia and the algorithm that was used.

    Raises:
        ConfigError: ``k``, ``seed`` or ``n_init`` out of range, or an unknown algorithm.
        DataError: not a matrix of finite real numbers.
    """
    return _kmeans(_points(z, normalize), k, seed, n_init, algorithm)


def kmeans_report(
    z: Tensor,
    y: Tensor,
    *,
    k: int | None = None,
    normalize: bool = True,
    seeds: Iterable[int] = range(5),
    n_init: int = 10,
    algorithm: KMeansAlgorithm = "auto",
) -> Report:
    """Clusters embeddings by k-means and scores the clusters.

    The protocol is ``kmeans-l2``, or ``kmeans`` without scaling, with ``-minibatch`` behind it where that was used.

    Args:
        z: ``[N, d]``.
        y: class of each row, ``[N]``; -1 = unlabelled: clustered, but left out of the scores.
        k: clusters; ``None`` = the number of classes that occur.
        normalize: scale rows to unit length first.
        seeds: one k-means each.
        n_init, algorithm: as in :func:`kmeans_assign`.

    Returns:
        ``accuracy``, ``nmi``, ``ari`` and ``macro_f1`` (see :func:`cluster_scores`), one value a seed.

    Raises:
        ConfigError: ``k``, a seed or ``n_init`` out of range, or an unknown algorithm.
        DataError: embeddings or labels that cannot be used.
    """
    points = _points(z, normalize)
    y = as_labels(y, points.shape[0])
    k = _num_classes(y) if k is None else k
    seeds = list(seeds)
    if not seeds:
        raise ConfigError("k-means needs at least one seed")
    runs = [_kmeans(points, k, seed, n_init, algorithm) for seed in seeds]
    values = by_metric([cluster_scores(run.labels, y) for run in runs])
    details = {"k": k, "n_init": n_init, "inertia": [run.inertia for run in runs]}
    protocol = kmeans_protocol(normalize, runs[0])
    return Report("clustering", protocol, int((y >= 0).sum()), values, seeds, details)


def kmeans_protocol(normalize: bool, fit: KMeansFit) -> str:
    """The name that results of such a clustering carry."""
    return ("kmeans-l2" if normalize else "kmeans") + ("-minibatch" if fit.algorithm == "minibatch" else "")


@dataclass(frozen=True, eq=False)
class HeldClasses:
    """What clustering holds out: labels ``[N]``, and the number of clusters to look for."""

    y: Tensor
    k: int


class Clustering:
    """Scores a method's embeddings by clustering them.

    Where the method makes an assignment of its own, its scores stand in ``details["assignment"]``.

    Args:
        k: clusters; ``None`` = the number of classes.
        normalize: scale rows to unit length first (protocol ``kmeans-l2``), or not (``kmeans``).
        num_seeds: how many k-means seeds, from 0 on.
        n_init, algorithm: as in :func:`kmeans_assign`.
        embedding: which of the method's embeddings is clustered, by name; ``None`` = the main one.

    Raises:
        ConfigError: a number below 1, or an unknown algorithm.
    """

    takes_embedding: ClassVar[bool] = True  # whether one may be chosen

    def __init__(
        self,
        *,
        k: int | None = None,
        normalize: bool = True,
        num_seeds: int = 5,
        n_init: int = 10,
        algorithm: KMeansAlgorithm = "auto",
        embedding: str | None = None,
    ):
        if embedding is not None and not self.takes_embedding:
            raise ConfigError(f"an assignment is of no embedding, got embedding={embedding!r}; leave it out")
        _check_algorithm(algorithm)
        for name, value in (("k", k), ("num_seeds", num_seeds), ("n_init", n_init)):
            if value is not None or name != "k":
                _check_count(name, value)
        self.k = k
        self.normalize = normalize
        self.num_seeds = num_seeds
        self.n_init = n_init
        self.algorithm = algorithm
        self.embedding = embedding

    def split(self, graph: Graph, *, seed: int) -> tuple[Graph, HeldClasses]:
        """The graph without labels, and these.

        Raises:
            DataError: the graph has no labels.
            ConfigError: ``k`` is larger than the number of nodes.
        """
        y = graph.attr("y")
        if y is None:
            raise DataError(
                f"the graph has no labels on {graph.target!r} nodes and scoring clusters needs them; "
                "give labels, or leave the evaluation out"
            )
        y = as_labels(y, graph.num_nodes)
        k = _num_classes(y) if self.k is None else self.k
        _check_k(k, graph.num_nodes)
        return graph.for_training(), HeldClasses(y, k)

    def validate(self, outputs: Outputs, held: HeldClasses) -> dict[str, float]:
        """``{"explained": share of the variance that lies between clusters}``; looks at no label."""
        points = _points(outputs.named(self.embedding), self.normalize)
        inertia = _kmeans(points, held.k, 0, self.n_init, self.algorithm).inertia
        total = float(np.square(points - points.mean(axis=0)).sum())
        # what is left of the variance of collapsed embeddings is rounding, which clusters explain well
        collapsed = total <= 1e-10 * float(np.square(points).sum())
        return {"explained": 0.0 if collapsed else 1.0 - inertia / total}

    def evaluate(self, outputs: Outputs, held: HeldClasses, *, seed: int) -> Report:
        """Scores of every k-means seed.

        Raises:
            DataError: embeddings that are not finite or not one a node.
        """
        report = kmeans_report(
            outputs.named(self.embedding),
            held.y,
            k=held.k,
            normalize=self.normalize,
            seeds=range(self.num_seeds),
            n_init=self.n_init,
            algorithm=self.algorithm,
        )
        if outputs.assignment is None:
            return report
        details = {**report.details, "assignment": cluster_scores(hard_assignment(outputs.assignment), held.y)}
        return Report(report.task, report.protocol, report.n, report.values, report.seeds, details)


def _points(z: Tensor, normalize: bool) -> np.ndarray:
    z = as_embeddings(z)
    largest = float(z.abs().max()) if z.numel() else 0.0
    if largest > 1e15 or 0 < largest < 1e-15:  # whose squares leave the range of float32
        z = z / largest
    return (F.normalize(z, dim=1) if normalize else z).numpy()


def _kmeans(points: np.ndarray, k: int, seed: int, n_init: int, algorithm: str) -> KMeansFit:
    _check_k(k, len(points))
    _check_count("n_init", n_init)
    _check_algorithm(algorithm)
    if isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ConfigError(f"a k-means seed must be a whole number from 0 to 2**32 - 1, got {seed!r}")
    if algorithm == "auto":
        algorithm = "minibatch" if len(points) >= MINI_BATCH_FROM else "lloyd"
    options = {"n_clusters": k, "n_init": n_init, "random_state": int(seed)}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters: some stay empty
        if algorithm == "minibatch":
            model = MiniBatchKMeans(batch_size=max(BATCH, 2 * k), **options).fit(points)
        else:
            model = KMeans(**options).fit(points)
    return KMeansFit(torch.from_numpy(model.labels_.astype(np.int64)), float(model.inertia_), algorithm)


def _check_algorithm(algorithm: str) -> None:
    if algorithm not in get_args(KMeansAlgorithm):
        raise ConfigError(unknown("k-means algorithm", str(algorithm), get_args(KMeansAlgorithm)))


def _num_classes(y: Tensor) -> int:
    classes = int(y[y >= 0].unique().numel())
    if classes == 0:
        raise DataError(f"none of the {y.numel()} nodes has a label (all are -1); scoring clusters needs labels")
    return classes


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number from 1, got {value!r}")


def _check_k(k: int, num_nodes: int) -> None:
    _check_count("k", k)
    if k > num_nodes:
        raise ConfigError(f"k={k} clusters cannot be made of {num_nodes} nodes; give a k from 1 to {num_nodes}")
