"""A graph with its name and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from gcl.core.graph import Graph
from gcl.data.cards import Card
from gcl.data.fingerprint import graph_fingerprint


@dataclass(frozen=True, eq=False)
class Dataset:
    """What :func:`gcl.data.load.load_dataset` gives.

    Args:
        name: canonical ``collection/stem``, or a word for data of the user's own.
        graph: the graph; node attributes ``y`` (int64 ``[N]``, -1 = unlabelled) and ``splits`` (uint8 ``[N, S]``:
            0 train, 1 validation, 2 test, 3 unused) where there are some.
        card: what is known of a named dataset.
        class_names: name of each class, where the source has them.
        node_ids: the user's own id of each target node, as strings; ``None`` = the position.
        info: facts of this load: path, ``verified`` (checksum of a named archive agrees), split kind, split names;
            always ``transform``, the list of the feature transforms that were applied.
        other_ids: the same for nodes of other types (the items of interactions), by type.
    """

    name: str
    graph: Graph
    card: Card | None = None
    class_names: tuple[str, ...] = ()
    node_ids: list[str] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    other_ids: Mapping[str, list[str]] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of structure and features."""
        return graph_fingerprint(self.graph)

    @property
    def held(self) -> Mapping[str, Tensor]:
        """Held-out interactions of ``test`` and ``valid``, int64 ``[2, n]``, user above item; see ``Graph.held``."""
        return self.graph.held

    @property
    def y(self) -> Tensor | None:
        """Labels, int64 ``[N]``, -1 = unlabelled; ``None`` where there are none."""
        return self.graph.attr("y")

    @property
    def splits(self) -> Tensor | None:
        """Stored splits, uint8 ``[N, S]``; ``None`` where there are none."""
        return self.graph.attr("splits")

    @property
    def num_classes(self) -> int:
        """Classes, 0 without labels."""
        y = self.y
        if y is None or not bool((y >= 0).any()):
            return 0
        return max(int(y.max()) + 1, len(self.class_names))
