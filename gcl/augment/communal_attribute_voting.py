"""Communal attribute voting."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from torch import Generator, Tensor

from gcl.augment.augmenter import Augmenter, check_probability
from gcl.augment.communities import node_communities
from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph
from gcl.core.resolve import Slot, resolve
from gcl.core.view import View

# Strengths may come as float32; a smaller spread of log votes is rounding and must not be stretched to [0, 1].
SPREAD = 1e-6
BLOCK = 2**16  # entries of dense features that are turned into float64 at a time, in cache


class CommunalAttributeVoting(Augmenter):
    r"""Masks the attributes for which strong communities vote least (CAV).

    .. math::
        \nu_f = \sum_v |X_{vf}|\, s_v
        \qquad \rho_f = \frac{\max_g \log \nu_g - \log \nu_f}{\max_g \log \nu_g - \min_g \log \nu_g}
        \qquad \delta_f = \mathrm{clip}\Big(p \frac{\rho_f}{\mathrm{mean}(\rho)},\, 0,\, \theta\Big)

    Column f is zeroed for all nodes with probability δ_f. Chen et al., *CSGCL: Community-Strength-Enhanced Graph
    Contrastive Learning*, IJCAI 2023, arXiv 2305.04658. As in the authors' program an attribute without a vote counts
    as the top-voted one, which is never masked. A negative vote counts as the smallest positive one. All attributes are
    masked with probability p where all votes are equal or none is positive.

    Args:
        drop_prob: p, from 0 to 1.
        max_drop_prob: θ, the largest probability of masking an attribute.
        communities: how communities are found where the graph has no node attribute ``community``; ``None`` = Leiden.

    Attributes:
        score_: ρ of each attribute, float64 ``[F]``.

    Raises:
        ConfigError: a value that is not a probability.
        DataError: the graph has no features, or other columns than the fitted one (when called).
    """

    needs = ("communities",)
    fitted: ClassVar[tuple[str, ...]] = ("score_",)
    keeps_edges = True

    def __init__(
        self,
        drop_prob: float = 0.1,
        *,
        max_drop_prob: float = 1.0,
        communities: Annotated[Any, Slot("communities")] | None = None,
    ):
        check_probability("drop_prob", drop_prob)
        check_probability("max_drop_prob", max_drop_prob)
        self.drop_prob = drop_prob
        self.max_drop_prob = max_drop_prob
        self.communities = communities

    def fit_graph(self, graph: Graph, generator: Generator | None) -> None:
        """Counts the votes for the target type's attributes."""
        features = graph.features.get(graph.target)
        if features is None:
            raise DataError("CommunalAttributeVoting needs node features, and this graph has none; leave it out")
        communities = None if self.communities is None else resolve("communities", self.communities)
        _, strength = node_communities(graph, communities, generator)
        self.score_ = attribute_score(attribute_votes(features, strength))

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
        if not score.numel():
            return score
        return (self.drop_prob * score / score.mean()).clamp(0, self.max_drop_prob)


def attribute_votes(features: Tensor | Adjacency, strength: Tensor, *, binary: bool = False) -> Tensor:
    r"""Votes :math:`\nu_f = \sum_v |X_{vf}| s_v`, float64 ``[F]``.

    Args:
        features: ``[N, F]``, dense or sparse; sparse ones stay so.
        strength: ``[N]``.
        binary: put :math:`1[X_{vf} \ne 0]` in place of :math:`|X_{vf}|`.
    """
    strength = strength.double()
    if isinstance(features, Adjacency):
        values = features.values(torch.float64).abs()
        votes = (values.sign() if binary else values) * strength[features.row.long()]
        return torch.zeros(features.shape[1], dtype=torch.float64, device=features.device).index_add_(
            0, features.col.long(), votes
        )
    rows = max(1, BLOCK // max(features.shape[1], 1))
    votes = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    wide = votes.new_empty(min(rows, features.shape[0]), features.shape[1])
    for block, weight in zip(features.split(rows), strength.split(rows), strict=True):
        part = wide[: block.shape[0]].copy_(block).abs_()
        votes.addmv_((part.sign_() if binary else part).T, weight)
    return votes


def attribute_score(votes: Tensor) -> Tensor:
    r"""The normalised score :math:`\rho` of votes ``[F]``: 0 = most votes, 1 = fewest; all 1 where they are equal."""
    if not votes.numel() or not bool(votes.max() > 0):
        return torch.ones_like(votes)
    votes = torch.where(votes == 0, votes.max(), votes)
    log = votes.clamp(min=votes[votes > 0].min()).log()
    spread = log.max() - log.min()
    if bool(spread <= SPREAD):
        return torch.ones_like(votes)
    return (log.max() - log) / spread
