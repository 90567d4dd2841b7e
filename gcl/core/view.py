"""A graph after augmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.core.operator import Operator


@dataclass(frozen=True, eq=False)
class View:
    """A graph seen through masks. The row axis never changes, so rows of two views always pair.

    Args:
        graph: the graph that the view is of.
        adjacency: relations after masks; by default the graph's own.
        operators: explicit operators by name (low rank, diffusion, meta-path).
        feature_mask: by node type, boolean ``[F]``, ``False`` = the column is zero everywhere. Encoders fold it into
            their first weight instead of copying the features.
        feature_values: by node type, changed feature values: ``[N, F]`` for dense features, ``[nnz]`` for sparse ones.
        node_mask: boolean ``[N]`` over the target type, ``False`` = the node lost its edges and features, not its row.
    """

    graph: Graph
    adjacency: Mapping[str, Adjacency] = field(default_factory=dict)
    operators: Mapping[str, Operator] = field(default_factory=dict)
    feature_mask: Mapping[str, Tensor] = field(default_factory=dict)
    feature_values: Mapping[str, Tensor] = field(default_factory=dict)
    node_mask: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "adjacency", {**self.graph.relations, **self.adjacency})

    @classmethod
    def of(cls, graph: Graph | View) -> View:
        """The unchanged view of a graph; a view is returned as it is."""
        return graph if isinstance(graph, View) else cls(graph)

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def num_nodes(self) -> int:
        """Nodes of the target type."""
        return self.graph.num_nodes

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.graph.device

    def relation(self, name: str | None = None) -> Adjacency:
        """One relation after masks, without the edges of dropped nodes; without a name the only one."""
        if name is None:
            if len(self.adjacency) != 1:
                raise DataError(f"this graph has {len(self.adjacency)} relations ({sorted(self.adjacency)}); name one")
            name = next(iter(self.adjacency))
        adjacency = self.adjacency[name]
        if self.node_mask is None:
            return adjacency
        source, target = self.graph.relation_types[name]
        keep = torch.ones(adjacency.num_arcs, dtype=torch.bool, device=adjacency.device)
        if target == self.graph.target:
            keep &= self.node_mask[adjacency.row.long()]
        if source == self.graph.target:
            keep &= self.node_mask[adjacency.col.long()]
        return adjacency.masked(keep)

    def features(self, kind: str | None = None) -> Tensor | Adjacency:
        """Features of a type with changed values, *without* the column mask; dense or sparse as stored."""
        kind = kind or self.graph.target
        matrix = self.graph.features.get(kind)
        if matrix is None:
            raise DataError(f"nodes of type {kind!r} have no features; give features or use an encoder with embeddings")
        values = self.feature_values.get(kind)
        if values is not None:
            matrix = matrix.with_weight(values) if isinstance(matrix, Adjacency) else values
        if self.node_mask is not None and kind == self.graph.target:
            if isinstance(matrix, Adjacency):
                matrix = matrix.masked(self.node_mask[matrix.row.long()])
            else:
                matrix = matrix * self.node_mask.unsqueeze(1)
        return matrix

    @property
    def x(self) -> Tensor:
        """Dense features of the target type with every mask applied, ``[N, F]``; for modules from elsewhere."""
        matrix = self.features()
        dense = matrix.to_dense(torch.float32) if isinstance(matrix, Adjacency) else matrix
        mask = self.feature_mask.get(self.graph.target)
        return dense if mask is None else dense * mask.to(dense.dtype)

    @property
    def edge_index(self) -> Tensor:
        """Kept arcs of the only relation in PyG order, ``[2, E]``."""
        return self.relation().edge_index()

    @property
    def edge_weight(self) -> Tensor | None:
        """Weights of the kept arcs, or ``None``."""
        return self.relation().edge_weight()

    # -- derived views -----------------------------------------------------------------------------------------------

    def with_adjacency(self, name: str, adjacency: Adjacency) -> View:
        """The view with one relation replaced."""
        return dataclasses.replace(self, adjacency={**self.adjacency, name: adjacency})

    def mask_columns(self, keep: Tensor, kind: str | None = None) -> View:
        """The view with feature columns zeroed where ``keep`` is ``False``, on top of earlier masks."""
        kind = kind or self.graph.target
        earlier = self.feature_mask.get(kind)
        return dataclasses.replace(
            self, feature_mask={**self.feature_mask, kind: keep if earlier is None else keep & earlier}
        )
