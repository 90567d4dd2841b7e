"""The nodes of one type in a folder of several: how many there are, and their ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from gcl.core.errors import DataError
from gcl.data.edges import as_edge_index
from gcl.data.hetero_edges import Column, HeteroEdges
from gcl.data.hetero_names import HeteroFiles
from gcl.data.node_files import is_position, is_sparse, look_up, naming, read_table_or_array, row_of, within
from gcl.data.node_labels import label_ids, require_common
from gcl.data.repeats import refuse_repeats
from gcl.data.table_columns import id_place
from gcl.data.tables import Table


@dataclass(frozen=True)
class HeteroNodes:
    """The nodes of a type.

    Args:
        kind: the type.
        count: how many.
        where: what says so, for messages.
        ids: the id of each; ``None`` = positions.
        in_order: whether a file lists them in this order; else some are numbered as they appear in the edges.
    """

    kind: str
    count: int
    where: str
    ids: list[str] | None = None
    in_order: bool = True

    @cached_property
    def position(self) -> dict[str, int] | None:
        """Position of each id."""
        return None if self.ids is None else {name: at for at, name in enumerate(self.ids)}

    def find(self, column: Column, place: Callable[[int], str]) -> np.ndarray:
        """Positions of a column of ids, int64 ``[n]``; ``place`` names file and line of an entry.

        Raises:
            DataError: an unknown id, or a position out of range.
        """
        if isinstance(column, list):
            index = look_up(column, self.position, place, noun=self.kind, where=self.where)
        elif self.position is None:
            index = column
        else:
            values, first, inverse = np.unique(column, return_index=True, return_inverse=True)
            names = [str(value) for value in values]
            at_first = [place(int(at)) for at in first] if any(name not in self.position for name in names) else []
            index = look_up(names, self.position, at_first.__getitem__, noun=self.kind, where=self.where)[inverse]
        return within(index, self.count, place, noun=self.kind, where=self.where)


def number_nodes(
    kind: str,
    files: HeteroFiles,
    edges: Sequence[HeteroEdges],
    features: Any,
    feature_ids: list[str] | None,
    labels: Any,
) -> HeteroNodes:
    """The nodes of a type from whatever lists them: a file of nodes, features, labels, or the edges.

    Args:
        kind: the type.
        files: of the folder.
        edges: all relations.
        features: of the type, ``[N, F]``, and
        feature_ids: their ids, as :func:`gcl.data.node_files.read_features` gives them.
        labels: of the type, a table or an array; all three ``None`` where there is no file.

    Raises:
        DataError: an id that is listed twice, two lists that differ, or ids whose order no file says.
    """
    listed = _listed_ids(kind, files, feature_ids, labels)
    for name in ("nodes", "features"):
        if name in listed:
            return HeteroNodes(kind, len(listed[name]), files.by_kind[name][kind].name, listed[name])
    if features is not None:
        return HeteroNodes(kind, features.shape[0], files.by_kind["features"][kind].name)
    ends = [(part, end) for part in edges for end in part.ends_of(kind)]
    columns = [part.columns[end] for part, end in ends if part.shape is None]
    if "labels" not in listed and not any(_has_words(column) for column in columns):
        return _positional(kind, ends, labels, files)
    of_labels = listed.get("labels", [])
    of_edges = [name for column in columns for name in _names(column)]
    if "labels" in listed:
        require_common(of_labels, of_edges, files.by_kind["labels"][kind])
    ids = list(dict.fromkeys([*of_labels, *of_edges]))
    in_order = len(ids) == len(of_labels)
    for part, _ in ends:
        if part.shape is not None and not in_order:
            raise DataError(f"{part.file} is a matrix, but no file lists the ids of {kind!r}; add nodes_{kind}")
    return HeteroNodes(kind, len(ids), f"labels_{kind} or the edges", ids, in_order)


def _listed_ids(kind: str, files: HeteroFiles, feature_ids: list[str] | None, labels: Any) -> dict[str, list[str]]:
    """The lists of ids of a type: of ``nodes``, ``features`` and ``labels``, as far as there are some."""
    of_nodes = _read_ids(files.by_kind["nodes"][kind]) if kind in files.by_kind["nodes"] else None
    lists = {"nodes": of_nodes, "features": feature_ids, "labels": label_ids(labels)}
    listed = {name: ids for name, ids in lists.items() if ids is not None}
    for name, ids in listed.items():
        file = files.by_kind[name][kind]
        refuse_repeats(ids, str(file), partial(row_of, file, name), noun=kind)
    if of_nodes is not None and feature_ids is not None and of_nodes != feature_ids:
        both = " and ".join(str(files.by_kind[name][kind]) for name in ("nodes", "features"))
        raise DataError(f"{both} list other ids of {kind!r}, or in another order; keep one of the lists")
    return listed


def _read_ids(path: Path) -> list[str]:
    """The ids of a file of nodes, one a row."""
    table = read_table_or_array(path, "nodes")
    if not isinstance(table, Table):
        if is_sparse(table) or table.ndim != 1 or table.dtype.kind not in "iuU" or not table.size:
            raise DataError(f"{path} must hold a list of ids, text or whole numbers [N] with N from 1")
        return [str(name) for name in table]
    place, others = id_place(table.header, table.width, path)
    if len(others) > (place is None):
        raise DataError(f"{path} has {table.width} columns; write one id a line, and numbers into a file of features")
    if table.header is not None and place is None:
        raise DataError(f"{path} starts with {table.header[0]!r}, an id or a heading; write the heading id above it")
    return table.column(place or 0)


def _positional(kind: str, ends: Sequence[tuple[HeteroEdges, int]], labels: Any, files: HeteroFiles) -> HeteroNodes:
    """Nodes whose ids are positions: as many as labels, as a matrix says, or one more than the largest id."""
    if labels is not None:
        count = len(labels.rows) if isinstance(labels, Table) else len(labels)
        return HeteroNodes(kind, count, files.by_kind["labels"][kind].name)
    for part, end in ends:
        if part.shape is not None:
            return HeteroNodes(kind, part.shape[end], part.file.path.name)
    found = []
    for part, end in ends:
        column = part.columns[end]
        if isinstance(column, list):
            column = look_up(column, None, part.place, noun=kind, where=f"a file nodes_{kind}")
        found.append(within(column, int(column.max()) + 1, part.place, noun=kind, where="the edges"))
    index = np.concatenate(found)
    with naming(f"{files.folder}, nodes of type {kind!r}"):
        return HeteroNodes(kind, as_edge_index(np.stack([index, index]), None)[1], "the edges")


def _has_words(column: Column) -> bool:
    return isinstance(column, list) and not all(map(is_position, column))


def _names(column: Column) -> list[str]:
    return column if isinstance(column, list) else [str(value) for value in np.unique(column)]
