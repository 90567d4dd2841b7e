"""Pairs of nodes with what they are, from a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from gcl.core.errors import DataError
from gcl.data.node_files import at_line, look_up
from gcl.data.table_header import LABEL_COLUMNS, SOURCE_NAMES, TARGET_NAMES, end_names, is_number
from gcl.data.tables import TEXT, Table, read_array, read_text
from gcl.evaluate.held_links import LabelledPairs

LINK_COLUMNS = ("link", "is_link", *LABEL_COLUMNS)


def read_pairs(path: str | os.PathLike[str], ids: Sequence[str] | None, num_nodes: int) -> LabelledPairs:
    """Reads pairs of nodes, some of them links.

    From csv, tsv or txt: two ends and a column of 1 = link or 0, called ``label``, ``link`` or the like, or the third;
    from npy: integer ``[n, 3]``.

    Args:
        path: the file.
        ids: id of each row of the embeddings; ``None`` = nodes are called by their positions.
        num_nodes: rows of the embeddings.

    Raises:
        DataError: missing or damaged; an end that is no node; labels that are not 0 and 1, or all the same.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*TEXT, ".npy"):
        raise DataError(f"{path} is no file of pairs that can be read; give csv, tsv, txt or npy")
    if not path.is_file():
        raise DataError(f"file of pairs {path} does not exist")
    if suffix == ".npy":
        array = np.asarray(read_array(path, ()))
        if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iu":
            raise DataError(
                f"{path} has {array.dtype} {list(array.shape)}; give integers [n, 3]: source, target, 1 or 0"
            )
        ends, labels = array[:, :2].astype(np.int64), array[:, 2].astype(np.float64)
    else:
        table = read_text(path, "edges")
        ends, labels = _of_table(table, ids)
    if not len(ends):
        raise DataError(f"{path} holds no pairs; write at least one link and one other")
    wrong = (ends < 0) | (ends >= num_nodes)
    if wrong.any():
        raise DataError(f"{path} names node {ends[wrong][0]}, but there are {num_nodes} embeddings; nodes are from 0")
    loop = ends[:, 0] == ends[:, 1]
    if loop.any():
        raise DataError(
            f"{path} pairs node {ends[loop][0, 0]} with itself, which scores high whatever it is; leave it out"
        )
    strange = (labels != 0) & (labels != 1)
    if strange.any():
        raise DataError(f"{path} labels a pair {labels[strange][0]:g}; a label is 1 for a link and 0 for none")
    if labels.min() == labels.max():
        raise DataError(f"every pair of {path} has the label {labels[0]:g}; scoring needs links and others")
    _, first, inverse = np.unique(np.sort(ends, axis=1), axis=0, return_index=True, return_inverse=True)
    both = np.flatnonzero(labels != labels[first[inverse.ravel()]])
    if both.size:
        pair = ends[both[0]] if ids is None else [ids[at] for at in ends[both[0]]]
        raise DataError(
            f"{path} has the pair {pair[0]} - {pair[1]} both as a link and as none; scores know no direction, so keep "
            "one of them"
        )
    return LabelledPairs(torch.from_numpy(np.ascontiguousarray(ends.T)), torch.from_numpy(labels == 1))


def _of_table(table: Table, ids: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    source, target, label = _columns(table)
    cells = table.column(label)
    strange = next((at for at, cell in enumerate(cells) if not is_number(cell)), None)
    if strange is not None:
        raise DataError(
            f"{at_line(table)(strange)} has the label {cells[strange]!r}; write 1 for a link and 0 for none"
        )
    position = None if ids is None else {name: at for at, name in enumerate(ids)}
    ends = [look_up(table.column(at), position, at_line(table), where="the embeddings") for at in (source, target)]
    return np.stack(ends, axis=1), np.array(cells, dtype=np.float64)


def _columns(table: Table) -> tuple[int, int, int]:
    """Places of source, target and label: by their names, without a header the first three."""
    if table.header is None:
        if table.width != 3:
            raise DataError(f"{table.path} has {table.width} columns; give source, target and a label of 1 or 0")
        return 0, 1, 2
    names = end_names(table.header)
    ends = [
        next((at for at, name in enumerate(names) if name in words), None) for words in (SOURCE_NAMES, TARGET_NAMES)
    ]
    left = [at for at in range(table.width) if at not in ends]
    labels = [at for at in left if table.header[at] in LINK_COLUMNS] or left
    if ends[0] is None or ends[1] is None or len(labels) != 1:
        raise DataError(
            f"{table.path} has the columns {', '.join(map(repr, table.header))}; call them source, target and label"
        )
    return ends[0], ends[1], labels[0]
