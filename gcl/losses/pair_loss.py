"""What the losses over the pairs of two views have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from gcl.core.context import LossContext
from gcl.losses.functional import EVERY_NODE, check_temperature, pair_attraction, unit_pair


class PairLoss(nn.Module, ABC):
    r"""A positive term of the pairs plus a negative term, either of which a subclass may replace.

    Args:
        temperature: :math:`\tau`, above 0.

    Raises:
        ConfigError: a temperature out of range.
    """

    def __init__(self, temperature: float = 0.5):
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature

    def forward(self, z1: Tensor, z2: Tensor | None = None, *, context: LossContext | None = None) -> Tensor:
        """The mean loss over the anchors, a scalar.

        Args:
            z1: embeddings or projections of the first view, ``[N, d]``; rows are normalised here.
            z2: those of the second view, ``[N, d]``.
            context: ``anchors``, ``counts`` and ``num_anchors`` are read, and what the class says.

        Raises:
            ConfigError: no second view, or a context without what the class needs.
            DataError: shapes that do not fit together.
        """
        context = EVERY_NODE if context is None else context
        h1, h2 = unit_pair(z1, z2, type(self).__name__)
        return self.positive_term(h1, h2, context) + self.negative_term(h1, h2, context)

    def positive_term(self, h1: Tensor, h2: Tensor, context: LossContext) -> Tensor:
        """Minus the mean similarity of the pairs over the temperature, a scalar; of unit rows ``[N, d]``."""
        return pair_attraction(h1, h2, temperature=self.temperature, context=context)

    @abstractmethod
    def negative_term(self, h1: Tensor, h2: Tensor, context: LossContext) -> Tensor:
        """The term that drives nodes apart, a scalar; of unit rows ``[N, d]``."""

    def extra_repr(self) -> str:
        """The arguments."""
        return f"temperature={self.temperature}"
