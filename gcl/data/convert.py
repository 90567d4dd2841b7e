"""Graphs from and to PyG, networkx and SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError, MissingDependencyError
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.data.edges import as_bipartite_edges, as_edge_weight, merge_edges
from gcl.data.features import as_features
from gcl.data.from_arrays import from_arrays
from gcl.data.labels import as_labels
from gcl.data.node_files import naming
from gcl.data.reverse_relations import without_reversed
from gcl.data.splits import PARTS, UNUSED

if TYPE_CHECKING:
    from torch_geometric.data import Data

MASKS = ("train_mask", "val_mask", "test_mask")


def from_pyg(data: Any, *, target: str | None = None, sparse: bool | None = None) -> Graph:
    """The graph of a PyG ``Data`` or ``HeteroData``, arcs as stored (both directions of an undirected edge).

    Reads ``edge_index``, ``edge_weight``, ``x``, ``y`` and the train, val and test masks (``[N]`` or ``[N, S]``), no
    other attribute. An arc that is listed twice counts once. Of ``HeteroData`` a one-column ``edge_attr`` stands in for
    ``edge_weight``; a relation has the middle word of its edge type as its name, or ``src__rel__dst`` where several
    edge types share that word. A relation that is another one turned round, as ``ToUndirected`` adds, is left out.

    Args:
        data: anything with these attributes.
        target: node type to embed, of ``HeteroData`` only; by default the only one with labels.
        sparse: form of the features, as in :func:`gcl.data.from_arrays.from_arrays`.

    Raises:
        DataError: no edges, bad values, or masks that overlap.
    """
    if hasattr(data, "edge_types") and hasattr(data, "node_types"):
        return _from_hetero(data, target, sparse)
    edge_index = getattr(data, "edge_index", None)
    if edge_index is None:
        if getattr(data, "adj_t", None) is not None:
            raise DataError("the Data object holds adj_t instead of edge_index; leave out the ToSparseTensor transform")
        raise DataError("the Data object has no edge_index; a graph method needs edges")
    x, y = getattr(data, "x", None), getattr(data, "y", None)
    num_nodes = _num_nodes(data)
    return from_arrays(
        edge_index,
        x,
        y,
        num_nodes=num_nodes,
        directed=True,
        edge_weight=getattr(data, "edge_weight", None),
        splits=_splits_of_masks(data, num_nodes),
        duplicates="merge",
        sparse=sparse,
    )


def to_pyg(graph: Graph | View) -> Data:
    """PyG ``Data`` of a graph or a view: dense features with masks applied, kept arcs, labels and split masks.

    Raises:
        DataError: several node types or relations.
        MissingDependencyError: torch_geometric is not installed.
    """
    try:
        from torch_geometric.data import Data
    except ImportError:
        raise MissingDependencyError("to_pyg needs torch_geometric; pip install torch-geometric") from None
    view = View.of(graph)
    whole = view.graph
    if len(whole.num_nodes_by_type) != 1 or len(whole.relations) != 1:
        raise DataError(f"to_pyg takes one node type and one relation, got relations {sorted(whole.relations)}")
    data = Data(edge_index=view.edge_index, num_nodes=view.num_nodes)
    if whole.target in whole.features or whole.target in view.feature_values:
        data.x = view.x
    if view.edge_weight is not None:
        data.edge_weight = view.edge_weight
    y, splits = whole.attr("y"), whole.attr("splits")
    if y is not None:
        data.y = y
    if splits is not None:
        for code, name in enumerate(MASKS):
            mask = splits == code
            data[name] = mask[:, 0] if mask.shape[1] == 1 else mask
    return data


def from_networkx(
    graph: Any,
    *,
    features: str | None = "x",
    label: str | None = "y",
    weight: str | None = "weight",
    sparse: bool | None = None,
) -> Graph:
    """The graph of a networkx graph; node *i* is the *i*-th of ``graph.nodes`` (see :func:`networkx_ids`).

    Args:
        graph: ``Graph`` or ``DiGraph`` (or multigraph: parallel edges count once, their weights are added).
        features: node attribute with a number or a vector; read where every node has it.
        label: node attribute with a class number; nodes without it are unlabelled.
        weight: edge attribute with a number, 1 where an edge lacks it; ``None`` = unweighted.
        sparse: form of the features, as in :func:`gcl.data.from_arrays.from_arrays`.

    Raises:
        DataError: features on some nodes only, or bad values.
    """
    nodes = list(graph.nodes)
    position = {node: index for index, node in enumerate(nodes)}
    edges = list(graph.edges(data=True))
    edge_index = np.array([(position[u], position[v]) for u, v, _ in edges], dtype=np.int64).reshape(-1, 2).T
    weights = None
    if weight is not None and any(weight in attributes for _, _, attributes in edges):
        weights = np.array([attributes.get(weight, 1.0) for _, _, attributes in edges])
    x = _node_features(graph, nodes, features)
    y = None
    if label is not None and any(label in graph.nodes[node] for node in nodes):
        y = np.array([graph.nodes[node].get(label, -1) for node in nodes])
    return from_arrays(
        edge_index,
        x,
        y,
        num_nodes=len(nodes) or None,
        directed=graph.is_directed(),
        edge_weight=weights,
        duplicates="sum" if graph.is_multigraph() and weights is not None else "merge",
        sparse=sparse,
    )


def networkx_ids(graph: Any) -> list[str]:
    """The name of each node of a networkx graph, as strings, in the order of :func:`from_networkx`."""
    return [str(node) for node in graph.nodes]


def from_scipy(matrix: Any, x: Any = None, *, y: Any = None, sparse: bool | None = None) -> Graph:
    """The graph of a square SciPy sparse matrix: entry (i, j) is an arc from i to j with that weight (1 = unweighted).

    Arcs are taken as stored: an undirected graph has a symmetric matrix.

    Raises:
        DataError: not square, or bad values.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise DataError(f"an adjacency matrix must be square, got {list(matrix.shape)}")
    arcs = matrix.tocsr(copy=True)
    arcs.sum_duplicates()
    arcs.eliminate_zeros()
    arcs = arcs.tocoo()
    weight = None if bool((arcs.data == 1).all()) else arcs.data
    edge_index = np.stack([arcs.row, arcs.col])
    return from_arrays(
        edge_index, x, y, num_nodes=matrix.shape[0] or None, directed=True, edge_weight=weight, sparse=sparse
    )


def _num_nodes(data: Any) -> int | None:
    """Nodes of a PyG ``Data``, without its guess from ``edge_index``, which misses isolated nodes at the end."""
    stated = getattr(data, "num_nodes", None) if not hasattr(data, "keys") or "num_nodes" in data else None
    if stated is not None:
        return int(stated)
    for name in ("x", "y", *MASKS):
        value = getattr(data, name, None)
        if value is not None and value.dim() > 0:
            return int(value.shape[0])
    return None


def _splits_of_masks(data: Any, num_nodes: int | None, part: str = "") -> Tensor | None:
    """uint8 ``[N, S]`` from PyG's three masks; ``None`` where there is none."""
    masks = {code: getattr(data, name, None) for code, name in enumerate(MASKS)}
    present = {code: mask.unsqueeze(1) if mask.dim() == 1 else mask for code, mask in masks.items() if mask is not None}
    if not present:
        return None
    count = max(mask.shape[1] for mask in present.values())
    rows = num_nodes if num_nodes is not None else next(iter(present.values())).shape[0]
    splits = torch.full((rows, count), UNUSED, dtype=torch.uint8)
    for code, mask in present.items():
        if mask.dtype != torch.bool or mask.shape[0] != rows or mask.shape[1] not in (1, count):
            raise DataError(f"{part}{MASKS[code]} must be boolean [{rows}] or [{rows}, S], got {list(mask.shape)}")
        mask = mask.cpu().expand(rows, count)
        overlap = (mask & (splits != UNUSED)).nonzero()
        if overlap.numel():
            node, split = overlap[0].tolist()
            other = PARTS[int(splits[node, split])]
            raise DataError(f"{part}{MASKS[code]} shares node {node} with the {other} mask; masks must not overlap")
        splits[mask] = code
    return splits


def _node_features(graph: Any, nodes: list[Any], name: str | None) -> Any:
    if name is None or not any(name in graph.nodes[node] for node in nodes):
        return None
    rows = []
    for node in nodes:
        if name not in graph.nodes[node]:
            raise DataError(f"node {node!r} has no attribute {name!r} though others have; give it to every node")
        rows.append(np.atleast_1d(np.asarray(graph.nodes[node][name])))
        if rows[-1].shape != rows[0].shape:
            raise DataError(f"attribute {name!r} of node {node!r} has shape {rows[-1].shape}, not {rows[0].shape}")
    return np.stack(rows)


def _from_hetero(data: Any, target: str | None, sparse: bool | None) -> Graph:
    kinds = list(data.node_types)
    if target is None:
        labelled = [kind for kind in kinds if "y" in data[kind]] or kinds
        if len(labelled) > 1:
            raise DataError(f"the node type to embed is not clear; give target= one of {', '.join(labelled)}")
        target = labelled[0]
    elif target not in kinds:
        raise DataError(f"there is no node type {target!r}; give target= one of {', '.join(kinds)}")
    counts = {kind: data[kind].num_nodes for kind in kinds}
    unknown = [kind for kind, count in counts.items() if not count]
    if unknown:
        raise DataError(f"nodes of type {unknown[0]!r} have no count; set data[{unknown[0]!r}].num_nodes or .x")
    for source, relation, receiver in data.edge_types:
        for kind in (source, receiver):
            if kind not in counts:
                raise DataError(
                    f"relation ({source}, {relation}, {receiver}) names node type {kind!r}, which the data lack; set "
                    f"data[{kind!r}].num_nodes or .x"
                )
    middle = [relation for _, relation, _ in data.edge_types]
    relations, types = {}, {}
    for source, relation, receiver in data.edge_types:
        name = relation if middle.count(relation) == 1 else f"{source}__{relation}__{receiver}"
        store = data[source, relation, receiver]
        with naming(f"relation ({source}, {relation}, {receiver})"):
            if "edge_index" not in store:
                raise DataError("it has no edge_index; leave out the ToSparseTensor transform")
            arcs = as_bipartite_edges(store.edge_index, (source, counts[source]), (receiver, counts[receiver]))
            weight = as_edge_weight(_edge_weight(store), arcs.shape[1])
        arcs, weight = merge_edges(
            arcs, weight, max(counts[source], counts[receiver]), directed=True, duplicates="merge"
        )
        relations[name] = Adjacency.from_edge_index(arcs, (counts[receiver], counts[source]), weight)
        types[name] = (source, receiver)
    if not any(adjacency.num_arcs for adjacency in relations.values()):
        raise DataError("the graph has no edges; a graph method needs at least one")
    relations, types = without_reversed(relations, types)
    attrs: dict[str, Tensor] = {}
    if "y" in data[target]:
        attrs["y"] = as_labels(data[target].y, counts[target])
    splits = _splits_of_masks(data[target], counts[target], f"{target} ")
    if splits is not None:
        attrs["splits"] = splits
    return Graph(
        features={kind: as_features(data[kind].x, sparse=sparse) for kind in kinds if "x" in data[kind]},
        relations=relations,
        relation_types=types,
        num_nodes_by_type=counts,
        node_attrs={target: attrs},
        target=target,
    )


def _edge_weight(store: Any) -> Tensor | None:
    """``edge_weight`` of an edge type, or its ``edge_attr`` where that is one number an edge."""
    if "edge_weight" in store:
        return store.edge_weight
    attr = store.edge_attr if "edge_attr" in store else None
    return attr if attr is not None and (attr.dim() == 1 or (attr.dim() == 2 and attr.shape[1] == 1)) else None
