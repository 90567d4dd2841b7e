"""What MEOW's encoder works on: meta-path graphs, whole and thinned, and features, whole and masked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.data.fingerprint import graph_fingerprint
from gcl.data.transforms import normalized_features
from gcl.encoders.metapath_context import MetaPathViews
from gcl.ops.metapath import MetaPath
from gcl.ops.metapath_context import context_operators, context_slots
from gcl.ops.metapath_graph import Orientation, mean_operator, metapath_operator, thinned_operator, without_loops


def draw_views(
    graph: Graph, kept: Sequence[Adjacency], *, edge_drop: Sequence[float], feature_mask: float, streams: Streams
) -> dict[str, Tensor]:
    """The kept neighbours along each meta-path, and which arcs and feature values the augmentation leaves.

    Args:
        graph: whose target features are masked.
        kept: neighbours along each meta-path, ``[N, N]``.
        edge_drop: share of the arcs between two nodes that are dropped, of each.
        feature_mask: share of the target's non-zero feature values that are masked.
        streams: where the draws come from.

    Returns:
        ``path0.arcs`` int32 ``[2, E]``, receiver above source; ``path0.keep`` boolean ``[E]``; where there are counts
        ``path0.count`` ``[E]``; and so on; and ``features.keep``.
    """
    tensors: dict[str, Tensor] = {}
    for index, (neighbors, share) in enumerate(zip(kept, edge_drop, strict=True)):
        tensors[f"path{index}.arcs"] = torch.stack([neighbors.row, neighbors.col]).to(torch.int32)
        if neighbors.weight is not None:
            tensors[f"path{index}.count"] = neighbors.weight
        candidates = without_loops(neighbors)
        order = torch.randperm(len(candidates), generator=streams.generator("edge_drop", index))
        keep = torch.ones(neighbors.num_arcs, dtype=torch.bool)
        keep[candidates[order[: math.floor(share * len(candidates))]]] = False
        tensors[f"path{index}.keep"] = keep
    tensors["features.keep"] = _feature_keep(graph, feature_mask, streams.generator("feature_mask"))
    return tensors


def make_views(
    graph: Graph,
    paths: Sequence[MetaPath],
    drawn: Mapping[str, Tensor],
    *,
    orientation: Orientation,
    normalize_features: bool,
    device: torch.device,
) -> MetaPathViews:
    """The views of a graph from what :func:`draw_views` drew, both on the CPU.

    Args:
        graph: with the relations of the paths.
        paths: meta-paths.
        drawn: tensors by name.
        orientation: see :func:`~gcl.ops.metapath_graph.metapath_operator`.
        normalize_features: see :func:`~gcl.data.transforms.normalized_features`.
        device: where the views go.
    """
    features = {
        kind: graph.features.get(kind)
        for kind in {graph.target, *(slot.kind for path in paths for slot in context_slots(path))}
    }
    if normalize_features:
        features = {kind: None if matrix is None else normalized_features(matrix) for kind, matrix in features.items()}
    target, keep = features[graph.target], drawn["features.keep"]
    masked: Tensor | Adjacency | None = None
    if isinstance(target, Adjacency):
        masked = target.masked(keep)
    elif target is not None:
        masked = target * keep
    clean, thinned = [], []
    for index in range(len(paths)):
        kept = _neighbors(drawn[f"path{index}.arcs"], drawn.get(f"path{index}.count"), graph.num_nodes)
        clean.append(metapath_operator(kept, orientation=orientation))
        thinned.append(thinned_operator(kept, drawn[f"path{index}.keep"], orientation=orientation))
    return MetaPathViews(
        features={kind: None if matrix is None else matrix.to(device) for kind, matrix in features.items()},
        masked=None if masked is None else masked.to(device),
        kept=keep.to(device) if target is None else None,
        operators=[operator.to(device) for operator in clean],
        thinned=[operator.to(device) for operator in thinned],
        coarse=mean_operator(clean).to(device),
        contexts={steps: operator.to(device) for steps, operator in context_operators(graph, paths).items()},
    )


def precise_fingerprint(graph: Graph) -> str:
    """A fingerprint that is the same in either precision, so that training in double knows the graph again."""

    def single(matrix: Adjacency) -> Adjacency:
        return matrix if matrix.weight is None else matrix.with_weight(matrix.weight.float())

    features = {kind: single(x) if isinstance(x, Adjacency) else x.float() for kind, x in graph.features.items()}
    relations = {name: single(adjacency) for name, adjacency in graph.relations.items()}
    return graph_fingerprint(dataclasses.replace(graph, features=features, relations=relations))


def _neighbors(arcs: Tensor, count: Tensor | None, num_nodes: int) -> Adjacency:
    """The adjacency of arcs in its own order."""
    row, col = arcs
    row_ptr = torch.zeros(num_nodes + 1, dtype=torch.int64)
    torch.cumsum(row.bincount(minlength=num_nodes), 0, out=row_ptr[1:])
    return Adjacency.from_csr(row_ptr, col, (num_nodes, num_nodes), count)


def _feature_keep(graph: Graph, share: float, generator: torch.Generator) -> Tensor:
    """Which feature values of the target nodes stay: of stored entries, a dense matrix, or the identity's rows."""
    matrix = graph.features.get(graph.target)
    if matrix is None:
        keep = torch.ones(graph.num_nodes, dtype=torch.bool)
    elif isinstance(matrix, Adjacency):
        keep = torch.ones(matrix.num_arcs, dtype=torch.bool)
    else:
        keep = torch.ones(matrix.shape, dtype=torch.bool)
    present = keep if matrix is None else matrix.values() != 0 if isinstance(matrix, Adjacency) else matrix != 0
    places = present.flatten().nonzero().squeeze(1)
    gone = places[torch.randperm(len(places), generator=generator)[: math.floor(share * len(places))]]
    keep.view(-1)[gone] = False
    return keep
