"""The contract of a regulariser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from gcl.core.context import StepContext
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph


class Regularizer(nn.Module):
    """A term beside the loss of a two-view method, computed from what a step produced.

    Args:
        weight: how much it counts, 0 or more.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__()
        if weight < 0:
            raise ConfigError(f"weight must be 0 or more, got {weight}")
        self.weight = weight

    def check(self, encoder: nn.Module, augmenters: Sequence[Any]) -> None:
        """Refuses, before training and by name, an encoder or augmenter that it cannot handle."""

    def caveats(self, augmenters: Sequence[Any]) -> list[str]:
        """Sentences on what it does not cover with these augmenters; a run says them once, before it trains."""
        return []

    def prepare(self, graph: Graph, augmenters: Sequence[Any]) -> Mapping[str, Tensor]:
        """Tensors that are computed once and come back in ``StepContext.prepared``."""
        return {}

    def forward(self, context: StepContext) -> Tensor:
        """The term, a scalar."""
        raise NotImplementedError

    def combine(self, loss: Tensor, value: Tensor) -> Tensor:
        """The total: ``loss + weight * value`` unless a regulariser says otherwise."""
        return loss + self.weight * value
