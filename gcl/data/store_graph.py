"""Storing a graph from its tables, in bounded memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gcl.core.errors import ConfigError, DataError, OutputError
from gcl.core.files import sync_folder, write_json
from gcl.data.arc_files import ArcFiles
from gcl.data.edge_blocks import EdgeBlock, edge_blocks
from gcl.data.feature_blocks import feature_array, write_features
from gcl.data.labels import as_labels, as_splits
from gcl.data.node_files import at_line, look_up, read_table_or_array, within
from gcl.data.node_labels import join_labels, join_splits
from gcl.data.npy_files import NO_ROOM, save_array
from gcl.data.stored_graph import FORMAT, RECORD
from gcl.data.tables import Table

MEMORY = 2**30


def store_graph(
    edges: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    features: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    splits: str | os.PathLike[str] | None = None,
    directed: bool = False,
    num_nodes: int | None = None,
    memory: int = MEMORY,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Writes a graph as arrays that :func:`gcl.data.stored_graph.read_stored_graph` maps into memory.

    Node ids are positions from 0. Edges are sorted on disk, some at a time; they and the features need not fit into
    memory, some numbers a node do, and labels and splits. The folder appears when all is written.

    Args:
        edges: tables of text or parquet, columns as in a folder's ``edges``: source, target and perhaps a weight.
            Those of several files are one list. An edge that is listed again counts once.
        folder: a new one.
        features: ``.npy`` ``[N, F]``, or a table of text or parquet of one row a node, in order or with a column of
            ids.
        labels, splits: as in a folder.
        directed: ``False`` adds the reverse of each edge.
        num_nodes: N; by default the rows of ``.npy`` features, or one more than the largest id.
        memory: bytes for the arcs that are sorted at a time.
        say: gets a line on what is done.

    Returns:
        The folder.

    Raises:
        DataError: a value that cannot be; names file, line and mend.
        ConfigError: less than a megabyte of memory, or a number of nodes below 1.
        OutputError: the folder exists or cannot be made, or the disk is full.
        MissingDependencyError: parquet without pyarrow.
    """
    if isinstance(memory, bool) or not isinstance(memory, int) or memory < 2**20:
        raise ConfigError(f"memory must be at least 1 MiB in bytes, got {memory!r}")
    if num_nodes is not None and (isinstance(num_nodes, bool) or not isinstance(num_nodes, int) or num_nodes < 1):
        raise ConfigError(f"the number of nodes must be a whole number from 1, got {num_nodes!r}")
    target = Path(folder)
    files = [Path(edges)] if isinstance(edges, str | os.PathLike) else [Path(path) for path in edges]
    others = {"features": features, "labels": labels, "splits": splits}
    given = {name: Path(path) for name, path in others.items() if path is not None}
    for path in (*files, *given.values()):
        if not path.is_file():
            raise DataError(f"there is no file {path}")
    if target.exists():
        raise OutputError(f"{target} exists; choose another name or remove it first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise OutputError(f"{target} cannot be written ({error.strerror}); choose another place") from error
    arcs = ArcFiles(place, directed=directed, memory=memory)
    try:
        _write(place, arcs, files, given, num_nodes, say)
        place.chmod(0o755)
        place.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        needed = max(arcs.disk_bytes, sum(path.stat().st_size for path in place.iterdir()))
        raise OutputError(
            f"{target} cannot be written ({error.strerror}); it needs at least {needed / 2**30:.3g} GiB in "
            f"{target.parent}, so make room there or choose another place"
        ) from None
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return target


def _write(
    place: Path,
    arcs: ArcFiles,
    files: list[Path],
    given: dict[str, Path],
    num_nodes: int | None,
    say: Callable[[str], None],
) -> None:
    features = given.get("features")
    if num_nodes is None and features is not None and features.suffix == ".npy":
        num_nodes = int(feature_array(features).shape[0])
    num_nodes, num_arcs = arcs.write(_all_edges(files), num_nodes)
    say(f"{num_nodes:,} nodes, {num_arcs:,} arcs")
    record = {
        "format": FORMAT,
        "num_nodes": num_nodes,
        "num_arcs": num_arcs,
        "directed": arcs.directed,
        "weighted": bool(arcs.weighted),
        "num_features": 0,
        "labels": "labels" in given,
        "splits": "splits" in given,
    }
    if features is not None:
        record["num_features"] = write_features(features, place / "x.npy", num_nodes)
        say(f"{record['num_features']} features")

    def rows(names: list[str], table: Table) -> np.ndarray:
        return within(look_up(names, None, at_line(table)), num_nodes, at_line(table))

    if "labels" in given:
        found, names = join_labels(read_table_or_array(given["labels"], "labels"), num_nodes, rows)
        save_array(place / "y.npy", as_labels(found, num_nodes).numpy())
        record["class_names"] = list(names)
    if "splits" in given:
        joined = join_splits(read_table_or_array(given["splits"], "splits"), num_nodes, rows)
        save_array(place / "splits.npy", as_splits(joined, num_nodes).numpy())
    write_json(place / RECORD, record)


def _all_edges(files: list[Path]) -> Iterator[EdgeBlock]:
    weighted: bool | None = None
    for path in files:
        for block in edge_blocks(path):
            if weighted is not None and (block.weight is not None) != weighted:
                raise DataError(f"{path} has {'no ' if weighted else ''}weights, unlike {files[0]}; give all or none")
            weighted = block.weight is not None
            yield block
