"""A checksum of what a model is trained on."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.graph import Graph

ROWS = 2**16  # whose arcs are copied at a time


def graph_fingerprint(graph: Graph) -> str:
    """Hexadecimal SHA-256 of structure, weights, features and shapes, equal in every process.

    Labels, splits, other attributes and ids (``node_id``, ``edge_id``) do not enter: a run may be resumed when they
    change. Sparse and dense features of equal values differ, as results do in the last bits.
    """
    digest = hashlib.sha256()

    def add_text(*parts: object) -> None:
        digest.update(("\x1f".join(str(part) for part in parts) + "\x1e").encode())

    def add_tensor(name: str, value: Tensor) -> None:
        value = value.detach().cpu().contiguous()
        add_text(name, value.dtype, tuple(value.shape))
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)

    def add_matrix(matrix: Adjacency) -> None:
        add_text(*matrix.shape)
        kept = matrix.num_arcs if matrix.keep is None else int(matrix.keep.sum())
        add_text("arcs", torch.int64, (2, kept))
        for of_rows in (False, True):  # columns, then rows, some at a time
            for first in range(0, matrix.shape[0], ROWS):
                last = min(first + ROWS, matrix.shape[0])
                start, end = int(matrix.row_ptr[first]), int(matrix.row_ptr[last])
                part = matrix.col[start:end].long()
                if of_rows:
                    count = matrix.row_ptr[first : last + 1].diff().long()
                    part = torch.arange(first, last, device=count.device).repeat_interleave(count)
                part = part if matrix.keep is None else part[matrix.keep[start:end]]
                digest.update(part.cpu().numpy().data)
        weight = matrix.edge_weight()
        if weight is not None:
            add_tensor("weight", weight)

    add_text("graph 1", graph.target)
    for kind, count in sorted(graph.num_nodes_by_type.items()):
        add_text("nodes", kind, count)
        features = graph.features.get(kind)
        if isinstance(features, Adjacency):
            add_matrix(features)
        elif features is not None:
            add_tensor("features", features)
    for name, adjacency in sorted(graph.relations.items()):
        add_text("relation", name, *graph.relation_types[name])
        add_matrix(adjacency)
    return digest.hexdigest()
