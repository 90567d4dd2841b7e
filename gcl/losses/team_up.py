"""CSGCL's Team-up objective."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError
from gcl.losses.functional import anchor_weights, stacked_repulsion
from gcl.losses.pair_loss import PairLoss


class TeamUp(PairLoss):
    r"""InfoNCE in which a key weighs :math:`\exp(\gamma s_j / \tau)`: nodes of strong communities count for more.

    .. math:: \ell_i^{1\to2} = -\frac{a_{ii} + \gamma s_i}{\tau} + \log\Big( \sum_j e^{(a_{ij} + \gamma s_j)/\tau}
        + \sum_{j \ne i} e^{(c_{ij} + \gamma s_j)/\tau} \Big), \qquad
        \gamma(t) = \min\Big( \max\Big(0, \frac{t - t_0}{\text{ramp\_length}} \Big), \gamma_{\max} \Big)

    with the community strength :math:`s` and the epoch t, averaged over nodes and both directions. The paper adds
    :math:`\gamma s_i` to every similarity of anchor i as well; it cancels. At :math:`\gamma = 0` this is
    :class:`~gcl.losses.infonce.InfoNCE`; a constant added to s changes nothing. Exact; memory is linear in N.

    Chen et al.: *CSGCL: Community-Strength-Enhanced Graph Contrastive Learning*, IJCAI 2023, arXiv 2305.04658.

    In its context it needs ``epoch`` and ``node_weight``: the strength, ``[N]``, without gradient.

    Args:
        temperature: :math:`\tau`, above 0.
        ramp_start: the epoch :math:`t_0` after which the strength comes in, at least 0.
        ramp_max: :math:`\gamma_{\max}`, at least 0.
        ramp_length: epochs in which :math:`\gamma` grows by 1, above 0.

    Raises:
        ConfigError: a value out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("epoch", "node_weight")
    takes_more_keys: ClassVar[bool] = True
    takes_shares: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float = 0.4,
        *,
        ramp_start: int = 500,
        ramp_max: float = 1.0,
        ramp_length: int = 100,
    ):
        super().__init__(temperature)
        for name, value, above_zero in (
            ("ramp_start", ramp_start, False),
            ("ramp_max", ramp_max, False),
            ("ramp_length", ramp_length, True),
        ):
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0 or (above_zero and value == 0):
                bound = "above 0" if above_zero else "of at least 0"
                raise ConfigError(f"{name} must be a finite number {bound}, got {value!r}")
        self.ramp_start = ramp_start
        self.ramp_max = ramp_max
        self.ramp_length = ramp_length

    def gamma(self, epoch: int) -> float:
        """The weight of the strength in an epoch (from 1)."""
        return float(min(max(0.0, (epoch - self.ramp_start) / self.ramp_length), self.ramp_max))

    def positive_term(self, h1: Tensor, h2: Tensor, context: LossContext) -> Tensor:
        """Minus the pairs' mean similarity plus bias over the temperature, a scalar; of unit rows ``[N, d]``."""
        weights, bias = anchor_weights(h1, context), self._bias(h1, context)
        bias = bias if context.anchors is None else bias[context.anchors]
        attraction = super().positive_term(h1, h2, context)
        return attraction - weights @ bias.to(weights.dtype) / self.temperature

    def negative_term(self, h1: Tensor, h2: Tensor, context: LossContext) -> Tensor:
        """The mean log-sum-exp over the weighted keys, a scalar; of unit rows ``[N, d]``."""
        bias, more = self._bias(h1, context), context.more_keys
        more_bias = None
        if more is not None:
            if more.node_weight is None:
                raise ConfigError("TeamUp needs the node_weight of further keys, too; give MoreKeys(node_weight=...)")
            more_bias = self.gamma(context.epoch) * more.node_weight.detach().to(bias)
        return stacked_repulsion(
            h1, h2, temperature=self.temperature, context=context, key_bias=bias, more_bias=more_bias
        )

    def _bias(self, h: Tensor, context: LossContext) -> Tensor:
        r""":math:`\gamma s`, ``[N]``."""
        if context.node_weight is None or context.epoch < 1:
            missing = "node_weight (the strength of each node)" if context.node_weight is None else "epoch (from 1)"
            raise ConfigError(f"TeamUp needs {missing} in its context; give LossContext(epoch=..., node_weight=...)")
        if context.node_weight.shape != h.shape[:1]:
            raise DataError(
                f"node_weight must have one entry a node, [{h.shape[0]}], got {list(context.node_weight.shape)}"
            )
        dtype = torch.promote_types(h.dtype, torch.float32)
        return self.gamma(context.epoch) * context.node_weight.detach().to(h.device, dtype)

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"temperature={self.temperature}, ramp_start={self.ramp_start}, ramp_max={self.ramp_max}, "
            f"ramp_length={self.ramp_length}"
        )
