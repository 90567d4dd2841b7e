"""Markov diffusion as a view."""

from __future__ import annotations

from collections.abc import Sequence

from gcl.augment.diffusion import Diffusion
from gcl.ops.diffusion import DiffusionNormalization, markov_coefficients


class MarkovDiffusion(Diffusion):
    r"""Puts the mean of the first steps of a walk, with a share that stays, in place of the graph.

    .. math:: S = \alpha I + \frac{1 - \alpha}{K} \sum_{k=1}^{K} T^k

    Zhu, Koniusz: *Simple Spectral Graph Convolution*, ICLR 2021; with :math:`\alpha = 0` the kernel of Fouss et al.,
    Neural Networks 31 (2012).

    Args:
        alpha: share that stays, from 0 to 1.
        order: K, from 1.
        normalize, top, threshold, tolerance: see :class:`~gcl.augment.diffusion.Diffusion`.

    Raises:
        ConfigError, DataError: as there.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        order: int = 10,
        normalize: DiffusionNormalization = "symmetric",
        top: int | None = 64,
        threshold: float = 0.0,
        tolerance: float = 1e-5,
    ):
        self.alpha = alpha
        self.order = order
        super().__init__(self.series(), normalize=normalize, top=top, threshold=threshold, tolerance=tolerance)

    def series(self) -> Sequence[float]:
        r""":math:`\alpha`, then :math:`(1 - \alpha) / K`, K times."""
        return markov_coefficients(self.alpha, self.order)
