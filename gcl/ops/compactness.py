r"""Bounds of node compactness: how close a node stays to its other view when edges are deleted.

The compactness of node i in one view, against a fixed direction :math:`w_i` made from the other view, is

.. math:: \min_{G} z_i(G) \cdot w_i \qquad
    z(G) = \varphi(\hat A(G)\, \varphi(\hat A(G) X W_1 + b_1) W_2 + b_2)

over all admissible graphs G (see :class:`~gcl.ops.propagation_bounds.PropagationBounds`). Intervals are kept as middle
and radius. Yu, Wang, Zhang, Liu, Shi: *Provable Training for Graph Contrastive Learning*, NeurIPS 2023,
arXiv 2309.13944; the relaxation is that of CROWN (Zhang et al., NeurIPS 2018).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gcl.ops.matmul import linear
from gcl.ops.propagation_bounds import PropagationBounds
from gcl.ops.relaxation import Interval, activation_interval, intercept_term, relax, relaxed_step
from gcl.ops.rowwise import rowwise
from gcl.ops.sparse_product import dot_arcs
from gcl.ops.unit_rows import unit_rows


@dataclass(frozen=True)
class BoundedLayer:
    """One layer ``activation(Â x weight + bias)``; ``slope`` is that of the activation below 0, a plain number."""

    weight: Tensor  # [in, out]
    bias: Tensor  # [out]
    slope: float


def affine_forward(
    propagate: Callable[[Tensor], Tensor], product: Tensor, layers: Sequence[BoundedLayer]
) -> tuple[Tensor, Tensor]:
    r"""The input of the last layer's weight, and the embeddings.

    Args:
        propagate: multiplies by the graph's :math:`\hat A`.
        product: :math:`X W_1`, ``[N, h]``.
        layers: one or more; of one, the first result is ``product`` itself.
    """
    before, hidden, image = product, product, product
    for index, layer in enumerate(layers):
        if index:
            image = linear(hidden, layer.weight.t())
        before, hidden = hidden, F.leaky_relu(propagate(image) + layer.bias, layer.slope)
    return before, hidden


def contrast_direction(z: Tensor, rows: Tensor | None = None) -> Tensor:
    r"""The direction in which a node is close to itself and far from the mean of all others, ``[n, d]``.

    .. math:: w_i = \hat z_i - \frac{1}{n-1} \sum_{j \ne i} \hat z_j
        = \frac{n}{n-1} \hat z_i - \frac{1}{n-1} \sum_j \hat z_j

    Args:
        z: embeddings of the other view, ``[n, d]``; rows are normalised here.
        rows: the nodes that are wanted; the mean is over all of ``z`` either way. ``None`` = all.
    """
    unit = unit_rows(z)
    others = max(z.shape[0] - 1, 1)
    picked = unit if rows is None else unit.index_select(0, rows)
    return (picked * (z.shape[0] / others)) - unit.sum(0) / others


def hidden_interval(interval: Interval, layer: BoundedLayer) -> Interval:
    """Middle and radius of a layer's output, ``[n, h]`` each, from those of its pre-activation without the bias."""

    def step(middle: Tensor, radius: Tensor, bias: Tensor) -> Interval:
        return activation_interval(middle + bias, radius, layer.slope)

    middle, radius = rowwise(step, interval, (layer.bias,))
    return middle, radius


def weighted_interval(interval: Interval, layer: BoundedLayer) -> Interval:
    """Middle and radius of ``x @ weight`` for x in an interval, ``[n, d]`` each."""
    return linear(interval[0], layer.weight.t()), linear(interval[1], layer.weight.abs().t())


def output_interval(
    bounds: PropagationBounds,
    first: Interval,
    layers: Sequence[BoundedLayer],
    *,
    outer: PropagationBounds | None = None,
) -> tuple[Interval, Interval]:
    """Bounds of the last pre-activation without its bias, by interval propagation, and of the layer's input.

    Args:
        bounds: of the graph's GCN matrix.
        first: those of the first pre-activation without its bias.
        layers: two or more.
        outer: bounds of the rows that are wanted; ``None`` = all.
    """
    interval, hidden = first, first
    for before, layer in itertools.pairwise(layers):
        hidden = hidden_interval(interval, before)
        where = outer if outer is not None and layer is layers[-1] else bounds
        interval = where.of_interval(*weighted_interval(hidden, layer))
    return interval, hidden


# -- scores ------------------------------------------------------------------------------------------------------------


def reference_score(
    bounds: PropagationBounds,
    propagate: Callable[[Tensor], Tensor],
    product: Tensor,
    hidden_product: Tensor,
    layers: Sequence[BoundedLayer],
    direction: Tensor,
) -> Tensor:
    r"""The score of the authors' program for each node, ``[n]``. It is a surrogate and **not a bound**.

    With slopes and intercepts :math:`S, T` of both layers, :math:`\Lambda_2 = S_2 \circ w`,
    :math:`V = \Lambda_2 W_2^\top`, :math:`\Lambda_1 = S_1 \circ V` (every row by its own node's slopes),
    :math:`k^2_i = \Lambda_{2,i} \cdot b_2 + w_i^- \cdot T_{2,i}` and
    :math:`k^1_i = \Lambda_{1,i} \cdot b_1 + V_i^- \cdot T_{1,i}`,

    .. math:: r_j = (X W_1)_j \cdot \Lambda_{1,j}, \qquad c = \hat A (\hat A r + k^1) + k^2

    The bounds of the second layer are taken around the hidden layer of the whole graph as if that did not change, and
    the relaxed network is evaluated at the view, not minimised over graphs.

    Args:
        bounds: of the graph's GCN matrix.
        propagate: multiplies by the view's :math:`\hat A`; the program multiplies by its transpose, which is the same
            on undirected views.
        product: :math:`X W_1`, ``[n, h]``.
        hidden_product: :math:`H W_2` with the hidden layer H of the unperturbed graph, ``[n, d]``.
        layers: both layers.
        direction: w, ``[n, d]``.
    """
    sums, own, constant = _two_layers(bounds, product, product, hidden_product, layers, direction)
    return propagate(propagate(sums.unsqueeze(1)) + own.unsqueeze(1)).squeeze(1) + constant


def target_score(
    outer: PropagationBounds,
    propagate: Callable[[Tensor], Tensor],
    propagate_rows: Callable[[Tensor], Tensor],
    product: Tensor,
    hidden_product: Tensor,
    layers: Sequence[BoundedLayer],
    direction: Tensor,
) -> Tensor:
    r"""As :func:`reference_score`, but two-hop sums get the weights of the node that is scored. **Not a bound.**

    .. math:: c_i = \Lambda_{1,i} \cdot (\hat A^2 X W_1)_i + (\hat A 1)_i\, k^1_i + k^2_i

    Args:
        outer: the rows of ``bounds`` that are wanted, n of N.
        propagate: multiplies by the view's :math:`\hat A`.
        propagate_rows: multiplies by the wanted rows of it.
        product: :math:`X W_1`, ``[N, h]``.
        hidden_product: :math:`H W_2` with the hidden layer H of the unperturbed graph, ``[N, d]``.
        layers: both layers.
        direction: w of the wanted rows, ``[n, d]``.
    """
    reached = propagate_rows(propagate(product))
    sums, own, constant = _two_layers(outer, product, reached, hidden_product, layers, direction)
    ones = product.new_ones(product.shape[0], 1)
    return sums + propagate_rows(ones).squeeze(1) * own + constant


def _two_layers(
    bounds: PropagationBounds,
    product: Tensor,
    summed: Tensor,
    hidden_product: Tensor,
    layers: Sequence[BoundedLayer],
    direction: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    r""":math:`\Lambda_1 \cdot` ``summed``, :math:`k^1` and :math:`k^2`, each ``[n]``, by the reference's bounds."""
    first, second = layers
    weights, constant = relaxed_step(bounds.of_matrix(hidden_product), direction, second.bias, second.slope)
    back = linear(weights, second.weight)  # V [n, h]
    inner, own = relaxed_step(bounds.of_matrix(product), back, first.bias, first.slope)
    (sums,) = rowwise(_row_dots, (inner, summed))
    return sums, own, constant


def _row_dots(a: Tensor, b: Tensor) -> tuple[Tensor]:
    return ((a * b).sum(1),)


def relaxed_score(
    bounds: PropagationBounds,
    outer: PropagationBounds,
    propagate: Callable[[Tensor], Tensor],
    product: Tensor,
    preactivation: Tensor,
    layers: Sequence[BoundedLayer],
    direction: Tensor,
) -> Tensor:
    r"""A lower bound of :math:`z_i(G) \cdot w_i` at the view G, if that is admissible, ``[n]``.

    .. math:: c = \Big\langle V, \hat A (S_1 \circ P_1) \Big\rangle + \Big\langle V^-, \hat A T_1 \Big\rangle + k^2

    row by row, with the view's first pre-activation :math:`P_1` and sound bounds of both layers.

    Args:
        bounds: of the graph's GCN matrix.
        outer: its rows that are wanted, or ``bounds``.
        propagate: multiplies by the wanted rows of the view's :math:`\hat A`.
        product: :math:`X W_1`, ``[N, h]``.
        preactivation: :math:`P_1`, ``[N, h]``.
        layers: both layers.
        direction: w of the wanted rows, ``[n, d]``.
    """
    first, second = layers
    interval = bounds.of_matrix(product)
    last, _ = output_interval(bounds, interval, layers, outer=outer)
    weights, constant = relaxed_step(last, direction, second.bias, second.slope)
    back = linear(weights, second.weight)  # V [n, h]

    def lines(middle: Tensor, radius: Tensor, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        slope, intercept = relax(middle + bias, radius, first.slope)
        return slope * x, intercept

    def score(v: Tensor, lower: Tensor, intercept: Tensor) -> tuple[Tensor]:
        return ((v * lower).sum(1) + intercept_term(v, intercept, first.slope),)

    lower, intercept = rowwise(lines, (*interval, preactivation), (first.bias,))
    (inner,) = rowwise(score, (back, propagate(lower), propagate(intercept)))
    return inner + constant


def certified_score(
    bounds: PropagationBounds,
    outer: PropagationBounds,
    product: Tensor,
    layers: Sequence[BoundedLayer],
    direction: Tensor,
) -> Tensor:
    r"""A lower bound of the compactness, the minimum of :math:`z_i(G) \cdot w_i` over all admissible graphs, ``[n]``.

    The larger of two bounds. One relaxes the last layer and bounds what each neighbour passes on,

    .. math:: g_{ij} = V_i^+ \cdot H^{lo}_j + V_i^- \cdot H^{hi}_j, \qquad
        c_i = k_i + \sum_j \min(U_{ij} g_{ij},\, L_{ij} g_{ij})

    and the other takes the least entry of the last interval, :math:`\sum_c \min(w_c \varphi(lo_c), w_c \varphi(hi_c))`.
    Any number of layers.

    Args:
        bounds: of the graph's GCN matrix.
        outer: its rows that are wanted, or ``bounds``.
        product: :math:`X W_1`, ``[N, h]``.
        layers: one or more.
        direction: w of the wanted rows, ``[n, d]``.
    """
    if len(layers) == 1:
        interval = outer.of_matrix(product)
        back, constant = relaxed_step(interval, direction, layers[0].bias, layers[0].slope)
        passed = dot_arcs(outer.looped, back, product)
    else:
        interval, hidden = output_interval(bounds, bounds.of_matrix(product), layers, outer=outer)
        weights, constant = relaxed_step(interval, direction, layers[-1].bias, layers[-1].slope)
        back = linear(weights, layers[-1].weight)  # V [n, h]
        # V⁺ H_lo + V⁻ H_hi = V middle - |V| radius
        passed = dot_arcs(outer.looped, torch.cat([back, -back.abs()], 1), torch.cat(hidden, 1))

    def least(middle: Tensor, radius: Tensor, w: Tensor, bias: Tensor) -> tuple[Tensor]:
        middle, radius = activation_interval(middle + bias, radius, layers[-1].slope)
        return ((w * middle - w.abs() * radius).sum(1),)

    (by_interval,) = rowwise(least, (*interval, direction), (layers[-1].bias,))
    return torch.maximum(constant + outer.minimum(passed), by_interval)
