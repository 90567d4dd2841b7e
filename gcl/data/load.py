"""Datasets by name, path or object."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gcl.core.errors import DataError, unknown
from gcl.core.graph import Graph
from gcl.data.archive import graph_from_archive, read_npz
from gcl.data.cards import COLLECTIONS, Card, read_card
from gcl.data.convert import from_networkx, from_pyg, from_scipy, networkx_ids
from gcl.data.dataset import Dataset
from gcl.data.embedded import EMBEDDED
from gcl.data.features import as_features
from gcl.data.folder import read_folder
from gcl.data.names import find_name, resolve_name
from gcl.data.roots import require_archive
from gcl.data.transforms import apply_transform, transform_names

LOADABLE = ("node", "cluster")


def load_dataset(
    source: Any,
    *,
    kind: str | None = None,
    data_root: str | os.PathLike[str] | None = None,
    transform: str | Sequence[str] | None = "card",
    features: Any = None,
    sparse: bool | None = None,
) -> Dataset:
    """Loads a graph from whatever names or holds it.

    Args:
        source: a dataset name; the path of an `.npz` archive or of a folder with ``edges.*``; PyG ``Data`` (or a
            dataset of one graph); a networkx graph; a SciPy adjacency matrix (then give ``features``); a ``Graph`` or
            a ``Dataset``, which are taken as they are.
        kind: the collection in which a bare name is looked up first: ``node``, ``cluster``, ``hetero`` or ``rec``.
        data_root: folder of the benchmark archives; by default ``GCL_DATA``, then the user's cache folder.
        transform: feature transforms by name; ``"card"`` = those of the dataset's card (none for data of your own),
            ``None`` = features as stored.
        features: features ``[N, F]`` that replace those of the source (the card's transforms are then not applied).
        sparse: force CSR (``True``) or dense (``False``) features; ``None`` chooses CSR below 4 percent density.

    Raises:
        DataError: an unknown name, a missing or damaged file, or a bad value.
        ConfigError: an unknown transform.
    """
    if kind is not None and kind not in COLLECTIONS:
        raise DataError(unknown("collection", kind, COLLECTIONS))
    names = None if transform == "card" else transform_names(transform)
    dataset = _read(source, kind, data_root, features is not None)
    graph = dataset.graph
    if features is not None:
        matrix = as_features(features, sparse=sparse)
        if matrix.shape[0] != graph.num_nodes:
            raise DataError(f"features have {matrix.shape[0]} rows for {graph.num_nodes} nodes; give one row a node")
        graph = _with_features(graph, matrix)
    elif sparse is not None and graph.target in graph.features:
        graph = _with_features(graph, as_features(graph.features[graph.target], sparse=sparse))
    if names is None:
        fresh = dataset.card is not None and not isinstance(source, Dataset) and features is None
        names = dataset.card.transform if fresh and dataset.card is not None else ()
    graph = apply_transform(graph, names)
    applied = [*(dataset.info.get("transform", ()) if features is None else ()), *names]
    if graph is dataset.graph and "transform" in dataset.info:
        return dataset
    info = {**dataset.info, "transform": applied}
    return Dataset(dataset.name, graph, dataset.card, dataset.class_names, dataset.node_ids, info)


def _read(source: Any, kind: str | None, data_root: str | os.PathLike[str] | None, has_features: bool) -> Dataset:
    if isinstance(source, Dataset):
        return source
    if isinstance(source, Graph):
        return Dataset("graph", source)
    if isinstance(source, str):
        name = find_name(source, kind=kind)
        if name is not None:
            return _read_named(read_card(name), data_root)
        if _looks_like_path(source):
            return _read_path(Path(source).expanduser())
        resolve_name(source, kind=kind)  # raises, naming the nearest
    if isinstance(source, os.PathLike):
        return _read_path(Path(source).expanduser())
    return _read_object(source, has_features)


def _looks_like_path(text: str) -> bool:
    if text.startswith((".", "~", os.sep)) or text.lower().endswith(".npz") or Path(text).exists():
        return True
    head, _, tail = text.replace(os.sep, "/").partition("/")
    return bool(tail) and head.lower() not in COLLECTIONS


def _read_named(card: Card, data_root: str | os.PathLike[str] | None) -> Dataset:
    if card.name in EMBEDDED:
        graph, info = EMBEDDED[card.name]()
        return Dataset(card.name, graph, card, info.pop("class_names", ()), None, {**info, "licence": card.licence})
    if card.collection not in LOADABLE:
        raise DataError(
            f"dataset {card.name} cannot be loaded yet; the sets of {' and '.join(LOADABLE)} can, see `gcl data list`"
        )
    path = require_archive(card, data_root)
    arrays, checksum = read_npz(path)
    graph, info = graph_from_archive(arrays, path)
    class_names = info.pop("class_names", ())
    info = {**info, "path": str(path), "verified": checksum == card.sha256}
    return Dataset(card.name, graph, card, class_names, None, info)


def _read_path(path: Path) -> Dataset:
    if path.is_dir():
        graph, node_ids, info = read_folder(path)
        return Dataset(path.resolve().name, graph, None, info.pop("class_names", ()), node_ids, {"path": str(path)})
    if not path.exists():
        raise DataError(
            f"there is no file or folder {path}; give a dataset name, an .npz archive or a folder with edges"
        )
    if path.suffix.lower() != ".npz":
        raise DataError(f"{path} is not an .npz archive; give one, or a folder that holds edges.csv or the like")
    arrays, _ = read_npz(path)
    graph, info = graph_from_archive(arrays, path)
    class_names = info.pop("class_names", ())
    return Dataset(path.stem, graph, None, class_names, None, {**info, "path": str(path)})


def _read_object(source: Any, has_features: bool) -> Dataset:
    if type(source).__module__.startswith("scipy.sparse"):
        if not has_features:
            raise DataError(
                "a SciPy matrix gives edges only and an encoder needs features; give features= "
                "(scipy.sparse.eye(num_nodes) if there are none)"
            )
        return Dataset("scipy", from_scipy(source))
    if _is_pyg_dataset(source):
        if len(source) != 1:
            raise DataError(f"the PyG dataset holds {len(source)} graphs; pass one of them, as in dataset[0]")
        source = source[0]
    if hasattr(source, "edge_index") or (hasattr(source, "edge_types") and hasattr(source, "node_types")):
        return Dataset("pyg", from_pyg(source))
    if all(hasattr(source, name) for name in ("nodes", "edges", "is_directed", "is_multigraph")):
        return Dataset("networkx", from_networkx(source), node_ids=networkx_ids(source))
    raise DataError(
        f"cannot load a {type(source).__module__}.{type(source).__name__}; give a dataset name, a path, PyG Data, a "
        "networkx graph, a SciPy matrix or a gcl Graph"
    )


def _is_pyg_dataset(source: Any) -> bool:
    bases = type(source).__mro__
    return any(base.__name__ == "Dataset" and base.__module__.startswith("torch_geometric.") for base in bases)


def _with_features(graph: Graph, matrix: Any) -> Graph:
    return dataclasses.replace(graph, features={**graph.features, graph.target: matrix})
