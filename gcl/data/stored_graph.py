"""Graphs stored as arrays that are mapped into memory, not read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.data.npy_files import mapped_array

RECORD = "graph.json"
FORMAT = "gcl stored graph 1"
BLOCK = 2**26  # bytes that are compared at once


def is_stored_graph(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a stored graph."""
    try:
        record = json.loads((Path(path) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and str(record.get("format", "")).startswith("gcl stored graph")


def read_stored_graph(path: str | os.PathLike[str]) -> tuple[Graph, dict[str, Any]]:
    """Opens a folder that :func:`gcl.data.store_graph.store_graph` wrote, in a time that does not depend on its size.

    The arrays are mapped, so that only what is used of them takes memory; what is written to them stays in this
    process. Their values were checked when they were stored, and are not checked again.

    Returns:
        The graph, and facts about it (class names).

    Raises:
        DataError: another format, or an array that is missing, truncated or of another shape.
    """
    folder = Path(path)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        of = record["format"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{folder / RECORD} is missing or damaged ({error}); store the graph again") from None
    if of != FORMAT:
        raise DataError(f"{folder} has the format {of!r}, and this version reads {FORMAT!r}; store it again")
    try:
        nodes, arcs, columns = (int(record[key]) for key in ("num_nodes", "num_arcs", "num_features"))
        directed, weighted, labels, splits = (bool(record[key]) for key in ("directed", "weighted", "labels", "splits"))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / RECORD} is damaged ({error}); store the graph again") from None

    def array(name: str, shape: tuple[int | None, ...], kinds: str) -> Tensor:
        return _mapped(folder / f"{name}.npy", shape, kinds)

    row_ptr, col = array("row_ptr", (nodes + 1,), "i"), array("col", (arcs,), "i")
    adjacency = Adjacency(
        row_ptr=row_ptr,
        col=col,
        t_row_ptr=array("t_row_ptr", (nodes + 1,), "i") if directed else row_ptr,
        t_col=array("t_col", (arcs,), "i") if directed else col,
        t_perm=array("t_perm", (arcs,), "i"),
        shape=(nodes, nodes),
        weight=array("weight", (arcs,), "f") if weighted else None,
        symmetric=not directed,
    )
    if int(row_ptr[0]) != 0 or int(row_ptr[-1]) != arcs:
        raise DataError(f"{folder}/row_ptr.npy does not end with the {arcs} arcs; store the graph again")
    x = array("x", (nodes, columns), "f") if columns else None
    attrs: dict[str, Tensor] = {}
    if labels:
        attrs["y"] = array("y", (nodes,), "i")
    if splits:
        attrs["splits"] = array("splits", (nodes, None), "iu")
    names = record.get("class_names") or ()
    if not isinstance(names, list | tuple):
        raise DataError(f"{folder / RECORD} is damaged (class_names); store the graph again")
    return Graph.homogeneous(x, adjacency, attrs=attrs), {"class_names": tuple(names)} if names else {}


def _mapped(path: Path, shape: tuple[int | None, ...], kinds: str) -> Tensor:
    """An array as a tensor on the pages of its file, which it says in ``mapped_from``."""
    found = mapped_array(path, "store the graph again")
    fits = len(shape) == found.ndim and all(want in (None, have) for want, have in zip(shape, found.shape, strict=True))
    if not fits or found.dtype.kind not in kinds:
        expected = ["any" if size is None else size for size in shape]
        raise DataError(f"{path} holds {found.dtype} {list(found.shape)}, expected {expected}; store the graph again")
    return _tensor(path, found)


def mapped_again(path: str) -> Tensor:
    """The array of a stored graph that another process has mapped.

    Raises:
        DataError: the file is not here.
    """
    return _tensor(Path(path), mapped_array(Path(path), "put the stored graph where every process finds it"))


def unchanged_file(tensor: Tensor) -> str | None:
    """The file on whose pages a tensor lies; ``None`` where there is none or the tensor is not what it holds.

    The file is read once for that: NumPy changes a tensor without its knowing.
    """
    path, version = getattr(tensor, "mapped_from", (None, None))
    if path is None or version != tensor._version:
        return None
    try:
        there = mapped_array(Path(path), "")
    except DataError:
        return None  # it is gone, or another one lies there
    here = tensor.numpy()
    if there.shape != here.shape or there.dtype != here.dtype:
        return None
    size = max(1, BLOCK // max(1, here[:1].nbytes))
    same = all(np.array_equal(here[at : at + size], there[at : at + size]) for at in range(0, len(here), size))
    return path if same else None


def _tensor(path: Path, found: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(found)
    tensor.mapped_from = (str(path.resolve()), tensor._version)  # type: ignore[attr-defined]
    return tensor
