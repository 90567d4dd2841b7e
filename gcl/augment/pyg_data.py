"""PyG data in an augmenter's place of a graph."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.core.view import View

READ_BY_FROM_PYG = ("x", "y", "edge_index", "edge_weight", "train_mask", "val_mask", "test_mask")


def is_pyg_data(value: Any) -> bool:
    """Whether it is a ``Data`` or ``HeteroData``."""
    try:
        from torch_geometric.data.data import BaseData
    except ImportError:
        return False
    return isinstance(value, BaseData)


def graph_of(value: Graph | View | Any) -> Graph:
    """The graph of a graph, a view (with its masks) or PyG data (on its device, with its other node tensors)."""
    if isinstance(value, Graph):
        return value
    if isinstance(value, View):
        return _graph_of_view(value)
    if not is_pyg_data(value):
        raise DataError(f"expected a Graph, a View or PyG Data, got {type(value).__name__}")
    from gcl.data.convert import from_pyg

    if hasattr(value, "edge_types"):
        return from_pyg(value)
    edge_index = getattr(value, "edge_index", None)
    device = None if edge_index is None else edge_index.device
    if edge_index is not None and edge_index.numel() == 0:  # an earlier step may have dropped every edge
        shape = (int(value.num_nodes), int(value.num_nodes))
        adjacency = Adjacency.from_edge_index(edge_index.long(), shape, getattr(value, "edge_weight", None))
        graph = Graph.homogeneous(value.x, adjacency)
    else:
        graph = from_pyg(value)
    attrs = {
        key: tensor
        for key, tensor in value.to_dict().items()
        if key not in READ_BY_FROM_PYG
        and isinstance(tensor, Tensor)
        and tensor.dim() > 0
        and tensor.shape[0] == graph.num_nodes
    }
    attrs = {**graph.node_attrs.get(graph.target, {}), **attrs}
    graph = dataclasses.replace(graph, node_attrs={**graph.node_attrs, graph.target: attrs})
    return graph if device is None else graph.to(device)


def update_data(data: Any, view: View) -> Any:
    """A copy of ``data`` with the edges and features of ``view``; its other per-edge tensors lose the dropped edges."""
    from gcl.data.convert import to_pyg

    new = to_pyg(view)
    out = copy.copy(data)
    old_arcs, arcs = data.edge_index, new.edge_index
    per_edge = [
        key
        for key, value in data.to_dict().items()
        if key not in ("edge_index", "edge_weight")
        and isinstance(value, Tensor)
        and value.dim() > 0
        and value.shape[0] == old_arcs.shape[1]
        and data.is_edge_attr(key)
    ]
    if per_edge and not torch.equal(old_arcs, arcs):
        positions = _positions(old_arcs, arcs, view.num_nodes)
        for key in per_edge:
            out[key] = data[key][positions]
    out.edge_index = arcs
    if "x" in new:
        out.x = new.x
    if "edge_weight" in new:
        out.edge_weight = new.edge_weight
    elif "edge_weight" in out:
        del out["edge_weight"]
    return out


def _graph_of_view(view: View) -> Graph:
    graph = view.graph
    features: dict[str, Tensor | Adjacency] = {}
    for kind in graph.features:
        matrix, mask = view.features(kind), view.feature_mask.get(kind)
        if mask is None:
            features[kind] = matrix
        elif isinstance(matrix, Adjacency):
            features[kind] = matrix.masked(mask[matrix.col.long()])
        else:
            features[kind] = matrix * mask.to(matrix.dtype)
    return dataclasses.replace(graph, features=features, relations=view.adjacency, edge_attrs={})


def _positions(old_arcs: Tensor, arcs: Tensor, num_nodes: int) -> Tensor:
    """Where each arc is first listed among the old ones, ``[E]``.

    Raises:
        DataError: an arc is new, so that tensors with one row an edge have no row for it.
    """
    if not old_arcs.numel():
        positions, known = arcs.new_zeros(arcs.shape[1]), arcs.new_zeros(arcs.shape[1], dtype=torch.bool)
    else:
        keys, order = torch.sort(old_arcs[1] * num_nodes + old_arcs[0], stable=True)
        wanted = arcs[1] * num_nodes + arcs[0]
        found = torch.searchsorted(keys, wanted).clamp(max=keys.numel() - 1)
        positions, known = order[found], keys[found] == wanted
    if not bool(known.all()):
        raise DataError("an augmenter added edges for which the data's per-edge tensors have no row; remove them first")
    return positions
