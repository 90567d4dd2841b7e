"""Graphs of several node types in the layout of the archives of ``hetero/``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import POSITIVE, Graph
from gcl.data.archive import csr_from_archive, facts_from_archive
from gcl.data.edges import as_bipartite_edges
from gcl.data.features import as_features
from gcl.data.labels import as_labels
from gcl.data.splits import PARTS, UNUSED

_PREFIXES = ("train", "val", "test")  # of the keys, in the order of the codes 0, 1, 2


def hetero_from_archive(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> tuple[Graph, dict[str, Any]]:
    """The graph of an archive with several node types, and facts about it.

    Relation ``SRC_DST`` is kept as it is stored, in one direction: its type is ``(SRC, DST)``, so row *i* (node *i* of
    DST) receives from its columns (nodes of SRC). ``paper_author`` is thus an author-by-paper matrix, and its ``.t()``
    the paper-by-author incidence.

    Args:
        arrays: ``node_types``, ``num_nodes``, ``target_type``, ``relations``, ``edge_SRC_DST`` ``[2, E]`` (SRC above
            DST), and optionally ``labels``, lists of nodes ``train_NAME``, ``val_NAME``, ``test_NAME``, and features
            ``feat_TYPE_dense`` or CSR ``feat_TYPE_{data,indices,indptr,shape}``.
        path: the file, for messages.

    Returns:
        The graph, with ``y`` and ``splits`` (uint8 ``[N, S]``) on the target type; and facts: ``split_names``, one for
        each column of the splits, and ``split_repeats``, how many entries of each training list (by split name)
        repeat a node, which counts once here (left out where there are none). Pairs of positives, stored as the CSR
        parts ``pos_indptr``, ``pos_indices``, ``pos_shape``, become the relation ``positive`` of the target type, the
        positives of node i in row i.

    Raises:
        DataError: a missing key, a bad value, or parts of a split that share a node.
    """
    missing = [key for key in ("node_types", "num_nodes", "target_type", "relations") if key not in arrays]
    if missing:
        raise DataError(f"{path} has no key {missing[0]}; an archive of several node types needs it")
    kinds = [str(kind) for kind in np.atleast_1d(arrays["node_types"])]
    sizes = np.atleast_1d(arrays["num_nodes"])
    if len(kinds) != len(set(kinds)) or sizes.shape != (len(kinds),) or sizes.dtype.kind not in "iu" or sizes.min() < 1:
        raise DataError(f"{path} must have one whole number from 1 in num_nodes for each of its node types {kinds}")
    counts = {kind: int(size) for kind, size in zip(kinds, sizes, strict=True)}
    target = str(arrays["target_type"])
    if target not in counts:
        raise DataError(f"{path} has the target type {target!r}, which is none of its node types {kinds}")
    relations, types = _relations(arrays, counts, path)
    if any(key.startswith("pos_") for key in arrays):
        relations[POSITIVE] = _positives(arrays, counts[target], path)
        types[POSITIVE] = (target, target)
    attrs: dict[str, Tensor] = {}
    if "labels" in arrays:
        attrs["y"] = as_labels(arrays["labels"], counts[target])
    info = facts_from_archive(arrays)
    names = sorted({key.partition("_")[2] for key in arrays if key.startswith("train_")}, key=_by_number)
    if names:
        attrs["splits"] = torch.stack([_split(arrays, name, counts[target], path) for name in names], dim=1)
        info["split_names"] = names
        repeats = {name: arrays[f"train_{name}"].size - np.unique(arrays[f"train_{name}"]).size for name in names}
        if any(repeats.values()):
            info["split_repeats"] = {name: int(count) for name, count in repeats.items() if count}
    graph = Graph(
        features=_features(arrays, counts, path),
        relations=relations,
        relation_types=types,
        num_nodes_by_type=counts,
        node_attrs={target: attrs},
        target=target,
    )
    return graph, info


def _relations(
    arrays: Mapping[str, np.ndarray], counts: Mapping[str, int], path: str | os.PathLike[str]
) -> tuple[dict[str, Adjacency], dict[str, tuple[str, str]]]:
    relations, types = {}, {}
    for name in (str(name) for name in np.atleast_1d(arrays["relations"])):
        ends = [(source, receiver) for source in counts for receiver in counts if f"{source}_{receiver}" == name]
        if len(ends) != 1 or f"edge_{name}" not in arrays:
            raise DataError(f"{path} lists relation {name!r}, which needs the name SRC_DST and a key edge_{name}")
        source, receiver = types[name] = ends[0]
        try:
            arcs = as_bipartite_edges(arrays[f"edge_{name}"], (source, counts[source]), (receiver, counts[receiver]))
            relations[name] = Adjacency.from_edge_index(arcs, (counts[receiver], counts[source]), duplicates="first")
        except DataError as error:
            raise DataError(f"{path}, relation {name!r}: {error}") from None
    if not relations:
        raise DataError(f"{path} has no relations; a graph method needs edges")
    return relations, types


def _positives(arrays: Mapping[str, np.ndarray], num_nodes: int, path: str | os.PathLike[str]) -> Adjacency:
    matrix = csr_from_archive(arrays, "pos", path, what="positives", shape=(num_nodes, num_nodes)).tocoo()
    arcs = torch.from_numpy(np.stack([matrix.col, matrix.row]).astype(np.int64))
    return Adjacency.from_edge_index(arcs, (num_nodes, num_nodes), duplicates="first")


def _features(
    arrays: Mapping[str, np.ndarray], counts: Mapping[str, int], path: str | os.PathLike[str]
) -> dict[str, Tensor | Adjacency]:
    features = {}
    for kind, count in counts.items():
        matrix: Any = arrays.get(f"feat_{kind}_dense")
        if matrix is None and any(f"feat_{kind}_{part}" in arrays for part in ("data", "indices", "indptr", "shape")):
            matrix = csr_from_archive(arrays, f"feat_{kind}", path, what=f"features of {kind}")
        if matrix is not None:
            features[kind] = as_features(matrix)
            if features[kind].shape[0] != count:
                raise DataError(f"{path} has {features[kind].shape[0]} rows of features for {count} nodes of {kind!r}")
    return features


def _split(arrays: Mapping[str, np.ndarray], name: str, num_nodes: int, path: str | os.PathLike[str]) -> Tensor:
    """One split as codes ``[N]``."""
    split = np.full(num_nodes, UNUSED, dtype=np.uint8)
    for code, prefix in enumerate(_PREFIXES):
        key = f"{prefix}_{name}"
        nodes = arrays.get(key, np.empty(0, np.int64))
        if (
            nodes.ndim != 1
            or nodes.dtype.kind not in "iu"
            or (nodes.size and not 0 <= nodes.min() <= nodes.max() < num_nodes)
        ):
            raise DataError(f"{path} must list nodes from 0 to {num_nodes - 1} in {key}")
        taken = nodes[split[nodes] != UNUSED]
        if taken.size:
            other = PARTS[int(split[taken[0]])]
            raise DataError(f"{path} has node {int(taken[0])} in {key} and in the {other} part; parts must not overlap")
        split[nodes] = code
    return torch.from_numpy(split)


def _by_number(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else -1, name)
