"""Reading tables: csv, tsv, txt, npy, npz and parquet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gcl.core.errors import DataError, MissingDependencyError
from gcl.data.archive import read_npz

TEXT = (".csv", ".tsv", ".txt")
ID_NAMES = ("id", "node", "node_id", "nodeid", "name")
HEADS = ("source", "src", "from", "node1", "head", "label", "labels", "class", "y")


@dataclass(frozen=True)
class Table:
    """Rows of text cells.

    Args:
        path: the file, for messages.
        header: column names in lower case, or ``None``.
        rows: cells; all rows are equally long.
        lines: line number of each row in the file.
    """

    path: Path
    header: tuple[str, ...] | None
    rows: list[list[str]]
    lines: list[int]

    @property
    def width(self) -> int:
        """Columns."""
        return len(self.rows[0]) if self.rows else 0

    @property
    def has_ids(self) -> bool:
        """Whether the first column names the nodes: by its header."""
        return self.header is not None and self.header[0] in ID_NAMES

    def column(self, index: int) -> list[str]:
        """One column's cells."""
        return [row[index] for row in self.rows]

    def numbers(self, first: int = 0) -> np.ndarray:
        """The columns from ``first`` on as float64 ``[rows, columns]``.

        Raises:
            DataError: a cell is not a number; names line and column.
        """
        cells = [row[first:] for row in self.rows]
        try:
            return np.array(cells, dtype=np.float64)
        except ValueError:
            for line, row in zip(self.lines, cells, strict=True):
                for column, cell in enumerate(row):
                    if not is_number(cell):
                        raise DataError(
                            f"{self.path} line {line} has {cell!r} in column {first + column + 1}, which is not a "
                            "number; replace it, or name an id column 'id' in the first line"
                        ) from None
            raise


def read_text(path: Path, *, edges: bool = False) -> Table:
    """Reads a delimited text file: comma, semicolon, tab or blanks; lines that start with ``#`` are comments.

    The first line is a header where its first cell is ``id``, ``node``, ``source``, ``label`` or the like, or where
    none of its cells is a number though the whole last column below is (of ``edges`` without weights: both columns).

    Raises:
        DataError: unreadable, empty, or rows of different lengths.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} as UTF-8 text ({type(error).__name__}); save it as UTF-8") from None
    kept = [(at, line) for at, line in enumerate(lines, start=1) if line.strip() and not line.startswith("#")]
    if not kept:
        raise DataError(f"{path} holds no rows; write at least one or remove the file")
    delimiter = _delimiter(path, kept[0][1])
    if delimiter is None:
        rows = [line.split() for _, line in kept]
    else:
        rows = [[cell.strip() for cell in row] for row in csv.reader((line for _, line in kept), delimiter=delimiter)]
    numbers = [at for at, _ in kept]
    if len(rows) != len(numbers):
        raise DataError(f"{path} has a quoted cell with a line break; write each row on one line")
    for at, row in zip(numbers, rows, strict=True):
        if len(row) != len(rows[0]):
            raise DataError(f"{path} line {at} has {len(row)} cells, expected {len(rows[0])} as in the first line")
    header = None
    if _is_header(rows, edges):
        header = tuple(cell.lower() for cell in rows[0])
        rows, numbers = rows[1:], numbers[1:]
    if not rows:
        raise DataError(f"{path} holds a header but no rows; write at least one or remove the file")
    return Table(path, header, rows, numbers)


def read_array(path: Path, keys: Sequence[str]) -> Any:
    """An array from ``.npy``, ``.npz`` (one of ``keys``, or its only one) or ``.parquet`` (all columns).

    A SciPy sparse matrix, saved by ``scipy.sparse.save_npz``, is returned as one.

    Raises:
        DataError: unreadable, or none of the keys is there.
        MissingDependencyError: parquet without pyarrow.
    """
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix == ".npy":
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} is truncated or not a plain .npy array ({type(error).__name__})") from None
    arrays, _ = read_npz(path)
    if "format" in arrays and "shape" in arrays:
        import scipy.sparse

        try:
            return scipy.sparse.load_npz(path)
        except (ValueError, KeyError) as error:
            raise DataError(f"{path} is a damaged SciPy matrix ({error}); save it again") from None
    found = [key for key in keys if key in arrays]
    if found:
        return arrays[found[0]]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise DataError(f"{path} has the keys {', '.join(sorted(arrays))}; expected one of {', '.join(keys)}")


def _read_parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(f"reading {path} needs pyarrow; pip install pyarrow") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is truncated or not a parquet file ({type(error).__name__})") from None
    columns = [column.to_numpy() for column in table.columns]
    if not columns:
        raise DataError(f"{path} has no columns")
    return np.stack(columns, axis=1)


def _delimiter(path: Path, line: str) -> str | None:
    if path.suffix == ".tsv":
        return "\t"
    return next((mark for mark in (",", ";", "\t") if mark in line), "," if path.suffix == ".csv" else None)


def is_number(cell: str) -> bool:
    """Whether a cell of text reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_header(rows: list[list[str]], edges: bool) -> bool:
    first, rest = rows[0], rows[1:]
    if (
        first[0].lower() in (*ID_NAMES, *HEADS)
        or first[-1].lower() in ("label", "class")
        or first[0].startswith("split")
    ):
        return True
    if not rest or any(is_number(cell) for cell in first):
        return False
    # Two words above pairs that are not all numbers are an edge between string ids, and must not be lost.
    columns = (0, 1) if edges and len(first) == 2 else (len(first) - 1,)
    return all(is_number(row[column]) for row in rest for column in columns)
