"""Labels and splits of nodes, of a table or an array, joined on their ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gcl.core.errors import DataError
from gcl.data.repeats import refuse_repeats
from gcl.data.splits import PARTS, SPLIT_WORDS, UNUSED
from gcl.data.table_columns import label_column, label_row_ids, row_ids
from gcl.data.table_header import LABEL_COLUMNS, counts_rows
from gcl.data.tables import Table

UNLABELLED = "-1"


def label_ids(labels: Any) -> list[str] | None:
    """The ids in labels, a table or an array: see :func:`gcl.data.table_columns.label_row_ids`."""
    return label_row_ids(labels) if isinstance(labels, Table) else None


def split_ids(splits: Any) -> list[str] | None:
    """The ids in splits, a table or an array: see :func:`gcl.data.table_columns.row_ids`."""
    return row_ids(splits)[0] if isinstance(splits, Table) else None


def require_order(
    rows: Any, path: Path, ids: list[str] | None, *, in_order: bool, noun: str = "the nodes", mend: str = ""
) -> None:
    """Refuses rows of labels or splits without ids where they may not be in the order of the nodes.

    Args:
        rows: a table or an array without ids.
        path: its file.
        ids: of the nodes; ``None`` = positions.
        in_order: whether a file lists the nodes in this order; else some are numbered as they appear in the edges.
        noun: what the nodes are, for messages.
        mend: another way out, for messages.

    Raises:
        DataError: no file says the order, or an index counts the rows though the nodes have other ids.
    """
    if ids is None:
        return
    if not in_order:
        raise DataError(
            f"{path} has no ids, but no file lists those of {noun} in order; add a first column named id{mend}"
        )
    if isinstance(rows, Table) and rows.header is not None and not counts_rows("", ids):
        index = next((name for at, name in enumerate(rows.header) if counts_rows(name, rows.column(at))), None)
        if index is not None:
            raise DataError(
                f"{path} counts its rows in the column {index!r}, but the ids of {noun} are others, such as "
                f"{ids[0]!r}; write them in a column called id, or leave the column out if the rows are in their order"
            )


def require_common(ids: Sequence[str], ends: Sequence[str], path: Path) -> None:
    """Refuses ids of labels of which the edges name none: they would all be nodes without edges.

    Raises:
        DataError: with an id of each.
    """
    if ends and set(ids).isdisjoint(ends):
        raise DataError(
            f"{path} has the ids {ids[0]!r} and so on, none of which the edges name (they have {ends[0]!r} and so on); "
            "write the same ids in both, or call the id column 'id' if it is another"
        )


def join_labels(
    labels: Any, num_nodes: int, look_up_rows: Callable[[list[str], Table], np.ndarray]
) -> tuple[Any, tuple[str, ...]]:
    """Labels ``[N]`` joined on the id, -1 where there is none, and class names where the labels are words.

    Args:
        labels: of :func:`read_table_or_array`; an array is given back as it is.
        num_nodes: N.
        look_up_rows: the positions of ids of a table, in range.
    """
    if not isinstance(labels, Table):
        return labels, ()
    classes, names = read_classes(labels.column(label_column(labels)), labels)
    ids = label_ids(labels)
    if ids is None:
        return classes, names
    y = np.full(num_nodes, -1, dtype=np.int64)
    y[look_up_rows(ids, labels)] = classes
    return y, names


def join_splits(
    splits: Any, num_nodes: int, look_up_rows: Callable[[list[str], Table], np.ndarray], *, noun: str = "node"
) -> np.ndarray:
    """Splits ``[N, S]`` from words or codes, joined on the id; nodes that are not listed are unused.

    Arguments as of :func:`join_labels`, and ``noun``, what the nodes are, for messages; an array ``[S, N]`` is turned.

    Raises:
        DataError: an unknown word, a column of labels, or a node that is listed twice.
    """
    if not isinstance(splits, Table):
        node_last = splits.ndim == 2 and splits.shape[0] != num_nodes and splits.shape[1] == num_nodes
        return splits.T if node_last else splits
    labels = next((name for name in splits.header or () if name in LABEL_COLUMNS), None)
    if labels is not None:
        raise DataError(f"{splits.path} has the column {labels!r} among the splits; write it into a file of labels")
    ids, columns = row_ids(splits)
    codes = np.empty((len(splits.rows), len(columns)), dtype=np.int64)
    for at, row in enumerate(splits.rows):
        for split, cell in enumerate(row[column] for column in columns):
            code = SPLIT_WORDS.get(cell.lower(), int(cell) if cell in ("0", "1", "2", "3") else None)
            if code is None:
                raise DataError(f"{splits.path} line {splits.lines[at]} has {cell!r}; use {', '.join(PARTS)} or 0 to 3")
            codes[at, split] = code
    if ids is None:
        return codes
    refuse_repeats(ids, str(splits.path), lambda at: f"line {splits.lines[at]}", noun=noun)
    joined = np.full((num_nodes, codes.shape[1]), UNUSED, dtype=np.int64)
    joined[look_up_rows(ids, splits)] = codes
    return joined


def read_classes(cells: Sequence[str], table: Table) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers, int64, and the names of classes where they are words, in alphabetical order.

    An empty cell is unlabelled, and so is -1, beside numbers and beside words.

    Args:
        cells: the label of each row of ``table``.
        table: for messages.

    Raises:
        DataError: numbers beside words, or a number that is not whole.
    """
    strange = next((at for at, cell in enumerate(cells) if cell.lower() in ("nan", "na")), None)
    if strange is not None:
        raise DataError(
            f"{table.path} line {table.lines[strange]} has the label {cells[strange]!r}; leave the cell empty, or "
            "write -1, where a node has none, and call a class otherwise"
        )
    filled = [cell for cell in cells if cell not in ("", UNLABELLED)]
    try:
        values = np.array([float(cell) if cell else -1.0 for cell in cells])
    except ValueError:
        numeric = [cell for cell in filled if re.fullmatch(r"[-+]?[0-9.]+", cell)]
        if numeric:
            at = next(at for at, cell in enumerate(cells) if cell in filled and cell not in numeric)
            raise DataError(
                f"{table.path} line {table.lines[at]} has the label {cells[at]!r} beside numbers such as "
                f"{numeric[0]!r}; use numbers or words for all"
            ) from None
        names = tuple(sorted(set(filled)))
        number = {name: at for at, name in enumerate(names)}
        return np.array([number.get(cell, -1) for cell in cells], dtype=np.int64), names
    broken = ~np.isfinite(values) | (values != np.floor(values)) | (np.abs(values) > 2**53)
    if broken.any():
        at = int(broken.argmax())
        raise DataError(
            f"{table.path} line {table.lines[at]} has the label {cells[at]!r}; classes are whole numbers, and "
            "an empty cell or -1 is unlabelled"
        )
    return values.astype(np.int64), ()
