"""Datasets by name, path or object."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import Graph
from gcl.data.archive import graph_from_archive, read_npz
from gcl.data.cards import COLLECTIONS, Card, read_card
from gcl.data.convert import from_networkx, from_pyg, from_scipy, networkx_ids
from gcl.data.dataset import Dataset
from gcl.data.embedded import EMBEDDED
from gcl.data.features import as_features
from gcl.data.folder import read_folder
from gcl.data.hetero import hetero_from_archive
from gcl.data.hetero_folder import read_hetero_folder
from gcl.data.hetero_names import is_hetero_folder
from gcl.data.interaction_dataset import dataset_of_table, with_options
from gcl.data.interaction_files import SUFFIXES, is_interaction_file, is_interaction_folder, read_interactions
from gcl.data.interaction_objects import interaction_edge_type, table_of_hetero, table_of_matrix
from gcl.data.interaction_options import InteractionOptions
from gcl.data.interactions import INTERACTION, interactions_from_archive
from gcl.data.metapath_options import MetaPathOptions, metapath_view
from gcl.data.names import find_name, resolve_name
from gcl.data.roots import require_archive
from gcl.data.stored_graph import is_stored_graph, read_stored_graph
from gcl.data.transforms import apply_transform, transform_names


def load_dataset(
    source: Any,
    *,
    kind: str | None = None,
    name: str | None = None,
    data_root: str | os.PathLike[str] | None = None,
    transform: str | Sequence[str] | None = "card",
    features: Any = None,
    sparse: bool | None = None,
    interactions: InteractionOptions | Mapping[str, Any] | None = None,
    metapath: MetaPathOptions | Mapping[str, Any] | str | None = None,
) -> Dataset:
    """Loads a graph from whatever names or holds it.

    Args:
        source: a dataset name; the path of an `.npz` archive, of a folder with ``edges.*`` (undirected) or ``arcs.*``
            (directed; :func:`gcl.data.folder.read_folder`) or, of several node types, ``edges_SRC_DST.*``
            (:func:`gcl.data.hetero_folder.read_hetero_folder`), or of a table or a folder of interactions
            (:func:`gcl.data.interaction_files.read_interactions`); PyG ``Data`` (or a dataset of one graph) or
            ``HeteroData``; a networkx graph; a SciPy adjacency matrix (then give ``features``) or, with ``kind="rec"``,
            matrix of users by items; a ``Graph`` or a ``Dataset``, which are taken as they are.
        kind: the collection in which a bare name is looked up first: ``node``, ``cluster``, ``hetero`` or ``rec``.
        name: the named dataset that a path or an object *is*, as in ``load_dataset(WikiCS(root)[0],
            name="node/wikics")``; it gets that name, its card and the card's transforms.
        data_root: folder of the benchmark archives; by default ``GCL_DATA``, then the user's cache folder.
        transform: feature transforms of the target type, by name; ``"card"`` = those of the dataset's card (none for
            data of your own), ``None`` = features as stored.
        features: features ``[N, F]`` that replace those of the source (the card's transforms are then not applied).
        sparse: force CSR (``True``) or dense (``False``) features; ``None`` chooses CSR below 4 percent density.
        interactions: how interactions are filtered and split, of ``rec`` sets and sources only: a mapping of the
            arguments of :class:`gcl.data.interaction_options.InteractionOptions`. By default parts are kept as they
            are, and where there are none each user's interactions are split at random 80/10/10.
        metapath: turns a graph of several node types into one of its target nodes, joined along a meta-path such as
            ``paper-author-paper``: that text, or a mapping of the arguments of
            :class:`gcl.data.metapath_options.MetaPathOptions`.

    Returns:
        The dataset. Of ``rec/`` sets the graph has the training interactions only, the others are in ``held``
        (:func:`gcl.data.interactions.interactions_from_archive`); of ``hetero/`` sets it has all node types
        (:func:`gcl.data.hetero.hetero_from_archive`). ``info["transform"]`` lists what was applied, and
        ``info["interactions"]`` the settings by which interactions were filtered and split.

    Raises:
        DataError: an unknown name, a missing or damaged file, or a bad value.
        ConfigError: an unknown transform or setting, ``transform`` for interactions, ``interactions`` for a source that
            has none, or a meta-path that does not compose.
    """
    if kind is not None and kind not in COLLECTIONS:
        raise DataError(unknown("collection", kind, COLLECTIONS))
    names = None if transform == "card" else transform_names(transform)
    card = None if name is None else read_card(resolve_name(name, kind=kind))
    options = None if interactions is None else InteractionOptions.of(interactions)
    dataset = _read(source, kind, data_root, features is not None, options or InteractionOptions())
    if options is not None and (isinstance(source, Dataset) or "interactions" not in dataset.info):
        dataset = with_options(dataset, options)
    if names is None:
        names = _card_transform(dataset, card, source) if features is None else ()
    if card is not None:
        dataset = _named(dataset, card)
    graph = dataset.graph
    if features is not None:
        matrix = as_features(features, sparse=sparse)
        if matrix.shape[0] != graph.num_nodes:
            raise DataError(f"features have {matrix.shape[0]} rows for {graph.num_nodes} nodes; give one row a node")
        graph = _with_features(graph, matrix)
    elif sparse is not None and graph.target in graph.features:
        graph = _with_features(graph, as_features(graph.features[graph.target], sparse=sparse))
    if graph.target not in graph.features:
        if names and INTERACTION in graph.relations:
            raise ConfigError(
                f"transform={list(names)} changes features of nodes, which interactions do not have; leave it out"
            )
        names = ()  # nothing to transform, so nothing is recorded
    graph = apply_transform(graph, names)
    if metapath is not None:
        by = MetaPathOptions.of(metapath)
        graph = metapath_view(graph, by)
        dataset = dataclasses.replace(dataset, info={**dataset.info, "metapath": by.describe()})
    applied = [*(dataset.info.get("transform", ()) if features is None else ()), *names]
    if graph is dataset.graph and dataset.info.get("transform") == applied:
        return dataset
    return dataclasses.replace(dataset, graph=graph, info={**dataset.info, "transform": applied})


def _card_transform(dataset: Dataset, card: Card | None, source: Any) -> tuple[str, ...]:
    """What ``transform="card"`` means; a ``Dataset`` that has a card, or was transformed, is taken as it is."""
    if isinstance(source, Dataset) and (source.card is not None or source.info.get("transform")):
        return ()
    card = card or dataset.card
    return () if card is None else card.transform


def _named(dataset: Dataset, card: Card) -> Dataset:
    if dataset.card is not None and dataset.card.name != card.name:
        raise DataError(
            f"the source is dataset {dataset.card.name}, not {card.name}; leave out name= or give that name"
        )
    graph = dataset.graph
    if INTERACTION in graph.relations:
        fitting: tuple[str, ...] = ("rec",)
    else:
        fitting = ("hetero",) if len(graph.num_nodes_by_type) > 1 else ("node", "cluster")
    if card.collection not in fitting:
        raise DataError(
            f"the source has the form of the {' or '.join(fitting)} sets, so it is not {card.name}; give another name="
        )
    return dataclasses.replace(dataset, name=card.name, card=card)


def _read(
    source: Any,
    kind: str | None,
    data_root: str | os.PathLike[str] | None,
    has_features: bool,
    options: InteractionOptions,
) -> Dataset:
    if isinstance(source, Dataset):
        return source
    if isinstance(source, Graph):
        return Dataset("graph", source)
    if isinstance(source, str):
        name = find_name(source, kind=kind)
        if name is not None:
            return _read_named(read_card(name), data_root)
        if _looks_like_path(source):
            return _read_path(Path(source).expanduser(), kind, options)
        resolve_name(source, kind=kind)  # raises, naming the nearest
    if isinstance(source, os.PathLike):
        return _read_path(Path(source).expanduser(), kind, options)
    return _read_object(source, kind, has_features, options)


def _looks_like_path(text: str) -> bool:
    if text.startswith((".", "~", os.sep)) or text.lower().endswith((".npz", *SUFFIXES)) or Path(text).exists():
        return True
    head, _, tail = text.replace(os.sep, "/").partition("/")
    return bool(tail) and head.lower() not in COLLECTIONS


def _read_named(card: Card, data_root: str | os.PathLike[str] | None) -> Dataset:
    if card.name in EMBEDDED:
        graph, info = EMBEDDED[card.name]()
        names = info.pop("class_names", ())
        ids, others = info.pop("node_ids", None), info.pop("other_ids", {})
        return Dataset(card.name, graph, card, names, ids, {**info, "licence": card.licence}, others)
    path = require_archive(card, data_root)
    return _read_archive(path, card)


def _read_archive(path: Path, card: Card | None = None) -> Dataset:
    """An archive of any of the three layouts."""
    arrays, checksum = read_npz(path)
    if "train_indptr" in arrays:
        graph, info = interactions_from_archive(arrays, path)
    elif "node_types" in arrays:
        graph, info = hetero_from_archive(arrays, path)
    else:
        graph, info = graph_from_archive(arrays, path)
    class_names = info.pop("class_names", ())
    info["path"] = str(path)
    if card is None:
        return Dataset(path.stem, graph, None, class_names, None, info)
    info.setdefault("licence", card.licence)
    if card.sha256 is not None:
        info["verified"] = checksum == card.sha256
    return Dataset(card.name, graph, card, class_names, None, info)


def _read_path(path: Path, kind: str | None, options: InteractionOptions) -> Dataset:
    if path.is_dir():
        if is_stored_graph(path):
            graph, info = read_stored_graph(path)
            return Dataset(path.resolve().name, graph, None, info.pop("class_names", ()), None, {"path": str(path)})
        if kind != "rec" and is_hetero_folder(path):
            graph, ids, info = read_hetero_folder(path)
            names, own = info.pop("class_names", ()), ids.pop(graph.target, None)
            return Dataset(path.resolve().name, graph, None, names, own, {"path": str(path)}, ids)
        if kind == "rec" or (kind is None and is_interaction_folder(path)):
            return dataset_of_table(path.resolve().name, read_interactions(path, options), options, path=str(path))
        graph, node_ids, info = read_folder(path)
        return Dataset(path.resolve().name, graph, None, info.pop("class_names", ()), node_ids, {"path": str(path)})
    if not path.exists():
        raise DataError(
            f"there is no file or folder {path}; give a dataset name, an .npz archive or a folder with edges"
        )
    if kind in (None, "rec") and is_interaction_file(path):
        return dataset_of_table(path.stem, read_interactions(path, options), options, path=str(path))
    if path.suffix.lower() != ".npz":
        raise DataError(f"{path} is not an .npz archive; give one, or a folder that holds edges.csv or the like")
    return _read_archive(path)


def _read_object(source: Any, kind: str | None, has_features: bool, options: InteractionOptions) -> Dataset:
    if type(source).__module__.startswith("scipy.sparse"):
        if kind == "rec":
            return dataset_of_table("scipy", table_of_matrix(source), options)
        if not has_features:
            raise DataError(
                "a SciPy matrix gives edges only and an encoder needs features; pass "
                "gcl.load_dataset(matrix, features=X), with scipy.sparse.eye(num_nodes) for X if there are none"
            )
        return Dataset("scipy", from_scipy(source))
    if _is_pyg_dataset(source):
        if len(source) != 1:
            raise DataError(f"the PyG dataset holds {len(source)} graphs; pass one of them, as in dataset[0]")
        source = source[0]
    if hasattr(source, "edge_types") and hasattr(source, "node_types"):
        found = interaction_edge_type(source)
        if kind == "rec" or (kind is None and found is not None and "edge_label_index" in source[found]):
            return dataset_of_table("pyg", table_of_hetero(source), options)
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
