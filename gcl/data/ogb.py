"""The raw files of OGB's node sets. The package ``ogb`` is not used, which cannot read its own cache on newer torch."""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.data.from_arrays import from_arrays
from gcl.data.splits import PARTS, UNUSED

URL = "https://snap.stanford.edu/ogb/data/nodeproppred/{}.zip"
_DAMAGED = (OSError, EOFError, zlib.error, ValueError, zipfile.BadZipFile, RuntimeError)  # the last: encrypted


def ogb_url(name: str) -> str:
    """Where the archive of an OGB node set is: ``ogbn-arxiv``."""
    return URL.format(name.removeprefix("ogbn-"))


def read_ogb(path: str | os.PathLike[str], *, directed: bool = False) -> tuple[Graph, int]:
    """A graph of one node type in the raw format of OGB's node sets.

    The files are ``edge.csv.gz``, ``node-feat.csv.gz``, ``node-label.csv.gz`` and ``num-node-list.csv.gz`` in ``raw``,
    and ``train.csv.gz``, ``valid.csv.gz`` and ``test.csv.gz`` in ``split/NAME``, of which there is one.

    Args:
        path: the folder that has ``raw`` and ``split``, or the zip file that OGB offers.
        directed: keep arcs as they are listed; ``False`` adds the reverse of each, as nearly everyone does.

    Returns:
        The graph, with labels and one split; and the number of arcs that the file lists.

    Raises:
        DataError: a file is missing or damaged, or contradicts the others.
    """
    source = _Source(Path(path))
    num_nodes = source.table("raw/num-node-list.csv.gz", np.int64).reshape(-1)
    if num_nodes.size != 1:
        raise DataError(f"{path} holds {num_nodes.size} graphs; sets of several graphs are not read")
    size = int(num_nodes[0])
    edges = source.table("raw/edge.csv.gz", np.int64)
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise DataError(f"{path}: raw/edge.csv.gz has shape {list(edges.shape)}, expected two columns")
    features = source.table("raw/node-feat.csv.gz", np.float32) if source.has("raw/node-feat.csv.gz") else None
    labels = source.table("raw/node-label.csv.gz", np.float64)
    if labels.size != size:
        raise DataError(f"{path} has {labels.size} labels for {size} nodes; only sets of one class a node are read")
    graph = from_arrays(
        edges.T,
        features,
        np.where(np.isnan(labels), -1, labels).reshape(-1).astype(np.int64),
        num_nodes=size,
        directed=directed,
        splits=_split(source, size),
        duplicates="merge",
    )
    return graph, edges.shape[0]


class _Source:
    """A folder, or a zip file with one at its top."""

    def __init__(self, path: Path):
        self.path = path
        self.archive: zipfile.ZipFile | None = None
        if path.is_dir():
            self.names = [str(each.relative_to(path).as_posix()) for each in path.rglob("*") if each.is_file()]
            return
        try:
            self.archive = zipfile.ZipFile(path)
        except _DAMAGED as error:
            raise DataError(f"{path} is neither a folder nor a whole zip file ({type(error).__name__})") from None
        self.names = self.archive.namelist()

    def find(self, name: str) -> str | None:
        """A file by the end of its path: at the top, or below one folder."""
        return next((each for each in self.names if each == name or each.partition("/")[2] == name), None)

    def has(self, name: str) -> bool:
        return self.find(name) is not None

    def table(self, name: str, dtype: type) -> np.ndarray:
        """Numbers with commas between, no header."""
        found = self.find(name)
        if found is None:
            raise DataError(f"{self.path} has no {name}; give the folder of an OGB node set that has raw and split")
        try:
            with self._open(found) as stream, gzip.open(stream, "rt") as text:
                return np.loadtxt(text, delimiter=",", dtype=dtype, ndmin=2)
        except _DAMAGED as error:
            raise DataError(f"{self.path}: {name} is damaged ({error}); fetch it again") from None

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        with self.archive.open(name) if self.archive is not None else open(self.path / name, "rb") as stream:
            yield stream


def _split(source: _Source, num_nodes: int) -> np.ndarray:
    """The only split, uint8 ``[N]``."""
    kinds = sorted({name.split("/")[-2] for name in source.names if "split/" in name and name.endswith("train.csv.gz")})
    if len(kinds) != 1:
        raise DataError(f"{source.path} has {len(kinds)} splits ({', '.join(kinds) or 'none'}); one is read")
    split = np.full(num_nodes, UNUSED, dtype=np.uint8)
    for code, part in enumerate(PARTS[:3]):
        nodes = source.table(f"split/{kinds[0]}/{part}.csv.gz", np.int64).reshape(-1)
        if nodes.size and not 0 <= nodes.min() <= nodes.max() < num_nodes:
            raise DataError(f"{source.path}: the {part} part names a node outside of 0 to {num_nodes - 1}")
        if (split[nodes] != UNUSED).any():
            raise DataError(f"{source.path}: a node is in two parts of the split, one of them {part}")
        split[nodes] = code
    return split
