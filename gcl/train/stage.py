"""A stage of training with every setting decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from gcl.core.context import Clock
from gcl.core.graph import Graph
from gcl.core.streams import Streams

OptimizerName = Literal["adam", "adamw", "sgd"]
SchedulerName = Literal["none", "cosine", "exponential"]
Select = Literal["last", "loss", "validation"]


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """A :class:`gcl.core.context.Stage` with the trainer's settings where it leaves them open."""

    index: int
    name: str
    epochs: int
    learning_rate: float
    weight_decay: float
    optimizer: str
    scheduler: str
    warmup_epochs: int
    decay: float
    min_learning_rate: float
    patience: int | None
    min_delta: float
    select: str
    validate_every: int | None
    parameters: Callable[[], list[nn.Parameter] | list[dict[str, Any]]] | None
    init: Callable[[Graph, Clock, Streams], None] | None
