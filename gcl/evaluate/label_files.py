"""Reading labels and splits that stand beside embeddings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from gcl.core.errors import DataError
from gcl.data.labels import as_labels, as_splits
from gcl.data.tables import TEXT, is_number, read_array, read_text

ID_COLUMNS = ("id", "node", "node_id", "nodeid")
LABEL_COLUMNS = ("label", "labels", "y", "class", "classes", "target", "category")


def read_labels(
    path: str | os.PathLike[str], ids: Sequence[str] | None = None, *, num_nodes: int | None = None
) -> Tensor:
    """Reads one class a node, int64 ``[N]``, -1 = unlabelled.

    From npy; npz, key ``y``; csv or tsv, last column, with or without a header; txt, one label a line. Words for
    classes are numbered in sorted order, in csv and tsv only.

    A csv with a column ``id`` is joined to ``ids`` (labels of other ids are left out). Without ``ids``, rows whose ids
    are the numbers from 0 on are put in that order, and others are taken as they stand.

    Args:
        path: the file.
        ids: id of each row of the embeddings.
        num_nodes: how many labels there must be; by default as many as ``ids``.

    Raises:
        DataError: missing, truncated or of another kind; not whole numbers; an id without a label; another length.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*TEXT, ".npy", ".npz"):
        raise DataError(f"{path} is no label file that can be read; give npy, npz (key y), csv, tsv or txt")
    if not path.is_file():
        raise DataError(f"label file {path} does not exist")
    if suffix in TEXT:
        labels, names = _read_table(path)
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
        DataError: missing, truncated or of another kind; another shape; a value above 3.
    """
    path = Path(path)
    if path.suffix.lower() not in (".npy", ".npz"):
        raise DataError(f"{path} is no splits file that can be read; give npy or npz (key splits)")
    if not path.is_file():
        raise DataError(f"splits file {path} does not exist")
    splits = np.asarray(read_array(path, ("splits",)))
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
    return as_splits(splits, splits.shape[0])


def _read_table(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """Labels as numbers, or as indices of sorted words, and the cells of the id column."""
    table = read_text(path)
    header, rows, lines = table.header, table.rows, table.lines
    if header is None and len(rows) > 1 and rows[0][-1].lower() in LABEL_COLUMNS:  # words under a header of words
        header, rows, lines = tuple(cell.lower() for cell in rows[0]), rows[1:], lines[1:]
    cells = [row[-1] for row in rows]
    missing = next((line for line, cell in zip(lines, cells, strict=True) if cell.lower() in ("", "nan", "na")), None)
    if missing is not None:
        raise DataError(f"{path} line {missing} has no label; write -1 for an unlabelled node")
    at = next((header.index(name) for name in ID_COLUMNS if name in header), None) if header else None
    names = None if at is None or at == len(rows[0]) - 1 else [row[at] for row in rows]
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


def _join(path: Path, labels: np.ndarray, names: list[str], ids: Sequence[str] | None) -> np.ndarray:
    """Labels in the order of ``ids``."""
    place = {name: row for row, name in enumerate(names)}
    if len(place) != len(names):
        twice = next(name for row, name in enumerate(names) if place[name] != row)
        raise DataError(f"{path} has the id {twice!r} more than once; ids must differ")
    if ids is None:
        numbers = [str(row) for row in range(len(names))]
        return labels[[place[name] for name in numbers]] if all(name in place for name in numbers) else labels
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
