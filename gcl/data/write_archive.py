"""Writing `.npz` archives in the benchmark layout."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.files import atomic_write
from gcl.core.graph import HELD_ATTRIBUTES, Graph

SMALL = (np.uint8, np.uint16, np.int32)  # types of whole features, the smallest that holds them


def write_archive(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    info: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a graph of one node type so that :func:`gcl.data.archive.graph_from_archive` gives it back.

    Other node and edge attributes than labels and splits have no place in the layout; a warning names them. Undirected
    edges are listed once, loops apart; whole features are stored in the smallest type that holds them.
    Nothing in the file is pickled.

    Args:
        graph: one node type, one relation; labels and splits are its node attributes.
        path: a new ``.npz``.
        info: texts beside the arrays: ``source``, ``licence``, ``split_kind``.
        overwrite: replace the file where it is there already.

    Raises:
        DataError: several node types or relations, or a path of another kind.
        OutputError: the file exists and ``overwrite`` is ``False``.
    """
    target = Path(path)
    if target.suffix != ".npz":
        raise DataError(f"{target} must end in .npz")
    others = [name for name in graph.node_attrs.get(graph.target, {}) if name not in HELD_ATTRIBUTES]
    others += [name for attrs in graph.edge_attrs.values() for name in attrs]
    if others:
        warnings.warn(f"{target} has no place for the attributes {', '.join(others)}; keep them apart", stacklevel=2)
    arrays: dict[str, Any] = {**_edges(graph), **_features(graph)}
    y, splits = graph.attr("y"), graph.attr("splits")
    arrays["num_classes"] = np.int32(0 if y is None else int(y.max()) + 1)
    if y is not None:
        arrays["y"] = y.numpy().astype(np.int32)
    if splits is not None:
        arrays["splits"] = np.ascontiguousarray(splits.numpy().T)  # [S, N]
    arrays |= {key: np.array(text) for key, text in (info or {}).items()}
    with atomic_write(target, overwrite=overwrite) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, **arrays)
    return target


def _edges(graph: Graph) -> dict[str, Any]:
    if len(graph.num_nodes_by_type) != 1 or len(graph.relations) != 1:
        raise DataError(f"an archive of this layout has one node type and one relation, got {sorted(graph.relations)}")
    adjacency = graph.adjacency
    row, col, weight = adjacency.row, adjacency.col, adjacency.weight
    if adjacency.keep is not None:
        raise DataError("a view with dropped edges is no graph of its own; write the graph")
    directed = not _is_undirected(adjacency)
    loops = row == col
    listed = ~loops if directed else col < row
    if directed or (weight is not None and bool(loops.any())):  # loops have weights of their own
        listed = listed | loops
        loops = torch.zeros_like(loops)
    found = {
        "num_nodes": np.int32(graph.num_nodes),
        "num_edges": np.int64(int(listed.sum())),
        "edge_index": torch.stack([col[listed], row[listed]]).numpy().astype(np.int32),
    }
    if directed:
        found["directed"] = np.bool_(True)
    if bool(loops.any()):
        found["self_loops"] = row[loops].numpy().astype(np.int32)
    if weight is not None:
        found["edge_weight"] = weight[listed].numpy().astype(np.float32)
    return found


def _is_undirected(adjacency: Adjacency) -> bool:
    if not adjacency.symmetric:
        return False
    weight = adjacency.weight
    return weight is None or torch.equal(weight, weight[adjacency.t_perm.long()])


def _features(graph: Graph) -> dict[str, Any]:
    matrix = graph.features.get(graph.target)
    if matrix is None:
        return {"num_features": np.int32(0)}
    if not isinstance(matrix, Adjacency):
        return {"num_features": np.int32(matrix.shape[1]), "x": matrix.numpy()}
    return {
        "num_features": np.int32(matrix.shape[1]),
        "x_indptr": matrix.row_ptr.numpy(),
        "x_indices": matrix.col.numpy(),
        "x_data": _smallest(matrix.values().numpy()),
        "x_shape": np.array(matrix.shape, dtype=np.int32),
    }


def _smallest(values: np.ndarray) -> np.ndarray:
    whole = values.size and float(values.min()) >= 0 and np.array_equal(values, np.floor(values))
    for dtype in SMALL if whole else ():
        if float(values.max()) <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.float32)
