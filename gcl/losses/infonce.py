"""InfoNCE over the nodes of two views."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from gcl.core.context import LossContext
from gcl.core.errors import ConfigError
from gcl.losses.functional import inter_view_repulsion, stacked_repulsion
from gcl.losses.pair_loss import PairLoss


class InfoNCE(PairLoss):
    r"""Every node against the same node of the other view, with all nodes of both views as negatives.

    .. math:: \mathcal{L} = \frac{1}{2N} \sum_i \big( \ell_i^{1\to2} + \ell_i^{2\to1} \big), \qquad
        \ell_i^{1\to2} = -\frac{a_{ii}}{\tau} + \log\Big( \sum_j e^{a_{ij}/\tau} + \sum_{j \ne i} e^{c_{ij}/\tau} \Big)

    with cosine similarities :math:`a_{ij}` between the views and :math:`c_{ij}` inside the first. Exact; memory is
    linear in N.

    van den Oord, Li, Vinyals (arXiv 1807.03748), in the form of GRACE: Zhu et al., *Deep Graph Contrastive
    Representation Learning*, arXiv 2006.04131.

    Args:
        temperature: :math:`\tau`, above 0.
        intra_view: whether the nodes of the anchor's own view are negatives too.
        compat: ``"pygcl-0.1.2"`` repeats a defect of that package: the anchor's similarity with itself,
            :math:`c_{ii} = 1`, counts as a negative. Only for comparing with its numbers.

    Raises:
        ConfigError: a value out of range, or ``compat`` without intra-view negatives, where it says nothing.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    takes_more_keys: ClassVar[bool] = True
    takes_shares: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float = 0.5,
        *,
        intra_view: bool = True,
        compat: Literal["pygcl-0.1.2"] | None = None,
    ):
        super().__init__(temperature)
        if compat not in (None, "pygcl-0.1.2"):
            raise ConfigError(f"compat must be 'pygcl-0.1.2' or None, got {compat!r}")
        if compat is not None and not intra_view:
            raise ConfigError(f"compat={compat!r} is about intra-view negatives; leave it out or set intra_view=True")
        self.intra_view = intra_view
        self.compat = compat

    def negative_term(self, h1: Tensor, h2: Tensor, context: LossContext) -> Tensor:
        """The mean log-sum-exp over the keys (the positive pair among them), a scalar; of unit rows ``[N, d]``."""
        if not self.intra_view:
            return inter_view_repulsion(h1, h2, temperature=self.temperature, context=context)
        own_pair = self.compat == "pygcl-0.1.2"
        return stacked_repulsion(h1, h2, temperature=self.temperature, context=context, own_pair=own_pair)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"temperature={self.temperature}, intra_view={self.intra_view}, compat={self.compat!r}"
