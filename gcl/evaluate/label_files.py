"""Reading labels and splits that stand beside embeddings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from gcl.core.errors import DataError
from gcl.data.labels import as_labels, as_splits
from gcl.data.tables import ID_NAMES, TEXT, Table, is_number, read_array, read_text

# In this order; the last ones are what pandas calls an index, with the empty name in csv.
ID_COLUMNS = (*ID_NAMES, "", "index", "unnamed: 0", "__index_level_0__")
LABEL_COLUMNS = ("label", "labels", "y", "class", "classes", "target", "category")


def read_labels(
    path: str | os.PathLike[str], ids: Sequence[str] | None = None, *, num_nodes: int | None = None
) -> Tensor:
    """Reads one class a node, int64 ``[N]``, -1 = unlabelled.

    From npy; npz, key ``y``; csv or tsv; txt, one label a line. Words for classes are numbered in sorted order, in csv
    and tsv only. The label column of a table is the one called ``label``, ``y``, ``class`` or ``target``, else its only
    column beside the ids.

    A table with ids is joined to ``ids`` (labels of other ids are left out). They are in the column ``id``, ``node`` or
    the like, or in the only other column where that holds words or just the ``ids``. Without ``ids``, they must be the
    numbers from 0 on, and are put in that order. Labels without ids are taken as they stand.

    Args:
        path: the file.
        ids: id of each row of the embeddings.
        num_nodes: how many labels there must be; by default as many as ``ids``.

    Raises:
        DataError: missing, truncated or of another kind; not whole numbers; another length; an id without a label; ids
            that cannot be joined, or a table of which it is not clear what its columns are.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*TEXT, ".npy", ".npz"):
        raise DataError(f"{path} is no label file that can be read; give npy, npz (key y), csv, tsv or txt")
    if not path.is_file():
        raise DataError(f"label file {path} does not exist")
    if suffix in TEXT:
        labels, names = _read_table(path, ids)
        if names is not None:
            labels = _join(path, labels, names, ids)
    else:
        labels = np.asarray(read_array(path, ("y",)))
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1:
        raise DataError(f"{path} has labels of shape {list(labels.shape)}; give one class a node")
    expected = len(ids) if num_nodes is None and ids is not None else num_nodes
    if expected is not None and len(labels) != expected:
        raise DataError(f"{path} has {len(labels)} labels for {expected} nodes; give one label a node")
    return as_labels(_whole(path, labels), len(labels))


def read_splits(path: str | os.PathLike[str], num_nodes: int | None = None) -> Tensor:
    """Reads splits, uint8 ``[N, S]``: 0 train, 1 validation, 2 test, 3 unused.

    From ``.npy`` or ``.npz`` key ``splits``, shape ``[N]``, ``[S, N]`` or ``[N, S]``. The nodes are the axis of length
    ``num_nodes``, or the longer one where that is not given or does not decide.

    Raises:
        DataError: missing, truncated or of another kind; another shape; a value above 3; a split without training or
            test nodes.
    """
    path = Path(path)
    if path.suffix.lower() not in (".npy", ".npz"):
        raise DataError(f"{path} is no splits file that can be read; give npy or npz (key splits)")
    if not path.is_file():
        raise DataError(f"splits file {path} does not exist")
    splits = np.asarray(read_array(path, ("splits",)))
    if path.suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            if not {"splits", "arr_0"} & set(archive.files):  # the second is what numpy calls an array without a name
                raise DataError(f"{path} has no key splits (it has {', '.join(archive.files)}); give a file of splits")
    if splits.ndim == 1:
        splits = splits[:, None]
    if splits.ndim != 2 or 0 in splits.shape:
        raise DataError(f"{path} has splits of shape {list(splits.shape)}; give [N], [S, N] or [N, S]")
    rows, cols = splits.shape
    if (cols == num_nodes) != (rows == num_nodes):
        turn = cols == num_nodes
    elif num_nodes is None or rows == cols:
        turn = cols > rows
    else:
        raise DataError(f"{path} has splits of shape {[rows, cols]} for {num_nodes} nodes; one axis must be the nodes")
    splits = splits.T if turn else splits
    try:
        checked = as_splits(splits, splits.shape[0])
    except DataError as error:
        raise DataError(f"{path} is no splits file: {error}") from None
    for part, code in (("training", 0), ("test", 2)):
        empty = ~(checked == code).any(dim=0)
        if bool(empty.any()):
            raise DataError(
                f"{path} has no {part} node ({code}) in split {int(empty.int().argmax())}; give a file of splits "
                "(0 train, 1 validation, 2 test, 3 unused), not of labels"
            )
    return checked


def id_columns(names: Sequence[str]) -> list[int]:
    """Places of the columns that hold ids by their names, the one to use first."""
    names = [name.strip().lower() for name in names]
    found = [at for at, name in enumerate(names) if name in ID_COLUMNS]
    return sorted(found, key=lambda at: ID_COLUMNS.index(names[at]))


def _read_table(path: Path, ids: Sequence[str] | None) -> tuple[np.ndarray, list[str] | None]:
    """Labels as numbers, or as indices of sorted words, and the cells of the id column."""
    table = _with_header(read_text(path))
    lines = table.lines
    column = _label_column(table)
    at = _id_column(table, column, ids)
    names = None if at is None else table.column(at)
    cells = table.column(column)
    missing = next((line for line, cell in zip(lines, cells, strict=True) if cell.lower() in ("", "nan", "na")), None)
    if missing is not None:
        raise DataError(f"{path} line {missing} has no label; write -1 for an unlabelled node")
    numeric = [is_number(cell) for cell in cells]
    if all(numeric):
        return np.array(cells, dtype=np.float64), names
    if any(numeric):
        word = cells[numeric.index(False)]
        raise DataError(
            f"{path} line {lines[numeric.index(False)]} has the label {word!r} among numbers; use numbers or words only"
        )
    if path.suffix.lower() == ".txt":
        raise DataError(f"{path} line {lines[0]} has the label {cells[0]!r}; number the classes from 0, or write a csv")
    return np.unique(np.array(cells), return_inverse=True)[1].reshape(-1), names


def _with_header(table: Table) -> Table:
    """The table, its first row taken as a header where that is told by a name: words stand over words."""
    first = [cell.lower() for cell in table.rows[0]]
    known = first[0] in ID_COLUMNS or any(cell and cell in (*LABEL_COLUMNS, *ID_COLUMNS) for cell in first)
    if table.header is not None or len(table.rows) < 2 or not known or any(map(is_number, first)):
        return table
    return Table(table.path, tuple(first), table.rows[1:], table.lines[1:])


def _label_column(table: Table) -> int:
    """Place of the label column: by its name, else the only one beside the ids."""
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


def _id_column(table: Table, label: int, ids: Sequence[str] | None) -> int | None:
    """Place of the id column, ``None`` where there are labels only."""
    others = [at for at in range(table.width) if at != label]
    if not others:
        return None
    named = [at for at in id_columns(table.header or ()) if at != label]
    if named:
        return named[0]
    if len(others) == 1:
        cells = table.column(others[0])
        holds_words = table.header is not None and not all(map(is_number, cells))
        if holds_words or (ids is not None and set(cells) == set(ids)):
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


def _join(path: Path, labels: np.ndarray, names: list[str], ids: Sequence[str] | None) -> np.ndarray:
    """Labels in the order of ``ids``."""
    place = {name: row for row, name in enumerate(names)}
    if len(place) != len(names):
        twice = next(name for row, name in enumerate(names) if place[name] != row)
        raise DataError(f"{path} has the id {twice!r} more than once; ids must differ")
    if ids is None:
        numbers = [str(row) for row in range(len(names))]
        if any(number not in place for number in numbers):
            raise DataError(
                f"{path} has ids but the embeddings have none; save the embeddings with ids or drop the id column"
            )
        return labels[[place[number] for number in numbers]]
    absent = [name for name in ids if name not in place]
    if absent:
        raise DataError(
            f"{path} has no label for {len(absent)} of the {len(ids)} ids of the embeddings, first {absent[0]!r}; "
            "add them with label -1 if they have none"
        )
    return labels[[place[name] for name in ids]]


def _whole(path: Path, labels: np.ndarray) -> np.ndarray:
    """Labels as integers, where nothing is lost by it."""
    if labels.dtype.kind != "f":
        if labels.dtype.kind not in "biu":
            raise DataError(
                f"{path} has labels of type {labels.dtype}; number the classes from 0, or write words as csv"
            )
        return labels
    wrong = ~np.isfinite(labels)
    if wrong.any():
        raise DataError(
            f"{path} has {int(wrong.sum())} NaN or infinite labels, the first for node {int(wrong.argmax())}; "
            "write -1 for an unlabelled node"
        )
    wrong = labels != np.round(labels)
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(f"{path} has the label {labels[at]:g} for node {at}; classes are whole numbers from 0")
    return labels.astype(np.int64)
