"""Reading a folder with ``edges.*``, ``features.*``, ``labels.*`` and ``splits.*``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.data.convert import from_scipy
from gcl.data.edges import as_edge_index
from gcl.data.from_arrays import from_arrays
from gcl.data.labels import as_splits
from gcl.data.node_files import (
    SUFFIXES,
    at_line,
    edge_rows,
    edge_weights,
    is_position,
    is_sparse,
    join_labels,
    join_splits,
    label_ids,
    look_up,
    read_features,
    read_table_or_array,
    within,
)
from gcl.data.tables import Table


def read_folder(path: str | os.PathLike[str]) -> tuple[Graph, list[str] | None, dict[str, Any]]:
    """The graph of a folder, the user's node ids, and facts about it (class names).

    Edges are undirected and listed once or in both directions, with an optional third column of weights; a SciPy
    matrix is taken as it is. Node ids: where ``features`` has a first column named ``id`` (else ``labels``), ids are
    any strings and nodes come in that order. Without one, whole numbers are positions, and other ids are numbered as
    they appear in the edges.

    Raises:
        DataError: no edges file, two of a kind, ids that do not fit together, or a bad value.
    """
    folder = Path(path)
    files = {stem: _find(folder, stem) for stem in ("edges", "features", "labels", "splits")}
    edge_file, feature_file = files["edges"], files["features"]
    if edge_file is None:
        raise DataError(f"{folder} has no edges file; write edges{' or edges'.join(SUFFIXES['edges'])}")
    features, feature_ids = (None, None) if feature_file is None else read_features(feature_file)
    edges, labels, splits = (
        None if file is None else read_table_or_array(file, stem) for stem, file in files.items() if stem != "features"
    )
    ids = _node_ids(edges, features, feature_ids, label_ids(labels), folder)
    position = None if ids is None else {name: index for index, name in enumerate(ids)}
    num_nodes = len(ids) if ids is not None else None if features is None else features.shape[0]
    edge_index, weight = _edges(edges, edge_file, position)
    if num_nodes is None:  # positions only: the largest id, or one label a node
        num_nodes = _count(edge_index, labels)
    count = num_nodes

    def rows(names: list[str], table: Table) -> np.ndarray:
        return within(look_up(names, position, at_line(table)), count, at_line(table))

    y, class_names = join_labels(labels, num_nodes, rows)
    split_array = None if splits is None else join_splits(splits, num_nodes, rows)
    info = {"class_names": class_names} if class_names else {}
    if is_sparse(edge_index):
        graph = from_scipy(edge_index, features, y=y)
        if split_array is not None:
            graph = graph.with_node_attrs(splits=as_splits(split_array, graph.num_nodes))
        return graph, ids, info
    graph = from_arrays(
        edge_index, features, y, num_nodes=num_nodes, edge_weight=weight, splits=split_array, duplicates="merge"
    )
    return graph, ids, info


def _find(folder: Path, stem: str) -> Path | None:
    found = sorted(folder / f"{stem}{suffix}" for suffix in SUFFIXES[stem] if (folder / f"{stem}{suffix}").is_file())
    if len(found) > 1:
        raise DataError(f"{folder} has both {found[0].name} and {found[1].name}; keep one of them")
    return found[0] if found else None


def _node_ids(
    edges: Any, features: Any, feature_ids: list[str] | None, label_ids: list[str] | None, folder: Path
) -> list[str] | None:
    """The id of each node in order, or ``None`` where ids are positions."""
    ends = [*edges.column(0), *edges.column(1)] if isinstance(edges, Table) and edges.width >= 2 else []
    if not isinstance(edges, Table) and not is_sparse(edges) and label_ids is not None:
        ends = [str(node) for node in np.unique(edges)]
    for name, column in (("features", feature_ids), ("labels", label_ids)):
        if column is not None and len(set(column)) != len(column):
            repeated = next(node for node in column if column.count(node) > 1)
            raise DataError(f"the {name} file of {folder} lists id {repeated!r} more than once; keep one row a node")
    if feature_ids is not None:
        return feature_ids
    if features is not None:
        strange = next((node for node in ends if not is_position(node)), None)
        if strange is not None:
            raise DataError(
                f"the edges of {folder} name node {strange!r} but its features have no id column to look it up in; "
                "add a first column named id to the features"
            )
        return None
    if label_ids is not None:
        return list(dict.fromkeys([*label_ids, *ends]))  # labels may cover a part of the nodes
    if all(is_position(node) for node in ends):
        return None
    return list(dict.fromkeys(ends))


def _edges(edges: Any, path: Path, position: dict[str, int] | None) -> tuple[Any, np.ndarray | None]:
    """``[2, E]`` and weights, or a SciPy matrix."""
    if isinstance(edges, Table):
        weight = edge_weights(edges)
        return np.stack([look_up(edges.column(at), position, at_line(edges)) for at in (0, 1)]), weight
    if is_sparse(edges):  # its rows are positions
        return edges, None
    edges = edge_rows(edges)
    if position is None or edges.size == 0:
        return edges, None
    names, inverse = np.unique(edges, return_inverse=True)
    index = look_up([str(name) for name in names], position, lambda at: str(path))
    return index[inverse].reshape(edges.shape), None


def _count(edge_index: Any, labels: Any) -> int:
    if is_sparse(edge_index):
        return int(edge_index.shape[0])
    if labels is not None:
        return len(labels.rows) if isinstance(labels, Table) else len(labels)
    return as_edge_index(edge_index, None)[1]
