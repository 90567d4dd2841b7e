"""Edges of large files, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gcl.core.errors import DataError
from gcl.data.cell_values import numbers, whole_numbers
from gcl.data.edges import TOO_SMALL, underflow
from gcl.data.parquet import open_parquet
from gcl.data.table_blocks import table_blocks
from gcl.data.table_columns import edge_places
from gcl.data.tables import TEXT, Table
from gcl.data.text_cells import CellBlock

ROWS = 1 << 20  # of parquet at a time
LARGEST_WEIGHT = float(np.finfo(np.float32).max)


class EdgeBlock(NamedTuple):
    """Some edges: ids of sources and targets, int64 ``[e]``, and weights, float64 ``[e]``, or ``None``."""

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None


def edge_blocks(path: Path) -> Iterator[EdgeBlock]:
    """The edges of a table of text or parquet whose ids are positions from 0; columns as :func:`edge_places` has them.

    Raises:
        DataError: unreadable, an id that is no whole number from 0, or a weight that is not a finite number from 0.
        MissingDependencyError: parquet without pyarrow.
    """
    if path.suffix in TEXT:
        yield from _text_blocks(path)
    elif path.suffix == ".parquet":
        yield from _parquet_blocks(path)
    else:
        raise DataError(f"{path} is no table of edges; give {', '.join(TEXT)} or .parquet")


def _text_blocks(path: Path) -> Iterator[EdgeBlock]:
    head, blocks = table_blocks(path, "edges", "one edge a line")
    ends, weights = edge_places(head)
    width = head.width
    for block in blocks:
        start, end = block.table(width)
        source, target = (_positions(block, start[:, at], end[:, at]) for at in ends)
        weight = None
        if weights:
            weight, bad = numbers(block, start[:, weights[0]], end[:, weights[0]])
            weight = weight.astype(np.float64)
            bad = np.zeros(weight.size, dtype=bool) if bad is None else bad
            bad |= (weight < 0) | (weight > LARGEST_WEIGHT)
            if bad.any():
                at = int(bad.argmax())
                cell = block.text(at * width + weights[0])
                raise DataError(
                    f"{path} line {int(block.line[at])} has the weight {cell!r}; weights are finite numbers from 0"
                )
            lost = underflow(weight)
            if lost.any():
                at = int(lost.argmax())
                cell = block.text(at * width + weights[0])
                raise DataError(f"{path} line {int(block.line[at])} has the weight {cell!r}, {TOO_SMALL}")
        yield EdgeBlock(source, target, weight)


def _positions(block: CellBlock, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    found = whole_numbers(block.buffer, start, end)
    if found is not None:
        return found
    for at in range(start.size):
        if whole_numbers(block.buffer, start[at : at + 1], end[at : at + 1]) is None:
            cell = block.buffer[start[at] : end[at]].tobytes().decode()
            raise DataError(
                f"{block.path} line {int(block.line[at])} has the node id {cell!r}; ids of a stored graph are "
                "positions from 0, so number the nodes"
            )
    raise AssertionError("one of the cells is no whole number")


def _parquet_blocks(path: Path) -> Iterator[EdgeBlock]:
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        ends, weights = edge_places(Table(path, tuple(map(str.lower, names)), [["0"] * len(names)], [0]))
        row = 0
        for batch in file.iter_batches(ROWS, columns=[names[at] for at in (*ends, *weights)]):
            columns = [batch.column(names[at]) for at in (*ends, *weights)]
            for at, column in zip((*ends, *weights), columns, strict=True):
                check_column(path, names[at], column, row, whole=at in ends)
            values = [column.to_numpy(zero_copy_only=False) for column in columns]
            source, target = (value.astype(np.int64) for value in values[:2])
            weight = values[2].astype(np.float64) if weights else None
            if weight is not None and (lost := underflow(weight)).any():
                at = int(lost.argmax())
                raise DataError(f"{path} has the weight {weight[at]:g} in row {row + at}, {TOO_SMALL}")
            yield EdgeBlock(source, target, weight)
            row += batch.num_rows


def check_column(path: Path, name: str, column: object, row: int, *, whole: bool) -> None:
    """Refuses a piece of a parquet column, from ``row`` on, that is not finite numbers from 0, or not ``whole`` ones.

    Raises:
        DataError: names column and row.
    """
    import pyarrow

    assert isinstance(column, pyarrow.Array)
    if column.null_count:
        at = row + int(np.asarray(column.is_null()).argmax())
        raise DataError(f"{path} has no {name} in row {at}; fill it in or drop the row")
    kind = column.type
    if whole and not pyarrow.types.is_integer(kind):
        raise DataError(
            f"{path} has ids of type {kind} in column {name}; ids of a stored graph are positions from 0, so number "
            "the nodes"
        )
    if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)):
        raise DataError(f"{path} has values of type {kind} in column {name}; cast them to numbers")
    values = column.to_numpy(zero_copy_only=False)
    bad = (values < 0) | ~np.isfinite(values) | (values > (2**62 if whole else LARGEST_WEIGHT))
    if bad.any():
        at = int(bad.argmax())
        raise DataError(f"{path} has {values[at]} in row {row + at}, column {name}; it must be a finite number from 0")
