"""The one door through which graphs come in."""

from __future__ import annotations

from typing import Any

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.data.edges import Duplicates, as_edge_index, as_edge_weight, merge_edges
from gcl.data.features import as_features
from gcl.data.labels import as_labels, as_splits


def from_arrays(
    edge_index: Any,
    x: Any = None,
    y: Any = None,
    *,
    num_nodes: int | None = None,
    directed: bool = False,
    edge_weight: Any = None,
    splits: Any = None,
    duplicates: Duplicates = "error",
    sparse: bool | None = None,
) -> Graph:
    """A homogeneous graph from arrays, with every value checked.

    Arrays are torch tensors (of any device; the graph is on the CPU), NumPy arrays or nested lists.

    Args:
        edge_index: whole numbers ``[2, E]``, source above target.
        x: features ``[N, F]``, dense or SciPy sparse; ``None`` = no features.
        y: classes ``[N]`` from 0, -1 = unlabelled.
        num_nodes: N; by default the rows of ``x``, the length of ``y``, or one more than the largest id.
        directed: ``False`` adds the reverse of each edge (edges may be listed in one direction or in both).
        edge_weight: non-negative ``[E]``; 0 = no edge, ``None`` = 1.
        splits: ``[N]`` or ``[N, S]``: 0 train, 1 validation, 2 test, 3 unused.
        duplicates: an edge that is listed twice in one direction is refused (``error``), counts once (``merge``), or
            has its weights added (``sum``). Self-loops are kept.
        sparse: force CSR (``True``) or dense (``False``) features; ``None`` chooses CSR below 4 percent density.

    Returns:
        A graph with node type ``node``, relation ``edge`` and node attributes ``y`` and ``splits`` where given.

    Raises:
        DataError: NaN or infinite features, an id out of range, labels of another length, no nodes or edges, ...
    """
    if num_nodes is not None and (isinstance(num_nodes, bool) or int(num_nodes) != num_nodes or num_nodes < 1):
        raise DataError(f"num_nodes must be a whole number from 1, got {num_nodes!r}")
    features = None if x is None else as_features(x, sparse=sparse)
    if features is not None:
        if num_nodes is not None and features.shape[0] != num_nodes:
            raise DataError(f"features have {features.shape[0]} rows for {num_nodes} nodes; give one row a node")
        num_nodes = int(features.shape[0])
    labels = None if y is None else as_labels(y, num_nodes)
    if num_nodes is None and labels is not None:
        num_nodes = labels.numel()
    if num_nodes == 0:
        raise DataError("the graph has no nodes; features or labels must have at least one row")
    arcs, num_nodes = as_edge_index(edge_index, None if num_nodes is None else int(num_nodes))
    weight = as_edge_weight(edge_weight, arcs.shape[1])
    arcs, weight = merge_edges(arcs, weight, num_nodes, directed=bool(directed), duplicates=duplicates)
    attrs = {} if labels is None else {"y": labels}
    if splits is not None:
        attrs["splits"] = as_splits(splits, num_nodes)
    adjacency = Adjacency.from_edge_index(arcs, (num_nodes, num_nodes), weight)
    if features is not None:
        features = features.to("cpu")
    return Graph.homogeneous(features, adjacency, attrs=attrs)
