"""Node features of large files, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gcl.core.errors import DataError
from gcl.data.cell_values import numbers, whole_numbers
from gcl.data.edge_blocks import check_column
from gcl.data.npy_files import mapped_array, new_mapped_array
from gcl.data.parquet import open_parquet
from gcl.data.table_blocks import table_blocks
from gcl.data.table_columns import id_place
from gcl.data.tables import TEXT

ENTRIES = 1 << 22  # at a time
Block = tuple[np.ndarray | None, np.ndarray]  # node of each row, int64 [r], if a column says so; features [r, F]


def feature_blocks(path: Path) -> Iterator[Block]:
    """The rows of an ``.npy`` array, or a table of text or parquet, in order or with a column of positions.

    Raises:
        DataError: unreadable, not two-dimensional, or a cell that is no finite number in float32.
        MissingDependencyError: parquet without pyarrow.
    """
    if path.suffix == ".npy":
        blocks = _array_blocks(path)
    elif path.suffix in TEXT:
        blocks = _text_blocks(path)
    elif path.suffix == ".parquet":
        blocks = _parquet_blocks(path)
    else:
        raise DataError(f"{path} is no table of features; give .npy, {', '.join(TEXT)} or .parquet")
    row = 0
    for nodes, values in blocks:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32, copy=False)
        bad = ~np.isfinite(values)
        if bad.any():
            at, column = (int(place[0]) for place in bad.nonzero())
            raise DataError(
                f"{path} has a value that is not finite in float32, in row {row + at}, column {column} (from 0); "
                "replace it or drop the column"
            )
        yield nodes, values
        row += len(values)


def feature_array(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file of features ``[N, F]``, mapped into memory.

    Raises:
        DataError: unreadable, truncated, not two-dimensional, empty, or of something else than numbers.
    """
    array = mapped_array(path, "write numbers [N, F] with numpy.save")
    if array.ndim != 2 or array.dtype.kind not in "biuf" or not array.size:
        raise DataError(f"{path} must hold numbers [N, F], one row a node, got {array.dtype} {list(array.shape)}")
    return array


def _array_blocks(path: Path) -> Iterator[Block]:
    array = feature_array(path)
    size = max(ENTRIES // array.shape[1], 1)
    for first in range(0, array.shape[0], size):
        yield None, np.asarray(array[first : first + size])


def _text_blocks(path: Path) -> Iterator[Block]:
    head, blocks = table_blocks(path, "features", "one row a node")
    own, columns = id_place(head.header, head.width, path)
    if not columns:
        raise DataError(f"{path} has an id column but no features; add a column or leave it out")
    for block in blocks:
        start, end = block.table(head.width)
        nodes = None
        if own is not None:
            nodes = whole_numbers(block.buffer, start[:, own], end[:, own])
            if nodes is None:
                raise DataError(
                    f"{path} has ids that are no positions from 0 from line {int(block.line[0])} on; number the nodes"
                )
        values = np.empty((len(start), len(columns)), dtype=np.float64)
        for place, at in enumerate(columns):
            values[:, place], bad = numbers(block, start[:, at], end[:, at])
            if bad is not None:
                row = int(bad.argmax())
                raise DataError(
                    f"{path} line {int(block.line[row])} has {block.text(row * head.width + at)!r} in column {at + 1}, "
                    "which is not a finite number; replace it or drop the column"
                )
        yield nodes, values


def _parquet_blocks(path: Path) -> Iterator[Block]:
    with open_parquet(path) as file:
        from pyarrow import types

        names = file.schema_arrow.names
        own, columns = id_place([name.lower() for name in names], len(names), path)
        if not columns:
            raise DataError(f"{path} has an id column but no features; add a column or leave it out")
        row = 0
        for at in columns:
            kind = file.schema_arrow.types[at]
            if not (types.is_integer(kind) or types.is_floating(kind)):
                raise DataError(f"{path} has values of type {kind} in column {names[at]}; cast them to numbers")
        for batch in file.iter_batches(max(ENTRIES // max(len(columns), 1), 1)):
            values = [batch.column(at).to_numpy(zero_copy_only=False) for at in columns]
            nodes = None
            if own is not None:
                check_column(path, names[own], batch.column(own), row, whole=True)
                nodes = batch.column(own).to_numpy(zero_copy_only=False).astype(np.int64)
            yield nodes, np.stack(values, axis=1)
            row += batch.num_rows


def write_features(path: Path, target: Path, num_nodes: int) -> int:
    """Writes features as a float32 ``.npy`` ``[N, F]``, some rows at a time; the number of columns.

    Raises:
        DataError: as :func:`feature_blocks`, another number of rows, or a node that is named twice or out of range.
        OSError: the disk is full.
    """
    out: np.memmap | None = None
    seen = np.zeros(num_nodes, dtype=bool)
    row = 0
    for nodes, values in feature_blocks(path):
        nodes = np.arange(row, row + len(values)) if nodes is None else nodes
        row += len(values)
        if row > num_nodes or (nodes.size and int(nodes.max()) >= num_nodes):
            raise DataError(f"{path} has features of more than the {num_nodes} nodes; give one row a node")
        if seen[nodes].any() or np.unique(nodes).size < nodes.size:
            raise DataError(f"{path} has a node twice, one of them in the rows before row {row}; keep one of them")
        seen[nodes] = True
        if out is None:
            shape = (num_nodes, values.shape[1])
            out = new_mapped_array(target, np.float32, shape)
        out[nodes] = values
    if out is None or not seen.all():
        raise DataError(f"{path} has features of {row} nodes, and the graph has {num_nodes}; give one row a node")
    out.flush()
    return int(out.shape[1])
