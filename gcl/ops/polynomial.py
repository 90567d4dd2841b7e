"""Polynomials of a linear operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gcl.core.errors import ConfigError, DataError
from gcl.core.operator import Operator


def polynomial(operator: Operator, x: Tensor, coefficients: Sequence[float], *, symmetric: bool = False) -> Tensor:
    r"""The product of a polynomial of a square operator with a matrix, by Horner's rule.

    .. math:: y = \Big( \sum_{l=0}^{L} c_l A^l \Big) x

    It takes L products forward and L backward, for the gradient is the same polynomial of :math:`A^\top`; nothing is
    kept between the two, and no more than two matrices of the size of ``x`` are held.

    Args:
        operator: A, ``[N, N]``; its own values get no gradient.
        x: ``[N, d]``.
        coefficients: :math:`c_0, \dots, c_L`, one or more.
        symmetric: that A is its own transpose, which spares making it.

    Returns:
        ``[N, d]``, with gradients of any order to ``x``.

    Raises:
        DataError: a rectangle, or another shape of ``x``.
        ConfigError: no coefficient.
    """
    rows, cols = operator.shape
    if rows != cols or x.dim() != 2 or x.shape[0] != cols:
        raise DataError(
            f"a polynomial needs a square operator and x of [{cols}, d], got {[rows, cols]}, {list(x.shape)}"
        )
    if not len(coefficients):
        raise ConfigError("a polynomial needs at least one coefficient")
    result: Tensor = _Polynomial.apply(x, operator, symmetric, tuple(float(value) for value in coefficients))
    return result


class _Polynomial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: Operator, symmetric: bool, coefficients: tuple[float, ...]) -> Tensor:
        ctx.operator, ctx.symmetric, ctx.coefficients = operator, symmetric, coefficients
        y = x * coefficients[-1]
        for coefficient in coefficients[-2::-1]:
            y = operator.matmul(y)
            if coefficient:
                y = y.add_(x, alpha=coefficient)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None]:  # type: ignore[override]
        operator = ctx.operator if ctx.symmetric else ctx.operator.t()
        return _Polynomial.apply(grad, operator, ctx.symmetric, ctx.coefficients), None, None, None
