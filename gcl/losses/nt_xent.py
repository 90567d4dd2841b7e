"""NT-Xent, SimCLR's loss."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from gcl.core.context import LossContext
from gcl.core.errors import DataError
from gcl.losses.functional import stacked_repulsion
from gcl.losses.pair_loss import PairLoss


class NTXent(PairLoss):
    r"""The normalised temperature-scaled cross entropy of 2N stacked rows, each with one positive.

    .. math:: \mathcal{L} = \frac{1}{2N} \sum_{i=1}^{2N}
        -\log \frac{e^{s_{i,p(i)}/\tau}}{\sum_{j \ne i} e^{s_{ij}/\tau}}

    with cosine similarities s and the positive :math:`p(i) = (i + N) \bmod 2N`. Equal to
    :class:`~gcl.losses.infonce.InfoNCE` with intra-view negatives; memory is linear in N.

    Chen, Kornblith, Norouzi, Hinton: *A Simple Framework for Contrastive Learning of Visual Representations*, ICML
    2020, arXiv 2002.05709.

    Args:
        temperature: :math:`\tau`, above 0.

    Raises:
        ConfigError: a value out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    takes_more_keys: ClassVar[bool] = True
    takes_shares: ClassVar[bool] = True

    def forward(self, z1: Tensor, z2: Tensor | None = None, *, context: LossContext | None = None) -> Tensor:
        """The mean loss over the anchors, a scalar.

        Args:
            z1: the first view, ``[N, d]``; or, without ``z2``, both views stacked, ``[2N, d]``.
            z2: the second view, ``[N, d]``.
            context: ``anchors`` (pairs, from 0 to N - 1), ``counts`` and ``num_anchors`` are read.

        Raises:
            DataError: shapes that do not fit together, or an odd number of stacked rows.
        """
        if z2 is None:
            if z1.dim() != 2 or z1.shape[0] % 2:
                raise DataError(f"a stacked batch must have shape [2N, d], both views in order, got {list(z1.shape)}")
            z1, z2 = z1.chunk(2)
        return super().forward(z1, z2, context=context)

    def negative_term(self, h1: Tensor, h2: Tensor, context: LossContext) -> Tensor:
        """The mean log-sum-exp over all other rows of the stack, a scalar; of unit rows ``[N, d]``."""
        return stacked_repulsion(h1, h2, temperature=self.temperature, context=context)
