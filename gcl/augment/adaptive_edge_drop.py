"""Edge dropping by centrality."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor

from gcl.augment.arcs import by_arc_id, check_symmetric, draw_uniform, of_arcs
from gcl.augment.augmenter import Augmenter, check_probability
from gcl.augment.pyg_data import graph_of
from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, unknown
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.ops.centrality import CentralityName, centrality, walk_steps

Compat = Literal["gca"]

FLOOR = 1e-8  # added to eigenvector centralities, which can be 0, before the logarithm
SPREAD = 1e-9  # a smaller spread of logarithms is rounding and must not be stretched
WALK_STEPS = 200  # of the program's PageRank for arcs


class AdaptiveEdgeDrop(Augmenter):
    r"""Drops the arcs into unimportant nodes first.

    .. math::
        \psi_{u \to v} = \frac{\max \ln c - \ln c_v}{\max \ln c - \mathrm{mean} \ln c}
        \qquad \pi_{u \to v} = \min(p\, \psi_{u \to v},\, \theta)

    with the centrality c of an arc's target; maximum and mean are over arcs, so that the mean of ψ is 1. Each stored
    arc is dropped with probability π, independently; the arcs into the most central node never are. Less than p is
    dropped where some π are cut at θ. Where all targets are alike, arcs are dropped uniformly. Zhu, Xu, Yu, Liu, Wu,
    Wang: *Graph Contrastive Learning with Adaptive Augmentation*, WWW 2021, arXiv 2010.14945.

    Args:
        drop_prob: p, from 0 to 1.
        centrality: ``degree``, ``pagerank`` or ``eigenvector``.
        max_drop_prob: θ, the largest probability of dropping an arc.
        symmetric: draw each undirected edge once, so that both of its arcs stay or go; with the mean of their ψ.
        compat: ``gca`` takes for ``pagerank`` what the authors' program computes, a random walk that is not PageRank.

    Attributes:
        score_: ψ of each arc, float64, by arc id.

    Raises:
        ConfigError: a value that is not a probability, an unknown centrality, or ``compat`` without ``pagerank``.
        DataError: ``symmetric`` on a directed graph, or arcs that the fitted graph does not have (when called).
    """

    fitted: ClassVar[tuple[str, ...]] = ("score_",)

    def __init__(
        self,
        drop_prob: float = 0.3,
        *,
        centrality: CentralityName = "degree",
        max_drop_prob: float = 0.7,
        symmetric: bool = False,
        compat: Compat | None = None,
    ):
        check_probability("drop_prob", drop_prob)
        check_probability("max_drop_prob", max_drop_prob)
        check_centrality(centrality, compat)
        self.drop_prob = drop_prob
        self.centrality: CentralityName = centrality
        self.max_drop_prob = max_drop_prob
        self.symmetric = symmetric
        self.compat = compat

    def fit_graph(self, graph: Graph, generator: Generator | None) -> None:
        """Scores every arc of the only relation."""
        adjacency = graph.adjacency
        if self.symmetric:
            check_symmetric(adjacency, adjacency, "AdaptiveEdgeDrop")
        values = node_centrality(adjacency, self.centrality, self.compat, WALK_STEPS)
        score = arc_score(adjacency, values, self.centrality)
        if self.symmetric and adjacency.symmetric:
            score = (score + score[adjacency.t_perm.long()]) / 2
        self.score_ = by_arc_id(score, adjacency)

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view with arcs dropped."""
        name, adjacency = next(iter(view.adjacency.items()))
        drop = self._drop_prob(adjacency)
        if self.symmetric:
            check_symmetric(view.graph.relations[name], adjacency, "AdaptiveEdgeDrop")
        u = draw_uniform(adjacency, generator, symmetric=self.symmetric)
        return view.with_adjacency(name, adjacency.masked(u >= drop))

    def edge_drop_prob(self, graph: Graph | Any) -> Tensor:
        """Probability that each stored arc of the only relation is dropped, float64 ``[arcs]``."""
        return self._drop_prob(graph_of(graph).adjacency)

    def _drop_prob(self, adjacency: Adjacency) -> Tensor:
        score = of_arcs(self.fitted_on("score_", adjacency.device), adjacency)
        return (self.drop_prob * score).clamp(max=self.max_drop_prob)


def check_centrality(name: str, compat: str | None) -> None:
    """Refuses an unknown centrality, and ``compat`` where it says nothing."""
    if name not in get_args(CentralityName):
        raise ConfigError(unknown("centrality", str(name), get_args(CentralityName)))
    if compat not in (None, *get_args(Compat)):
        raise ConfigError(f"compat must be 'gca' or None, got {compat!r}")
    if compat is not None and name != "pagerank":
        raise ConfigError(f"compat='gca' is about pagerank and says nothing of {name!r}; leave it out")


def node_centrality(adjacency: Adjacency, name: CentralityName, compat: str | None, steps: int) -> Tensor:
    """The centrality of each node, float64 ``[N]``."""
    return walk_steps(adjacency, steps) if compat == "gca" else centrality(adjacency, name)


def arc_score(adjacency: Adjacency, values: Tensor, name: CentralityName) -> Tensor:
    r"""ψ of each stored arc, float64 ``[E]``; maximum and mean over the arcs that are kept.

    Args:
        adjacency: ``[N, N]``.
        values: centrality of each node, ``[N]``.
        name: which one it is; to ``eigenvector`` 1e-8 is added.
    """
    log = (values + FLOOR if name == "eigenvector" else values)[adjacency.row.long()].log()
    seen = log if adjacency.keep is None else log[adjacency.keep]
    if not seen.numel() or bool(seen.max() - seen.mean() <= SPREAD):
        return torch.ones_like(log)
    return ((seen.max() - log) / (seen.max() - seen.mean())).clamp(min=0)
