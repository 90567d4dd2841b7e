"""Running log-sum-exps of rows or of columns behind ``product_logsumexp``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Sums:
    """Running sums of exp(logit - maximum) of rows or columns, in float64; no maximum where no shift is needed."""

    total: Tensor  # [n], float64
    maximum: Tensor | None  # [n]

    @classmethod
    def zeros(cls, size: int, like: Tensor, shifted: bool) -> Sums:
        """Empty sums, with a running maximum if ``shifted``."""
        maximum = torch.full((size,), -math.inf, dtype=like.dtype, device=like.device) if shifted else None
        return cls(torch.zeros(size, dtype=torch.float64, device=like.device), maximum)

    def add_logits(self, index: slice, tile: Tensor, dim: int, scratch: Tensor) -> None:
        """Adds the exponentials of a tile's logits, which are left as they are."""
        assert self.maximum is not None
        before = self.maximum[index]
        after = torch.maximum(before, tile.amax(dim))
        base = _finite(after)
        self.total[index] *= (before.double() - base).exp()
        self.total[index] += torch.sub(tile, base.unsqueeze(dim), out=scratch).exp_().sum(dim)
        self.maximum[index] = after

    def log(self) -> Tensor:
        """The log-sum-exp, float64."""
        log = self.total.log()
        return log if self.maximum is None else log + self.maximum

    def factor(self, grad: Tensor, scale: float) -> Factor:
        """What turns logits into a gradient: ``grad`` is that of the log-sum-exp, ``scale`` is divided out."""
        factor = torch.where(self.total == 0, 0.0, grad.double() / scale / self.total)
        base = None if self.maximum is None else _finite(self.maximum)
        return Factor(base, factor.to(grad.dtype))


@dataclass
class Factor:
    """The gradient of a log-sum-exp by a logit is exp(logit - base) factor, by row or by column."""

    base: Tensor | None  # [n]
    factor: Tensor  # [n]

    def share_of_logits(self, tile: Tensor, index: slice, dim: int, out: Tensor) -> Tensor:
        """That gradient for one tile of logits."""
        assert self.base is not None
        share = torch.sub(tile, self.base[index].unsqueeze(dim), out=out)
        return share.exp_().mul_(self.factor[index].unsqueeze(dim))


def common_scale(sides: Sequence[tuple[Sums, Tensor] | None]) -> float:
    """The largest gradient of a log-sum-exp that is not empty; 1 where there is nothing to scale by."""
    largest = [
        float(side[1].masked_fill(side[0].total == 0, 0.0).abs().max())
        for side in sides
        if side is not None and side[1].numel()
    ]
    scale = max(largest, default=0.0)
    return scale if 0 < scale < math.inf else 1.0


def _finite(maximum: Tensor) -> Tensor:
    """The maximum to subtract: 0 instead of -inf, where nothing is summed."""
    return maximum.masked_fill(maximum == -math.inf, 0.0)
