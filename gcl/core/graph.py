"""The immutable graph that every part works on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError, unknown
from gcl.core.graph_spec import GraphSpec

NODE = "node"  # the type of a homogeneous graph's nodes
EDGE = "edge"  # and the name of its relation
POSITIVE = "positive"  # a relation of target nodes that are positives of each other, no edge of the data

# Node attributes that only evaluation may see; a training graph does not have them.
HELD_ATTRIBUTES = ("y", "splits")


@dataclass(frozen=True, eq=False)
class Graph:
    """A validated graph: homogeneous, bipartite or heterogeneous alike. Nothing in it is changed in place.

    Args:
        features: by node type, dense ``[N, F]`` or sparse (an :class:`Adjacency` of nodes by columns).
        relations: by name, each an :class:`Adjacency` whose rows (targets) receive from its columns (sources).
        relation_types: name to ``(source type, target type)``; may be left out where all are the target type.
        num_nodes_by_type: nodes of each type; derived from features and relations where left out.
        node_attrs: by node type and name, tensors whose first axis is the node.
        edge_attrs: by relation and name, tensors whose first axis is the arc.
        node_id: by node type, position of each node in the fitted graph; ``None`` for a whole graph.
        target: the node type whose embeddings are learned.
        held: pairs that were held out of the only relation, which does not have them: int64 ``[2, n]``, target node
            above source node (user above item), under ``test`` and, where there are some, ``valid``.
    """

    features: Mapping[str, Tensor | Adjacency] = field(default_factory=dict)
    relations: Mapping[str, Adjacency] = field(default_factory=dict)
    relation_types: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    num_nodes_by_type: Mapping[str, int] = field(default_factory=dict)
    node_attrs: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    edge_attrs: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    node_id: Mapping[str, Tensor] | None = None
    target: str = NODE
    held: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        types = dict(self.relation_types)
        counts = dict(self.num_nodes_by_type)
        for name, adjacency in self.relations.items():
            source, target = types.setdefault(name, (self.target, self.target))
            for kind, size in ((target, adjacency.shape[0]), (source, adjacency.shape[1])):
                if counts.setdefault(kind, size) != size:
                    raise DataError(f"relation {name!r} has {size} nodes of type {kind!r}, expected {counts[kind]}")
        for kind, matrix in self.features.items():
            if counts.setdefault(kind, matrix.shape[0]) != matrix.shape[0]:
                raise DataError(
                    f"features of {kind!r} have {matrix.shape[0]} rows, expected {counts[kind]} (one a node)"
                )
        if self.target not in counts:
            raise DataError(f"target type {self.target!r} has no nodes; types are {sorted(counts)}")
        for kind, attrs in self.node_attrs.items():
            for name, value in attrs.items():
                if value.shape[0] != counts.get(kind):
                    raise DataError(
                        f"node attribute {name!r} has {value.shape[0]} rows for {counts.get(kind)} {kind!r} nodes"
                    )
        for relation, attrs in self.edge_attrs.items():
            if relation not in self.relations:
                raise DataError(f"edge attributes of an {unknown('relation', relation, self.relations)}")
            for name, value in attrs.items():
                if value.shape[0] != self.relations[relation].num_arcs:
                    raise DataError(f"edge attribute {name!r} of {relation!r} has {value.shape[0]} rows")
        for kind, index in (self.node_id or {}).items():
            if index.shape[0] != counts.get(kind):
                raise DataError(f"node_id has {index.shape[0]} entries for {counts.get(kind)} {kind!r} nodes")
        object.__setattr__(self, "relation_types", types)
        object.__setattr__(self, "num_nodes_by_type", counts)

    @classmethod
    def homogeneous(
        cls, x: Tensor | Adjacency | None, adjacency: Adjacency, *, attrs: Mapping[str, Tensor] | None = None
    ) -> Graph:
        """A graph with one node type and one relation."""
        return cls(
            features={} if x is None else {NODE: x},
            relations={EDGE: adjacency},
            node_attrs={NODE: dict(attrs or {})},
        )

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def spec(self) -> GraphSpec:
        """What methods build from."""
        return GraphSpec(
            num_nodes=dict(self.num_nodes_by_type),
            in_channels={kind: int(matrix.shape[1]) for kind, matrix in self.features.items()},
            relations=dict(self.relation_types),
            target=self.target,
        )

    @property
    def num_nodes(self) -> int:
        """Nodes of the target type."""
        return self.num_nodes_by_type[self.target]

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        for value in (*self.relations.values(), *self.features.values()):
            return value.device
        return torch.device("cpu")

    @property
    def adjacency(self) -> Adjacency:
        """The only relation."""
        if len(self.relations) != 1:
            raise DataError(f"this graph has {len(self.relations)} relations ({sorted(self.relations)}); name one")
        return next(iter(self.relations.values()))

    @property
    def x(self) -> Tensor:
        """Dense features of the target type, ``[N, F]``."""
        matrix = self.features.get(self.target)
        if matrix is None:
            raise DataError(f"nodes of type {self.target!r} have no features")
        return matrix.to_dense(torch.float32) if isinstance(matrix, Adjacency) else matrix

    def attr(self, name: str, kind: str | None = None) -> Tensor | None:
        """A node attribute of a type (the target's by default), or ``None``."""
        return self.node_attrs.get(kind or self.target, {}).get(name)

    # -- derived graphs ----------------------------------------------------------------------------------------------

    def with_node_attrs(self, kind: str | None = None, **attrs: Tensor) -> Graph:
        """A graph with more (or other) attributes on the nodes of one type (the target's by default)."""
        kind = kind or self.target
        node_attrs = {**self.node_attrs, kind: {**self.node_attrs.get(kind, {}), **attrs}}
        return dataclasses.replace(self, node_attrs=node_attrs)

    def without_node_attrs(self, names: Iterable[str]) -> Graph:
        """A graph in which the named attributes are absent on every node type."""
        gone = set(names)
        kept = {kind: {k: v for k, v in attrs.items() if k not in gone} for kind, attrs in self.node_attrs.items()}
        return dataclasses.replace(self, node_attrs=kept)

    def for_training(self) -> Graph:
        """The graph without labels, splits and held-out pairs."""
        return dataclasses.replace(self.without_node_attrs(HELD_ATTRIBUTES), held={})

    def subgraph(self, nodes: Mapping[str, Tensor] | Tensor) -> Graph:
        """The graph induced by some nodes, with ids into the fitted graph; types not named are kept whole.

        Held-out pairs are left out.
        """
        chosen = {self.target: nodes} if isinstance(nodes, Tensor) else dict(nodes)
        for kind, index in chosen.items():
            if kind not in self.num_nodes_by_type:
                raise DataError(unknown("node type", kind, self.num_nodes_by_type))
            if index.dtype == torch.bool:
                raise DataError("a subgraph takes node ids, got a boolean mask; pass mask.nonzero().squeeze(1)")
        chosen = {kind: index.long() for kind, index in chosen.items()}

        def everything(kind: str) -> Tensor:
            return torch.arange(self.num_nodes_by_type[kind], device=self.device)

        parts = {}
        for name, adjacency in self.relations.items():
            source, target = self.relation_types[name]
            rows, cols = chosen.get(target), chosen.get(source)
            if rows is None and cols is None:
                continue
            parts[name] = adjacency.with_ids(None).subgraph(
                everything(target) if rows is None else rows, everything(source) if cols is None else cols
            )
        return self.part(chosen, parts)

    def part(self, nodes: Mapping[str, Tensor], relations: Mapping[str, Adjacency]) -> Graph:
        """A graph of some nodes with relations that were taken from this one, which is not checked.

        Held-out pairs are left out.

        Args:
            nodes: by type, which nodes there are, int64; types not named are kept whole.
            relations: by name, between those nodes, with the places of their arcs here as ``edge_id``; those not named
                stay.
        """

        def take(kind: str, value: Tensor) -> Tensor:
            return value.index_select(0, nodes[kind]) if kind in nodes else value

        def take_features(kind: str, value: Tensor | Adjacency) -> Tensor | Adjacency:
            if kind not in nodes or isinstance(value, Tensor):
                return take(kind, value) if isinstance(value, Tensor) else value
            return value.rows_of(nodes[kind])

        edge_attrs = {name: dict(attrs) for name, attrs in self.edge_attrs.items()}
        made = dict(self.relations)
        for name, part in relations.items():
            arcs, own = part.arc_ids(), self.relations[name].edge_id
            if name in edge_attrs:
                edge_attrs[name] = {key: value[arcs] for key, value in edge_attrs[name].items()}
            made[name] = part if own is None else part.with_ids(own[arcs])
        ids = dict(self.node_id or {})
        for kind, index in nodes.items():
            ids[kind] = ids[kind][index] if kind in ids else index
        return Graph(
            features={kind: take_features(kind, value) for kind, value in self.features.items()},
            relations=made,
            relation_types=self.relation_types,
            num_nodes_by_type={k: nodes[k].numel() if k in nodes else n for k, n in self.num_nodes_by_type.items()},
            node_attrs={k: {name: take(k, v) for name, v in attrs.items()} for k, attrs in self.node_attrs.items()},
            edge_attrs=edge_attrs,
            node_id=ids,
            target=self.target,
        )

    def whole(self) -> Graph:
        """A part as a graph of its own: its nodes and arcs carry no ids into the graph that it was taken from."""
        relations = {name: adjacency.with_ids(None) for name, adjacency in self.relations.items()}
        return dataclasses.replace(self, relations=relations, node_id=None)

    def to(self, device: torch.device | str) -> Graph:
        """A copy on another device (this object if it is there already)."""
        if self.device == torch.device(device):
            return self

        def move(attrs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
            return {kind: {name: value.to(device) for name, value in group.items()} for kind, group in attrs.items()}

        return dataclasses.replace(
            self,
            features={kind: value.to(device) for kind, value in self.features.items()},
            relations={name: value.to(device) for name, value in self.relations.items()},
            node_attrs=move(self.node_attrs),
            edge_attrs=move(self.edge_attrs),
            node_id=None if self.node_id is None else {kind: value.to(device) for kind, value in self.node_id.items()},
            held={part: pairs.to(device) for part, pairs in self.held.items()},
        )
