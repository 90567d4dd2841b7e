"""Linear heads that train side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gcl.core.errors import ConfigError


@dataclass(frozen=True, eq=False)
class LinearHeads:
    """Linear heads that train side by side, each at its best validation reading.

    Args:
        weight: ``[S, C, d]``, one head a split (or several).
        bias: ``[S, C]``.
        step: steps done at that reading, int64 ``[S]``.
        valid_score: what was read, float64 ``[S]``: accuracy, or another score of at least 0; -1 before any reading.
    """

    weight: Tensor
    bias: Tensor
    step: Tensor
    valid_score: Tensor

    @classmethod
    def unread(cls, weight: Tensor) -> LinearHeads:
        """Copies of heads with a zero bias before the first reading, which any reading improves on."""
        count = len(weight)
        return cls(
            weight.detach().clone(),
            weight.new_zeros(weight.shape[:2]),
            torch.zeros(count, dtype=torch.int64),
            torch.full((count,), -1.0, dtype=torch.float64),
        )

    @classmethod
    def cat(cls, heads: Sequence[LinearHeads]) -> LinearHeads:
        """All heads of several groups, in order."""
        return cls(
            weight=torch.cat([head.weight for head in heads]),
            bias=torch.cat([head.bias for head in heads]),
            step=torch.cat([head.step for head in heads]),
            valid_score=torch.cat([head.valid_score for head in heads]),
        )

    @torch.no_grad()
    def or_better(self, score: Tensor, weight: Tensor, bias: Tensor, step: int) -> LinearHeads:
        """Where ``score`` (float64 ``[S]``) is above the best reading so far, the heads that it was read of."""
        better = score > self.valid_score
        return LinearHeads(
            torch.where(better[:, None, None], weight, self.weight),
            torch.where(better[:, None], bias, self.bias),
            torch.where(better, step, self.step),
            torch.where(better, score, self.valid_score),
        )


def xavier_weights(
    count: int, num_classes: int, width: int, *, dtype: torch.dtype, generator: Generator | None = None
) -> Tensor:
    """Xavier-uniform weights ``[S, C, d]``, drawn head by head: the first few are those of a smaller ``count``."""
    weight = torch.empty(count, num_classes, width, dtype=dtype)
    bound = math.sqrt(6.0 / (width + num_classes))
    for part in weight:
        part.uniform_(-bound, bound, generator=generator)
    return weight


def adam_heads(
    weight: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.0,
    every: int = 1,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Trains heads by Adam from a zero bias, which is as if each were alone, since Adam works entry by entry.

    Args:
        weight: initial weights ``[S, C, d]``; left as they are.
        loss: of weights and biases, the sum over the heads, a scalar.
        steps: steps of Adam.
        learning_rate, weight_decay: of Adam; the decay is added to the gradient.
        every: steps between two readings.

    Yields:
        The steps done, the weights and the biases ``[S, C]``, without gradient, at every reading and after the last
        step. They change in the next step.
    """
    weight = weight.clone().requires_grad_()
    bias = weight.new_zeros(weight.shape[:2]).requires_grad_()
    optimizer = torch.optim.Adam([weight, bias], lr=learning_rate, weight_decay=weight_decay)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        with torch.enable_grad():
            loss(weight, bias).backward()
        optimizer.step()
        if step % every == 0 or step == steps:
            yield step, weight.detach(), bias.detach()


def check_positive(user: str, **values: float) -> None:
    """Refuses numbers that are not positive and finite.

    Raises:
        ConfigError: such a number, by name.
    """
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name} of {user} must be positive, got {value}")
