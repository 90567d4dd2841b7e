"""Some of several augmenters, drawn anew for every view."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Generator, Tensor

from gcl.augment.compose import Compose
from gcl.augment.pyg_data import graph_of
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.core.resolve import Slot
from gcl.core.view import View


class RandomChoice(Compose):
    """Applies some of its parts, each set of that size as likely as the next, in the order of the list.

    Args:
        parts: see :class:`~gcl.augment.compose.Compose`; all are fitted.
        num_choices: how many are applied to a view, from 1 to the number of parts.

    Raises:
        ConfigError: ``num_choices`` out of range.
    """

    applied_jointly = True  # which deletions there are follows from no part alone

    def __init__(self, parts: Annotated[Any, Slot("augmenter", many=True)], *, num_choices: int = 1):
        self.num_choices = num_choices
        super().__init__(parts)
        whole = isinstance(num_choices, int) and not isinstance(num_choices, bool)
        if not whole or not 1 <= num_choices <= len(self.augmenters):
            raise ConfigError(f"num_choices must be from 1 to the {len(self.augmenters)} parts, got {num_choices!r}")
        self.drops_all = all(getattr(part, "drops_all", False) for part in self.augmenters.values())
        deleting = [part for part in self.augmenters.values() if not getattr(part, "keeps_edges", False)]
        self.symmetric = bool(deleting) and all(getattr(part, "symmetric", False) for part in deleting)

    def check_order(self) -> None:
        """One part alone has no order."""
        if self.num_choices != 1:
            super().check_order()

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view after the parts that were drawn."""
        device = "cpu" if generator is None else generator.device
        order = torch.randperm(len(self.augmenters), generator=generator, device=device)
        chosen = set(order[: self.num_choices].tolist())
        for place, part in enumerate(self.augmenters.values()):
            if place in chosen:
                view = part(view, generator=generator)
        return view

    def edge_drop_prob(self, graph: Graph | Any) -> Tensor:
        r"""Probability that each stored arc is dropped, float64: 1 less the mean of :math:`\prod_{i \in C} (1 - p_i)`.

        The mean is over all sets C of parts of the size that is drawn.

        Raises:
            ConfigError: a part may change edges and cannot say how likely.
        """
        graph = graph_of(graph)
        keeps = [1 - self.drop_prob_of(name, graph) for name in self.augmenters]
        # means[k] over sets of k of the parts so far, by Pascal's rule: the next part is in a set with chance k / n
        means = [torch.ones(graph.adjacency.num_arcs, dtype=torch.float64, device=graph.device)]
        for n, keep in enumerate(keeps, start=1):
            inner = [(k * keep * means[k - 1] + (n - k) * means[k]) / n for k in range(1, n)]
            means = [means[0], *inner, keep * means[n - 1]]
        return 1 - means[self.num_choices]
