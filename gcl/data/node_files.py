"""One file of a graph's folder at a time: features, labels, splits and edges, and the node ids in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gcl.core.errors import DataError
from gcl.data.archive import features_from_archive, read_npz
from gcl.data.repeats import refuse_repeats
from gcl.data.splits import PARTS, SPLIT_WORDS, UNUSED
from gcl.data.table_columns import id_place, label_column, label_row_ids, row_ids
from gcl.data.table_header import LABEL_COLUMNS, counts_rows
from gcl.data.tables import TEXT, Table, read_array, read_parquet, read_text

SUFFIXES = {
    "edges": (*TEXT, ".npy", ".npz"),
    "features": (*TEXT, ".npy", ".npz", ".parquet"),
    "labels": (*TEXT, ".npy", ".npz"),
    "splits": (*TEXT, ".npy", ".npz"),
    "nodes": (*TEXT, ".npy", ".npz"),
}
UNLABELLED = "-1"
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
    bare = name.lstrip("0") or "0"
    if name.isdecimal():  # a spreadsheet takes zeros away
        padded = next(
            (each for each in known if each != name and each.isdecimal() and (each.lstrip("0") or "0") == bare), None
        )
        if padded is not None:
            return f"did you mean {padded!r}? Zeros in front are part of an id"
    return "add the row or drop the line"


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


# -- labels and splits -----------------------------------------------------------------------------------------------


def label_ids(labels: Any) -> list[str] | None:
    """The ids in labels, a table or an array: see :func:`gcl.data.table_columns.label_row_ids`."""
    return label_row_ids(labels) if isinstance(labels, Table) else None


def split_ids(splits: Any) -> list[str] | None:
    """The ids in splits, a table or an array: see :func:`gcl.data.table_columns.row_ids`."""
    return row_ids(splits)[0] if isinstance(splits, Table) else None


def require_order(
    rows: Any, path: Path, ids: list[str] | None, *, in_order: bool, noun: str = "the nodes", mend: str = ""
) -> None:
    """Refuses rows of labels or splits without ids where they may not be in the order of the nodes.

    Args:
        rows: a table or an array without ids.
        path: its file.
        ids: of the nodes; ``None`` = positions.
        in_order: whether a file lists the nodes in this order; else some are numbered as they appear in the edges.
        noun: what the nodes are, for messages.
        mend: another way out, for messages.

    Raises:
        DataError: no file says the order, or an index counts the rows though the nodes have other ids.
    """
    if ids is None:
        return
    if not in_order:
        raise DataError(
            f"{path} has no ids, but no file lists those of {noun} in order; add a first column named id{mend}"
        )
    if isinstance(rows, Table) and rows.header is not None and not counts_rows("", ids):
        index = next((name for at, name in enumerate(rows.header) if counts_rows(name, rows.column(at))), None)
        if index is not None:
            raise DataError(
                f"{path} counts its rows in the column {index!r}, but the ids of {noun} are others, such as "
                f"{ids[0]!r}; write them in a column called id, or leave the column out if the rows are in their order"
            )


def require_common(ids: Sequence[str], ends: Sequence[str], path: Path) -> None:
    """Refuses ids of labels of which the edges name none: they would all be nodes without edges.

    Raises:
        DataError: with an id of each.
    """
    if ends and set(ids).isdisjoint(ends):
        raise DataError(
            f"{path} has the ids {ids[0]!r} and so on, none of which the edges name (they have {ends[0]!r} and so on); "
            "write the same ids in both, or call the id column 'id' if it is another"
        )


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
    classes, names = read_classes(labels.column(label_column(labels)), labels)
    ids = label_ids(labels)
    if ids is None:
        return classes, names
    y = np.full(num_nodes, -1, dtype=np.int64)
    y[look_up_rows(ids, labels)] = classes
    return y, names


def join_splits(
    splits: Any, num_nodes: int, look_up_rows: Callable[[list[str], Table], np.ndarray], *, noun: str = "node"
) -> np.ndarray:
    """Splits ``[N, S]`` from words or codes, joined on the id; nodes that are not listed are unused.

    Arguments as of :func:`join_labels`, and ``noun``, what the nodes are, for messages; an array ``[S, N]`` is turned.

    Raises:
        DataError: an unknown word, a column of labels, or a node that is listed twice.
    """
    if not isinstance(splits, Table):
        node_last = splits.ndim == 2 and splits.shape[0] != num_nodes and splits.shape[1] == num_nodes
        return splits.T if node_last else splits
    labels = next((name for name in splits.header or () if name in LABEL_COLUMNS), None)
    if labels is not None:
        raise DataError(f"{splits.path} has the column {labels!r} among the splits; write it into a file of labels")
    ids, columns = row_ids(splits)
    codes = np.empty((len(splits.rows), len(columns)), dtype=np.int64)
    for at, row in enumerate(splits.rows):
        for split, cell in enumerate(row[column] for column in columns):
            code = SPLIT_WORDS.get(cell.lower(), int(cell) if cell in ("0", "1", "2", "3") else None)
            if code is None:
                raise DataError(f"{splits.path} line {splits.lines[at]} has {cell!r}; use {', '.join(PARTS)} or 0 to 3")
            codes[at, split] = code
    if ids is None:
        return codes
    refuse_repeats(ids, str(splits.path), lambda at: f"line {splits.lines[at]}", noun=noun)
    joined = np.full((num_nodes, codes.shape[1]), UNUSED, dtype=np.int64)
    joined[look_up_rows(ids, splits)] = codes
    return joined


def read_classes(cells: Sequence[str], table: Table) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers, int64, and the names of classes where they are words, in alphabetical order.

    An empty cell is unlabelled, and so is -1, beside numbers and beside words.

    Args:
        cells: the label of each row of ``table``.
        table: for messages.

    Raises:
        DataError: numbers beside words, or a number that is not whole.
    """
    strange = next((at for at, cell in enumerate(cells) if cell.lower() in ("nan", "na")), None)
    if strange is not None:
        raise DataError(
            f"{table.path} line {table.lines[strange]} has the label {cells[strange]!r}; leave the cell empty, or "
            "write -1, where a node has none"
        )
    filled = [cell for cell in cells if cell not in ("", UNLABELLED)]
    try:
        values = np.array([float(cell) if cell else -1.0 for cell in cells])
    except ValueError:
        numeric = [cell for cell in filled if re.fullmatch(r"[-+]?[0-9.]+", cell)]
        if numeric:
            at = next(at for at, cell in enumerate(cells) if cell in filled and cell not in numeric)
            raise DataError(
                f"{table.path} line {table.lines[at]} has the label {cells[at]!r} beside numbers such as "
                f"{numeric[0]!r}; use numbers or words for all"
            ) from None
        names = tuple(sorted(set(filled)))
        number = {name: at for at, name in enumerate(names)}
        return np.array([number.get(cell, -1) for cell in cells], dtype=np.int64), names
    broken = ~np.isfinite(values) | (values != np.floor(values)) | (np.abs(values) > 2**53)
    if broken.any():
        at = int(broken.argmax())
        raise DataError(
            f"{table.path} line {table.lines[at]} has the label {cells[at]!r}; classes are whole numbers, and "
            "an empty cell or -1 is unlabelled"
        )
    return values.astype(np.int64), ()
