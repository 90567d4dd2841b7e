"""What a method must know of a graph to build its modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class GraphSpec:
    """Sizes and types of a graph as plain JSON, so that a run can be reopened without its data.

    Args:
        num_nodes: nodes of each type.
        in_channels: feature columns of each type (types without features are absent).
        relations: name to ``(source type, target type)``.
        target: the node type whose embeddings are learned.
    """

    num_nodes: Mapping[str, int]
    in_channels: Mapping[str, int] = field(default_factory=dict)
    relations: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    target: str = "node"

    def to_json(self) -> dict[str, Any]:
        """A dictionary that ``json.dumps`` takes."""
        return {
            "num_nodes": dict(self.num_nodes),
            "in_channels": dict(self.in_channels),
            "relations": {name: list(types) for name, types in self.relations.items()},
            "target": self.target,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> GraphSpec:
        """The inverse of :meth:`to_json`."""
        relations = {name: (types[0], types[1]) for name, types in record["relations"].items()}
        return cls(dict(record["num_nodes"]), dict(record["in_channels"]), relations, record["target"])
