"""The heat kernel as a view."""

from __future__ import annotations

from collections.abc import Sequence

from gcl.augment.diffusion import Diffusion
from gcl.ops.diffusion import DiffusionNormalization, heat_coefficients


class HeatDiffusion(Diffusion):
    r"""Puts the heat kernel in place of the graph.

    .. math:: S = \sum_{k \ge 0} e^{-t} \frac{t^k}{k!} T^k = e^{-t (I - T)}

    Gasteiger, Weißenberger, Günnemann, NeurIPS 2019, arXiv 1911.05485; as a view: Hassani, Khasahmadi: *Contrastive
    Multi-View Representation Learning on Graphs*, ICML 2020, arXiv 2006.05582, with t = 5.

    Args:
        time: t, the mean length of a walk, from 0 to 100.
        normalize, top, threshold, tolerance: see :class:`~gcl.augment.diffusion.Diffusion`.

    Raises:
        ConfigError, DataError: as there.
    """

    def __init__(
        self,
        time: float = 5.0,
        *,
        normalize: DiffusionNormalization = "symmetric",
        top: int | None = 64,
        threshold: float = 0.0,
        tolerance: float = 1e-5,
    ):
        self.time = time
        super().__init__(self.series(), normalize=normalize, top=top, threshold=threshold, tolerance=tolerance)

    def series(self) -> Sequence[float]:
        r""":math:`e^{-t} t^k / k!`."""
        return heat_coefficients(self.time)
