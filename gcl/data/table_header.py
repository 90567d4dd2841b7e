"""The first line of a table: whether it names the columns, and what the names mean."""

from __future__ import annotations

from collections.abc import Sequence

from gcl.data.splits import SPLIT_WORDS

ID_NAMES = ("id", "node", "node_id", "nodeid", "name")
# What pandas calls an index: nothing in csv, the second where it reads that, the last in parquet.
INDEX_NAMES = ("index", "unnamed: 0", "unnamed: 0.1", "", "__index_level_0__")
ID_COLUMNS = (*ID_NAMES, *INDEX_NAMES)  # the one to use first comes first
LABEL_COLUMNS = ("label", "labels", "y", "class", "classes", "target", "category")
SOURCE_NAMES = ("source", "src", "from", "head", "sender", "node1", "node_1", "id1", "id_1")
TARGET_NAMES = ("target", "dst", "dest", "destination", "to", "tail", "receiver", "node2", "node_2", "id2", "id_2")
WEIGHT_NAMES = (
    *("weight", "weights", "edge_weight", "w", "value", "val", "strength", "count"),
    *("rating", "score", "similarity", "data"),
)


def is_number(cell: str) -> bool:
    """Whether a cell of text reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def id_columns(names: Sequence[str]) -> list[int]:
    """Places of the columns that hold ids by their names, the one to use first."""
    names = [name.strip().lower() for name in names]
    found = [at for at, name in enumerate(names) if name in ID_COLUMNS]
    return sorted(found, key=lambda at: ID_COLUMNS.index(names[at]))


def end_names(names: Sequence[str]) -> list[str]:
    """Names of columns in the form in which those of the ends of edges are compared: ``Source_ID`` is ``source``."""
    return [name.lower().removesuffix("_id") for name in names]


def is_header(rows: Sequence[Sequence[str]], kind: str) -> bool:
    """Whether the first of some rows names the columns.

    It does by its words, which depend on what the table holds, or where none of its cells is a number though the whole
    last column below is (of ``edges`` without weights: both columns).

    Args:
        rows: cells.
        kind: ``edges``, ``features``, ``labels``, ``splits`` or ``nodes``.
    """
    first, below = [cell.lower() for cell in rows[0]], rows[1:]
    return _NAMED[kind](first, rows) or (bool(below) and _stands_over_numbers(first, below, kind))


def _edges_named(first: list[str], rows: Sequence[Sequence[str]]) -> bool:
    """Both ends by name: one such word alone is as likely a node, the edge ``head,neck`` among them."""
    if len(first) > 2 and first[0] in INDEX_NAMES and (_is_numbered(first) or not any(map(is_number, first))):
        return True
    names = {*end_names(first)}
    return not names.isdisjoint(SOURCE_NAMES) and not names.isdisjoint(TARGET_NAMES)


def _features_named(first: list[str], rows: Sequence[Sequence[str]]) -> bool:
    return not {*first}.isdisjoint(ID_NAMES) or _has_index(first)


def _labels_named(first: list[str], rows: Sequence[Sequence[str]]) -> bool:
    known = [cell for cell in first if cell and cell in (*ID_COLUMNS, *LABEL_COLUMNS)]
    if len(known) > 1 or (first[0] in ID_COLUMNS and _is_numbered(first)):
        return True
    labels = [at for at, cell in enumerate(first) if cell in LABEL_COLUMNS]
    repeated = any(row[at] == rows[0][at] for row in rows[1:] for at in labels)  # y, over n and y
    is_class = repeated and first[0] not in ID_COLUMNS
    has_name = bool(known) or _has_index(first)
    return has_name and not is_class and not any(map(is_number, first))


def _splits_named(first: list[str], rows: Sequence[Sequence[str]]) -> bool:
    if first[0].startswith("split") or any(cell and cell in (*ID_COLUMNS, *LABEL_COLUMNS) for cell in first):
        return True
    column = [row[0].lower() for row in rows[1:]]  # an empty cell is a word too: of an unused node
    only_parts = all(map(_is_part, [*first, *column])) and not counts_rows("", column)
    return _has_index(first) and not only_parts


def _nodes_named(first: list[str], rows: Sequence[Sequence[str]]) -> bool:
    return first[0] in ID_NAMES or _has_index(first)


_NAMED = {
    "edges": _edges_named,
    "features": _features_named,
    "labels": _labels_named,
    "splits": _splits_named,
    "nodes": _nodes_named,
}


def counts_rows(name: str, cells: Sequence[str]) -> bool:
    """Whether a column is an index, by its name, that counts the rows from 0: it says no more than their order."""
    return name in INDEX_NAMES and all(cell == str(at) for at, cell in enumerate(cells))


def _stands_over_numbers(first: list[str], below: Sequence[Sequence[str]], kind: str) -> bool:
    if any(map(is_number, first)) or (kind == "splits" and all(map(_is_part, first))):
        return False
    # Two words above pairs that are not all numbers are an edge between string ids, and must not be lost.
    columns = (0, 1) if kind == "edges" and len(first) == 2 else (len(first) - 1,)
    return all(is_number(row[column]) for row in below for column in columns)


def _has_index(first: list[str]) -> bool:
    """Whether this begins with the name of an index, or with nothing above one: ``,a,b`` or ``,0,1``."""
    if first[0]:
        return first[0] in INDEX_NAMES
    return _is_numbered(first) or any(cell and not is_number(cell) for cell in first[1:])


def _is_numbered(first: list[str]) -> bool:
    """Whether all names but the first are 0, 1, 2 and so on, as pandas calls columns without names."""
    return len(first) > 1 and first[1:] == [str(at) for at in range(len(first) - 1)]


def _is_part(cell: str) -> bool:
    return cell in SPLIT_WORDS or cell in ("0", "1", "2", "3")
