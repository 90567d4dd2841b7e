"""Reading embeddings that anyone made, in any of the usual files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcl.core.errors import DataError, GCLError, MissingDependencyError
from gcl.data.repeats import first_repeat
from gcl.data.table_header import LABEL_COLUMNS, SOURCE_NAMES, TARGET_NAMES, end_names, id_columns, is_number
from gcl.evaluate.embeddings import array_tensor, as_embeddings
from gcl.evaluate.label_files import read_labels, read_splits

__all__ = ["EmbeddingTable", "read_embeddings", "read_labels", "read_splits"]

KEYS = ("embeddings", "embedding", "z", "x", "main")  # looked for in this order, then the first matrix
LEAKS = (  # columns that stand beside embeddings and are none
    *LABEL_COLUMNS,
    *("split", "splits", "fold", "cluster", "clusters", "cluster_id", "community", "communities"),
)
OTHER_IDS = ("user", "item", "uid", "uuid", "guid", "key")  # of a first column; and whatever ends in _id


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """Embeddings from a file.

    Args:
        values: float32 or float64 ``[N, d]``, finite.
        ids: id of each row as text, or ``None``.
        source: the file, and the key inside it where it has several.
    """

    values: Tensor
    ids: list[str] | None
    source: str


def read_embeddings(path: str | os.PathLike[str]) -> EmbeddingTable:
    """Reads embeddings from npy, npz, csv, tsv, parquet, pt, pth or safetensors.

    ===============  ===================================================================================================
    file             what is read
    ===============  ===================================================================================================
    npy              a matrix
    npz              ``embeddings``, ``embedding``, ``z``, ``x`` or ``main``, else the only matrix; ids from ``ids``
    csv, tsv         numeric columns (as float32); the first line may be a header, a column ``id`` holds ids, else a
                     first column such as ``user_id``
    parquet          numeric columns, or one column of lists; ids as in csv; needs pyarrow
    pt, pth          a tensor, or a dictionary read as npz is; no pickled object is loaded
    safetensors      as npz; ids from a tensor ``ids`` or a JSON list ``ids`` in the metadata
    ===============  ===================================================================================================

    Raises:
        DataError: missing, truncated or of another kind; no matrix, or several of which none is called one of these; a
            value that is not finite; ids that do not fit; a column of labels, clusters or splits among those of the
            embeddings; a list of edges.
        MissingDependencyError: parquet without pyarrow.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is no embedding file that can be read; give one of {', '.join(sorted(READERS))}")
    if not path.is_file():
        raise DataError(f"embedding file {path} does not exist")
    try:
        values, ids, key = reader(path)
    except (GCLError, MemoryError):
        raise
    except Exception as error:  # each library has its own errors for damaged files
        reason = "" if "pickle" in str(error) else f" ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
        raise DataError(
            f"{path} is truncated or not a plain {path.suffix[1:]} file of numbers{reason}; write it again"
        ) from error
    source = f"{path}[{key}]" if key else str(path)
    if values.dtype == torch.bool:
        raise DataError(f"{source} holds truth values; embeddings are real numbers")
    values = as_embeddings(values, name=f"the embeddings in {source}")
    if ids is not None:
        if len(ids) != values.shape[0]:
            raise DataError(f"{path} has {len(ids)} ids for {values.shape[0]} rows of embeddings; give one a row")
        repeat = first_repeat(ids)
        if repeat is not None:
            raise DataError(f"{path} has the id {ids[repeat[0]]!r} more than once; ids must differ")
    return EmbeddingTable(values, ids, source)


Read = tuple[Tensor, "list[str] | None", str]


def _npy(path: Path) -> Read:
    return array_tensor(np.load(path, allow_pickle=False)), None, ""


def _npz(path: Path) -> Read:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    return _choose(path, arrays)


def _pt(path: Path) -> Read:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights_only" in str(error).lower() and "unsupported" in str(error).lower():
            raise DataError(
                f"{path} holds a pickled object, which is never loaded; save the tensor itself with torch.save"
            ) from None
        raise
    if isinstance(content, Tensor):
        return content, None, ""
    if isinstance(content, Mapping):
        return _choose(path, content)
    raise DataError(f"{path} holds a {type(content).__name__}; save a tensor or a dictionary of tensors")


def _safetensors(path: Path) -> Read:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stream:
        tensors: dict[str, Any] = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        metadata = stream.metadata() or {}
    if "ids" in metadata and "ids" not in tensors:
        tensors["ids"] = json.loads(metadata["ids"])
    return _choose(path, tensors)


def _csv(path: Path) -> Read:
    with open(path, encoding="utf-8-sig", newline="") as stream:
        lines = enumerate(stream)
        at, first = next(((at, line) for at, line in lines if line.strip()), (0, ""))
        if not first:
            raise DataError(f"{path} is empty")
        delimiter = "\t" if path.suffix.lower() == ".tsv" else next((m for m in ",;\t" if m in first), ",")
        cells = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter))]
        has_header, columns = _header_and_ids(cells)
        if has_header:
            _refuse_leaks(path, cells)
            if not any(line.strip() for _, line in lines):
                raise DataError(f"{path} holds a header but no rows; write at least one")
        used = [index for index in range(len(cells)) if index not in columns]
        if not used:
            raise DataError(f"{path} has no numeric column beside the ids; write the embeddings there")
        stream.seek(0)
        try:
            values = np.loadtxt(
                stream,
                dtype=np.float64,
                delimiter=delimiter,
                skiprows=at + has_header,
                usecols=used,
                ndmin=2,
                comments=None,
                quotechar='"',
            )
        except ValueError:
            stream.seek(0)
            _refuse_cell(path, csv.reader(stream, delimiter=delimiter), cells, used, has_header)
            raise
        ids = None
        if columns:
            stream.seek(0)
            rows = [row for row in csv.reader(stream, delimiter=delimiter) if any(cell.strip() for cell in row)]
            ids = [row[columns[0]].strip() for row in rows[has_header:]]
            if has_header:
                _refuse_feature(path, cells[columns[0]], ids)
    return torch.from_numpy(values).float(), ids, ""


def _header_and_ids(cells: list[str]) -> tuple[bool, list[int]]:
    """Whether the first line is a header, and the columns of ids, the one to use first."""
    numeric = [is_number(cell) for cell in cells]
    count = len(cells) - 1
    # pandas numbers its columns: id,0,1,2
    numbered = count > 1 and cells[1:] in ([str(n) for n in range(count)], [str(n + 1) for n in range(count)])
    if any(cells[at] for at in id_columns(cells)) or not any(numeric):
        return True, _id_places(cells)
    if numbered and not numeric[0]:
        return True, [0]
    if not cells[0] and count == 1 and cells[1] == "0":
        return True, [0]
    is_id = bool(cells[0]) and not numeric[0] and all(numeric[1:])  # a word over numbers can only be an id
    return False, [0] if is_id else []


def _id_places(names: Sequence[str]) -> list[int]:
    """Columns of ids by their names, the one to use first."""
    found = id_columns(names)
    first = names[0].strip().lower() if names else ""
    return found or ([0] if first.endswith("_id") or first in OTHER_IDS else [])


def _refuse_feature(path: Path, name: str, ids: Sequence[str]) -> None:
    """Refuses ids by the name of their column alone that are none."""
    repeat = first_repeat(ids)
    if repeat is not None and not id_columns([name]):
        raise DataError(
            f"{path} has the value {ids[repeat[0]]!r} more than once in its first column {name!r}, which reads as ids; "
            "rename the column if it is a feature, or make them differ"
        )


def _refuse_leaks(path: Path, names: Sequence[str]) -> None:
    ends = {*end_names([name.strip() for name in names])}
    if not ends.isdisjoint(SOURCE_NAMES) and not ends.isdisjoint(TARGET_NAMES):
        raise DataError(
            f"{path} reads as a list of edges ({', '.join(names)}); embeddings have a row a node, and a graph is given "
            "as a folder with its edges in edges.csv"
        )
    found = next((name for name in names if name.strip().lower() in LEAKS), None)
    if found is not None:
        raise DataError(
            f"{path} has the column {found!r} among the embeddings, which would leak into the score; leave it out, or "
            "rename it if it is an embedding"
        )


def _refuse_cell(path: Path, rows: Any, names: list[str], used: list[int], has_header: bool) -> None:
    """Names line and column of the first cell that is not a number."""
    is_first = True
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if is_first and has_header:
            is_first = False
            continue
        is_first = False
        if len(row) != len(names):
            raise DataError(
                f"{path} line {rows.line_num} has {len(row)} cells, expected {len(names)} as in the first line; "
                "write as many in each"
            )
        wrong = next((at for at in used if not is_number(row[at])), None)
        if wrong is not None:
            name = f" ({names[wrong]!r})" if has_header else ""
            raise DataError(
                f"{path} line {rows.line_num} has {row[wrong]!r} in column {wrong + 1}{name}, which is not a number; "
                "call the id column 'id' in the first line, and leave out or mend other columns"
            )


def _parquet(path: Path) -> Read:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(f"reading {path} needs pyarrow; pip install pyarrow") from None
    table = pyarrow.parquet.read_table(path)
    _refuse_leaks(path, table.column_names)
    places = _id_places(table.column_names)
    ids = [str(value) for value in table.columns[places[0]].to_pylist()] if places else None
    if ids is not None:
        _refuse_feature(path, table.column_names[places[0]], ids)
    columns = []
    for at, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        kind = column.type
        if at in places:
            continue
        if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) or pyarrow.types.is_fixed_size_list(kind):
            rows = [value.as_py() for value in column]
            if len({len(row or ()) for row in rows}) > 1:
                raise DataError(f"{path} has lists of different lengths in column {name!r}; all rows must be equal")
            columns.append(np.array(rows, dtype=np.float64).reshape(len(rows), -1))
        elif pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind):
            columns.append(column.to_numpy()[:, None])  # a missing value becomes NaN, which is refused
        else:
            raise DataError(f"{path} has column {name!r} of type {kind}, which is no number; name an id column 'id'")
    if not columns:
        raise DataError(f"{path} has no numeric column")
    return array_tensor(np.concatenate(columns, axis=1)), ids, ""


READERS: dict[str, Callable[[Path], Read]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".pt": _pt,
    ".pth": _pt,
    ".safetensors": _safetensors,
}


def _choose(path: Path, arrays: Mapping[Any, Any]) -> Read:
    """The matrix among named arrays, and ids beside it."""
    matrices = {
        str(name): value
        for name, value in arrays.items()
        if name not in ("ids", "id", "y", "splits") and isinstance(value, Tensor | np.ndarray) and value.ndim == 2
    }
    key = next((name for name in KEYS if name in matrices), next(iter(matrices), None) if len(matrices) == 1 else None)
    if key is None:
        held = ", ".join(sorted(matrices or map(str, arrays))) or "nothing"
        what = f"several matrices ({held}), and" if matrices else f"no matrix of embeddings (it has {held});"
        mend = "none is called 'embeddings'; name one so" if matrices else "save one under the key 'embeddings'"
        if {"user", "item"} <= matrices.keys():
            mend = "a recommender has no others; give those of one kind (`gcl embed RUN --name user`)"
        raise DataError(f"{path} has {what} {mend}")
    ids = arrays.get("ids", arrays.get("id"))
    if isinstance(ids, Tensor | np.ndarray):
        ids = ids.tolist()
    if ids is not None and not isinstance(ids, list | tuple):
        raise DataError(f"{path} has ids that are no list; save one id a row")
    return array_tensor(matrices[key]), None if ids is None else [str(name) for name in ids], key
