"""Several positives a node, between two views (HeCo)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from gcl.core.adjacency import Adjacency
from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError
from gcl.losses.functional import EVERY_NODE, check_temperature, unit_pair
from gcl.ops.neighbor_logsumexp import neighbor_logsumexp
from gcl.ops.product_logsumexp import product_logsumexp


class MultiPositive(nn.Module):
    r"""The share of a node's positives in its similarity to the other view, in both directions.

    .. math:: \mathcal{L} = \lambda \mathcal{L}_{1 \to 2} + (1 - \lambda) \mathcal{L}_{2 \to 1}, \qquad
        \mathcal{L}_{1 \to 2} = -\frac1N \sum_i
        \log \frac{\sum_{j \in P_i} e^{S_{ij}}}{\sum_j e^{S_{ij}}}, \quad S_{ij} = \hat h^1_i \cdot \hat h^2_j / \tau

    Both directions have the same positives. A node without any is left out of the sum. The sums over the positives read
    the stored pairs alone; there is no N × N tensor. Wang, Liu, Han, Shi: *Self-supervised Heterogeneous Graph Neural
    Network with Co-contrastive Learning* (HeCo), KDD 2021, arXiv 2105.09111; the program's 1e-8 in the denominator is
    left out.

    Args:
        temperature: :math:`\tau`, above 0.
        balance: :math:`\lambda`, from 0 to 1.

    Raises:
        ConfigError: a value out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("positives",)

    def __init__(self, temperature: float = 0.8, *, balance: float = 0.5):
        super().__init__()
        check_temperature(temperature)
        number = isinstance(balance, int | float) and not isinstance(balance, bool)
        if not number or not 0 <= balance <= 1:
            raise ConfigError(f"balance must be a number from 0 to 1, got {balance!r}")
        self.temperature = temperature
        self.balance = balance

    def forward(self, z1: Tensor, z2: Tensor | None = None, *, context: LossContext | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            z1: projections of the first view, ``[N, d]``; rows are normalised here.
            z2: those of the second view, ``[N, d]``.
            context: ``positives``, ``[N, N]`` with the positives of node i in row i.

        Raises:
            ConfigError: no second view, anchors, or no positives.
            DataError: shapes that do not fit together.
        """
        context = EVERY_NODE if context is None else context
        h1, h2 = unit_pair(z1, z2, type(self).__name__)
        positives = context.positives
        if positives is None:
            raise ConfigError("MultiPositive needs positives in its context; give LossContext(positives=...)")
        if context.anchors is not None:
            raise ConfigError("MultiPositive is over all nodes; leave anchors out")
        if positives.shape != (len(h1), len(h1)):
            raise DataError(f"positives must be [{len(h1)}, {len(h1)}], got {list(positives.shape)}")
        rows, columns = product_logsumexp(h1, h2, temperature=self.temperature, reduce="both")
        forth = self._log_share(h1, h2, positives, rows)
        back = self._log_share(h2, h1, positives, columns)
        return -(self.balance * forth + (1 - self.balance) * back)

    def _log_share(self, h: Tensor, other: Tensor, positives: Adjacency, everything: Tensor) -> Tensor:
        near = neighbor_logsumexp(h, other, positives, temperature=self.temperature)
        return torch.where(near == -torch.inf, 0.0, near - everything).mean()

    def extra_repr(self) -> str:
        """The arguments."""
        return f"temperature={self.temperature}, balance={self.balance}"
