"""Attribute masking by centrality."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator, Tensor

from gcl.augment.adaptive_edge_drop import Compat, check_centrality, node_centrality
from gcl.augment.augmenter import Augmenter, check_probability
from gcl.augment.communal_attribute_voting import attribute_votes
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.core.view import View
from gcl.ops.centrality import CentralityName

SPREAD = 1e-9  # a smaller spread of logarithms is rounding and must not be stretched
WALK_STEPS = 10  # of the program's PageRank for attributes


class AdaptiveFeatureMask(Augmenter):
    r"""Masks the attributes of unimportant nodes first.

    .. math::
        \eta_f = \ln \sum_v 1[X_{vf} \ne 0]\, c_v
        \qquad \psi_f = \frac{\max \eta - \eta_f}{\max \eta - \mathrm{mean}\, \eta}
        \qquad \delta_f = \min(p\, \psi_f,\, \theta)

    with the centrality c. Column f is zeroed for all nodes with probability δ_f. An attribute that no node of positive
    centrality has (nobody, or isolated nodes only) is never masked, as in communal attribute voting, and takes no part
    in the mean. All attributes are masked with probability p where they are equal. Zhu et al.: *Graph Contrastive
    Learning with Adaptive Augmentation*, WWW 2021, arXiv 2010.14945.

    Args:
        drop_prob: p, from 0 to 1.
        centrality: ``degree``, ``pagerank`` or ``eigenvector``.
        max_drop_prob: θ, the largest probability of masking an attribute.
        binary: count nodes that have the attribute; ``False`` adds up :math:`|X_{vf}|` in place of the indicator, for
            continuous attributes (WikiCS in the paper).
        compat: ``gca`` takes for ``pagerank`` what the authors' program computes.

    Attributes:
        score_: ψ of each attribute, float64 ``[F]``.

    Raises:
        ConfigError: a value that is not a probability, an unknown centrality, or ``compat`` without ``pagerank``.
        DataError: the graph has no features, or other columns than the fitted one (when called).
    """

    fitted: ClassVar[tuple[str, ...]] = ("score_",)
    keeps_edges = True

    def __init__(
        self,
        drop_prob: float = 0.1,
        *,
        centrality: CentralityName = "degree",
        max_drop_prob: float = 0.7,
        binary: bool = True,
        compat: Compat | None = None,
    ):
        check_probability("drop_prob", drop_prob)
        check_probability("max_drop_prob", max_drop_prob)
        check_centrality(centrality, compat)
        self.drop_prob = drop_prob
        self.centrality: CentralityName = centrality
        self.max_drop_prob = max_drop_prob
        self.binary = binary
        self.compat = compat

    def fit_graph(self, graph: Graph, generator: Generator | None) -> None:
        """Weighs the target type's attributes."""
        features = graph.features.get(graph.target)
        if features is None:
            raise DataError("AdaptiveFeatureMask needs node features, and this graph has none; leave it out")
        values = node_centrality(graph.adjacency, self.centrality, self.compat, WALK_STEPS)
        self.score_ = column_score(attribute_votes(features, values, binary=self.binary))

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view with columns masked."""
        score = self.fitted_on("score_", view.device)
        columns = view.graph.spec.in_channels.get(view.graph.target, 0)
        if columns != score.numel():
            raise DataError(
                f"this graph has {columns} attributes and the fitted one {score.numel()}; call fit on this graph"
            )
        u = torch.rand(score.numel(), generator=generator, device=score.device)  # [F]
        return view.mask_columns(u >= self._drop_prob(score))

    @property
    def drop_prob_(self) -> Tensor:
        """Probability of masking each attribute, float64 ``[F]``."""
        self.check_fitted()
        return self._drop_prob(self.score_)

    def _drop_prob(self, score: Tensor) -> Tensor:
        return (self.drop_prob * score).clamp(max=self.max_drop_prob)


def column_score(weights: Tensor) -> Tensor:
    r"""ψ of attributes of weights :math:`e^\eta` ``[F]``: 0 = the heaviest; all 1 where they are equal or all 0."""
    present = weights > 0
    if not bool(present.any()):
        return torch.ones_like(weights)
    log = torch.where(present, weights, weights.max()).log()
    mean = log[present].mean()
    if bool(log.max() - mean <= SPREAD):
        return torch.ones_like(weights)
    return (log.max() - log) / (log.max() - mean)
