"""What the ways to take a part of a graph in every step share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from gcl.core.context import Batch, Clock
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.core.streams import Streams


class Batches(Protocol):
    """A way to make the batches of an epoch, by counters of the streams alone."""

    def __call__(self, graph: Graph, clock: Clock, streams: Streams) -> Iterable[Batch]:
        """The batches of one epoch."""
        ...


def check_size(name: str, value: Any, least: int) -> None:
    """Refuses anything but a whole number from ``least``.

    Raises:
        ConfigError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number from {least}, got {value!r}")


def shuffled(num_nodes: int, batch_size: int, clock: Clock, streams: Streams) -> tuple[Tensor, ...]:
    """Every node once, at random, in parts of at most ``batch_size`` that differ by one node at most."""
    order = torch.randperm(num_nodes, generator=streams.generator("batches", clock.stage_index, clock.epoch))
    return order.tensor_split(max(1, math.ceil(num_nodes / batch_size)))


def induced(graph: Graph, nodes: Tensor) -> Batch:
    """The graph among some nodes, all of which the loss is about."""
    return Batch(graph.subgraph(nodes))
