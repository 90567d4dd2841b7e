"""Reading a folder of several node types, with one file a relation: ``edges_SRC_DST.*``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.data.edges import as_edge_index, as_edge_weight, merge_edges
from gcl.data.features import as_features
from gcl.data.hetero_edges import HeteroEdges, read_hetero_edges
from gcl.data.hetero_names import HeteroFiles, hetero_files
from gcl.data.hetero_nodes import HeteroNodes, number_nodes
from gcl.data.labels import as_labels, as_splits
from gcl.data.node_files import at_line, naming, read_features, read_table_or_array, row_of
from gcl.data.node_labels import join_labels, join_splits, label_ids, require_order, split_ids
from gcl.data.reverse_relations import without_reversed
from gcl.data.tables import TEXT, Table


def read_hetero_folder(path: str | os.PathLike[str]) -> tuple[Graph, dict[str, list[str]], dict[str, Any]]:
    """The graph of a folder with files ``edges_SRC_DST.*``, the user's node ids by type, and facts (class names).

    How names of files are read, and which type is the target, says :func:`gcl.data.hetero_names.hetero_files`. Edges
    go from SRC to DST as they are listed, with an optional column of weights: row *i* of a relation (node *i* of DST)
    receives from its columns (nodes of SRC). An edge that is listed twice counts once. A SciPy matrix has a row
    for each node of SRC and a column for each of DST. A relation that is another one turned round is left out.

    Node ids: where ``nodes_TYPE`` lists them or ``features_TYPE`` has a column of ids (else ``labels_TYPE``), ids are
    any strings and nodes come in that order. Without one, whole numbers are positions, and other ids are numbered as
    they appear in the edges. A type without ids has as many nodes as features (else labels) have rows, else one more
    than the largest position. Which column of a table is what says :mod:`gcl.data.table_columns`.

    Labels ``[N]`` and splits ``[N, S]`` are those of the target; of labels of other types only the ids are read.

    Raises:
        DataError: names of files that contradict one another, ids that do not fit together, or a bad value.
    """
    files = hetero_files(Path(path))
    edges = [read_hetero_edges(file) for file in files.relations]
    features: dict[str, Tensor | Adjacency] = {}
    labels: dict[str, Any] = {}
    nodes: dict[str, HeteroNodes] = {}
    for kind in files.types:
        file = files.by_kind["features"].get(kind)
        matrix, feature_ids = (None, None) if file is None else read_features(file)
        if kind in files.by_kind["labels"]:
            labels[kind] = read_table_or_array(files.by_kind["labels"][kind], "labels")
        nodes[kind] = number_nodes(kind, files, edges, matrix, feature_ids, labels.get(kind))
        if file is not None:
            features[kind] = _features(matrix, file, nodes[kind])
    attrs, class_names = _attributes(files, nodes[files.target], labels.get(files.target))
    relations, types = without_reversed(
        {part.file.name: _adjacency(part, nodes) for part in edges},
        {part.file.name: (part.file.source, part.file.receiver) for part in edges},
    )
    graph = Graph(
        features=features,
        relations=relations,
        relation_types=types,
        num_nodes_by_type={kind: part.count for kind, part in nodes.items()},
        node_attrs={files.target: attrs},
        target=files.target,
    )
    ids = {kind: part.ids for kind, part in nodes.items() if part.ids is not None}
    return graph, ids, {"class_names": class_names} if class_names else {}


def _features(matrix: Any, path: Path, nodes: HeteroNodes) -> Tensor | Adjacency:
    if path.suffix in TEXT and not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0].tolist()
        raise DataError(
            f"{path} {row_of(path, 'features', row)} has {matrix[row, column]} as feature {column} of {nodes.kind!r}, "
            "which is not finite; replace it or drop the column"
        )
    with naming(str(path)):
        features = as_features(matrix)
    if features.shape[0] != nodes.count:
        raise DataError(
            f"{path} has {features.shape[0]} rows, but {nodes.where} has {nodes.count}; give one row a node"
        )
    return features


def _adjacency(edges: HeteroEdges, nodes: dict[str, HeteroNodes]) -> Adjacency:
    """The receiver-by-source matrix of a relation."""
    source, receiver = nodes[edges.file.source], nodes[edges.file.receiver]
    if edges.shape is None:
        ends = zip((source, receiver), edges.columns, strict=True)
        index = np.stack([part.find(column, edges.place) for part, column in ends])
    else:
        for part, count in zip((source, receiver), edges.shape, strict=True):
            if count != part.count:
                raise DataError(
                    f"{edges.file} is a matrix {list(edges.shape)} of {source.kind!r} by {receiver.kind!r}, but "
                    f"{part.where} has {part.count} of {part.kind!r}; give one row or column a node"
                )
        index = np.stack(edges.columns)
    size = max(source.count, receiver.count)
    with naming(str(edges.file)):
        arcs, _ = as_edge_index(index, size)
        weight = as_edge_weight(edges.weight, arcs.shape[1])
    try:
        arcs, weight = merge_edges(arcs, weight, size, directed=True, duplicates="merge")
    except DataError:
        raise DataError(_contradiction(edges, index)) from None
    return Adjacency.from_edge_index(arcs, (receiver.count, source.count), weight)


def _contradiction(edges: HeteroEdges, index: np.ndarray) -> str:
    """The sentence for an edge that is listed with two weights."""
    weight = np.asarray(edges.weight, dtype=np.float32)
    seen: dict[tuple[int, int], int] = {}
    pairs = zip(*index.tolist(), strict=True)
    first, again = next(
        (seen[pair], at) for at, pair in enumerate(pairs) if weight[seen.setdefault(pair, at)] != weight[at]
    )
    return (
        f"{edges.file} lists one edge with the weight {weight[first]:g} in {edges.row(first)} and {weight[again]:g} in "
        f"{edges.row(again)}; keep one of them"
    )


def _attributes(files: HeteroFiles, nodes: HeteroNodes, labels: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """``y`` and ``splits`` of the target's nodes, and the names of the classes."""

    def rows(ids: list[str], table: Table) -> np.ndarray:
        return nodes.find(ids, at_line(table))

    attrs: dict[str, Tensor] = {}
    class_names: tuple[str, ...] = ()
    if labels is not None:
        path = files.by_kind["labels"][nodes.kind]
        _require_order(labels, path, nodes, label_ids(labels))
        y, class_names = join_labels(labels, nodes.count, rows)
        with naming(str(path)):
            attrs["y"] = as_labels(y, nodes.count)
    if nodes.kind in files.by_kind["splits"]:
        path = files.by_kind["splits"][nodes.kind]
        splits = read_table_or_array(path, "splits")
        _require_order(splits, path, nodes, split_ids(splits))
        codes = join_splits(splits, nodes.count, rows, noun=nodes.kind)
        with naming(str(path)):
            attrs["splits"] = as_splits(codes, nodes.count)
    return attrs, class_names


def _require_order(rows: Any, path: Path, nodes: HeteroNodes, ids: list[str] | None) -> None:
    """Refuses rows without ids where no file says the order of the nodes."""
    if ids is None:
        mend = f", or a file nodes_{nodes.kind}"
        require_order(rows, path, nodes.ids, in_order=nodes.in_order, noun=repr(nodes.kind), mend=mend)
