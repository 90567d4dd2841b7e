"""Neighbours of a graph as weighted positives, all nodes as negatives."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from gcl.core.adjacency import Adjacency
from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError
from gcl.losses.functional import check_scale
from gcl.ops.neighbor_logsumexp import neighbor_logsumexp
from gcl.ops.product_logsumexp import product_logsumexp
from gcl.ops.unit_rows import unit_rows


class NeighborContrast(nn.Module):
    r"""The contrastive loss of SCGC, exact and in memory linear in the nodes and the stored pairs.

    .. math:: \mathcal{L} = -\frac1N \sum_i \log \frac{\rho_i}{\sigma_i}, \qquad
        \rho_i = \sum_j \Gamma_{ij} e^{\tau S_{ij}}, \quad \sigma_i = \sum_j e^{\tau S_{ij}}

    with :math:`S_{ij} = \cos(z_i, z_j)` and :math:`S_{ii} = 0`, and the transition weights :math:`\Gamma` of
    :func:`gcl.ops.transition_weights.transition_weights`. Positives are negatives, too. The program's 1e-8 inside the
    logarithm, which never matters, is left out.

    Kulatilleke, Portmann, Chandra: *SCGC: Self-Supervised Contrastive Graph Clustering*, arXiv 2204.12656; the loss is
    that of Graph-MLP (Hu et al., arXiv 2106.04051).

    Args:
        scale: :math:`\tau`, above 0. It **multiplies** the similarity, where a temperature divides.

    Raises:
        ConfigError: a scale out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("positives",)
    views: ClassVar[int] = 1  # that it contrasts

    def __init__(self, scale: float = 0.25):
        super().__init__()
        check_scale(scale)
        self.scale = scale

    def forward(self, z1: Tensor, z2: Tensor | None = None, *, context: LossContext | None = None) -> Tensor:
        """The mean loss over the nodes, a scalar.

        Args:
            z1: embeddings, ``[N, d]``; rows are normalised here.
            z2: must be ``None``.
            context: ``positives``, ``[N, N]`` with the weights Γ.

        Raises:
            ConfigError: a second view, anchors, or no positives.
            DataError: shapes that do not fit together.
        """
        unit, positives = one_view(z1, z2, context, type(self).__name__)
        return neighbor_attraction(unit, positives, scale=self.scale) + all_pairs_repulsion(unit, scale=self.scale)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"scale={self.scale}"


def neighbor_attraction(unit: Tensor, positives: Adjacency, *, scale: float) -> Tensor:
    r""":math:`-\frac1N \sum_i \log \rho_i`, a scalar; rows without any positive are left out of the sum.

    Args:
        unit: unit rows, ``[N, d]``.
        positives: Γ, ``[N, N]``.
        scale: :math:`\tau`.
    """
    rho = neighbor_logsumexp(unit, None, positives, temperature=1 / scale, diagonal=0.0)
    return -torch.where(rho == -math.inf, 0.0, rho).sum() / unit.shape[0]


def all_pairs_repulsion(unit: Tensor, *, scale: float) -> Tensor:
    r""":math:`\frac1N \sum_i \log \sigma_i`, a scalar: all pairs, tile by tile, and 1 for the node itself."""
    others = product_logsumexp(unit, temperature=1 / scale)  # -inf where there are none
    assert isinstance(others, Tensor)
    return softplus(others).mean()


def one_view(z1: Tensor, z2: Tensor | None, context: LossContext | None, loss: str) -> tuple[Tensor, Adjacency]:
    """Unit rows of the view, and the positives.

    Raises:
        ConfigError: a second view, anchors, or no positives.
        DataError: shapes that do not fit together.
    """
    if z2 is not None:
        raise ConfigError(f"{loss} contrasts the nodes of one view with each other; leave the second one out")
    context = LossContext() if context is None else context
    if context.positives is None:
        raise ConfigError(f"{loss} needs positives in its context; give LossContext(positives=transition_weights(...))")
    if context.anchors is not None:
        raise ConfigError(f"{loss} is over all nodes; leave anchors out")
    if z1.dim() != 2 or context.positives.shape != (z1.shape[0], z1.shape[0]):
        raise DataError(
            f"{loss} needs embeddings [N, d] and positives [N, N], got {list(z1.shape)} and "
            f"{list(context.positives.shape)}"
        )
    return unit_rows(z1), context.positives
