"""Checks and merging of edge lists."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from gcl.core.errors import ConfigError, DataError

TOO_SMALL = "which in float32 is 0, no edge; drop the edge, or multiply all weights by a number"
Duplicates = Literal["error", "merge", "sum"]

# Where the number of nodes is not known, a largest id above this and far above the number of edges is a foreign key.
_PLAUSIBLE = 1_000_000


def as_edge_index(edge_index: Any, num_nodes: int | None) -> tuple[Tensor, int]:
    """A checked int64 edge list ``[2, E]`` and the number of nodes (one more than the largest id where not given).

    Raises:
        DataError: wrong shape, not whole numbers, negative, out of range, or no edges.
    """
    if isinstance(edge_index, Tensor):
        edge_index = edge_index.detach().cpu().numpy()
    try:
        array = np.asarray(edge_index)
    except ValueError:
        raise DataError("edge_index must have shape [2, E]; its rows have different lengths") from None
    if array.size == 0:
        raise DataError("the graph has no edges; a graph method needs at least one")
    if array.ndim != 2 or array.shape[0] != 2:
        hint = "; pass its transpose" if array.ndim == 2 and array.shape[1] == 2 else ""
        raise DataError(f"edge_index must have shape [2, E], got {list(array.shape)}{hint}")
    if array.dtype.kind not in "iu":
        raise DataError(f"edge_index must hold integers, got {array.dtype}; node ids are whole numbers from 0")
    low, high = int(array.min()), int(array.max())
    if low < 0:
        at = int((array < 0).any(axis=0).argmax())
        raise DataError(f"edge_index has the negative node id {low} (edge {at} is the first such); ids start at 0")
    if num_nodes is None and high >= max(_PLAUSIBLE, 100 * array.shape[1]):
        raise DataError(
            f"edge_index has node id {high} but only {array.shape[1]} edges; ids are positions from 0, so number the "
            "nodes anew (an id column in the features or labels of a folder does it) or give num_nodes"
        )
    num_nodes = high + 1 if num_nodes is None else num_nodes
    if high >= num_nodes:
        at = int((array >= num_nodes).any(axis=0).argmax())
        raise DataError(
            f"edge_index has node id {high} (edge {at} is the first such), out of range for {num_nodes} nodes "
            f"(valid: 0 to {num_nodes - 1}); give the right number of nodes or drop the edge"
        )
    return torch.from_numpy(np.ascontiguousarray(array.astype(np.int64))), num_nodes


def as_bipartite_edges(edge_index: Any, source: tuple[str, int], receiver: tuple[str, int]) -> Tensor:
    """A checked int64 edge list ``[2, E]`` from nodes of one type to nodes of another; it may be empty.

    Args:
        edge_index: sources above receivers.
        source, receiver: name and number of nodes of each type.

    Raises:
        DataError: wrong shape, not whole numbers, or a node that its type does not have.
    """
    array = np.asarray(edge_index.detach().cpu().numpy() if isinstance(edge_index, Tensor) else edge_index)
    if array.size == 0 and array.ndim == 2 and array.shape[0] == 2:
        return torch.empty(2, 0, dtype=torch.int64)
    arcs, _ = as_edge_index(edge_index, np.iinfo(np.int64).max)
    for row, (kind, count) in zip(arcs, (source, receiver), strict=True):
        if int(row.max()) >= count:
            at = int((row >= count).int().argmax())
            raise DataError(
                f"edge {at} names node {int(row[at])} of type {kind!r}, which has {count} (valid: 0 to {count - 1}); "
                "give the right number of nodes or drop the edge"
            )
    return arcs


def as_edge_weight(edge_weight: Any, num_edges: int) -> Tensor | None:
    """Checked float32 weights ``[E]``, or ``None``.

    Raises:
        DataError: another length, not numbers, not finite, negative (a degree would have no square root), or so small
            that it is 0 in float32.
    """
    if edge_weight is None:
        return None
    array = edge_weight.detach().cpu().numpy() if isinstance(edge_weight, Tensor) else np.asarray(edge_weight)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (num_edges,):
        raise DataError(f"edge weights must have shape [{num_edges}], one an edge, got {list(array.shape)}")
    if array.dtype.kind not in "biuf":
        raise DataError(f"edge weights must be real numbers, got {array.dtype}")
    with np.errstate(over="ignore"):
        weight = torch.from_numpy(array.astype(np.float32))
    bad = (~torch.isfinite(weight) | (weight < 0)).nonzero().squeeze(1)
    if bad.numel():
        raise DataError(
            f"{bad.numel()} edge weights are negative or not finite, the first {float(weight[bad[0]]):g} at edge "
            f"{int(bad[0])}; weights are strengths from 0, replace them or drop the edge"
        )
    lost = underflow(array)
    if lost.any():
        at = int(lost.argmax())
        raise DataError(f"{int(lost.sum())} edges have a weight like {array[at]:g} of edge {at}, {TOO_SMALL}")
    return weight


def underflow(weight: np.ndarray) -> np.ndarray:
    """Which weights are not 0 but would be in float32, bool."""
    with np.errstate(over="ignore", under="ignore"):
        lost: np.ndarray = (weight != 0) & (weight.astype(np.float32) == 0)
    return lost


def merge_edges(
    edge_index: Tensor, weight: Tensor | None, num_nodes: int, *, directed: bool, duplicates: Duplicates
) -> tuple[Tensor, Tensor | None]:
    """One arc for each pair of nodes, and for an undirected list both arcs of each edge.

    An undirected edge may be listed in one direction or in both. An edge listed twice in the *same* direction is
    refused (``error``), counts once if the weights agree (``merge``), or has its weights added, over every listing of
    either direction (``sum``). Self-loops are kept and have one arc. What then has the weight 0 is no edge.

    Raises:
        DataError: a repeated edge under ``error``, or listings of one edge whose weights differ.
        ConfigError: an unknown policy.
    """
    if duplicates not in get_args(Duplicates):
        raise ConfigError(f"unknown duplicates {duplicates!r}; use one of {', '.join(get_args(Duplicates))}")
    source, target = edge_index
    if duplicates == "error":
        _refuse_repeats(source * num_nodes + target, num_nodes)
    if not directed:
        source, target = torch.minimum(source, target), torch.maximum(source, target)
    key, inverse = torch.unique(source * num_nodes + target, return_inverse=True)
    if duplicates == "sum":
        values = torch.ones(inverse.numel()) if weight is None else weight
        total = torch.zeros(key.numel(), dtype=torch.float64).index_add_(0, inverse, values.double()).float()
        weight = None if weight is None and key.numel() == inverse.numel() else total
    elif weight is not None:
        weight = _agreed(weight, inverse, key, num_nodes)
    if weight is not None and not bool(weight.all()):
        key, weight = key[weight != 0], weight[weight != 0]
    source, target = key // num_nodes, key % num_nodes
    if directed:
        return torch.stack([source, target]), weight
    back = (source != target).nonzero().squeeze(1)
    arcs = torch.stack([torch.cat([source, target[back]]), torch.cat([target, source[back]])])
    return arcs, None if weight is None else torch.cat([weight, weight[back]])


def _refuse_repeats(key: Tensor, num_nodes: int) -> None:
    ordered = key.sort().values
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if repeated.numel():
        first = int(repeated[0])
        raise DataError(
            f"{repeated.numel()} edges are listed more than once, the first {first // num_nodes} -> "
            f"{first % num_nodes}; pass duplicates='merge' or 'sum'"
        )


def _agreed(weight: Tensor, inverse: Tensor, key: Tensor, num_nodes: int) -> Tensor:
    merged = torch.empty(key.numel(), dtype=weight.dtype)
    merged[inverse] = weight  # some listing of each edge; all must equal it
    differs = (merged[inverse] != weight).nonzero().squeeze(1)
    if differs.numel():
        at = int(differs[0])
        pair = int(key[inverse[at]])
        raise DataError(
            f"edge {pair // num_nodes} - {pair % num_nodes} is listed with the weights {float(weight[at]):g} and "
            f"{float(merged[inverse[at]]):g}; pass directed=True if directions differ, or duplicates='sum'"
        )
    return merged
