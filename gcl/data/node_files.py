"""One file of a graph's folder at a time: features, labels, splits and edges, and the node ids in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gcl.core.errors import DataError
from gcl.data.archive import features_from_archive, read_npz
from gcl.data.table_columns import id_place, row_ids
from gcl.data.table_header import counts_rows
from gcl.data.tables import TEXT, Table, read_array, read_parquet, read_text

SUFFIXES = {
    "edges": (*TEXT, ".npy", ".npz"),
    "features": (*TEXT, ".npy", ".npz", ".parquet"),
    "labels": (*TEXT, ".npy", ".npz"),
    "splits": (*TEXT, ".npy", ".npz"),
    "nodes": (*TEXT, ".npy", ".npz"),
}
DIRECTED = "arcs"
EDGES = ("edges", DIRECTED)
KEYS = {"edges": ("edge_index",), "labels": ("y", "labels"), "splits": ("splits",), "nodes": ("nodes", "ids")}

_POSITION = re.compile(r"0|-?[1-9][0-9]*")  # not "007"; a negative one is refused later, by value
_LONGEST = 18  # digits that surely fit int64


def read_table_or_array(path: Path, kind: str) -> Any:
    """A :class:`Table` of a text file, an array or a SciPy matrix of another; ``kind`` is a key of ``SUFFIXES``."""
    return read_text(path, kind) if path.suffix in TEXT else read_array(path, KEYS[kind])


def plain_edge_files(folder: Path) -> list[Path]:
    """The files of a folder that hold the edges of a graph of one node type, whatever their endings; usually one."""
    return sorted(path for stem in EDGES for path in folder.glob(f"{stem}.*"))


def read_features(path: Path) -> tuple[Any, list[str] | None]:
    """Feature matrix ``[N, F]`` (an array or a SciPy matrix) and the ids of its rows, where it has some.

    An index that only counts the rows, as pandas writes it, is neither a feature nor an id.

    Raises:
        DataError: a cell is not a number, an id column without features, or two id columns.
    """
    if path.suffix in TEXT:
        table = read_text(path, "features")
        ids, columns = row_ids(table)
        if not columns:
            raise DataError(f"{path} has an id column but no features; add a column or remove the file")
        return table.numbers(columns), ids
    if path.suffix == ".parquet":
        return _parquet_features(path)
    if path.suffix == ".npz":
        arrays, _ = read_npz(path)
        matrix = features_from_archive(arrays, path)
        if matrix is not None:
            return matrix, None
    matrix = read_array(path, ("features",))
    if matrix.ndim != 2:
        raise DataError(f"{path} must hold a table [N, F], got {list(matrix.shape)}")
    return matrix, None


def _parquet_features(path: Path) -> tuple[np.ndarray, list[str] | None]:
    names, columns = read_parquet(path)
    place, others = id_place(names, len(names), path)
    if not others:
        raise DataError(f"{path} has an id column but no features; add a column or remove the file")
    matrix = np.stack([columns[at].to_numpy() for at in others], axis=1)
    if place is None:
        return matrix, None
    ids = columns[place].to_pylist()
    strange = next((at for at, name in enumerate(ids) if not isinstance(name, int | str)), None)
    if strange is not None:
        raise DataError(
            f"{path} row {strange} has the id {ids[strange]!r} in column {names[place]!r}; write text or whole numbers"
        )
    ids = list(map(str, ids))
    return matrix, None if counts_rows(names[place], ids) else ids


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
                f"{place(missing)} names {noun} {names[missing]!r}, which has no row in {where}; "
                f"{mend_of(names[missing], position)}"
            )
        return np.array([position[name] for name in names], dtype=np.int64)
    strange = next((at for at, name in enumerate(names) if not is_position(name) or len(name) > _LONGEST), None)
    if strange is not None:
        raise DataError(
            f"{place(strange)} names {noun} {names[strange]!r}, but where no file lists ids they are positions from 0; "
            f"add a first column named id to {where}"
        )
    return np.array([int(name) for name in names], dtype=np.int64)


def mend_of(name: str, known: Collection[str]) -> str:
    """What to do about an id that is not known."""
    return lost_zeros([name], known) or "add the row or drop the line"


def lost_zeros(names: Iterable[str], known: Iterable[str]) -> str | None:
    """A question whether an unknown id is a known one but for zeros in front, for the first that is; else ``None``."""
    bare = {name.lstrip("0"): name for name in known if name.isdecimal()}  # a spreadsheet takes zeros away
    found = next((bare[name.lstrip("0")] for name in names if name.isdecimal() and name.lstrip("0") in bare), None)
    return None if found is None else f"did you mean {found!r}? Zeros in front are part of an id"


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


def row_of(path: Path, kind: str, at: int) -> str:
    """Names the line of a row, for messages; reads a text file again for it. ``kind`` is a key of ``SUFFIXES``."""
    return f"line {read_text(path, kind).lines[at]}" if path.suffix in TEXT else f"row {at}"


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Says in front of an error where it is."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


# -- edges -----------------------------------------------------------------------------------------------------------


def edge_rows(edges: np.ndarray) -> np.ndarray:
    """An array of edges as ``[2, E]``; ``[E, 2]`` is turned (but ``[2, 2]`` is taken as it is)."""
    return edges.T if edges.ndim == 2 and edges.shape[0] != 2 and edges.shape[1] == 2 else edges


def is_sparse(matrix: Any) -> bool:
    """Whether this is a SciPy sparse matrix."""
    return type(matrix).__module__.startswith("scipy.sparse")
