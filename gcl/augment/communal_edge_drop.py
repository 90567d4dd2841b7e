"""Communal edge dropping."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from torch import Generator, Tensor

from gcl.augment.arcs import by_arc_id, check_symmetric, draw_uniform, of_arcs
from gcl.augment.augmenter import Augmenter, check_probability
from gcl.augment.communities import node_communities
from gcl.augment.pyg_data import graph_of
from gcl.core.adjacency import Adjacency
from gcl.core.graph import Graph
from gcl.core.resolve import Slot, resolve
from gcl.core.view import View

# Strengths may come as float32; a smaller relative spread is rounding and must not be stretched to [0, 1].
SPREAD = 1e-6


class CommunalEdgeDrop(Augmenter):
    r"""Keeps edges inside strong communities and drops those between them first (CED).

    .. math::
        \omega_{u \to v} = \begin{cases} \sigma_{\kappa(u)} & \kappa(u) = \kappa(v) \\
            -(\sigma_{\kappa(u)} + \sigma_{\kappa(v)}) & \text{otherwise} \end{cases}
        \qquad \hat\omega = \frac{\omega - \min \omega}{\max \omega - \min \omega}
        \qquad \pi = \mathrm{clip}\Big((1 - p) \frac{\hat\omega}{\mathrm{mean}(\hat\omega)},\, 1 - \theta,\, 1\Big)

    Each stored arc is kept with probability π, independently. Chen et al., *CSGCL: Community-Strength-Enhanced Graph
    Contrastive Learning*, IJCAI 2023, arXiv 2305.04658. The arcs of the smallest score are dropped in every view unless
    θ < 1. More than p is dropped where some π are cut at 1. Arcs of equal score are dropped uniformly.

    Args:
        drop_prob: p, from 0 to 1.
        max_drop_prob: θ, the largest probability of dropping an arc.
        communities: how communities are found where the graph has no node attribute ``community``; ``None`` = Leiden.
        symmetric: draw each undirected edge once, so that both of its arcs stay or go.

    Attributes:
        score_: the normalised score of each arc, float64, by arc id.
        mean_score_: its mean over the fitted graph, float64.

    Raises:
        ConfigError: a value that is not a probability.
        DataError: ``symmetric`` on a directed graph, or arcs that the fitted graph does not have (when called).
    """

    needs = ("communities",)
    fitted: ClassVar[tuple[str, ...]] = ("score_", "mean_score_")

    def __init__(
        self,
        drop_prob: float = 0.3,
        *,
        max_drop_prob: float = 1.0,
        communities: Annotated[Any, Slot("communities")] | None = None,
        symmetric: bool = False,
    ):
        check_probability("drop_prob", drop_prob)
        check_probability("max_drop_prob", max_drop_prob)
        self.drop_prob = drop_prob
        self.max_drop_prob = max_drop_prob
        self.communities = communities
        self.symmetric = symmetric
        self.drops_all = drop_prob == 1 and max_drop_prob == 1

    def fit_graph(self, graph: Graph, generator: Generator | None) -> None:
        """Scores every arc of the only relation."""
        if self.symmetric:
            check_symmetric(graph.adjacency, graph.adjacency, "CommunalEdgeDrop")
        communities = None if self.communities is None else resolve("communities", self.communities)
        labels, strength = node_communities(graph, communities, generator)
        adjacency = graph.adjacency
        score = communal_edge_score(adjacency, labels, strength)
        seen = score if adjacency.keep is None else score[adjacency.keep]
        self.mean_score_ = seen.mean() if seen.numel() else score.new_ones(())
        self.score_ = by_arc_id(score, adjacency)

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view with arcs dropped."""
        adjacency = view.relation()
        name = next(iter(view.adjacency))
        keep_prob = self._keep_prob(of_arcs(self.fitted_on("score_", adjacency.device), adjacency))
        if self.symmetric:
            check_symmetric(view.graph.relations[name], adjacency, "CommunalEdgeDrop")
        u = draw_uniform(adjacency, generator, symmetric=self.symmetric)
        return view.with_adjacency(name, adjacency.masked(u < keep_prob))

    def edge_drop_prob(self, graph: Graph | Any) -> Tensor:
        """Probability that each stored arc of the only relation is dropped, float64 ``[arcs]``."""
        adjacency = graph_of(graph).adjacency
        score = of_arcs(self.fitted_on("score_", adjacency.device), adjacency)
        return 1 - self._keep_prob(score)

    @property
    def keep_prob_(self) -> Tensor:
        """Probability of keeping each arc of the fitted graph, float64, by arc id."""
        self.check_fitted()
        return self._keep_prob(self.score_)

    @property
    def drop_prob_(self) -> Tensor:
        """Probability of dropping each arc of the fitted graph, float64, by arc id."""
        return 1 - self.keep_prob_

    def _keep_prob(self, score: Tensor) -> Tensor:
        mean = self.fitted_on("mean_score_", score.device)
        return ((1 - self.drop_prob) * score / mean).clamp(1 - self.max_drop_prob, 1)


def communal_edge_score(adjacency: Adjacency, labels: Tensor, strength: Tensor) -> Tensor:
    r"""The normalised score :math:`\hat\omega` of each stored arc, float64 ``[E]``; smallest and largest of kept arcs.

    Args:
        adjacency: ``[N, N]``.
        labels: community of each node, ``[N]``.
        strength: strength of each node's community, ``[N]``.
    """
    row, col = adjacency.row.long(), adjacency.col.long()
    both = strength.double()[row] + strength.double()[col]
    raw = torch.where(labels[row] == labels[col], both / 2, -both)  # [E], σ inside a community
    seen = raw if adjacency.keep is None else raw[adjacency.keep]
    if not seen.numel():
        return torch.ones_like(raw)
    low, high = seen.min(), seen.max()
    if bool(high - low <= SPREAD * seen.abs().max()):
        return torch.ones_like(raw)
    return ((raw - low) / (high - low)).clamp(0, 1)
