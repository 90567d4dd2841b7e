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
from gcl.data.table_header import is_header, is_number

TEXT = (".csv", ".tsv", ".txt")


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

    def column(self, index: int) -> list[str]:
        """One column's cells."""
        return [row[index] for row in self.rows]

    def numbers(self, columns: Sequence[int]) -> np.ndarray:
        """Some columns as float64 ``[rows, columns]``.

        Raises:
            DataError: a cell is not a number; names line and column.
        """
        cells = [[row[at] for at in columns] for row in self.rows]
        try:
            values = np.array(cells, dtype=np.float64)
        except ValueError:
            for line, row in zip(self.lines, cells, strict=True):
                for column, cell in zip(columns, row, strict=True):
                    if not is_number(cell):
                        raise DataError(
                            f"{self.path} line {line} has {cell!r} in {self.name_of(column)}, which is not a number; "
                            f"{self._mend(column)}"
                        ) from None
            raise
        if not np.isfinite(values).all():
            place = np.argwhere(~np.isfinite(values))[0]
            line_at, at = int(place[0]), int(place[1])
            raise DataError(
                f"{self.path} line {self.lines[line_at]} has {cells[line_at][at]!r} in {self.name_of(columns[at])}, "
                "which is not finite; write a number, or leave the row or the column out"
            )
        return values

    def name_of(self, column: int) -> str:
        """What a column is called in messages."""
        return f"column {column + 1}" if self.header is None else f"column {column + 1} ({self.header[column]!r})"

    def _mend(self, column: int) -> str:
        """What to do about words where numbers are to be."""
        if column == 0:
            return "replace it, or name an id column 'id' in the first line"
        return "write a number, or leave the column out; a category can be a column of 0 and 1 for each of its values"


def read_text(path: Path, kind: str) -> Table:
    """Reads a delimited text file: comma, semicolon, tab or blanks; lines that start with ``#`` are comments.

    Whether the first line is a header depends on what the table holds, which is ``kind``: see
    :func:`gcl.data.table_header.is_header`.

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
    if is_header(rows, kind):
        header = tuple(cell.lower() for cell in rows[0])
        rows, numbers = rows[1:], numbers[1:]
    if not rows:
        raise DataError(f"{path} holds a header but no rows; write at least one or remove the file")
    return Table(path, header, rows, numbers)


def read_array(path: Path, keys: Sequence[str]) -> Any:
    """An array from ``.npy`` or ``.npz`` (one of ``keys``, or its only one).

    A SciPy sparse matrix, saved by ``scipy.sparse.save_npz``, is returned as one.

    Raises:
        DataError: unreadable, or none of the keys is there.
    """
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


def read_parquet(path: Path) -> tuple[tuple[str, ...], list[Any]]:
    """Column names in lower case, and the columns, of a parquet file.

    Raises:
        DataError: truncated, not a parquet file, or without columns.
        MissingDependencyError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(f"reading {path} needs pyarrow; pip install pyarrow") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is truncated or not a parquet file ({type(error).__name__})") from None
    if not table.column_names:
        raise DataError(f"{path} has no columns")
    return tuple(name.lower() for name in table.column_names), table.columns


def _delimiter(path: Path, line: str) -> str | None:
    if path.suffix == ".tsv":
        return "\t"
    return next((mark for mark in (",", ";", "\t") if mark in line), "," if path.suffix == ".csv" else None)
