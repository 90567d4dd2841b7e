"""SimGCL."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gcl.core.context import Batch, Clock, StepOutput
from gcl.core.errors import ConfigError
from gcl.core.resolve import Slot
from gcl.core.streams import Streams
from gcl.methods.contrastive_recommender import ContrastiveRecommender, Negatives
from gcl.methods.recommender import Init, Sampling, check_weight
from gcl.ops.propagation import Propagation

COSINE = {"name": "one_way_infonce", "temperature": 0.2}


class SimGCL(ContrastiveRecommender):
    r"""Contrasts two encodings with noise after every layer; no graph is thinned.

    .. math:: e \leftarrow e + \varepsilon\, \operatorname{sign}(e) \circ \frac{\delta}{\lVert \delta \rVert_2}, \qquad
        \delta \sim U[0, 1)^d, \qquad Z = \frac1L \sum_{l=1}^{L} E^{(l)}

    fresh for every node, layer and view; the noisy rows feed the next layer, and layer 0 is left out of the mean. A
    third encoding without noise ranks. Anchors and keys are the batch's users, and items taken, each once.

    Yu, Yin, Xia, Chen, Cui, Nguyen: *Are Graph Augmentations Necessary? Simple Graph Contrastive Learning for
    Recommendation*, SIGIR 2022, arXiv 2112.08679. The authors' program (SELFRec) penalises w times the norms of the
    batch's matrices of *final* rows of users and items taken, over B. This penalises the squares of layer 0, items not
    taken too, as LightGCN does: at one w it pulls harder, about by those norms.

    Args:
        embedding_dim, batch_size, l2, sampling, init: see :class:`~gcl.methods.recommender.Recommender`.
        num_layers: L, from 1.
        contrast_weight, contrast, communities, negatives, num_sampled, anchors: see
            :class:`~gcl.methods.contrastive_recommender.ContrastiveRecommender`.
        noise: :math:`\varepsilon`, the length of what is added to every row, 0 or more.
    """

    counts_repeats: ClassVar[bool] = False
    noise: float

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        num_layers: int = 3,
        batch_size: int = 2048,
        l2: float = 1e-4,
        sampling: Sampling = "edge",
        init: Init = "xavier",
        contrast_weight: float = 0.5,
        contrast: Annotated[Any, Slot("loss")] = COSINE,
        communities: Annotated[Any, Slot("communities")] = "communities",
        negatives: Negatives = "batch",
        num_sampled: int = 4096,
        anchors: int | None = None,
        noise: float = 0.1,
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
        self.store(noise=noise)

    def coefficients(self) -> list[float]:
        """The mean of layers 1 to L."""
        return [0.0] + [1 / self.num_layers] * self.num_layers

    def training_step(self, batch: Batch, clock: Clock, streams: Streams) -> StepOutput:
        """Ranking by the encoding without noise, contrast of two with noise."""
        operator = self.operator(batch.graph)
        loss, parts = self.ranking_terms(self.propagated(operator), batch, clock)
        if self.contrast_weight:
            first, second = (self._noisy_mean(operator, clock, streams, view) for view in (0, 1))
            loss, parts = self.with_contrast(loss, parts, self.contrast_views(first, second, batch, clock, streams))
        return StepOutput(loss, parts, weight=self.triples(batch)[0].numel())

    def _noisy_mean(self, operator: Propagation, clock: Clock, streams: Streams, view: int) -> Tensor:
        layers = noisy_layers(operator, self.embedding_, self.num_layers, self.noise, clock, streams, view)
        return sum(layers[1:], layers[0]) / self.num_layers


def noisy_layers(
    operator: Propagation, table: Tensor, num_layers: int, noise: float, clock: Clock, streams: Streams, view: int
) -> list[Tensor]:
    """Layers 1 to L with noise, each ``[m + n, d]``. The noise is a constant for the gradient."""
    layers, layer = [], table
    for index in range(num_layers):
        layer = operator.matmul(layer)
        counters = (clock.stage_index, clock.epoch, clock.batch, view, index)
        layer = layer + random_noise(layer, noise, streams.generator("noise", *counters, device=table.device))
        layers.append(layer)
    return layers


@torch.no_grad()
def random_noise(rows: Tensor, length: float, generator: torch.Generator) -> Tensor:
    """A random vector of one length for each row, in the orthant of the row, ``[N, d]``."""
    drawn = torch.rand(rows.shape, generator=generator, device=rows.device, dtype=rows.dtype)
    return F.normalize(drawn, dim=1).mul_(length).mul_(rows.sign())


def check_layers(num_layers: int, name: str) -> None:
    """Refuses an encoder without a layer, which has nothing to add noise to."""
    if num_layers < 1:
        raise ConfigError(f"{name} adds noise after every layer and needs num_layers of at least 1, got {num_layers}")
