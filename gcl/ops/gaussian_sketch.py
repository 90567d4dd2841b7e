"""Random combinations of rows that keep their covariance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from gcl.core.errors import DataError
from gcl.ops.matmul import linear

BLOCK = 2**22  # entries of the Gaussian matrix that exist at a time
KEPT = 2**24  # entries up to which it is kept for the backward pass instead of drawn again


def gaussian_sketch(z: Tensor, num_rows: int, *, scale: float, generator: Generator | None = None) -> Tensor:
    r"""The product P z with a fresh matrix :math:`P_{ij} \sim N(0, \text{scale}^2)`, ``[k, d]``.

    With scale :math:`1 / \sqrt k`, :math:`E[(P z)^\top P z] = z^\top z`. P is drawn a block of rows at a time, and
    again in the backward pass where it is large, so that it never exists whole.

    Args:
        z: ``[N, d]``, floating point; put matrices side by side that are to share one P.
        num_rows: k, at least 1.
        scale: standard deviation of the entries.
        generator: on the device of ``z``; ``None`` = torch's global one.

    Returns:
        ``[k, d]``; it can be differentiated once.

    Raises:
        DataError: ``z`` is no matrix of floating-point numbers, or k is below 1.
    """
    if z.dim() != 2 or not z.is_floating_point():
        raise DataError(f"z must be a floating-point matrix [N, d], got {z.dtype} {list(z.shape)}")
    if num_rows < 1:
        raise DataError(f"num_rows must be at least 1, got {num_rows}")
    if generator is None:  # a generator whose state can be kept
        seed = int(torch.randint(2**62, (1,)))
        generator = torch.Generator(z.device).manual_seed(seed)
    result: Tensor = _GaussianSketch.apply(z, num_rows, scale, generator)
    return result


def _blocks(num_rows: int, z: Tensor, scale: float, generator: Generator) -> Iterator[tuple[slice, Tensor]]:
    size = max(1, BLOCK // max(z.shape[0], 1))
    for start in range(0, num_rows, size):
        here = slice(start, min(start + size, num_rows))
        shape = (here.stop - here.start, z.shape[0])
        yield here, torch.randn(shape, generator=generator, dtype=z.dtype, device=z.device).mul_(scale)


class _GaussianSketch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, num_rows: int, scale: float, generator: Generator) -> Tensor:
        ctx.state, ctx.scale, ctx.z_shape, ctx.kept = generator.get_state(), scale, z.shape, []
        keep = ctx.needs_input_grad[0] and num_rows * z.shape[0] <= KEPT
        result, wide = z.new_empty(num_rows, z.shape[1]), z.t()
        for here, block in _blocks(num_rows, z, scale, generator):
            result[here] = linear(block, wide)
            if keep:
                ctx.kept.append((here, block))
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        total = grad.new_zeros(ctx.z_shape)
        blocks: Any = ctx.kept
        if not blocks:
            generator = torch.Generator(grad.device)
            generator.set_state(ctx.state)
            blocks = _blocks(grad.shape[0], total, ctx.scale, generator)
        for here, block in blocks:
            total += linear(block.t(), grad[here].t())
        return total, None, None, None


def sketch_scale(num_rows: int) -> float:
    """The scale with which a sketch of that many rows keeps the covariance."""
    return 1 / math.sqrt(num_rows)
