"""Reading labels and splits that stand beside embeddings."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from gcl.core.errors import DataError
from gcl.data.labels import as_labels, as_splits
from gcl.data.node_files import lost_zeros
from gcl.data.node_labels import read_classes
from gcl.data.repeats import first_repeat
from gcl.data.table_columns import label_column, label_id_column
from gcl.data.tables import TEXT, read_array, read_text


def read_labels(
    path: str | os.PathLike[str], ids: Sequence[str] | None = None, *, num_nodes: int | None = None
) -> Tensor:
    """Reads one class a node, int64 ``[N]``, -1 = unlabelled: an empty cell, -1, or an id that
    the table lacks (with a warning).

    From npy; npz, key ``y``; csv or tsv; txt, one label a line. Words for classes are numbered in sorted order, in csv
    and tsv only. The label column of a table is the one called ``label``, ``y``, ``class`` or ``target``, else its only
    column beside the ids.

    A table with ids is joined to ``ids``. Labels of other ids are left out, but only if none of ``ids`` is missing:
    both at once may be a shift by one, or lost zeros. The ids are in the column ``id``, ``node`` or the like, or in the
    only other column where that holds words or just the ``ids``. Without ``ids``, they must be the numbers from 0 on,
    and are put in that order. Labels without ids are taken as they stand.

    Args:
        path: the file.
        ids: id of each row of the embeddings.
        num_nodes: how many labels there must be; by default as many as ``ids``.

    Raises:
        DataError: missing, truncated or of another kind; not whole numbers; another length; ids
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


def _read_table(path: Path, ids: Sequence[str] | None) -> tuple[np.ndarray, list[str] | None]:
    """Labels as numbers, or as indices of sorted words, and the cells of the id column."""
    table = read_text(path, "labels")
    lines = table.lines
    column = label_column(table)
    at = label_id_column(table, column, ids)
    names = None if at is None else table.column(at)
    cells = table.column(column)
    labels, words = read_classes(cells, table)
    if words and path.suffix.lower() == ".txt":
        raise DataError(f"{path} line {lines[0]} has the label {cells[0]!r}; number the classes from 0, or write a csv")
    return labels, names


def _join(path: Path, labels: np.ndarray, names: list[str], ids: Sequence[str] | None) -> np.ndarray:
    """Labels in the order of ``ids``."""
    repeat = first_repeat(names)
    if repeat is not None:
        raise DataError(f"{path} has the id {names[repeat[0]]!r} more than once; ids must differ")
    place = {name: row for row, name in enumerate(names)}
    if ids is None:
        numbers = [str(row) for row in range(len(names))]
        if any(number not in place for number in numbers):
            raise DataError(
                f"{path} has ids but the embeddings have none; save the embeddings with ids or drop the id column"
            )
        return labels[[place[number] for number in numbers]]
    absent = [name for name in ids if name not in place]
    if len(absent) == len(ids):
        raise DataError(
            f"{path} has none of the {len(ids)} ids of the embeddings, such as {absent[0]!r} (it has {names[0]!r} and "
            "so on); give the labels of these nodes"
        )
    known = {*ids}
    others = [name for name in names if name not in known]
    if absent and others:  # a shift by one, or lost zeros, would put labels on other nodes
        mend = lost_zeros(others, absent) or (
            "check that both number the nodes alike (from 0 or from 1); where they do, write -1 as the label of each "
            "node that has none"
        )
        raise DataError(
            f"{path} has no row for {len(absent)} of the {len(ids)} ids of the embeddings, first {absent[0]!r}, but "
            f"{len(others)} for other ids, first {others[0]!r}; {mend}"
        )
    if absent:
        warnings.warn(
            f"{path} has no row for {len(absent)} of the {len(ids)} ids of the embeddings, first {absent[0]!r}; they "
            "count as unlabelled",
            stacklevel=2,
        )
    return np.array([labels[place[name]] if name in place else -1 for name in ids], dtype=labels.dtype)


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
