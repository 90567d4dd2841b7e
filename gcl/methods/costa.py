"""COSTA."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from gcl.augment.compose import Compose
from gcl.core.context import Batch, Clock, LossContext
from gcl.core.errors import ConfigError, unknown
from gcl.core.graph import Graph
from gcl.core.resolve import Slot
from gcl.core.streams import Streams
from gcl.methods.two_view import NodeOrder, Parts, TwoView
from gcl.ops.gaussian_sketch import gaussian_sketch, sketch_scale

Views = Literal["multi", "single"]

EDGES = {
    "view1": {"edge": {"name": "edge_drop", "drop_prob": 0.2}},
    "view2": {"edge": {"name": "edge_drop", "drop_prob": 0.4}},
}
GCN = {"name": "gcn", "out_channels": 256}
PROJECTOR = {"name": "mlp", "hidden_channels": 256}
INFONCE = {"name": "infonce", "temperature": 0.4, "intra_view": False}


class COSTA(TwoView):
    r"""Contrasts random combinations of nodes in place of nodes: augmentation of the hidden features.

    .. math:: H^v = g(P Z^v), \qquad P \in \mathbb{R}^{k \times N},\ P_{ij} \sim N(0, 1/k),\ k = \lfloor r N \rfloor

    with a fresh P in every step that both views share. Row i of one sketch is the positive of row i of the other, and
    its negatives are the other view's rows. Zhang, Zhu, Song, Koniusz, King: *COSTA: Covariance-Preserving Feature
    Augmentation for Graph Contrastive Learning*, KDD 2022, DOI 10.1145/3534678.3539425. The defaults are those of the
    POT study for Cora.

    ``views="single"`` encodes one view and sketches it twice, by P and by :math:`\rho P + \sqrt{1 - \rho^2}\, Q` with
    an independent Q. The paper has a single-view setting whose formula we do not have: this is our reading of it.

    Args:
        sketch_ratio: r, above 0 and up to 1.
        views: ``multi`` contrasts two graph views, ``single`` two sketches of the first.
        sketch_correlation: :math:`\rho`, from 0 and below 1, for ``single``.
        augment, encoder, projector, loss, regularizer, communities, node_order: see
            :class:`~gcl.methods.two_view.TwoView`.
        anchors: not available: rows of a sketch are no nodes.
        subset: how many rows of the sketch to make at most (all are alike, so these are a subset of k).

    Raises:
        ConfigError: a value out of range, ``anchors``, or a regulariser with a single view.
    """

    takes_own_parts: ClassVar[bool] = False

    provides: ClassVar[tuple[str, ...]] = ("epoch",)

    def __init__(
        self,
        *,
        sketch_ratio: float = 0.5,
        views: Views = "multi",
        sketch_correlation: float = 0.5,
        augment: Mapping[str, Parts] = EDGES,
        encoder: Annotated[Any, Slot("encoder")] = GCN,
        projector: Annotated[Any, Slot("projector")] = PROJECTOR,
        loss: Annotated[Any, Slot("loss")] = INFONCE,
        regularizer: Annotated[Any, Slot("regularizer")] | None = None,
        communities: Annotated[Any, Slot("communities")] = "communities",
        anchors: int | None = None,
        subset: int | None = None,
        memory: Annotated[Any, Slot("memory")] | None = None,
        node_order: NodeOrder = "stored",
    ):
        super().__init__(
            augment=augment,
            encoder=encoder,
            projector=projector,
            loss=loss,
            regularizer=regularizer,
            communities=communities,
            anchors=anchors,
            subset=subset,
            memory=memory,
            node_order=node_order,
        )
        if anchors is not None:
            raise ConfigError("COSTA contrasts rows of a sketch, which are no nodes; use subset in place of anchors")
        if memory is not None:
            raise ConfigError(
                "COSTA contrasts rows of a sketch, of which a memory of nodes knows nothing; leave it out"
            )
        if isinstance(sketch_ratio, bool) or not 0 < sketch_ratio <= 1:
            raise ConfigError(f"sketch_ratio must be above 0 and up to 1, got {sketch_ratio!r}")
        if isinstance(sketch_correlation, bool) or not 0 <= sketch_correlation < 1:
            raise ConfigError(f"sketch_correlation must be from 0 and below 1, got {sketch_correlation!r}")
        if views not in get_args(Views):
            raise ConfigError(unknown("views", str(views), get_args(Views)))
        if views == "single" and regularizer is not None:
            raise ConfigError("a regulariser compares two graph views, and views='single' has one; use views='multi'")
        self.store(sketch_ratio=sketch_ratio, views=views, sketch_correlation=sketch_correlation)

    sketch_ratio: float
    views: Views
    sketch_correlation: float

    def contrasted(
        self, embeddings: tuple[Tensor, ...], subset: Tensor | None, clock: Clock, streams: Streams
    ) -> tuple[Tensor, ...]:
        """The sketches of both views, ``[k, d]`` each."""
        embeddings = super().contrasted(embeddings, subset, clock, streams)
        num_nodes, width = embeddings[0].shape
        whole = max(1, int(self.sketch_ratio * num_nodes))
        rows, scale = min(whole, self.subset or whole), sketch_scale(whole)
        counters = (clock.stage_index, clock.epoch, clock.batch)
        generator = streams.generator("sketch", *counters, device=embeddings[0].device)
        if self.views == "multi":
            sketch = gaussian_sketch(torch.cat(embeddings, dim=1), rows, scale=scale, generator=generator)
            return sketch[:, :width], sketch[:, width:]
        first = gaussian_sketch(embeddings[0], rows, scale=scale, generator=generator)
        other = gaussian_sketch(embeddings[0], rows, scale=scale, generator=generator)
        return first, self.sketch_correlation * first + math.sqrt(1 - self.sketch_correlation**2) * other

    def loss_context(self, batch: Batch, clock: Clock, streams: Streams, subset: Tensor | None = None) -> LossContext:
        """The epoch alone: rows of a sketch have no weights and no ids."""
        return LossContext(epoch=clock.epoch)

    def two_views(self, graph: Graph, streams: Streams) -> tuple[Tensor, Tensor] | None:
        """Embeddings of two fresh views; ``None`` where there is one."""
        return None if self.views == "single" else super().two_views(graph, streams)

    def _subset(self, batch: Batch, clock: Clock, streams: Streams) -> Tensor | None:
        return batch.index if batch.index_only else None

    def _augmenters(self) -> list[Compose]:
        both = super()._augmenters()
        return both if self.views == "multi" else both[:1]
