"""InfoNCE whose negatives are weighted by a small network that learns along (AdaMEOW)."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor, nn

from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, NotFittedError
from gcl.losses.functional import EVERY_NODE, anchor_weights, check_temperature, pair_attraction, unit_pair
from gcl.ops.pair_weight import PairWeight, additive_mlp
from gcl.ops.product_logsumexp import product_logsumexp


class AdaptiveInfoNCE(nn.Module):
    r"""Soft weights of all pairs, learned with the embeddings.

    .. math:: \mathcal{L} = -\frac1n \sum_i \Big[ S_{ii} - \log \sum_j w_{ij} e^{S_{ij}} \Big], \qquad
        w_{ij} = \sigma\big(g_2 \cdot \tanh(G_1 (\hat h^1_i + \hat h^2_j) + g_1) + g_0\big)

    with :math:`S_{ij} = \hat h^1_i \cdot \hat h^2_j / \tau`. Anchors are the first view, keys the second; the positive
    is among the keys. The network is trained by the same loss, which pushes it to give less weight to more similar
    pairs, and gradients go through the weights to the embeddings. **The loss has no lower bound**: all weights can sink
    together, which changes no gradient of S, so it says nothing of when to stop. ``normalize_weights`` divides them by
    the mean of their row, which takes that away.

    No N × N tensor exists. Yu, Ge, Li, Zhou: *Heterogeneous Graph Contrastive Learning with Meta-path Contexts and
    Adaptively Weighted Negative Samples*, TKDE 2024, arXiv 2212.13847 (its program where the text is silent).

    Args:
        temperature: :math:`\tau`, above 0.
        hidden_channels: units of the network, from 1.
        normalize_weights: divide the weights of an anchor by their mean.
        symmetric: the mean of both directions.

    Raises:
        ConfigError: a value out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    takes_shares: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float = 1.0,
        *,
        hidden_channels: int = 16,
        normalize_weights: bool = False,
        symmetric: bool = False,
    ):
        super().__init__()
        check_temperature(temperature)
        if isinstance(hidden_channels, bool) or not isinstance(hidden_channels, int) or hidden_channels < 1:
            raise ConfigError(f"hidden_channels must be a whole number from 1, got {hidden_channels!r}")
        self.temperature = temperature
        self.hidden_channels = hidden_channels
        self.normalize_weights = normalize_weights
        self.bounded = normalize_weights  # else a lower loss is not a better one
        self.symmetric = symmetric

    def build(self, channels: int) -> AdaptiveInfoNCE:
        """Makes the network for embeddings ``[N, channels]``, initialised as torch's ``Linear`` is."""
        self.first_ = nn.Linear(channels, self.hidden_channels)
        self.second_ = nn.Linear(self.hidden_channels, 1)
        return self

    def forward(self, z1: Tensor, z2: Tensor | None = None, *, context: LossContext | None = None) -> Tensor:
        """The mean loss over the anchors, a scalar.

        Args:
            z1: projections of the anchors' view, ``[N, d]``; rows are normalised here.
            z2: those of the keys', ``[N, d]``.
            context: ``anchors``, ``counts`` and ``num_anchors`` are read.

        Raises:
            ConfigError: no second view.
            DataError: shapes that do not fit together.
            NotFittedError: :meth:`build` was not called.
        """
        context = EVERY_NODE if context is None else context
        h1, h2 = unit_pair(z1, z2, type(self).__name__)
        forth = self._one_way(h1, h2, context)
        return (forth + self._one_way(h2, h1, context)) / 2 if self.symmetric else forth

    def pair_weight(self, h1: Tensor, h2: Tensor) -> PairWeight:
        """The weights of the pairs of some rows, ``[n, d]`` and ``[m, d]``.

        Raises:
            NotFittedError: :meth:`build` was not called.
        """
        if not hasattr(self, "first_"):
            raise NotFittedError("AdaptiveInfoNCE has no network yet; call build(channels) before using it")
        first, second = self.first_, self.second_
        return additive_mlp(h1, h2, G1=first.weight, g1=first.bias, g2=second.weight[0], g0=second.bias[0])

    def _one_way(self, h: Tensor, keys: Tensor, context: LossContext) -> Tensor:
        weights, anchors = anchor_weights(h, context), context.anchors
        rows = h if anchors is None else h[anchors]
        pairs = self.pair_weight(rows, keys)
        loss = pair_attraction(h, keys, temperature=self.temperature, context=context)
        value = product_logsumexp(rows, keys, temperature=self.temperature, pair_weight=pairs, row_weight=weights)
        assert isinstance(value, Tensor)
        loss = loss + value
        if not self.normalize_weights:
            return loss
        nothing = rows.new_zeros(len(rows), 1), keys.new_zeros(len(keys), 1)  # products of 0: the weights alone
        total = product_logsumexp(*nothing, pair_weight=pairs, row_weight=weights)
        assert isinstance(total, Tensor)
        return loss - total + weights.sum() * math.log(len(keys))

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"temperature={self.temperature}, hidden_channels={self.hidden_channels}, "
            f"normalize_weights={self.normalize_weights}, symmetric={self.symmetric}"
        )
