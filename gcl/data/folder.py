"""Reading a folder with ``edges.*``, ``features.*``, ``labels.*`` and ``splits.*``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.data.archive import features_from_archive, read_npz
from gcl.data.convert import from_scipy
from gcl.data.edges import as_edge_index
from gcl.data.from_arrays import from_arrays
from gcl.data.splits import PARTS, UNUSED
from gcl.data.tables import TEXT, Table, read_array, read_text

SUFFIXES = {
    "edges": (*TEXT, ".npy", ".npz"),
    "features": (*TEXT, ".npy", ".npz", ".parquet"),
    "labels": (*TEXT, ".npy", ".npz"),
    "splits": (*TEXT, ".npy", ".npz"),
}
_INDEX = re.compile(r"0|-?[1-9][0-9]*")  # not "007"; a negative one is refused later, by value
_SPLIT_WORDS = {
    **{word: code for code, word in enumerate(PARTS)},
    "val": 1,
    "validation": 1,
    "": UNUSED,
    "none": UNUSED,
}


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
    files = {stem: _find(folder, stem) for stem in SUFFIXES}
    edge_file = files["edges"]
    if edge_file is None:
        raise DataError(f"{folder} has no edges file; write edges{' or edges'.join(SUFFIXES['edges'])}")
    features, feature_ids = _features(files["features"])
    labels = _text_or_array(files["labels"], ("y", "labels"))
    splits = _text_or_array(files["splits"], ("splits",))
    label_ids = labels.column(0) if isinstance(labels, Table) and _labels_have_ids(labels) else None
    edges = _text_or_array(edge_file, ("edge_index",))
    ids = _node_ids(edges, features, feature_ids, label_ids, folder)
    position = None if ids is None else {name: index for index, name in enumerate(ids)}
    num_nodes = len(ids) if ids is not None else None if features is None else features.shape[0]
    edge_index, weight = _edges(edges, edge_file, position)
    if num_nodes is None:  # positions only: the largest id, or one label a node
        num_nodes = _count(edge_index, labels)
    y, class_names = _labels(labels, position, num_nodes)
    split_array = _splits(splits, position, num_nodes)
    info = {"class_names": class_names} if class_names else {}
    if _is_sparse(edge_index):
        graph = from_scipy(edge_index, features, y=y)
        return (graph if split_array is None else _with_splits(graph, split_array)), ids, info
    graph = from_arrays(
        edge_index, features, y, num_nodes=num_nodes, edge_weight=weight, splits=split_array, duplicates="merge"
    )
    return graph, ids, info


def _find(folder: Path, stem: str) -> Path | None:
    found = sorted(folder / f"{stem}{suffix}" for suffix in SUFFIXES[stem] if (folder / f"{stem}{suffix}").is_file())
    if len(found) > 1:
        raise DataError(f"{folder} has both {found[0].name} and {found[1].name}; keep one of them")
    return found[0] if found else None


def _text_or_array(path: Path | None, keys: Sequence[str]) -> Any:
    if path is None:
        return None
    if path.suffix in TEXT:
        return read_text(path, edges=path.stem == "edges")
    return read_array(path, keys)


def _features(path: Path | None) -> tuple[Any, list[str] | None]:
    """Feature matrix and the ids of its rows, where it has some."""
    if path is None:
        return None, None
    if path.suffix in TEXT:
        table = read_text(path)
        if not table.has_ids:
            return table.numbers(), None
        if table.width < 2:
            raise DataError(f"{path} has an id column but no features; add a column or remove the file")
        return table.numbers(first=1), table.column(0)
    if path.suffix == ".npz":
        arrays, _ = read_npz(path)
        matrix = features_from_archive(arrays, path)
        if matrix is not None:
            return matrix, None
    matrix = read_array(path, ("features",))
    if matrix.ndim != 2:
        raise DataError(f"{path} must hold a table [N, F], got {list(matrix.shape)}")
    return matrix, None


def _node_ids(
    edges: Any, features: Any, feature_ids: list[str] | None, label_ids: list[str] | None, folder: Path
) -> list[str] | None:
    """The id of each node in order, or ``None`` where ids are positions."""
    ends = [*edges.column(0), *edges.column(1)] if isinstance(edges, Table) and edges.width >= 2 else []
    if not isinstance(edges, Table) and not _is_sparse(edges) and label_ids is not None:
        ends = [str(node) for node in np.unique(edges)]
    for name, column in (("features", feature_ids), ("labels", label_ids)):
        if column is not None and len(set(column)) != len(column):
            repeated = next(node for node in column if column.count(node) > 1)
            raise DataError(f"the {name} file of {folder} lists id {repeated!r} more than once; keep one row a node")
    if feature_ids is not None:
        return feature_ids
    if features is not None:
        strange = next((node for node in ends if not _INDEX.fullmatch(node)), None)
        if strange is not None:
            raise DataError(
                f"the edges of {folder} name node {strange!r} but its features have no id column to look it up in; "
                "add a first column named id to the features"
            )
        return None
    if label_ids is not None:
        return list(dict.fromkeys([*label_ids, *ends]))  # labels may cover a part of the nodes
    if all(_INDEX.fullmatch(node) for node in ends):
        return None
    return list(dict.fromkeys(ends))


def _lookup(names: list[str], position: dict[str, int] | None, table: Table) -> np.ndarray:
    """Positions of ids, ``[rows]``."""
    if position is not None:
        missing = next((row for row, name in enumerate(names) if name not in position), None)
        if missing is not None:
            raise DataError(
                f"{table.path} line {table.lines[missing]} names node {names[missing]!r}, which has no row in the "
                "features (or labels); add the row or drop the line"
            )
        return np.array([position[name] for name in names], dtype=np.int64)
    try:
        return np.array([int(name) for name in names], dtype=np.int64)
    except (ValueError, OverflowError):
        strange = next((name for name in names if not _INDEX.fullmatch(name)), max(names, key=len))
        raise DataError(f"{table.path} names node {strange!r}; without an id column ids are positions from 0") from None


def _edges(edges: Any, path: Path, position: dict[str, int] | None) -> tuple[Any, np.ndarray | None]:
    """``[2, E]`` and weights, or a SciPy matrix."""
    if not isinstance(edges, Table):
        if _is_sparse(edges):  # its rows are positions
            return edges, None
        if edges.ndim == 2 and edges.shape[0] != 2 and edges.shape[1] == 2:
            edges = edges.T
        if position is None or edges.size == 0:
            return edges, None
        names, inverse = np.unique(edges, return_inverse=True)
        missing = next((name for name in names if str(name) not in position), None)
        if missing is not None:
            raise DataError(f"{path} names node {missing!s}, which has no row in the features; add the row or drop it")
        return np.array([position[str(name)] for name in names])[inverse].reshape(edges.shape), None
    if edges.width not in (2, 3):
        raise DataError(f"{path} has {edges.width} columns; an edge has a source, a target and perhaps a weight")
    source, target = (_lookup(edges.column(at), position, edges) for at in (0, 1))
    return np.stack([source, target]), edges.numbers(first=2)[:, 0] if edges.width == 3 else None


def _count(edge_index: Any, labels: Any) -> int:
    if _is_sparse(edge_index):
        return int(edge_index.shape[0])
    if labels is not None:
        return len(labels.rows) if isinstance(labels, Table) else len(labels)
    return as_edge_index(edge_index, None)[1]


def _labels(labels: Any, position: dict[str, int] | None, num_nodes: int) -> tuple[Any, tuple[str, ...]]:
    """Labels ``[N]`` joined on the id, and class names where the labels are words."""
    if not isinstance(labels, Table):
        return labels, ()
    cells = labels.column(labels.width - 1)
    classes, names = _classes(cells, labels)
    if not _labels_have_ids(labels):
        return classes, names
    y = np.full(num_nodes, -1, dtype=np.int64)
    y[_within(_lookup(labels.column(0), position, labels), num_nodes, labels)] = classes
    return y, names


def _labels_have_ids(labels: Table) -> bool:
    return labels.has_ids or (labels.header is None and labels.width == 2)  # "node class", as many lists have it


def _classes(cells: list[str], table: Table) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers; words become classes in alphabetical order; an empty cell is unlabelled."""
    filled = [cell for cell in cells if cell]
    try:
        values = np.array([float(cell) if cell else -1.0 for cell in cells])
    except ValueError:
        numeric = [cell for cell in filled if re.fullmatch(r"[-+]?[0-9.]+", cell)]
        if numeric:
            word = next(cell for cell in filled if cell not in numeric)
            raise DataError(
                f"{table.path} mixes the labels {numeric[0]!r} and {word!r}; use numbers or words for all"
            ) from None
        names = tuple(sorted(set(filled)))
        return np.array([names.index(cell) if cell else -1 for cell in cells], dtype=np.int64), names
    broken = ~np.isfinite(values) | (values != np.floor(values))
    if broken.any():
        at = int(broken.argmax())
        raise DataError(f"{table.path} line {table.lines[at]} has the label {cells[at]!r}; classes are whole numbers")
    return values.astype(np.int64), ()


def _splits(splits: Any, position: dict[str, int] | None, num_nodes: int) -> np.ndarray | None:
    """Splits ``[N, S]`` from words or codes, joined on the id; nodes that are not listed are unused."""
    if splits is None:
        return None
    if not isinstance(splits, Table):
        node_last = splits.ndim == 2 and splits.shape[0] != num_nodes and splits.shape[1] == num_nodes
        return splits.T if node_last else splits
    first = 1 if splits.has_ids else 0
    codes = np.empty((len(splits.rows), splits.width - first), dtype=np.int64)
    for at, row in enumerate(splits.rows):
        for column, cell in enumerate(row[first:]):
            code = _SPLIT_WORDS.get(cell.lower(), int(cell) if cell in ("0", "1", "2", "3") else None)
            if code is None:
                raise DataError(f"{splits.path} line {splits.lines[at]} has {cell!r}; use {', '.join(PARTS)} or 0 to 3")
            codes[at, column] = code
    if not splits.has_ids:
        return codes
    joined = np.full((num_nodes, codes.shape[1]), UNUSED, dtype=np.int64)
    joined[_within(_lookup(splits.column(0), position, splits), num_nodes, splits)] = codes
    return joined


def _within(index: np.ndarray, num_nodes: int, table: Table) -> np.ndarray:
    outside = (index < 0) | (index >= num_nodes)
    if outside.any():
        at = int(outside.argmax())
        raise DataError(
            f"{table.path} line {table.lines[at]} names node {int(index[at])}, out of range for {num_nodes}"
        )
    return index


def _with_splits(graph: Graph, splits: np.ndarray) -> Graph:
    from gcl.data.labels import as_splits

    return graph.with_node_attrs(splits=as_splits(splits, graph.num_nodes))


def _is_sparse(matrix: Any) -> bool:
    return type(matrix).__module__.startswith("scipy.sparse")
