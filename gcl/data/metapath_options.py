"""A graph of several node types as one of target nodes that a meta-path joins."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import Graph
from gcl.ops.metapath import MetaPath
from gcl.ops.metapath_graph import metapath_graph


@dataclass(frozen=True)
class MetaPathOptions:
    """The settings of ``load_dataset(..., metapath=...)``.

    Args:
        path: as ``paper-author-paper``, or ``paper-[writes]-author-paper`` where several relations join two types; or
            the types as a list.
        top: nearest neighbours by PathSim that each node keeps, from 1; ``None`` = all.
        weighted: whether an edge counts by the number of path instances, or once.
        num_walks: estimate the numbers by so many random walks a node, where products are too large, from 1; ``None`` =
            count.
        seed: of the walks, 0 or more.

    Raises:
        ConfigError: a value that is none of these.
    """

    path: str | Sequence[str]
    top: int | None = None
    weighted: bool = False
    num_walks: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.path, str) or _is_list_of_text(self.path)):
            raise ConfigError(f"metapath.path must be a text such as paper-author-paper, got {self.path!r}")
        for name, value, least in (("top", self.top, 1), ("num_walks", self.num_walks, 1), ("seed", self.seed, 0)):
            missing = value is None and name != "seed"
            if not missing and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise ConfigError(f"metapath.{name} must be a whole number from {least}, got {value!r}")
        if not isinstance(self.weighted, bool):
            raise ConfigError(f"metapath.weighted must be true or false, got {self.weighted!r}")

    @classmethod
    def of(cls, value: str | Mapping[str, Any] | MetaPathOptions) -> MetaPathOptions:
        """Options from a meta-path or a mapping of settings.

        Raises:
            ConfigError: an unknown key, no path, or a wrong value.
        """
        if isinstance(value, MetaPathOptions):
            return value
        if isinstance(value, str):
            return cls(value)
        if not isinstance(value, Mapping):
            raise ConfigError(f"metapath must be a text such as paper-author-paper, or settings of it, got {value!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in value:
            if key not in known:
                raise ConfigError(unknown("setting of metapath", str(key), known))
        if "path" not in value:
            raise ConfigError("metapath needs a path, as in metapath={path: paper-author-paper, top: 50}")
        return cls(**value)

    def describe(self) -> dict[str, Any]:
        """All settings, as plain values."""
        return dataclasses.asdict(self)


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(part, str) for part in value)


def metapath_view(graph: Graph, options: MetaPathOptions) -> Graph:
    """The target nodes of a graph of several node types, joined where a meta-path joins them, in either direction.

    A node is not joined with itself. Of both counts of an edge the larger one counts. A target type without features
    gets the identity, sparse. Labels, splits and other attributes stay.

    Args:
        graph: of several node types.
        options: the meta-path.

    Returns:
        A graph of one node type and one undirected relation.

    Raises:
        ConfigError: a meta-path that does not compose.
        DataError: a graph of one node type, or more edges than memory allows.
    """
    if len(graph.num_nodes_by_type) < 2 and len(graph.relations) < 2:
        raise DataError("metapath is for graphs of several node types, and this one has one; leave it out")
    path = MetaPath.parse(options.path, graph.spec)
    mend = "keep the nearest of each node (metapath={path: ..., top: 100}), or add num_walks: 100"
    generator = torch.Generator().manual_seed(options.seed)
    kept = metapath_graph(
        graph, path, top=options.top, drop_self=True, num_walks=options.num_walks, generator=generator, mend=mend
    )
    arcs, weight = torch.stack([kept.col.long(), kept.row.long()]), kept.values()
    both, weight = torch.cat([arcs, arcs.flip(0)], dim=1), torch.cat([weight, weight])
    order = weight.argsort(descending=True, stable=True)
    size, target = (graph.num_nodes, graph.num_nodes), graph.target
    adjacency = Adjacency.from_edge_index(
        both[:, order], size, weight[order] if options.weighted else None, duplicates="first"
    )
    features = graph.features.get(target)
    if features is None:
        diagonal = torch.arange(graph.num_nodes).expand(2, -1)
        features = Adjacency.from_edge_index(diagonal, size, torch.ones(graph.num_nodes))
    return Graph.homogeneous(features, adjacency, attrs=graph.node_attrs.get(target, {}))
