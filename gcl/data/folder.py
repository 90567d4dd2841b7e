"""Reading a folder with ``edges.*`` or ``arcs.*``, ``features.*``, ``labels.*`` and ``splits.*``."""

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
    DIRECTED,
    EDGES,
    SUFFIXES,
    at_line,
    edge_rows,
    is_position,
    is_sparse,
    look_up,
    read_features,
    read_table_or_array,
    row_of,
    within,
)
from gcl.data.node_labels import join_labels, join_splits, label_ids, require_common, require_order, split_ids
from gcl.data.repeats import refuse_repeats
from gcl.data.table_columns import EdgeColumns, edge_columns, id_place
from gcl.data.tables import TEXT, Table, read_parquet, read_text

FEW = 8  # rows whose numbers may be the positions by chance


def read_folder(path: str | os.PathLike[str]) -> tuple[Graph, list[str] | None, dict[str, Any]]:
    """The graph of a folder, the user's node ids, and facts about it (class names).

    Edges are undirected and listed once or in both directions, with an optional column of weights. A file ``arcs``
    in their place is directed, from its first column to its second; so is a SciPy matrix, by whatever name. Node
    ids: where ``features`` has a column of ids (else ``labels``), ids are any strings and nodes come in that order.
    Without one, whole numbers are positions; other ids are numbered as they appear in the edges, and refused where
    features, labels or splits need to know their order. Which column is what says :mod:`gcl.data.table_columns`.

    Raises:
        DataError: no edges file, two of a kind, ids that do not fit together, a column of which it is not clear what it
            holds, or a bad value.
    """
    folder = Path(path)
    files = {stem: _find(folder, stem) for stem in ("features", "labels", "splits")}
    files = {"edges": _find(folder, *EDGES), **files}
    edge_file, feature_file = files["edges"], files["features"]
    if edge_file is None:
        raise DataError(
            f"{folder} has no edges file; write edges{' or edges'.join(SUFFIXES['edges'])} (undirected), or arcs "
            "(directed)"
        )
    directed = edge_file.stem == DIRECTED
    features, feature_ids = (None, None) if feature_file is None else read_features(feature_file)
    edges, labels, splits = (
        None if file is None else read_table_or_array(file, stem) for stem, file in files.items() if stem != "features"
    )
    listed = {"features": feature_ids, "labels": label_ids(labels), "splits": split_ids(splits)}
    for stem in ("features", "labels"):
        _refuse_repeats(files[stem], stem, listed[stem])
    columns = edge_columns(edges) if isinstance(edges, Table) else None
    if feature_file is not None and feature_ids is None and columns is not None:
        _refuse_unnamed_ids(feature_file, features, {*columns.source, *columns.target})
    ids, in_order = _node_ids(edges, columns, features, listed, files)
    for stem, rows_of_file in (("labels", labels), ("splits", splits)):
        file = files[stem]
        if file is not None and listed[stem] is None:
            require_order(rows_of_file, file, ids, in_order=in_order)
    position = None if ids is None else {name: index for index, name in enumerate(ids)}
    num_nodes = len(ids) if ids is not None else None if features is None else features.shape[0]
    edge_index, weight = _edges(edges, columns, edge_file, position)
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
        edge_index,
        features,
        y,
        num_nodes=num_nodes,
        directed=directed,
        edge_weight=weight,
        splits=split_array,
        duplicates="merge",
    )
    return graph, ids, info


def _find(folder: Path, kind: str, *others: str) -> Path | None:
    """The file of a kind of rows, which may have other names."""
    named = [folder / f"{stem}{suffix}" for stem in (kind, *others) for suffix in SUFFIXES[kind]]
    found = sorted(path for path in named if path.is_file())
    if len(found) > 1:
        raise DataError(f"{folder} has both {found[0].name} and {found[1].name}; keep one of them")
    return found[0] if found else None


def _refuse_unnamed_ids(path: Path, features: Any, ends: set[str]) -> None:
    """Refuses features whose first column is not called an id and yet holds those of the edges, in another order.

    Else they would be a feature, and rows would go to the wrong nodes. Few rows may be so by chance.
    """
    if path.suffix not in (*TEXT, ".parquet") or features.shape[1] < 2 or len(features) < FEW:
        return
    first = np.asarray(features[:, 0], dtype=np.float64)
    rows = np.arange(len(first))
    if (first != np.floor(first)).any() or (first == rows).all() or len(np.unique(first)) < len(first):
        return
    held = {*first.tolist()}
    if not all(is_position(end) and float(end) in held for end in ends):
        return
    names = read_parquet(path)[0] if path.suffix == ".parquet" else read_text(path, "features").header
    if names is None:
        raise DataError(
            f"{path} has no header, and every node of the edges is in its first column; write a header, with 'id' or "
            "'feature' over that column"
        )
    name = names[id_place(names, len(names), path)[1][0]]
    if not name.startswith("feature"):
        raise DataError(
            f"{path}: every node of the edges is in the column {name!r}; call it 'id', or 'feature' if it is one"
        )


def _refuse_repeats(file: Path | None, stem: str, ids: list[str] | None) -> None:
    if file is not None and ids is not None:
        refuse_repeats(ids, str(file), lambda at: row_of(file, stem, at))


def _node_ids(
    edges: Any,
    columns: EdgeColumns | None,
    features: Any,
    listed: dict[str, list[str] | None],
    files: dict[str, Path | None],
) -> tuple[list[str] | None, bool]:
    """The id of each node in order, ``None`` where ids are positions; and whether a file says that order."""
    of_labels = listed["labels"]
    ends = [] if columns is None else [*columns.source, *columns.target]
    if columns is None and not is_sparse(edges) and of_labels is not None:
        ends = [str(node) for node in np.unique(edges)]
    if listed["features"] is not None:
        return listed["features"], True
    if features is not None:
        strange = next((node for node in ends if not is_position(node)), None)
        if strange is not None:
            raise DataError(
                f"{files['edges']} names node {strange!r} but {files['features']} has no id column to look it up in; "
                "add a first column named id to the features"
            )
        return None, True
    if of_labels is not None:
        assert files["labels"] is not None
        require_common(of_labels, ends, files["labels"])
        ids = list(dict.fromkeys([*of_labels, *ends]))  # labels may cover a part of the nodes
        return ids, len(ids) == len(of_labels)
    if all(is_position(node) for node in ends):
        return None, True
    return list(dict.fromkeys(ends)), False


def _edges(
    edges: Any, columns: EdgeColumns | None, path: Path, position: dict[str, int] | None
) -> tuple[Any, np.ndarray | None]:
    """``[2, E]`` and weights, or a SciPy matrix."""
    if columns is not None:
        if (
            edges.header is None
            and position is not None
            and {columns.source[0], columns.target[0]}.isdisjoint(position)
        ):
            raise DataError(
                f"{path} line {edges.lines[0]} names the nodes {columns.source[0]!r} and {columns.target[0]!r}, which "
                "have no row in the features (or labels); if the line names the columns, call them source and target"
            )
        ends = np.stack([look_up(names, position, at_line(edges)) for names in (columns.source, columns.target)])
        if columns.weight is not None:
            _refuse_contradictions(edges, columns, ends, columns.weight, directed=path.stem == DIRECTED)
        return ends, columns.weight
    if is_sparse(edges):  # its rows are positions
        return edges, None
    edges = edge_rows(edges)
    if position is None or edges.size == 0:
        return edges, None
    names, inverse = np.unique(edges, return_inverse=True)
    index = look_up([str(name) for name in names], position, lambda at: str(path))
    return index[inverse].reshape(edges.shape), None


def _refuse_contradictions(
    table: Table, columns: EdgeColumns, ends: np.ndarray, weight: np.ndarray, *, directed: bool
) -> None:
    """Edges that are listed with several weights, by line and name; what is no number is said elsewhere."""
    source, target = ends if directed else np.sort(ends, axis=0)
    _, first, inverse = np.unique(
        source * (int(ends.max(initial=0)) + 1) + target, return_index=True, return_inverse=True
    )
    differs = np.flatnonzero(weight != weight[first[inverse]])
    if not differs.size or not np.isfinite(weight).all():
        return
    at, before = int(differs[0]), int(first[inverse[differs[0]]])
    mend = "keep one of them"
    if (ends[:, at] != ends[:, before]).any():
        mend += f", or name the file {DIRECTED}{table.path.suffix} if the edges are directed"
    raise DataError(
        f"{at_line(table)(at)} gives {columns.source[at]} - {columns.target[at]} the weight {weight[at]:g}, and line "
        f"{table.lines[before]} the weight {weight[before]:g}; {mend}"
    )


def _count(edge_index: Any, labels: Any) -> int:
    if is_sparse(edge_index):
        return int(edge_index.shape[0])
    if labels is not None:
        return len(labels.rows) if isinstance(labels, Table) else len(labels)
    return as_edge_index(edge_index, None)[1]
