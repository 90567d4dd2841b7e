"""Augmenters one after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Generator, Tensor

from gcl.augment.augmenter import Augmenter
from gcl.augment.pyg_data import graph_of
from gcl.augment.pyg_transform import as_augmenter
from gcl.core.errors import CheckpointError, ConfigError
from gcl.core.graph import Graph
from gcl.core.resolve import Slot, resolve_many
from gcl.core.view import View


class Compose(Augmenter):
    """Applies augmenters in order; all draw from one generator in that order.

    Args:
        parts: augmenters, PyG transforms or their specifications, as a list or by name. Names have no dot; those of a
            list are ``part0``, ``part1``, ... They prefix the fitted state: ``edge.score``.

    Attributes:
        augmenters: the parts by name, made from their specifications.
    """

    def __init__(self, parts: Annotated[Any, Slot("augmenter", many=True)]):
        self.parts = parts
        made = resolve_many("augmenter", parts)
        self.augmenters: dict[str, Any] = {name: as_augmenter(part) for name, part in made.items()}
        dotted = [name for name in self.augmenters if "." in name]
        if dotted:
            raise ConfigError(f"the name {dotted[0]!r} of a part has a dot; choose one without")
        # A part from elsewhere has the methods of the protocol and need not have these attributes.
        self.needs = _union(getattr(part, "needs", ()) for part in self.augmenters.values())
        self.keeps_edges = all(getattr(part, "keeps_edges", False) for part in self.augmenters.values())
        self.adds_edges = any(getattr(part, "adds_edges", False) for part in self.augmenters.values())
        self.replaces_edges = any(getattr(part, "replaces_edges", False) for part in self.augmenters.values())
        self.check_order()

    def check_order(self) -> None:
        """Refuses a part that gives the fitted graph's edges behind one that may have changed them.

        Raises:
            ConfigError: there is one.
        """
        before = None
        for name, part in self.augmenters.items():
            if before is not None and getattr(part, "replaces_edges", False):
                raise ConfigError(
                    f"part {name!r} ({type(part).__name__}) gives edges of the whole graph, and part {before!r} before "
                    "it may change edges, which would be lost; put it first, or in "
                    f"the place of {before!r}"
                )
            if not getattr(part, "keeps_edges", False):
                before = name if before is None else before

    def fit_graph(self, graph: Graph, generator: Generator | None) -> None:
        """Fits each part on the same graph, in order."""
        for part in self.augmenters.values():
            part.fit(graph, generator=generator)

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view after all parts."""
        for part in self.augmenters.values():
            view = part(view, generator=generator)
        return view

    def edge_drop_prob(self, graph: Graph | Any) -> Tensor:
        r"""Probability that each stored arc is dropped by some part, :math:`1 - \prod_i (1 - p_i)`, float64.

        Raises:
            ConfigError: a part may change edges and cannot say how likely.
        """
        graph = graph_of(graph)
        keep = torch.ones(graph.adjacency.num_arcs, dtype=torch.float64, device=graph.device)
        for name in self.augmenters:
            keep = keep * (1 - self.drop_prob_of(name, graph))
        return 1 - keep

    def drop_prob_of(self, name: str, graph: Graph) -> Tensor:
        """Probability that one part drops each stored arc, float64 ``[arcs]``.

        Raises:
            ConfigError: the part may change edges and cannot say how likely.
        """
        part = self.augmenters[name]
        drop = getattr(part, "edge_drop_prob", None)
        if drop is not None:
            prob: Tensor = drop(graph)
            return prob
        if not getattr(part, "keeps_edges", False):
            raise ConfigError(
                f"part {name!r} ({type(part).__name__}) cannot say how likely it drops an edge; take it out"
            )
        return torch.zeros(graph.adjacency.num_arcs, dtype=torch.float64, device=graph.device)

    def state(self) -> dict[str, Tensor]:
        """The fitted tensors of all parts, as ``part.tensor``."""
        return {f"{name}.{key}": value for name, part in self.augmenters.items() for key, value in part.state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> Compose:
        """Gives each part its own tensors back."""
        nested: dict[str, dict[str, Tensor]] = {name: {} for name in self.augmenters}
        for key, value in state.items():
            name, _, rest = key.partition(".")
            if name not in nested:
                raise CheckpointError(f"the state has {key!r}, but the parts are {', '.join(nested) or 'none'}")
            nested[name][rest] = value
        for name, part in self.augmenters.items():
            part.load_state(nested[name])
        return self


def _union(groups: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))
