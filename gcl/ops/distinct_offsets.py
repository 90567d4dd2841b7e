"""Numbers drawn without replacement, for many rows at once."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def distinct_offsets(degree: Tensor, size: int, *, generator: Generator | None = None) -> Tensor:
    """A set of ``size`` different numbers below each degree, every set as likely.

    Floyd's algorithm for all rows at once: Bentley and Floyd, *Programming pearls: a sample of brilliance*,
    Communications of the ACM 30(9), 1987. Its cost is that of comparing ``size**2 / 2`` numbers a row, whatever the
    degree.

    Args:
        degree: whole numbers of at least ``size``, which is not checked, ``[n]``.
        size: from 1.
        generator: on the device of ``degree``.

    Returns:
        int64 ``[size, n]``, in no order.
    """
    found = torch.empty(size, degree.numel(), dtype=torch.int64, device=degree.device)
    for step in range(size):
        last = degree - size + step  # the largest number that may be drawn in this step
        draw = torch.rand(degree.numel(), generator=generator, dtype=torch.float64, device=degree.device)
        number = (draw * (last + 1)).long().minimum(last)
        taken = (found[:step] == number).any(0)
        found[step] = torch.where(taken, last, number)
    return found
