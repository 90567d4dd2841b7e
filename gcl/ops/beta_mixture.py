"""A mixture of two Beta distributions, fitted by moments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gcl.core.errors import ConfigError, DataError

EDGE = 1e-12  # values are kept this far from 0 and 1, and responsibilities from 0


@dataclass(frozen=True)
class BetaMixture:
    r"""Two Beta components on (0, 1); the first is the one of low values.

    .. math:: p(x) = \sum_{k = 1, 2} \omega_k\, \mathrm{Beta}(x; \alpha_k, \beta_k)

    Args:
        alpha, beta: shape parameters, float64 ``[2]``.
        weight: :math:`\omega`, ``[2]``, sums to 1.
    """

    alpha: Tensor
    beta: Tensor
    weight: Tensor

    @classmethod
    def fit(cls, x: Tensor, *, second_weight: float = 0.05, num_steps: int = 10) -> BetaMixture:
        r"""Fits by EM whose second step matches weighted means and variances.

        .. math:: \alpha = \mu \Big( \frac{\mu (1 - \mu)}{v} - 1 \Big), \qquad \beta = \alpha\, \frac{1 - \mu}{\mu}

        It starts from (1, 2) and (2, 1). A :math:`\beta_2` below 1 becomes 1.01, so that the second density falls at 1.
        EM can swap the components; they are returned by their means, which the authors' program does not see to.
        ProGCL: Xia, Wu, Wang, Li, ICML 2022, arXiv 2110.02027.

        Args:
            x: values from 0 to 1, any shape, not all equal.
            second_weight: :math:`\omega_2` at the start, above 0 and below 1.
            num_steps: steps of EM.

        Raises:
            ConfigError: an argument out of range.
            DataError: no values, values that are not finite or outside [0, 1], or all equal.
        """
        if not 0 < second_weight < 1:
            raise ConfigError(f"second_weight must be above 0 and below 1, got {second_weight!r}")
        if isinstance(num_steps, bool) or num_steps < 1:
            raise ConfigError(f"num_steps must be at least 1, got {num_steps!r}")
        x = x.detach().double().flatten()
        if not x.numel() or not bool(torch.isfinite(x).all()) or float(x.min()) < 0 or float(x.max()) > 1:
            raise DataError("a Beta mixture is fitted to finite values from 0 to 1")
        if bool(x.min() == x.max()):
            raise DataError("a Beta mixture needs values that differ: the similarities of all pairs are equal")
        x = x.clamp(EDGE, 1 - EDGE)
        mixture = cls(
            x.new_tensor([1.0, 2.0]), x.new_tensor([2.0, 1.0]), x.new_tensor([1 - second_weight, second_weight])
        )
        for _ in range(num_steps):
            share = mixture._responsibilities(x)  # [2, n]
            total = share.sum(1)
            mean = (share @ x) / total
            variance = (share * (x - mean.unsqueeze(1)).square()).sum(1) / total
            alpha = mean * (mean * (1 - mean) / variance - 1)
            beta = alpha * (1 - mean) / mean
            if float(beta[1]) < 1:
                beta[1] = 1.01
            mixture = cls(alpha, beta, total / total.sum())
        order = (mixture.alpha / (mixture.alpha + mixture.beta)).argsort()
        return cls(mixture.alpha[order], mixture.beta[order], mixture.weight[order])

    def posterior(self, x: Tensor) -> Tensor:
        """The probability that a value came from the first component, float64, in the shape of ``x``."""
        flat = x.double().flatten().clamp(EDGE, 1 - EDGE)
        return self._responsibilities(flat)[0].view(x.shape)

    def _responsibilities(self, x: Tensor) -> Tensor:
        """Of both components for each value, ``[2, n]``; columns sum to 1."""
        alpha, beta = self.alpha.unsqueeze(1), self.beta.unsqueeze(1)
        normal = torch.lgamma(alpha + beta) - torch.lgamma(alpha) - torch.lgamma(beta)
        log = normal + (alpha - 1) * x.log() + (beta - 1) * torch.log1p(-x) + self.weight.log().unsqueeze(1)
        share = torch.softmax(log, 0).clamp(min=EDGE)
        return share / share.sum(0)
