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
from gcl.core.resolve import NAME
from gcl.ops.metapath import MetaPath
from gcl.ops.metapath_graph import both_ways, metapath_graph


@dataclass(frozen=True)
class MetaPathOptions:
    """The settings of ``load_dataset(..., metapath=...)``.

    Args:
        path: as ``paper-author-paper``, or ``paper-[writes]-author-[writes]-paper`` where several relations join two
            types; or its pieces as a list, see :meth:`gcl.ops.metapath.MetaPath.parse`.
        top: nearest neighbours by PathSim that each node keeps, from 1; ``None`` = all.
        weighted: whether an edge counts by the number of path instances, or once.
        num_walks: estimate the numbers by so many random walks a node, where products are too large, from 1; ``None`` =
            count. See :func:`gcl.ops.metapath_graph.metapath_graph`.
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
        """Options from a meta-path or a mapping of settings; ``name`` is another word for ``path``.

        Raises:
            ConfigError: an unknown key, no path, or a wrong value.
        """
        if isinstance(value, MetaPathOptions):
            return value
        if isinstance(value, str):
            return cls(value)
        if not isinstance(value, Mapping):
            raise ConfigError(f"metapath must be a text such as paper-author-paper, or settings of it, got {value!r}")
        if NAME in value:  # metapath=paper-author-paper metapath.top=50
            if "path" in value:
                raise ConfigError(f"metapath is given twice, as {value[NAME]!r} and by path; leave one of them out")
            value = {"path" if key == NAME else key: setting for key, setting in value.items()}
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
    adjacency, target = both_ways(kept), graph.target
    if not options.weighted:
        adjacency = adjacency.with_weight(None)
    features = graph.features.get(target)
    if features is None:
        each = torch.arange(graph.num_nodes + 1)
        features = Adjacency.from_csr(each, each[:-1], kept.shape, torch.ones(graph.num_nodes))
    return Graph.homogeneous(features, adjacency, attrs=graph.node_attrs.get(target, {}))
