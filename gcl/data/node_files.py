"""One file of a graph's folder at a time: features, labels, splits and edges, and the node ids in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gcl.core.errors import DataError
from gcl.data.archive import features_from_archive, read_npz
from gcl.data.splits import PARTS, UNUSED
from gcl.data.tables import TEXT, Table, read_array, read_text

SUFFIXES = {
    "edges": (*TEXT, ".npy", ".npz"),
    "features": (*TEXT, ".npy", ".npz", ".parquet"),
    "labels": (*TEXT, ".npy", ".npz"),
    "splits": (*TEXT, ".npy", ".npz"),
    "nodes": (*TEXT, ".npy", ".npz"),
}
KEYS = {"edges": ("edge_index",), "labels": ("y", "labels"), "splits": ("splits",), "nodes": ("nodes", "ids")}

_POSITION = re.compile(r"0|-?[1-9][0-9]*")  # not "007"; a negative one is refused later, by value
_LONGEST = 18  # digits that surely fit int64
_SPLIT_WORDS = {
    **{word: code for code, word in enumerate(PARTS)},
    "val": 1,
    "validation": 1,
    "": UNUSED,
    "none": UNUSED,
}


def read_table_or_array(path: Path, kind: str) -> Any:
    """A :class:`Table` of a text file, an array or a SciPy matrix of another; ``kind`` is a key of ``SUFFIXES``."""
    return read_text(path, edges=kind == "edges") if path.suffix in TEXT else read_array(path, KEYS[kind])


def read_features(path: Path) -> tuple[Any, list[str] | None]:
    """Feature matrix ``[N, F]`` (an array or a SciPy matrix) and the ids of its rows, where it has some.

    Raises:
        DataError: a cell is not a number, or an id column without features.
    """
    if path.suffix in TEXT:
        table = read_text(path)
        if not table.has_ids:
            return table.numbers(), None
        if table.width < 2:
            raise DataError(f"{path} has an id column but no features; add a column or remove the file")
        return table.numbers(first=1), table.column(0)
    if path.suffix == ".npz":
        arrays, _ = read_npz(path)
        matrix = features_from_archive(arrays, path)
        if matrix is not None:
            return matrix, None
    matrix = read_array(path, ("features",))
    if matrix.ndim != 2:
        raise DataError(f"{path} must hold a table [N, F], got {list(matrix.shape)}")
    return matrix, None


# -- node ids --------------------------------------------------------------------------------------------------------


def is_position(name: str) -> bool:
    """Whether an id can be a position, where no file lists ids: ``7``, not ``007``."""
    return _POSITION.fullmatch(name) is not None


def at_line(table: Table) -> Callable[[int], str]:
    """Names the file and line of a row, for messages."""
    return lambda at: f"{table.path} line {table.lines[at]}"


def look_up(
    names: Sequence[str],
    position: dict[str, int] | None,
    place: Callable[[int], str],
    *,
    noun: str = "node",
    where: str = "the features (or labels)",
) -> np.ndarray:
    """Positions of ids, int64 ``[n]``.

    Args:
        names: ids.
        position: of each known id; ``None`` = ids are positions themselves.
        place: file and line of an entry, for messages.
        noun: what the nodes are, for messages.
        where: what lists them, for messages.

    Raises:
        DataError: an id that is not known, or is no position.
    """
    if position is not None:
        missing = next((at for at, name in enumerate(names) if name not in position), None)
        if missing is not None:
            raise DataError(
                f"{place(missing)} names {noun} {names[missing]!r}, which has no row in {where}; add the row or drop "
                "the line"
            )
        return np.array([position[name] for name in names], dtype=np.int64)
    strange = next((at for at, name in enumerate(names) if not is_position(name) or len(name) > _LONGEST), None)
    if strange is not None:
        raise DataError(
            f"{place(strange)} names {noun} {names[strange]!r}, but where no file lists ids they are positions from 0; "
            f"add a first column named id to {where}"
        )
    return np.array([int(name) for name in names], dtype=np.int64)


def within(
    index: np.ndarray,
    count: int,
    place: Callable[[int], str],
    *,
    noun: str = "node",
    where: str = "the features (or labels)",
) -> np.ndarray:
    """The positions ``[n]`` as they are, if all are from 0 to ``count - 1``.

    Raises:
        DataError: one is not; arguments as in :func:`look_up`.
    """
    outside = (index < 0) | (index >= count)
    if outside.any():
        at = int(outside.argmax())
        raise DataError(
            f"{place(at)} names {noun} {int(index[at])}, out of range for the {count} of {where} (0 to {count - 1}); "
            "add the row or drop the line"
        )
    return index


def row_of(path: Path, at: int) -> str:
    """Names the line of a row, for messages; reads a text file again for it."""
    return f"line {read_text(path).lines[at]}" if path.suffix in TEXT else f"row {at}"


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Says in front of an error where it is."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


# -- edges -----------------------------------------------------------------------------------------------------------


def edge_weights(edges: Table) -> np.ndarray | None:
    """The third column of a table of edges, float64 ``[E]``; ``None`` of two columns.

    Raises:
        DataError: another number of columns, or a weight that is not a number.
    """
    if edges.width not in (2, 3):
        raise DataError(f"{edges.path} has {edges.width} columns; an edge has a source, a target and perhaps a weight")
    return edges.numbers(first=2)[:, 0] if edges.width == 3 else None


def edge_rows(edges: np.ndarray) -> np.ndarray:
    """An array of edges as ``[2, E]``; ``[E, 2]`` is turned (but ``[2, 2]`` is taken as it is)."""
    return edges.T if edges.ndim == 2 and edges.shape[0] != 2 and edges.shape[1] == 2 else edges


def is_sparse(matrix: Any) -> bool:
    """Whether this is a SciPy sparse matrix."""
    return type(matrix).__module__.startswith("scipy.sparse")


# -- labels and splits -----------------------------------------------------------------------------------------------


def label_ids(labels: Any) -> list[str] | None:
    """The ids in labels: of a column named ``id``, or the first of two without header, as many lists have it."""
    if isinstance(labels, Table) and (labels.has_ids or (labels.header is None and labels.width == 2)):
        return labels.column(0)
    return None


def join_labels(
    labels: Any, num_nodes: int, look_up_rows: Callable[[list[str], Table], np.ndarray]
) -> tuple[Any, tuple[str, ...]]:
    """Labels ``[N]`` joined on the id, -1 where there is none, and class names where the labels are words.

    Args:
        labels: of :func:`read_table_or_array`; an array is given back as it is.
        num_nodes: N.
        look_up_rows: the positions of ids of a table, in range.
    """
    if not isinstance(labels, Table):
        return labels, ()
    classes, names = _classes(labels.column(labels.width - 1), labels)
    ids = label_ids(labels)
    if ids is None:
        return classes, names
    y = np.full(num_nodes, -1, dtype=np.int64)
    y[look_up_rows(ids, labels)] = classes
    return y, names


def join_splits(splits: Any, num_nodes: int, look_up_rows: Callable[[list[str], Table], np.ndarray]) -> np.ndarray:
    """Splits ``[N, S]`` from words or codes, joined on the id; nodes that are not listed are unused.

    Arguments as of :func:`join_labels`; an array ``[S, N]`` is turned.
    """
    if not isinstance(splits, Table):
        node_last = splits.ndim == 2 and splits.shape[0] != num_nodes and splits.shape[1] == num_nodes
        return splits.T if node_last else splits
    first = 1 if splits.has_ids else 0
    codes = np.empty((len(splits.rows), splits.width - first), dtype=np.int64)
    for at, row in enumerate(splits.rows):
        for column, cell in enumerate(row[first:]):
            code = _SPLIT_WORDS.get(cell.lower(), int(cell) if cell in ("0", "1", "2", "3") else None)
            if code is None:
                raise DataError(f"{splits.path} line {splits.lines[at]} has {cell!r}; use {', '.join(PARTS)} or 0 to 3")
            codes[at, column] = code
    if not splits.has_ids:
        return codes
    joined = np.full((num_nodes, codes.shape[1]), UNUSED, dtype=np.int64)
    joined[look_up_rows(splits.column(0), splits)] = codes
    return joined


def _classes(cells: list[str], table: Table) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers; words become classes in alphabetical order; an empty cell is unlabelled."""
    filled = [cell for cell in cells if cell]
    try:
        values = np.array([float(cell) if cell else -1.0 for cell in cells])
    except ValueError:
        numeric = [cell for cell in filled if re.fullmatch(r"[-+]?[0-9.]+", cell)]
        if numeric:
            word = next(cell for cell in filled if cell not in numeric)
            raise DataError(
                f"{table.path} mixes the labels {numeric[0]!r} and {word!r}; use numbers or words for all"
            ) from None
        names = tuple(sorted(set(filled)))
        return np.array([names.index(cell) if cell else -1 for cell in cells], dtype=np.int64), names
    broken = ~np.isfinite(values) | (values != np.floor(values))
    if broken.any():
        at = int(broken.argmax())
        raise DataError(f"{table.path} line {table.lines[at]} has the label {cells[at]!r}; classes are whole numbers")
    return values.astype(np.int64), ()
