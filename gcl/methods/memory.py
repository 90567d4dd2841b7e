"""What memories of negatives have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from gcl.core.context import MoreKeys
from gcl.core.errors import ConfigError


class Memory(nn.Module, ABC):
    """Negatives from nodes that are not in the step, as a slow copy of the encoder and projector saw them last.

    Args:
        momentum: of the slow copy, from 0 and below 1, see :class:`~gcl.methods.slow_copy.SlowCopy`.

    Raises:
        ConfigError: a momentum out of range.
    """

    needs_clusters: ClassVar[bool] = False

    def __init__(self, *, momentum: float):
        super().__init__()
        if isinstance(momentum, bool) or not isinstance(momentum, int | float) or not 0 <= momentum < 1:
            raise ConfigError(f"momentum must be from 0 and below 1, got {momentum!r}")
        self.momentum = momentum

    @abstractmethod
    def build(self, channels: int, num_nodes: int, clusters: Tensor | None, node_weight: Tensor | None) -> Memory:
        """Makes room.

        Args:
            channels: columns of the projections.
            num_nodes: of the whole graph.
            clusters: of its nodes, int64 ``[N]`` from 0, where the memory ``needs_clusters``.
            node_weight: of its nodes, ``[N]``, which goes with the keys.
        """

    @abstractmethod
    def keys(self, nodes: Tensor) -> MoreKeys | None:
        """What is remembered of other nodes than these, int64 ``[n]``; ``None`` where it is nothing."""

    @abstractmethod
    def put(self, nodes: Tensor, rows: tuple[Tensor, Tensor]) -> None:
        """Remembers different nodes, int64 ``[n]``, by their projections in both views, ``[n, d]``."""
