"""Clustering of embeddings, features or a graph, in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import Graph
from gcl.core.report import Report
from gcl.data.labels import as_labels
from gcl.evaluate.cluster_methods import ClusterMethod, Clusters, find_clusters
from gcl.evaluate.cluster_quality import cluster_quality
from gcl.evaluate.clustering import KMeansAlgorithm, cluster_scores, hard_assignment
from gcl.evaluate.embeddings import array_tensor, as_embeddings
from gcl.evaluate.scores import by_metric
from gcl.ops.eigengap import MOST, eigengap
from gcl.ops.knn_graph import knn_graph
from gcl.run.pipeline import pipeline

Method = Literal["kmeans", "gmm", "agglomerative", "leiden", "pamc", "own"]
UNSEEDED = ("agglomerative", "own")  # no seed changes what they give
RESERVED = {"seeds", "floors", "evaluate", "progress", "num_clusters", "out", "dataset", "method"}
NEIGHBOURS = 10  # of the graph that is made where there is none
MOST_ROWS = 50_000  # for which it is made: it compares all pairs


@dataclass(frozen=True, eq=False)
class ClusterResult:
    """Clusterings by several seeds, one of them chosen without labels.

    Args:
        runs: one clustering a seed.
        chosen: position of the one of the highest score.
        k: clusters that were asked for, or found.
        k_from: where that number came from, in words.
        quality: measures of the chosen one that look at no label, see
            :func:`gcl.evaluate.cluster_quality.cluster_quality`.
        report: scores of every seed against labels, where there are some.
        notes: what a reader should know.
    """

    runs: Sequence[Clusters]
    chosen: int
    k: int
    k_from: str
    quality: Mapping[str, float]
    report: Report | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def labels(self) -> Tensor:
        """The chosen clustering, int64 ``[N]``."""
        return self.runs[self.chosen].labels

    @property
    def sizes(self) -> list[int]:
        """Rows in each cluster."""
        sizes: list[int] = self.labels.bincount().tolist()
        return sizes


def cluster(
    z: Tensor | np.ndarray | None,
    *,
    k: int | None = None,
    method: Method = "kmeans",
    assignment: Tensor | np.ndarray | None = None,
    adjacency: Adjacency | None = None,
    y: Tensor | np.ndarray | Sequence[Any] | None = None,
    normalize: bool = True,
    seeds: int | None = None,
    algorithm: KMeansAlgorithm = "auto",
    resolution: float = 1.0,
    settings: Mapping[str, Any] | None = None,
    progress: bool | None = False,
) -> ClusterResult:
    """Clusters rows by several seeds, takes the best by the method's own measure, and scores them.

    Args:
        z: embeddings or features, ``[N, d]``, finite; ``None`` for ``leiden`` with a graph, which reads none.
        k: clusters; ``None`` takes the number of classes in ``y``, else the eigengap of the graph. ``leiden`` finds it.
        method: ``kmeans``, ``gmm``, ``agglomerative``, ``leiden`` (see
            :func:`gcl.evaluate.cluster_methods.find_clusters`); ``pamc``, which trains
            :class:`gcl.methods.pamc.PamC` on the rows as features; or ``own``, which takes ``assignment``.
        assignment: clusters that are there already, int ``[N]`` or soft ``[N, K]``, for ``own``.
        adjacency: a graph over the rows, ``[N, N]``. Where ``leiden``, ``pamc`` or the eigengap needs one and there is
            none, each row is joined to its 10 nearest, up to 50,000 rows.
        y: labels to score against, ``[N]``: classes from 0, -1 = unlabelled; or words, of which ``""`` and ``"-1"`` are
            none. No choice looks at them, but the number of classes.
        normalize: scale rows to unit length first (not for ``pamc``).
        seeds: how many, from 1; ``None`` = 5, but 1 for ``pamc``, which trains for each. Of ``agglomerative`` and
            ``own``, which no seed changes, there is one.
        algorithm: of k-means.
        resolution: of ``leiden``.
        settings: of ``pamc``: arguments of the method and of ``trainer``, as in :func:`gcl.pipeline`.
        progress: of ``pamc``; ``None`` = shown where a person looks.

    Raises:
        ConfigError: an unknown method, a number out of range, or options that do not go together.
        DataError: rows, labels or a graph that cannot be used.
    """
    k, seeds = (_plain_number(number) for number in (k, seeds))
    _check_options(method, k, seeds, algorithm, resolution, settings, assignment)
    if z is None and (method != "leiden" or adjacency is None):
        raise ConfigError("without embeddings there is only a graph to cluster, by method leiden; give one of the two")
    z = None if z is None else as_embeddings(array_tensor(z))
    num_rows = z.shape[0] if z is not None else adjacency.shape[0] if adjacency is not None else 0
    y = None if y is None else _labels(y, num_rows)
    notes: list[str] = []
    classes = 0 if y is None else int(y[y >= 0].unique().numel())
    if y is not None and not classes:
        notes.append("none of the rows has a label (all are -1), so nothing is scored")
    if z is not None and bool((z == z[:1]).all()):
        notes.append("all rows are equal, so any clustering of them is arbitrary")
    graph = adjacency
    if (
        graph is None
        and z is not None
        and method != "own"
        and (method in ("leiden", "pamc") or (k is None and not classes))
    ):
        graph = _neighbours(z, normalize, notes)
    k_from = "given"
    if method == "own":
        k_from = "the run's own assignment"
    elif method == "leiden":
        k_from = f"found by leiden, resolution {resolution:g}"
    elif k is None and classes:
        k, k_from = classes, "the number of classes"
    elif k is None:
        assert graph is not None
        k, k_from = eigengap(graph), "the eigengap of the graph"
        if k >= MOST:
            notes.append(f"the eigengap looks no further than {MOST} clusters; give the number if there may be more")
    runs: list[Clusters] = []
    for seed in range(seeds or (1 if method in (*UNSEEDED, "pamc") else 5)):
        if method == "own":
            assert assignment is not None
            own = hard_assignment(array_tensor(assignment, name="the assignment"))
            made = Clusters(own.long(), 0.0, "assignment")
        elif method == "pamc":
            assert graph is not None
            assert z is not None
            made = _by_pamc(z, graph, k, seed, settings or {}, progress)
        else:
            made = find_clusters(
                z,
                k,
                method=_plain(method),
                adjacency=graph,
                normalize=normalize,
                seed=seed,
                algorithm=algorithm,
                resolution=resolution,
            )
        runs.append(dataclasses.replace(made, labels=made.labels.unique(return_inverse=True)[1]))  # no gaps
    chosen = max(range(len(runs)), key=lambda index: (runs[index].score, -index))
    found = int(runs[chosen].labels.max()) + 1
    if k is None:
        k = found
    elif found != k:
        notes.append(f"{found} of {k} clusters have a row; the others are empty")
    report = None
    if y is not None and classes:
        values = by_metric([cluster_scores(run.labels, y) for run in runs])
        details = {"k": k, "chosen": chosen}
        report = Report("clustering", runs[0].protocol, int((y >= 0).sum()), values, list(range(len(runs))), details)
    quality = cluster_quality(z, runs[chosen].labels, adjacency=adjacency, normalize=normalize)
    return ClusterResult(runs, chosen, k, k_from, quality, report, tuple(notes))


def _plain_number(number: Any) -> Any:
    """NumPy's whole numbers as Python's; whatever else as it is."""
    return int(number) if isinstance(number, np.integer) else number


def _labels(y: Any, num_rows: int) -> Tensor:
    """Labels of some rows, int64 ``[N]``; words are numbered in sorted order, without ``""`` and ``"-1"``."""
    listed = isinstance(y, Sequence) or (isinstance(y, np.ndarray) and y.ndim == 1)
    if listed and all(isinstance(word, str) for word in y):
        words = np.asarray(y, dtype=str)
        known = (words != "") & (words != "-1")
        codes = np.full(len(words), -1)
        codes[known] = np.unique(words[known], return_inverse=True)[1]
        y = codes
    return as_labels(y, num_rows)


def _check_options(
    method: str,
    k: int | None,
    seeds: int | None,
    algorithm: str,
    resolution: float,
    settings: Mapping[str, Any] | None,
    assignment: Tensor | np.ndarray | None,
) -> None:
    """Refuses what a method cannot take, before any work."""
    if method not in get_args(Method):
        raise ConfigError(unknown("clustering method", str(method), get_args(Method)))
    if seeds is not None and (isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1):
        raise ConfigError(f"seeds must be a whole number from 1, got {seeds!r}")
    if seeds is not None and seeds > 1 and method in UNSEEDED:
        raise ConfigError(
            f"method {method} gives the same clusters with every seed, got seeds={seeds}; leave seeds out"
        )
    if method in ("leiden", "own") and k is not None:
        more = ", and set the resolution for more" if method == "leiden" else ""
        raise ConfigError(f"{method} finds the number of clusters itself; leave k out{more}")
    for name, given, owner in (
        ("resolution", resolution != 1.0, "leiden"),
        ("algorithm", algorithm != "auto", "kmeans"),
        ("settings", bool(settings), "pamc"),
        ("assignment", assignment is not None, "own"),
    ):
        if given and method != owner:
            raise ConfigError(f"{name} belong{'' if name.endswith('s') else 's'} to method {owner}; leave {name} out")
    if method == "own" and assignment is None:
        raise ConfigError("method own needs an assignment, which embeddings alone do not have; choose another method")
    taken = sorted(set(settings or {}) & RESERVED)
    if taken:
        raise ConfigError(f"settings of pamc are those of the method and its trainer, not {', '.join(taken)}")


def compare_clusterings(first: Tensor, second: Tensor) -> dict[str, float]:
    """How far two clusterings of the same rows agree: ``nmi``, ``ari``, and ``matched``, the share of rows in matched
    clusters.

    Args:
        first: int ``[N]``.
        second: int ``[N]``, -1 = left out.

    Raises:
        DataError: lengths that differ, or a second one that leaves every row out.
    """
    check_comparison(second, first.numel())
    scores = cluster_scores(first, second)
    return {"nmi": scores["nmi"], "ari": scores["ari"], "matched": scores["accuracy"]}


def check_comparison(labels: Tensor, num_rows: int) -> None:
    """Refuses a clustering that none of ``num_rows`` rows can be compared with, see :func:`compare_clusterings`.

    Raises:
        DataError: another number of rows, or every row left out.
    """
    if labels.shape != (num_rows,):
        raise DataError(
            f"the clustering to compare with has {labels.numel()} rows for {num_rows} here; give the same rows"
        )
    if not bool((labels >= 0).any()):
        raise DataError("the clustering to compare with leaves every row out (all are -1); give one of these rows")


def _plain(method: str) -> ClusterMethod:
    assert method in get_args(ClusterMethod)
    return method  # type: ignore[return-value]


def _neighbours(z: Tensor, normalize: bool, notes: list[str]) -> Adjacency:
    if z.shape[0] > MOST_ROWS:
        raise DataError(
            f"a graph of neighbours compares all pairs and takes up to {MOST_ROWS:,} rows, got {z.shape[0]:,}; "
            "give a graph, or k where only the number of clusters is missing"
        )
    k = min(NEIGHBOURS, z.shape[0] - 1)
    if k < 1:
        raise DataError("one row alone has no neighbours; give at least two rows")
    similarity: Literal["cosine", "heat"] = "cosine" if normalize else "heat"
    notes.append(f"the graph joins each row to its {k} nearest ({'cosine' if normalize else 'euclidean'})")
    return knn_graph(z, k, similarity=similarity)


def _by_pamc(
    z: Tensor, adjacency: Adjacency, k: int | None, seed: int, settings: Mapping[str, Any], progress: bool | None
) -> Clusters:
    result = pipeline(
        "pamc",
        Graph.homogeneous(z.float(), adjacency),
        seeds=[seed],
        floors=False,
        evaluate=False,
        progress=progress,
        num_clusters=k,
        **settings,
    )
    assignment = result.runs[0].outputs.assignment
    assert assignment is not None
    # how sure the assignment is, as a share of its most; one with an empty cluster comes after all others
    labels, sure = assignment.argmax(dim=1), float(assignment.amax(dim=1).mean())
    return Clusters(labels, sure - (assignment.shape[1] - labels.unique().numel()), "pamc")
