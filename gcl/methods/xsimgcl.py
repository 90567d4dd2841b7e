"""XSimGCL."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from gcl.core.context import Batch, Clock, StepOutput
from gcl.core.errors import ConfigError
from gcl.core.resolve import Slot
from gcl.core.streams import Streams
from gcl.methods.contrastive_recommender import ContrastiveRecommender, Negatives
from gcl.methods.recommender import Init, Sampling, check_count, check_weight
from gcl.methods.simgcl import check_layers, noisy_layers

COSINE = {"name": "one_way_infonce", "temperature": 0.15}


class XSimGCL(ContrastiveRecommender):
    r"""SimGCL in one pass: one noisy encoding ranks, and is contrasted with one of its own layers.

    .. math:: Z = \frac1L \sum_{l=1}^{L} E^{(l)} \quad\text{against}\quad E^{(l^*)}

    with the noise and the penalty of :class:`~gcl.methods.simgcl.SimGCL`. Without noise at test time.

    Yu, Xia, Chen, Cui, Hung, Yin: *XSimGCL: Towards Extremely Simple Graph Contrastive Learning for Recommendation*,
    TKDE 2023, arXiv 2209.02544.

    Args:
        embedding_dim, batch_size, l2, sampling, init: see :class:`~gcl.methods.recommender.Recommender`.
        num_layers: L, from 1.
        contrast_weight, contrast, communities, negatives, num_sampled, anchors: see
            :class:`~gcl.methods.contrastive_recommender.ContrastiveRecommender`.
        noise: length of what is added to every row, 0 or more.
        contrast_layer: :math:`l^*`, from 1 to L.
    """

    counts_repeats: ClassVar[bool] = False
    noise: float
    contrast_layer: int

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        num_layers: int = 3,
        batch_size: int = 2048,
        l2: float = 1e-4,
        sampling: Sampling = "edge",
        init: Init = "xavier",
        contrast_weight: float = 0.2,
        contrast: Annotated[Any, Slot("loss")] = COSINE,
        communities: Annotated[Any, Slot("communities")] = "communities",
        negatives: Negatives = "batch",
        num_sampled: int = 4096,
        anchors: int | None = None,
        noise: float = 0.2,
        contrast_layer: int = 1,
    ):
        super().__init__(
            embedding_dim=embedding_dim,
            num_layers=num_layers,
            batch_size=batch_size,
            l2=l2,
            sampling=sampling,
            init=init,
            contrast_weight=contrast_weight,
            contrast=contrast,
            communities=communities,
            negatives=negatives,
            num_sampled=num_sampled,
            anchors=anchors,
        )
        check_layers(num_layers, type(self).__name__)
        check_weight("noise", noise)
        check_count("contrast_layer", contrast_layer, 1)
        if contrast_layer > num_layers:
            raise ConfigError(f"contrast_layer must be from 1 to num_layers ({num_layers}), got {contrast_layer}")
        self.store(noise=noise, contrast_layer=contrast_layer)

    def coefficients(self) -> list[float]:
        """The mean of layers 1 to L."""
        return [0.0] + [1 / self.num_layers] * self.num_layers

    def training_step(self, batch: Batch, clock: Clock, streams: Streams) -> StepOutput:
        """Ranking and contrast of one noisy encoding."""
        operator = self.operator(batch.graph)
        layers = noisy_layers(operator, self.embedding_, self.num_layers, self.noise, clock, streams, 0)
        z = sum(layers[1:], layers[0]) / self.num_layers
        loss, parts = self.ranking_terms(z, batch, clock)
        if self.contrast_weight:
            terms = self.contrast_views(z, layers[self.contrast_layer - 1], batch, clock, streams)
            loss, parts = self.with_contrast(loss, parts, terms)
        return StepOutput(loss, parts, weight=self.triples(batch)[0].numel())
