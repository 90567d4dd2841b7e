"""Certificates of node compactness: the tightest lower bounds, for reports and not for training."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from gcl.ops.budgeted_bounds import BudgetedBounds
from gcl.ops.compactness import BoundedLayer, certified_score, weighted_interval
from gcl.ops.relaxation import Interval, activation_interval, intercept_term, losing, relax
from gcl.ops.sparse_product import dot_arcs


@torch.no_grad()
def certificate(
    bounds: BudgetedBounds, product: Tensor, layers: Sequence[BoundedLayer], direction: Tensor, *, paths: bool = True
) -> Tensor:
    r"""The tightest lower bound of compactness here, for every node, float64 ``[N]``; not differentiable.

    As :func:`~gcl.ops.compactness.certified_score`, with rows that count their deletions
    (:class:`~gcl.ops.budgeted_bounds.BudgetedBounds`) at every layer and in the last step, with two choices of the
    lower line of the last layer, and, where ``paths``, with a second bound of what a neighbour j passes on to i that
    goes back to its own neighbours k,

    .. math:: g_{ij} = \max\Big( V_i^+ \cdot H^{lo}_j + V_i^- \cdot H^{hi}_j,\ \min_G \sum_k \hat A_{jk}\, (X W_1)_k
        \cdot (V_i \circ S_{1,j}) + (V_i \circ S_{1,j}) \cdot b_1 + V_i^- \cdot T_{1,j} \Big)

    A maximum of lower bounds is a lower bound; the certified score is among them.

    Args:
        bounds: of the graph.
        product: :math:`X W_1`, ``[N, h]``.
        layers: one or more.
        direction: w, ``[N, d]``.
        paths: whether to follow paths of two arcs; only for two layers, and its cost is their number times h.
    """
    product, direction = product.double(), direction.double()
    layers = [BoundedLayer(layer.weight.double(), layer.bias.double(), layer.slope) for layer in layers]
    low = high = product
    ends = bounds.interval(low, high)
    first = ends
    hidden = (low, high)
    for before, layer in itertools.pairwise(layers):
        middle, radius = activation_interval(*_middle(ends, before.bias), before.slope)
        hidden = (middle - radius, middle + radius)
        image = weighted_interval((middle, radius), layer)
        ends = bounds.interval(image[0] - image[1], image[0] + image[1])
    last = layers[-1]
    middle, radius = _middle(ends, last.bias)
    values = activation_interval(middle, radius, last.slope)
    best = (direction * values[0] - direction.abs() * values[1]).sum(1)
    for slope in _lower_slopes(middle, radius, last.slope):
        weights, constant = _lower_step(middle, radius, direction, last, slope)
        if len(layers) == 1:
            passed = dot_arcs(bounds.looped, weights, product)
        else:
            back = weights @ last.weight.t()
            passed = dot_arcs(
                bounds.looped,
                torch.cat([back.clamp(min=0), back.clamp(max=0)], 1),
                torch.cat(hidden, 1),
            )
            if paths and len(layers) == 2:
                passed = torch.maximum(passed, _along_paths(bounds, product, layers[0], first, back))
        best = torch.maximum(best, constant + bounds.minimum(passed))
    # tighter intervals mostly give a better chord, but not always
    return torch.maximum(best, certified_score(bounds.entrywise, bounds.entrywise, product, layers, direction))


def _middle(ends: tuple[Tensor, Tensor], bias: Tensor) -> Interval:
    return (ends[0] + ends[1]) / 2 + bias, (ends[1] - ends[0]) / 2


def _lower_slopes(middle: Tensor, radius: Tensor, slope: float) -> list[Tensor | None]:
    """Choices of the lower line through 0 where the activation bends inside the interval; ``None`` = the chord's."""
    if slope > 1:
        return [None]
    # any slope between that of the activation below and above 0 is valid there; the nearer side loses less
    bends = middle.abs() < radius
    # not torch.where of two numbers, which is float32: a slope rounded downwards is no lower line any more
    nearer = torch.where(middle >= 0, torch.ones_like(middle), torch.full_like(middle, slope))
    return [None, torch.where(bends, nearer, relax(middle, radius, slope)[0])]


def _lower_step(
    middle: Tensor, radius: Tensor, v: Tensor, layer: BoundedLayer, lower: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Weights of the pre-activation (without the bias) and a constant, as ``relaxed_step``; positive weights may take
    another slope of the lower line."""
    chord, intercept = relax(middle, radius, layer.slope)
    weights = chord * v if lower is None else torch.where(v > 0, lower, chord) * v
    return weights, weights @ layer.bias + intercept_term(v, intercept, layer.slope)


def _along_paths(
    bounds: BudgetedBounds, product: Tensor, layer: BoundedLayer, ends: tuple[Tensor, Tensor], back: Tensor
) -> Tensor:
    """The second bound of what each entry (i, j) of ``bounds.looped`` passes on, ``[E + N]``."""
    middle, radius = _middle(ends, layer.bias)
    slope, intercept = relax(middle, radius, layer.slope)
    row, col = bounds.looped.row.long(), bounds.looped.col.long()
    lost = losing(back, layer.slope)
    constant = dot_arcs(bounds.looped, back, slope * layer.bias) + dot_arcs(bounds.looped, lost, intercept)

    def weigh(rows: Tensor, neighbors: Tensor) -> Tensor:
        inner = back[row[rows]] * slope[col[rows]]  # [p, h]
        return torch.einsum("ph,pwh->pw", inner, product[neighbors])

    own = dot_arcs(bounds.looped, back, slope * product)
    return bounds.arcs_into(col, weigh, own) + constant
