"""Personalised PageRank as a view."""

from __future__ import annotations

from collections.abc import Sequence

from gcl.augment.diffusion import Diffusion
from gcl.ops.diffusion import DiffusionNormalization, pagerank_coefficients


class PPRDiffusion(Diffusion):
    r"""Puts personalised PageRank in place of the graph.

    .. math:: S = \sum_{k \ge 0} \alpha (1 - \alpha)^k T^k = \alpha \big(I - (1 - \alpha) T\big)^{-1}

    Gasteiger, Weißenberger, Günnemann, NeurIPS 2019, arXiv 1911.05485; as a view: Hassani, Khasahmadi: *Contrastive
    Multi-View Representation Learning on Graphs*, ICML 2020, arXiv 2006.05582, with :math:`\alpha = 0.2`.

    Args:
        alpha: probability of going back to the node in each step, from 0.001 to 1.
        normalize, top, threshold, tolerance: see :class:`~gcl.augment.diffusion.Diffusion`.

    Raises:
        ConfigError, DataError: as there.
    """

    def __init__(
        self,
        alpha: float = 0.2,
        *,
        normalize: DiffusionNormalization = "symmetric",
        top: int | None = 64,
        threshold: float = 0.0,
        tolerance: float = 1e-5,
    ):
        self.alpha = alpha
        super().__init__(self.series(), normalize=normalize, top=top, threshold=threshold, tolerance=tolerance)

    def series(self) -> Sequence[float]:
        r""":math:`\alpha (1 - \alpha)^k`."""
        return pagerank_coefficients(self.alpha)
