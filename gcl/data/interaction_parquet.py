"""Interactions from parquet tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gcl.core.errors import DataError
from gcl.data.interaction_builder import InteractionBuilder
from gcl.data.interaction_columns import find_columns
from gcl.data.interaction_options import InteractionOptions
from gcl.data.parquet import open_parquet

_ROWS = 1 << 20


def add_parquet(builder: InteractionBuilder, path: Path, part: str, options: InteractionOptions) -> None:
    """Adds the rows of a parquet file, a million at a time; ids of whole numbers become their decimal strings.

    Raises:
        DataError: damaged, no known columns, or a null; names the row, counted from 0, and the column.
        MissingDependencyError: pyarrow is not installed.
    """
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        found = find_columns(names, len(names), options.columns, builder.needed, path)
        row = 0
        for batch in file.iter_batches(_ROWS, columns=[names[at] for at in found.values()]):
            columns = {role: batch.column(names[at]) for role, at in found.items()}
            for role, column in columns.items():
                if column.null_count:
                    at = row + int(np.asarray(column.is_null()).argmax())
                    raise DataError(f"{path} has no {role} in row {at}, column {names[found[role]]}; drop the row")
            user, item = (_ids(columns[role], f"{path} column {names[found[role]]}") for role in ("user", "item"))
            values, dated = {}, False
            for role in builder.needed:
                if role in columns:
                    values[role], dates = _values(columns[role], f"{path} column {names[found[role]]}", row)
                    dated = dated or dates
            builder.add_arrays(user, item, values, part, dated=dated)
            row += batch.num_rows


def _ids(column: Any, where: str) -> np.ndarray | tuple[np.ndarray, list[str]]:
    """Whole numbers as int64, others as codes and words."""
    import pyarrow

    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pyarrow.types.is_integer(kind) and not pyarrow.types.is_uint64(kind):
        return column.to_numpy(zero_copy_only=False).astype(np.int64)
    is_text = pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)
    if not (is_text or pyarrow.types.is_uint64(kind) or "string_view" in str(kind)):
        raise DataError(f"{where} has ids of type {kind}; cast them to whole numbers or strings")
    encoded = column.cast(pyarrow.string()).dictionary_encode()
    words = encoded.dictionary.to_pylist()
    if "" in words and (encoded.indices.to_numpy(zero_copy_only=False) == words.index("")).any():
        raise DataError(f"{where} has an empty id; fill it in or drop the row")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), words


def _values(column: Any, where: str, row: int) -> tuple[np.ndarray, bool]:
    """Finite numbers, dates as microseconds, and whether they are dates."""
    import pyarrow

    kind = column.type
    dated = pyarrow.types.is_timestamp(kind) or pyarrow.types.is_date(kind)
    if dated:
        column = column.cast(pyarrow.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pyarrow.int64())
    elif pyarrow.types.is_decimal(kind):
        column = column.cast(pyarrow.float64())
    elif not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)):
        raise DataError(f"{where} has values of type {kind}; cast them to numbers or, of times, to timestamps")
    values = column.to_numpy(zero_copy_only=False)
    values = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    bad = ~np.isfinite(values)
    if bad.any():
        at = int(bad.argmax())
        raise DataError(f"{where} has {values[at]} in row {row + at}, which is not a finite number; drop the row")
    return values, dated
