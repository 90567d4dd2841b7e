"""SGL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor

from gcl.augment.compose import Compose
from gcl.core.context import Batch, Clock, Prepared, StepOutput
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.resolve import Slot
from gcl.core.streams import Streams
from gcl.methods.contrastive_recommender import ContrastiveRecommender, Negatives
from gcl.methods.recommender import Init, Sampling
from gcl.ops.bipartite import joined_graph
from gcl.ops.polynomial import polynomial
from gcl.ops.propagation import Propagation

Parts = Annotated[Any, Slot("augmenter", many=True)]

EDGES = {"edge": {"name": "edge_drop", "drop_prob": 0.1, "symmetric": True, "exact": True}}
TWO_VIEWS = {"view1": EDGES, "view2": EDGES}
COSINE = {"name": "one_way_infonce", "temperature": 0.2}


class SGL(ContrastiveRecommender):
    r"""Contrasts two random thinnings of the user-item graph, drawn afresh every epoch.

    .. math:: A = Z(G'),\ B = Z(G''), \qquad
        \ell_v = -\frac{\cos(A_v, B_v)}{\tau} + \log \sum_{w} e^{\cos(A_v, B_w)/\tau}

    Degrees are those of the thinned graph. The three ways of the paper are ED (the default); ND,
    ``augment.view1={edge: null, node: {name: node_drop, drop_prob: 0.1, exact: true}}`` and the same for ``view2``
    (without ``edge: null`` both would drop); and RW, ``fresh_layers=true``. Any augmenter of edges or nodes may take
    their place, such as ``communal_edge_drop``.

    Wu, Wang, Feng, He, Chen, Lian, Xie: *Self-supervised Graph Learning for Recommendation*, SIGIR 2021,
    arXiv 2010.10783. Its sums over a batch are means here, which Adam does not tell apart.

    Args:
        embedding_dim, num_layers, batch_size, l2, sampling, init: see :class:`~gcl.methods.recommender.Recommender`.
        contrast_weight, contrast, communities, negatives, num_sampled, anchors: see
            :class:`~gcl.methods.contrastive_recommender.ContrastiveRecommender`.
        augment: ``{"view1": parts, "view2": parts}``, augmenters of the user-item graph.
        fresh_layers: draw a view for every layer of its own (RW).
    """

    augment: Mapping[str, Any]
    fresh_layers: bool

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        num_layers: int = 3,
        batch_size: int = 2048,
        l2: float = 1e-4,
        sampling: Sampling = "edge",
        init: Init = "xavier",
        contrast_weight: float = 0.1,
        contrast: Annotated[Any, Slot("loss")] = COSINE,
        communities: Annotated[Any, Slot("communities")] = "communities",
        negatives: Negatives = "all",
        num_sampled: int = 4096,
        anchors: int | None = None,
        augment: Mapping[str, Parts] = TWO_VIEWS,
        fresh_layers: bool = False,
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
        if set(augment) != {"view1", "view2"}:
            raise ConfigError(f"augment must have the keys view1 and view2, got {sorted(augment)}")
        self.store(augment=augment, fresh_layers=fresh_layers)
        self._drawn: tuple[Any, tuple[list[Propagation], ...]] | None = None

    def check(self, spec: GraphSpec) -> None:
        """Makes every part once."""
        super().check(spec)
        self._augmenters()

    def prepare(self, graph: Graph, streams: Streams) -> Prepared:
        """Fits the augmenters to the user-item graph, with its communities where one needs them."""
        tensors, joined, augmenters = (
            dict(super().prepare(graph, streams).tensors),
            joined_graph(graph),
            self._augmenters(),
        )
        if any("communities" in augmenter.needs for augmenter in augmenters):
            joined = self.with_communities(joined, streams)
        for index, augmenter in enumerate(augmenters, start=1):
            augmenter.fit(joined, generator=streams.generator("fit", index))
            tensors |= {f"view{index}.{key}": value for key, value in augmenter.state().items()}
        return Prepared(tensors)

    def build(self, spec: GraphSpec, prepared: Prepared) -> SGL:
        """Makes the embeddings, and gives the augmenters their fitted state back."""
        super().build(spec, prepared)
        self.augmenters_ = self._augmenters()
        for index, augmenter in enumerate(self.augmenters_, start=1):
            head = f"view{index}."
            state = {key[len(head) :]: value for key, value in prepared.tensors.items() if key.startswith(head)}
            augmenter.load_state(state)
        return self

    def training_step(self, batch: Batch, clock: Clock, streams: Streams) -> StepOutput:
        """Ranking by the whole graph, contrast of the epoch's two thinned ones."""
        z = self.propagated(self.operator(batch.graph))
        loss, parts = self.ranking_terms(z, batch, clock)
        if self.contrast_weight:
            first, second = (self._encode(layers) for layers in self._views(batch.graph, clock, streams))
            loss, parts = self.with_contrast(loss, parts, self.contrast_views(first, second, batch, clock, streams))
        return StepOutput(loss, parts, weight=self.triples(batch)[0].numel())

    def _encode(self, layers: list[Propagation]) -> Tensor:
        if len(layers) == 1:
            return polynomial(layers[0], self.embedding_, self.coefficients())
        weights = self.coefficients()
        layer: Tensor = self.embedding_
        total = weights[0] * layer
        for operator, weight in zip(layers, weights[1:], strict=True):
            layer = operator.matmul(layer)
            total = total + weight * layer
        return total

    def _views(self, graph: Graph, clock: Clock, streams: Streams) -> tuple[list[Propagation], ...]:
        """The operators of both views in this epoch, one each or one a layer; drawn when an epoch first asks."""
        # They follow from counters, so a resumed epoch draws the same; they are kept, for an epoch has many steps.
        key = (graph.adjacency, streams.seed, clock.stage_index, clock.epoch)
        if self._drawn is None or self._drawn[0] != key:
            joined, count = joined_graph(graph), self.num_layers if self.fresh_layers and self.num_layers else 1
            self._drawn = None  # let go of the old ones first
            drawn = tuple(
                [
                    self._draw(augmenter, joined, (clock.stage_index, clock.epoch, view, layer), streams)
                    for layer in range(count)
                ]
                for view, augmenter in enumerate(self.augmenters_)
            )
            self._drawn = (key, drawn)
        return self._drawn[1]

    @staticmethod
    def _draw(augmenter: Compose, joined: Graph, counters: tuple[int, ...], streams: Streams) -> Propagation:
        view = augmenter(joined, generator=streams.generator("augment", *counters, device=joined.device))
        return Propagation(view.relation(), normalize="symmetric")

    def _augmenters(self) -> list[Compose]:
        return [Compose(self.augment[name]) for name in ("view1", "view2")]
