"""InfoNCE with negatives weighted by how likely they are true ones (ProGCL)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor, nn
from torch.utils.checkpoint import checkpoint

from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.losses.functional import (
    EVERY_NODE,
    anchor_weights,
    check_temperature,
    pair_attraction,
    stacked_repulsion,
    unit_pair,
)
from gcl.ops.pair_weight import PairWeight, similarity, stored
from gcl.ops.product_logsumexp import product_logsumexp

Mode = Literal["weight", "mix"]
BLOCK = 2**22  # similarities that exist at a time where the heaviest are picked
STORED = 256 * 2**20  # bytes of weights that are kept from step to step; more are made anew in each, tile by tile


@dataclass(frozen=True, eq=False)
class Direction:
    r"""What weighs the negatives of one view's nodes: :math:`b_{ij} = T(u_i \cdot v_j)`, by node pair.

    Args:
        row: u, unit rows of the anchors' nodes as they were at the fit, ``[n, d]``.
        col: v, those of the same nodes in the other view, ``[n, d]``.
        table: T, weights at evenly spaced similarities from -1 to 1, ``[K]``.
        log_mean: logarithm of the mean weight of each node's negatives, ``[n]``.
    """

    row: Tensor
    col: Tensor
    table: Tensor
    log_mean: Tensor


@dataclass(frozen=True, eq=False)
class NegativeWeights:
    """Both directions, and the generator of the partners in mode ``mix``."""

    directions: tuple[Direction, Direction]
    generator: Generator | None = None


class ProGCLLoss(nn.Module):
    r"""InfoNCE whose negatives count by their estimated probability of being true negatives.

    With cosine similarities :math:`a_{ij}` between the views and :math:`c_{ij}` inside the first, and weights
    :math:`b_{ij}` of node pairs that were fixed at some epoch, mode ``weight`` is

    .. math:: \ell_i^{1\to2} = -\log \frac{e^{a_{ii}/\tau}}{e^{a_{ii}/\tau} + \sum_{j \ne i}
        \frac{b_{ij}}{\bar b_i} \big( e^{a_{ij}/\tau} + e^{c_{ij}/\tau} \big)}

    and mode ``mix`` adds synthetic negatives to InfoNCE: of the ``num_mixed`` pairs of the largest weights of each
    anchor, each is mixed with another one of them, by a random permutation that all anchors share,

    .. math:: m = \frac{b\, a + b'\, a'}{b + b' + 10^{-12}}, \qquad \text{and}\ \sum e^{m / \tau}\
        \text{joins the denominator}

    Without weights in the context it is :class:`~gcl.losses.infonce.InfoNCE`. Exact; memory is linear in the nodes.
    On a CPU the weights of few nodes (5,792 in float32) are kept from step to step, in 256 MiB at most.
    Xia, Wu, Wang, Li: *ProGCL: Rethinking Hard Negative Mining in Graph Contrastive Learning*, ICML 2022,
    arXiv 2110.02027.

    Args:
        temperature: :math:`\tau`, above 0.
        mode: ``weight`` or ``mix``.
        num_mixed: negatives of each anchor that are mixed, at most; at least 1.

    Raises:
        ConfigError: a value out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("negative_weights",)
    takes_shares: ClassVar[bool] = True

    def __init__(self, temperature: float = 0.5, *, mode: Mode = "weight", num_mixed: int = 1000):
        super().__init__()
        check_temperature(temperature)
        if mode not in get_args(Mode):
            raise ConfigError(unknown("mode", str(mode), get_args(Mode)))
        if isinstance(num_mixed, bool) or num_mixed < 1:
            raise ConfigError(f"num_mixed must be at least 1, got {num_mixed!r}")
        self.temperature = temperature
        self.mode = mode
        self.num_mixed = num_mixed
        self._picked: tuple[NegativeWeights, list[Tensor]] | None = None
        self._stored: tuple[NegativeWeights, list[PairWeight]] | None = None

    def forward(self, z1: Tensor, z2: Tensor | None = None, *, context: LossContext | None = None) -> Tensor:
        """The mean loss over the anchors, a scalar.

        Args:
            z1: projections of the first view, ``[N, d]``; rows are normalised here.
            z2: those of the second view, ``[N, d]``.
            context: ``negative_weights`` (``None`` before they are known), ``anchors``, ``counts``, ``num_anchors``.

        Raises:
            ConfigError: no second view.
            DataError: shapes that do not fit together.
        """
        context = EVERY_NODE if context is None else context
        h1, h2 = unit_pair(z1, z2, type(self).__name__)
        attraction = pair_attraction(h1, h2, temperature=self.temperature, context=context)
        weights: NegativeWeights | None = context.negative_weights
        if weights is None:
            return attraction + stacked_repulsion(h1, h2, temperature=self.temperature, context=context)
        if weights.directions[0].row.shape[0] != h1.shape[0]:
            raise DataError(
                f"the weights are of {weights.directions[0].row.shape[0]} nodes and the views have {h1.shape[0]} rows"
            )
        anchors = torch.arange(h1.shape[0], device=h1.device) if context.anchors is None else context.anchors
        share = anchor_weights(h1, context) / 2
        if self.mode == "weight":
            first, second = self._pair_weights(weights, anchors, every=context.anchors is None)
            forth = self._weighted(h1, h2, anchors, weights.directions[0], first)
            back = self._weighted(h2, h1, anchors, weights.directions[1], second)
        else:
            forth, back = self._mixed(h1, h2, anchors, weights, every=context.anchors is None)
        return attraction + share @ (forth + back)

    @torch.no_grad()
    def _pair_weights(self, weights: NegativeWeights, anchors: Tensor, *, every: bool) -> list[PairWeight]:
        """The weights of the anchors' pairs in both directions; kept where they are those of every step and fit."""
        if every and self._stored is not None and self._stored[0].directions is weights.directions:
            return self._stored[1]
        made = [similarity(part.row[anchors], part.col, table=part.table) for part in weights.directions]
        if (
            not every
            or anchors.is_cuda
            or 2 * weights.directions[0].table.element_size() * anchors.numel() ** 2 > STORED
        ):
            return made
        made = [
            stored(torch.cat([_weights(part, block) for block in anchors.split(512)])) for part in weights.directions
        ]
        self._stored = (weights, made)
        return made

    def _weighted(self, h: Tensor, other: Tensor, anchors: Tensor, direction: Direction, weight: PairWeight) -> Tensor:
        """The logarithm of the denominator of each anchor in the view ``h``, ``[n]``."""
        rows = h[anchors]
        terms = [(rows * other[anchors]).sum(1) / self.temperature]
        for keys in (other, h):
            lse = product_logsumexp(rows, keys, temperature=self.temperature, exclude=anchors, pair_weight=weight)
            assert isinstance(lse, Tensor)
            terms.append(lse - direction.log_mean[anchors])
        return torch.stack(terms).logsumexp(0)

    def _mixed(
        self, h1: Tensor, h2: Tensor, anchors: Tensor, weights: NegativeWeights, *, every: bool
    ) -> tuple[Tensor, Tensor]:
        """The logarithms of the denominators of the anchors in both views, ``[n]`` each."""
        keys, rows = torch.cat([h1, h2]), torch.cat([anchors, anchors + h1.shape[0]])
        lse = product_logsumexp(keys[rows], keys, temperature=self.temperature, exclude=rows)
        assert isinstance(lse, Tensor)
        plain = lse[: anchors.numel()], lse[anchors.numel() :]  # split would make one of none
        picked = self._heaviest(weights, anchors, every=every)
        order = torch.randperm(picked[0].shape[1], generator=weights.generator).to(h1.device)
        mixed = [
            self._mix(h[anchors], other, direction, anchors, index, order)
            for h, other, direction, index in zip((h1, h2), (h2, h1), weights.directions, picked, strict=True)
        ]
        return torch.logaddexp(plain[0], mixed[0]), torch.logaddexp(plain[1], mixed[1])

    def _mix(
        self, rows: Tensor, keys: Tensor, direction: Direction, anchors: Tensor, index: Tensor, order: Tensor
    ) -> Tensor:
        """The log-sum-exp of each anchor's mixed similarities, ``[n]``."""
        if not index.shape[1]:
            return rows.new_full((rows.shape[0],), -torch.inf)

        def block(part: Tensor, all_keys: Tensor, at: Tensor, weight: Tensor) -> Tensor:
            a = (part @ all_keys.t()).gather(1, at)  # [r, K]
            partner = weight[:, order]
            mixed = (weight * a + partner * a[:, order]) / (weight + partner + 1e-12)
            return (mixed / self.temperature).logsumexp(1)

        size, found = max(1, BLOCK // max(keys.shape[0], 1)), []
        for start in range(0, max(rows.shape[0], 1), size):
            here = slice(start, start + size)
            weight = _weights(direction, anchors[here]).gather(1, index[here]).to(rows.dtype)
            # its similarities are computed again in the backward pass
            found.append(checkpoint(block, rows[here], keys, index[here], weight, use_reentrant=False))
        return torch.cat(found)

    @torch.no_grad()
    def _heaviest(self, weights: NegativeWeights, anchors: Tensor, *, every: bool) -> list[Tensor]:
        """The negatives of the largest weights of each anchor in both directions, ``[n, K]`` each, heaviest first.

        The same in every step where all nodes are anchors: ``every`` keeps them.
        """
        if every and self._picked is not None and self._picked[0].directions is weights.directions:
            return self._picked[1]
        num_nodes = weights.directions[0].row.shape[0]
        count, size, picked = min(self.num_mixed, num_nodes - 1), max(1, BLOCK // max(num_nodes, 1)), []
        for direction in weights.directions:
            parts = []
            for part in anchors.split(size):
                weight = _weights(direction, part)
                weight[torch.arange(part.numel(), device=part.device), part] = -1.0  # the positive
                parts.append(weight.topk(count, dim=1).indices)
            picked.append(torch.cat(parts))
        if every:
            self._picked = (weights, picked)
        return picked

    def extra_repr(self) -> str:
        """The arguments."""
        return f"temperature={self.temperature}, mode={self.mode!r}, num_mixed={self.num_mixed}"


def _weights(direction: Direction, anchors: Tensor) -> Tensor:
    """Weights of all pairs of some anchors, ``[n, N]``."""
    weight = similarity(direction.row[anchors], direction.col, table=direction.table)
    assert weight.weight is not None
    return weight.weight(weight.row, weight.col, weight.shared)


def mean_weight(row: Tensor, col: Tensor, table: Tensor) -> Tensor:
    r"""Logarithm of :math:`\bar b_i`, the mean weight of the pairs (i, j) with j other than i, ``[n]``.

    Args:
        row, col, table: as in :class:`Direction`.
    """
    zero = torch.zeros(row.shape[0], 1, dtype=row.dtype, device=row.device)
    own = torch.arange(row.shape[0], device=row.device)
    total = product_logsumexp(zero, zero.clone(), exclude=own, pair_weight=similarity(row, col, table=table))
    assert isinstance(total, Tensor)
    return total - math.log(max(row.shape[0] - 1, 1))
