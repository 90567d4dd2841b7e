"""The pure functions behind the all-pairs losses. They take unit rows and never form an N by N matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gcl.core.context import LossContext, MoreKeys
from gcl.core.errors import ConfigError, DataError
from gcl.ops.product_logsumexp import product_logsumexp
from gcl.ops.unit_rows import unit_rows

EVERY_NODE = LossContext()


def check_temperature(value: float) -> None:
    """Refuses anything but a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"temperature must be a finite number above 0, got {value!r}")


def check_scale(value: float) -> None:
    """Refuses anything but a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"scale, which multiplies the similarity, must be a finite number above 0, got {value!r}")


def unit_pair(z1: Tensor, z2: Tensor | None, loss: str) -> tuple[Tensor, Tensor]:
    r"""Both views with rows :math:`z / \max(\lVert z \rVert, 10^{-12})`.

    Args:
        z1: ``[N, d]``.
        z2: ``[N, d]``; row i is the other view of row i of ``z1``.
        loss: the name that errors speak of.

    Raises:
        ConfigError: there is no second view.
        DataError: shapes that do not pair, or no rows.
    """
    if z2 is None:
        raise ConfigError(f"{loss} contrasts two views and got one; give z2 as well")
    if z1.dim() != 2 or z1.shape != z2.shape or z1.shape[0] == 0:
        raise DataError(
            f"{loss} needs two views of the same shape [N, d] with at least one row, "
            f"got {list(z1.shape)} and {list(z2.shape)}"
        )
    return unit_rows(z1), unit_rows(z2)


def anchor_weights(h: Tensor, context: LossContext) -> Tensor:
    r"""Weights :math:`r` of the anchors with which :math:`\sum_i r_i x_i` is the mean over them, ``[n]``.

    Args:
        h: embeddings of one view ``[N, d]``, for their number, device and precision (float32 at least).
        context: ``anchors``, ``counts`` and ``num_anchors``.

    Raises:
        DataError: anchors that are not int64 ``[n]`` or out of range, or counts of another shape.
        ConfigError: no anchors and no ``num_anchors``.
    """
    anchors, counts = context.anchors, context.counts
    if anchors is not None and (anchors.dim() != 1 or anchors.dtype != torch.int64):
        raise DataError(f"anchors must be row numbers, int64 [n], got {anchors.dtype} {list(anchors.shape)}")
    if anchors is not None and anchors.numel():
        low, high = (int(bound) for bound in anchors.aminmax())
        if low < 0 or high >= h.shape[0]:
            raise DataError(f"anchors must be rows from 0 to {h.shape[0] - 1}, got some from {low} to {high}")
    size = h.shape[0] if anchors is None else anchors.shape[0]
    if counts is not None and counts.shape != (size,):
        raise DataError(f"counts must have one entry an anchor, [{size}], got {list(counts.shape)}")
    if size == 0 and context.num_anchors is None:
        raise ConfigError("the loss got no anchors to average over; give at least one, or num_anchors")
    dtype = torch.promote_types(h.dtype, torch.float32)
    weights = torch.ones(size, dtype=dtype, device=h.device) if counts is None else counts.to(h.device, dtype)
    return weights / (weights.sum() if context.num_anchors is None else context.num_anchors)


def pair_attraction(h1: Tensor, h2: Tensor, *, temperature: float, context: LossContext = EVERY_NODE) -> Tensor:
    r"""The positive term, :math:`-\frac{1}{n} \sum_i a_{ii} / \tau` with :math:`a_{ii} = \hat h^1_i \cdot \hat h^2_i`.

    It is the same in both directions. The sum runs over the anchors.

    Args:
        h1: unit rows of the first view, ``[N, d]``.
        h2: those of the second, ``[N, d]``.
        temperature: :math:`\tau`, above 0.
        context: anchors and their counts.

    Returns:
        A scalar.
    """
    weights = anchor_weights(h1, context)
    if context.anchors is not None:
        h1, h2 = h1[context.anchors], h2[context.anchors]
    similarity = (h1.to(weights.dtype) * h2.to(weights.dtype)).sum(dim=1)  # [n]
    return -(weights @ similarity) / temperature


def stacked_repulsion(
    h1: Tensor,
    h2: Tensor,
    *,
    temperature: float,
    context: LossContext = EVERY_NODE,
    key_bias: Tensor | None = None,
    more_bias: Tensor | None = None,
    own_pair: bool = False,
) -> Tensor:
    r"""The negative term over both views, as one symmetric problem of the 2N stacked rows.

    .. math:: \frac{1}{2n} \sum_{i} \log \sum_{j \ne i} \exp\frac{\hat h_i \cdot \hat h_j + b_j}{\tau}
        \qquad \hat h = [\hat h^1; \hat h^2], \; i \text{ over the anchors in both views}

    Further keys of the context join the sum over j, as often as they count.

    Args:
        h1: unit rows of the first view, ``[N, d]``.
        h2: those of the second, ``[N, d]``.
        temperature: :math:`\tau`, above 0.
        context: anchors, their counts and ``more_keys``. Keys are all 2N rows and those.
        key_bias: :math:`b`, one entry a node, ``[N]``, the same in both views.
        more_bias: that of ``more_keys``, ``[m]``; ``None`` = 0.
        own_pair: whether j = i is among the keys.

    Returns:
        A scalar.
    """
    num_nodes, anchors, more = h1.shape[0], context.anchors, context.more_keys
    keys = torch.cat([h1, h2])  # [2N, d]
    weights = anchor_weights(h1, context).repeat(2) / 2  # [2n]
    bias = None if key_bias is None else key_bias.repeat(2)  # [2N]
    if anchors is None:
        rows = None
        exclude = torch.full_like(weights, -1, dtype=torch.int64) if own_pair else None  # None: the row itself
    else:
        rows = torch.cat([anchors, anchors + num_nodes])  # [2n]
        exclude = None if own_pair else rows
    queries = keys if rows is None else keys[rows]
    if more is not None:
        exclude = torch.arange(2 * num_nodes, device=keys.device) if exclude is None and not own_pair else exclude
        bias = _joined_bias(bias, more, more_bias, temperature, like=weights, size=2 * num_nodes, repeats=2)
        keys = torch.cat([keys, *(part.detach().to(keys.dtype) for part in more.rows)])  # [2N + 2m, d]
    value = product_logsumexp(
        queries,
        None if queries is keys else keys,
        temperature=temperature,
        key_bias=bias,
        exclude=exclude,
        row_weight=weights,
    )
    assert isinstance(value, Tensor)
    return value


def _joined_bias(
    bias: Tensor | None,
    more: MoreKeys,
    more_bias: Tensor | None,
    temperature: float,
    *,
    like: Tensor,
    size: int,
    repeats: int = 1,
) -> Tensor | None:
    """The bias of ``size`` keys and of further ones after them, of each view of which there are ``repeats``.

    A key that stands for n nodes counts n times: :math:`\\tau \\log n`.
    """
    own = more.rows[0].shape[0]
    if bias is None and more_bias is None and more.counts is None:
        return None
    further = like.new_zeros(own) if more_bias is None else more_bias.to(like)
    if more.counts is not None:
        further = further + temperature * more.counts.to(like).log()
    return torch.cat([like.new_zeros(size) if bias is None else bias.to(like), further.repeat(repeats)])


def inter_view_repulsion(h1: Tensor, h2: Tensor, *, temperature: float, context: LossContext = EVERY_NODE) -> Tensor:
    r"""The negative term over the other view alone, in both directions.

    .. math:: \frac{1}{2n} \sum_i \Big( \log \sum_j e^{\hat h^1_i \cdot \hat h^2_j / \tau}
        + \log \sum_j e^{\hat h^2_i \cdot \hat h^1_j / \tau} \Big)

    Args:
        h1: unit rows of the first view, ``[N, d]``.
        h2: those of the second, ``[N, d]``.
        temperature: :math:`\tau`, above 0.
        context: anchors, their counts and ``more_keys``. Keys are all N rows of the other view and its further ones.

    Returns:
        A scalar.
    """
    weights, anchors, more = anchor_weights(h1, context) / 2, context.anchors, context.more_keys
    if anchors is None and more is None:  # rows and columns of one rectangle
        rows, columns = product_logsumexp(h1, h2, temperature=temperature, reduce="both")
        return weights @ (rows + columns)
    total = weights.new_zeros(())
    for view, (own, other) in enumerate(((h1, h2), (h2, h1))):
        keys, bias = other, None
        if more is not None:
            bias = _joined_bias(None, more, None, temperature, like=weights, size=other.shape[0])
            keys = torch.cat([other, more.rows[1 - view].detach().to(other.dtype)])
        own = own if anchors is None else own[anchors]
        value = product_logsumexp(own, keys, temperature=temperature, key_bias=bias, row_weight=weights)
        assert isinstance(value, Tensor)
        total = total + value
    return total
