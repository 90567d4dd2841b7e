"""Piecewise linear activations between two parallel lines, for intervals given by middle and radius."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gcl.ops.rowwise import rows_at_a_time

Interval = tuple[Tensor, Tensor]  # middle and radius

TINY = 1e-30  # below every radius that is not 0: a radius is a sum of products of weights and features


def relax(middle: Tensor, radius: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    r"""The two parallel lines that enclose the activation on an interval: common slope S, and the other's intercept T.

    With :math:`t = \mathrm{clip}(\text{middle} / \text{radius}, -1, 1)`, which is 1 where the interval is positive and
    -1 where it is not,

    .. math:: S = \alpha + (1 - \alpha)\,\frac{1 + t}{2}, \qquad T = (1 - \alpha)\,\frac{\text{radius}\,(1 - t^2)}{2}

    For :math:`\alpha \le 1`, :math:`S x \le \varphi_\alpha(x) \le S x + T`; for :math:`\alpha > 1`, T is not positive
    and :math:`S x + T \le \varphi_\alpha(x) \le S x`. No gradient is NaN where the interval is the single point 0.

    Args:
        middle, radius: of the pre-activation, any shape.
        slope: :math:`\alpha`.
    """
    # For autograd nothing is divided outside the clip, where a tiny radius would make inf times 0.
    inside = (middle.abs() < radius) & (radius > TINY)
    sign = torch.where(middle > 0, torch.ones_like(middle), -torch.ones_like(middle))
    t = torch.where(inside, middle / torch.where(inside, radius, torch.ones_like(radius)), sign)
    half = (1 - slope) / 2
    return slope + half * (1 + t), half * radius * (1 - t.square())


def _position(middle: Tensor, radius: Tensor) -> Tensor:
    """t, -1 at the single point 0, which the shift by 2 TINY puts outside the clip. Not for autograd."""
    return (middle - 2 * TINY).div(radius.clamp(min=TINY)).clamp(-1, 1)


def intercept_term(weight: Tensor, intercept: Tensor, slope: float) -> Tensor:
    """What the lines of :func:`relax` lose against weights of either sign, summed over columns, ``[n]``."""
    return (losing(weight, slope) * intercept).sum(1)


def activation_interval(middle: Tensor, radius: Tensor, slope: float) -> Interval:
    """Middle and radius of the activation over an interval, exact for every slope."""
    low, high = (torch.nn.functional.leaky_relu(x, slope) for x in (middle - radius, middle + radius))
    if slope < 0:  # not monotone: it has its least value, 0, inside an interval around 0
        least = torch.where(middle.abs() < radius, 0.0, torch.minimum(low, high))
        low, high = least, torch.maximum(low, high)
    return (low + high) / 2, (high - low) / 2


def relaxed_step(interval: Interval, weight: Tensor, bias: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    r"""One step back through an activation: the weights of its pre-activation and a constant.

    With S and T of :func:`relax`, :math:`v \cdot \varphi(p) \ge \Lambda \cdot (p - b) + k` for every p in the interval,

    .. math:: \Lambda = S \circ v, \qquad k = \Lambda \cdot b + v^- \cdot T

    Nothing but its arguments is kept for the backward pass.

    Args:
        interval: of p - b, ``[n, d]`` each.
        weight: v, ``[n, d]``.
        bias: b, ``[d]``.
        slope: :math:`\alpha`.

    Returns:
        :math:`\Lambda` ``[n, d]`` and k ``[n]``. They can be differentiated once.
    """
    weights, constant = _RelaxedStep.apply(*interval, weight, bias, slope)
    return weights, constant


class _RelaxedStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, middle: Tensor, radius: Tensor, v: Tensor, bias: Tensor, slope: float
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(middle, radius, v, bias)
        ctx.slope = slope
        weights, constant = torch.empty_like(v), v.new_empty(v.shape[0])
        half = (1 - slope) / 2
        for here in rows_at_a_time(v):
            t, lost = _position(middle[here] + bias, radius[here]), losing(v[here], slope)
            lost.mul_(radius[here]).mul_(half)  # v⁻ T / (1 - t²)
            torch.sum(lost.addcmul_(lost, t * t, value=-1), 1, out=constant[here])
            torch.mul(t.mul_(half).add_(slope + half), v[here], out=weights[here])
        return weights, constant.add_(weights @ bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_weights: Tensor, grad_constant: Tensor) -> tuple[Tensor | None, ...]:
        middle, radius, v, bias = ctx.saved_tensors
        half, slope = (1 - ctx.slope) / 2, ctx.slope
        grad_middle, grad_radius, grad_v = (torch.empty_like(v) for _ in range(3))
        grad_bias = torch.zeros_like(bias)
        for here in rows_at_a_time(v):
            part, g, r = v[here], grad_constant[here].unsqueeze(1), radius[here]
            t = _position(middle[here] + bias, r)
            inside = (t.abs() < 1).to(v.dtype)
            to_weights = torch.addcmul(grad_weights[here], g, bias)  # of Λ, all ways
            s = t * half + (slope + half)
            grad_bias += (s * part).t() @ grad_constant[here]
            # of T, as it enters k: g v⁻; T = half * radius * (1 - t²)
            to_intercept = losing(part, slope).mul_(g)
            rest = (t * t).neg_().add_(1).mul_(r).mul_(half).mul_(g)
            rest.mul_(_lost(part, slope))
            torch.addcmul(rest, s, to_weights, out=grad_v[here])
            # t = p / radius inside (-1, 1): half * (dΛ v / radius - 2 t dT) and half * (dT (1 + t²) - t dΛ v / radius)
            along = to_weights.mul_(part).div_(r.clamp(min=TINY))
            inside.mul_(half)
            torch.mul(torch.addcmul(along, t, to_intercept, value=-2), inside, out=grad_middle[here])
            to_intercept.addcmul_(to_intercept, t * t).addcmul_(t, along, value=-1)
            torch.mul(to_intercept, inside, out=grad_radius[here])
        grad_bias += grad_middle.sum(0)
        return grad_middle, grad_radius, grad_v, grad_bias, None


def losing(v: Tensor, slope: float) -> Tensor:
    """The weights that meet the line with the intercept: the negative ones, where that is the upper line."""
    return v.clamp(max=0) if slope <= 1 else v.clamp(min=0)


def _lost(v: Tensor, slope: float) -> Tensor:
    """1 where :func:`losing` is the weight itself."""
    return ((v < 0) if slope <= 1 else (v > 0)).to(v.dtype)
