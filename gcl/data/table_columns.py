"""Which column of a table holds what: the ids, the class, the ends of an edge and its weight."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gcl.core.errors import DataError
from gcl.data.edges import TOO_SMALL, underflow
from gcl.data.table_header import (
    ID_NAMES,
    INDEX_NAMES,
    LABEL_COLUMNS,
    SOURCE_NAMES,
    TARGET_NAMES,
    WEIGHT_NAMES,
    counts_rows,
    end_names,
    id_columns,
    is_number,
)
from gcl.data.tables import Table

# -- features, splits and lists of nodes -----------------------------------------------------------------------------


def id_place(header: Sequence[str] | None, width: int, path: Path) -> tuple[int | None, list[int]]:
    """Place of the ids of features, splits or nodes, and places of the columns that are neither ids nor an index.

    Ids are in the column called ``id``, ``node`` or the like, else in the first one where it is an index: without a
    name, as pandas writes it, or called ``index``.

    Raises:
        DataError: several columns are called so.
    """
    if header is None:
        return None, list(range(width))
    index = _index_places(header)
    named = [at for at, name in enumerate(header) if name in ID_NAMES]
    if len(named) > 1:
        listed = " and ".join(repr(header[at]) for at in named)
        raise DataError(f"{path} has the columns {listed}, each of which may hold the ids; leave out all but one")
    others = [at for at in range(width) if at not in index and at not in named]
    if not named and others and header[others[0]].endswith("_id"):
        raise DataError(
            f"{path} begins with the column {header[others[0]]!r}, which may hold ids; call it 'id' if it does, else "
            "give it another name"
        )
    ids = named or [at for at in id_columns(header) if at in index]
    return (ids[0] if ids else None), others


def row_ids(table: Table) -> tuple[list[str] | None, list[int]]:
    """The ids of the rows of features or splits, and the places of the other columns.

    There are none where no column holds them, or where it is an index that only counts the rows from 0.
    """
    place, others = id_place(table.header, table.width, table.path)
    return _listed(table, place), others


# -- labels ----------------------------------------------------------------------------------------------------------


def label_column(table: Table) -> int:
    """Place of the label column: by its name, else the only one beside the ids; without a header, the last.

    Raises:
        DataError: several columns, or none, are called label or the like, and more than one is left.
    """
    if table.header is None or table.width == 1:
        return table.width - 1
    named = [at for at, name in enumerate(table.header) if name in LABEL_COLUMNS]
    others = sorted(set(range(table.width)) - set(id_columns(table.header)))
    found = named or others
    if len(found) == 1:
        return found[0]
    which = "several are" if named else "none is"
    raise DataError(
        f"{table.path} has the columns {', '.join(map(repr, table.header))}, of which {which} called label or the "
        "like; call the one of labels 'label' and the one of ids 'id', and leave out the others"
    )


def label_id_column(
    table: Table, label: int, ids: Sequence[str] | None = None, *, pairs_have_ids: bool = False
) -> int | None:
    """Place of the id column beside the labels, ``None`` where there are labels only.

    It is the one with a name of ids, else the only other one where that holds words or just the known ids.

    Args:
        table: of labels.
        label: place of the labels, of :func:`label_column`.
        ids: known ids.
        pairs_have_ids: whether two columns without a header are ids and labels.

    Raises:
        DataError: it is not clear what a column holds.
    """
    others = [at for at in range(table.width) if at != label]
    if not others:
        return None
    named = [at for at in id_columns(table.header or ()) if at != label]
    if named:
        return named[0]
    if len(others) == 1:
        cells = table.column(others[0])
        holds_words = table.header is not None and not all(map(is_number, cells))
        is_pair = table.header is None and pairs_have_ids
        if holds_words or is_pair or (ids is not None and set(cells) == set(ids)):
            return others[0]
    if table.header is None:
        raise DataError(
            f"{table.path} has {table.width} columns and no header; write one, and call the ids 'id' and the labels "
            "'label'"
        )
    listed = ", ".join(repr(table.header[at]) for at in others)
    raise DataError(
        f"{table.path} has {listed} beside the labels, which may or may not be ids; call the id column 'id', or leave "
        "out what is none"
    )


def label_row_ids(table: Table) -> list[str] | None:
    """The ids of the rows of labels in a folder, as :func:`row_ids` of others; of two columns the first has them."""
    return _listed(table, label_id_column(table, label_column(table), pairs_have_ids=True))


# -- edges -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EdgeColumns:
    """A table of edges as columns.

    Args:
        source: id of each edge's source.
        target: id of its target.
        weight: float64 ``[E]``; ``None`` = 1.
    """

    source: list[str]
    target: list[str]
    weight: np.ndarray | None


def edge_columns(table: Table, types: tuple[str, str] | None = None) -> EdgeColumns:
    """The columns of a table of edges, at the places of :func:`edge_places`.

    Args:
        table: of edges.
        types: of sources and targets, if they have names.

    Raises:
        DataError: as :func:`edge_places`, an empty id, or a weight that is no number, negative, or 0 in float32 alone.
    """
    ends, weights = edge_places(table, types)
    for at in ends:
        cells = table.column(at)
        if "" in cells:
            raise DataError(
                f"{table.path} line {table.lines[cells.index('')]} has no id in column {at + 1}; fill it in or drop "
                "the line"
            )
    weight = table.numbers(weights)[:, 0] if weights else None
    if weight is not None and (weight < 0).any():
        at = int((weight < 0).argmax())
        raise DataError(
            f"{table.path} line {table.lines[at]} has the weight {weight[at]:g}; weights are strengths from 0, so "
            "replace it or drop the line"
        )
    if weight is not None and (lost := underflow(weight)).any():
        at = int(lost.argmax())
        raise DataError(f"{table.path} line {table.lines[at]} has the weight {weight[at]:g}, {TOO_SMALL}")
    return EdgeColumns(table.column(ends[0]), table.column(ends[1]), weight)


def edge_places(table: Table, types: tuple[str, str] | None = None) -> tuple[list[int], list[int]]:
    """Which columns of a table of edges are its two ends, and which is a weight, if one is.

    A header says which they are by ``source`` and ``target`` or the like, or by the node types. Where it says neither,
    and where there is none, they are the first two, and the third is a weight. An index before them is left out.

    Args:
        table: of edges, or its first lines.
        types: of sources and targets, if they have names.

    Raises:
        DataError: another number of columns, or one of which it is not clear what it holds.
    """
    index = _index_places(table.header or ())
    places = [at for at in range(table.width) if at not in index]
    if len(places) < 2 or (table.header is None and len(places) > 3):
        raise DataError(f"{table.path} has {table.width} columns; an edge has a source, a target and perhaps a weight")
    if table.header is None:
        _warn_of_a_header(table)
        return places[:2], places[2:]
    ends = _ends(table, table.header, places, types)
    weights = [at for at in places if at not in ends]
    strange = [table.header[at] for at in weights if table.header[at] not in WEIGHT_NAMES]
    if strange or len(weights) > 1:
        listed = ", ".join(map(repr, strange or [table.header[at] for at in weights]))
        named = " and ".join(repr(table.header[at]) for at in ends)
        raise DataError(
            f"{table.path} has {listed} beside the ends of an edge, {named}; call a weight 'weight', the ends "
            "'source' and 'target', and leave out the other columns"
        )
    return ends, weights


def _ends(table: Table, header: Sequence[str], places: list[int], types: tuple[str, str] | None) -> list[int]:
    """Places of source and target."""
    names = end_names(header)
    pairs: list[Sequence[Sequence[str]]] = [(SOURCE_NAMES, TARGET_NAMES)]
    if types is not None and types[0] != types[1]:
        pairs.insert(0, [[name] for name in end_names(types)])
    found = [[[at for at in places if names[at] in words] for words in pair] for pair in pairs]
    for source, target in found:
        if len(source) == len(target) == 1:
            return source + target
    others = [at for at in places if header[at] not in WEIGHT_NAMES]
    for source, target in found:
        if len(source) + len(target) > 1:
            listed = ", ".join(repr(header[at]) for at in sorted(source + target))
            raise DataError(f"{table.path} has the columns {listed}; call one 'source' and one 'target'")
        rest = [at for at in others if at not in source + target]
        if len(source) + len(target) == 1 and len(rest) == 1:
            return source + rest + target
    return (others if len(others) > 1 else places)[:2]


def _warn_of_a_header(table: Table) -> None:
    """Says so if the first edge looks like names of columns: a word for an end, and both cells nowhere else."""
    first = table.rows[0][:2]
    names = end_names(first)
    if names[0] not in (*ID_NAMES, *SOURCE_NAMES, "u", "i") and names[1] not in (*ID_NAMES, *TARGET_NAMES, "v", "j"):
        return
    if len(table.rows) > 1 and not any(cell in first for row in table.rows[1:] for cell in row[:2]):
        warnings.warn(
            f"the first line of {table.path} was read as an edge between {first[0]!r} and {first[1]!r}, which occur "
            "nowhere else; if they name the columns, call them 'source' and 'target'",
            stacklevel=2,
        )


# -- an index --------------------------------------------------------------------------------------------------------


def _index_places(header: Sequence[str]) -> list[int]:
    """Places of the columns that are an index: at the front by their names, two where pandas read one; in parquet last.

    Elsewhere a column called ``index`` may be anything.
    """
    count = next((at for at, name in enumerate(header) if name not in INDEX_NAMES), len(header))
    return [at for at, name in enumerate(header) if at < count or name == INDEX_NAMES[-1]]


def _listed(table: Table, place: int | None) -> list[str] | None:
    """The ids in a column, unless it is an index that counts the rows."""
    if place is None:
        return None
    cells = table.column(place)
    return None if table.header is not None and counts_rows(table.header[place], cells) else cells
