"""Two augmented views, one encoder, one contrastive loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from gcl.augment.compose import Compose
from gcl.core.context import Batch, Clock, LayerTrace, LossContext, Outputs, Prepared, StepContext, StepOutput
from gcl.core.errors import ConfigError, unknown
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.last_result import LastResult
from gcl.core.resolve import Slot, resolve
from gcl.core.streams import Streams
from gcl.core.view import View
from gcl.methods.method import (
    Method,
    build_loss,
    needs_of,
    one_number,
    own_anchors,
    projected_channels,
)
from gcl.methods.remembered import Remembered
from gcl.methods.two_view_checks import check_batches, check_parts, check_shares
from gcl.ops.node_order import community_order, inverse_order, reorder_nodes
from gcl.ops.rank_rows import gathered_rows

NodeOrder = Literal["stored", "community"]
Parts = Annotated[Any, Slot("augmenter", many=True)]

EDGES_AND_FEATURES = {
    "edge": {"name": "edge_drop", "drop_prob": 0.3},
    "feature": {"name": "feature_mask", "drop_prob": 0.3},
}
TWO_VIEWS = {"view1": EDGES_AND_FEATURES, "view2": EDGES_AND_FEATURES}


class TwoView(Method):
    r"""Contrasts two random views of every node: the family of GRACE.

    .. math:: \min_\theta\; \mathcal{L}\big(g(f(t_1(G))),\, g(f(t_2(G)))\big)
        \qquad\text{embeddings: } Z = f(G)

    with augmenters :math:`t_1, t_2`, an encoder :math:`f` and a projector :math:`g` that only the loss sees.

    Args:
        augment: ``{"view1": parts, "view2": parts}``, each a mapping of named augmenters applied in order.
        encoder: an encoder specification.
        projector: a projector specification.
        loss: a loss specification.
        regularizer: a regulariser specification, or ``None``.
        communities: how communities are found, for parts that need them; ignored by all others.
        anchors: how many anchors the loss averages over in each step: a fresh subset without replacement against all
            keys, unbiased. ``None`` = every node.
        subset: how many nodes the loss runs on in each step: a fresh subset without replacement, anchors and keys
            alike, as some papers do on large graphs. It has fewer negatives than the whole loss. ``None`` = every node.
        memory: what is remembered of nodes that are not in a step, as further negatives: ``recent`` (of the last ones)
            or ``clusters`` (of all, by the means of their communities). For ``trainer.batch`` and ``subset``. Each
            view is then contrasted with the other as a slow copy of encoder and projector sees it, from which the
            memory is, too: without it embeddings flee from what is remembered, and collapse. ``None`` = nothing.
        node_order: ``community`` trains on a copy of the graph whose nodes lie by community, which makes products of
            large graphs faster. Everything that goes in or comes out keeps the stored order.

    Raises:
        ConfigError: the loss needs something that the method does not provide, or a regulariser cannot handle the
            encoder or an augmenter.
    """

    embedding_names: ClassVar[tuple[str, ...] | None] = ("embedding",)
    provides: ClassVar[tuple[str, ...]] = ("epoch", "anchors", "node_weight", "clusters")
    takes_own_parts: ClassVar[bool] = True  # whether processes may work on different parts of the graph

    augment: Mapping[str, Any]
    anchors: int | None
    subset: int | None
    memory: Any
    node_order: NodeOrder
    node_order_: Tensor | None
    node_weight_: Tensor | None
    clusters_: Tensor | None
    regularizer_state_: dict[str, Tensor]

    def __init__(
        self,
        *,
        augment: Mapping[str, Parts] = TWO_VIEWS,
        encoder: Annotated[Any, Slot("encoder")] = "gcn",
        projector: Annotated[Any, Slot("projector")] = "mlp",
        loss: Annotated[Any, Slot("loss")] = "infonce",
        regularizer: Annotated[Any, Slot("regularizer")] | None = None,
        communities: Annotated[Any, Slot("communities")] = "communities",
        anchors: int | None = None,
        subset: int | None = None,
        memory: Annotated[Any, Slot("memory")] | None = None,
        node_order: NodeOrder = "stored",
    ):
        super().__init__()
        if set(augment) != {"view1", "view2"}:
            raise ConfigError(f"augment must have the keys view1 and view2, got {sorted(augment)}")
        if anchors is not None and anchors < 1:
            raise ConfigError(f"anchors must be at least 1 or null for all nodes, got {anchors}")
        if subset is not None and subset < 2:
            raise ConfigError(f"subset must be at least 2 or null for all nodes, got {subset}")
        if anchors is not None and subset is not None:
            raise ConfigError("anchors and subset are two ways to take fewer nodes in a step; give one of them")
        if node_order not in get_args(NodeOrder):
            raise ConfigError(unknown("node_order", str(node_order), get_args(NodeOrder)))
        self.store(
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
        self.remembered_: Remembered | None = None
        self.regularizer_state_ = {}
        self._reordered = LastResult[Graph]()  # in the order of training

    def check(self, spec: GraphSpec) -> None:
        """Makes every part once, so that what does not fit is said before any work."""
        check_parts(self, spec, self._augmenters())

    def check_batches(self, parts: bool) -> None:
        """Refuses settings that say nothing, or something else, where a step gets a part of the graph."""
        check_batches(self, parts)

    def check_shares(self, parts: bool = False) -> None:
        """Each process takes its share of the loss's anchors.

        Both views it draws and encodes whole, or on its own part of the graph; then rows of all processes are keys.
        """
        check_shares(self, parts)

    # -- once, before training ---------------------------------------------------------------------------------------

    def prepare(self, graph: Graph, streams: Streams) -> Prepared:
        """Communities (where a part needs them) and the fitted state of the augmenters."""
        augmenters, loss = self._augmenters(), resolve("loss", self.loss)
        tensors: dict[str, Tensor] = {}
        needed = bool({"node_weight", "clusters"} & set(needs_of(loss))) or any(
            "communities" in augmenter.needs for augmenter in augmenters
        )
        needed |= self.memory is not None and getattr(resolve("memory", self.memory), "needs_clusters", False)
        if needed or self.node_order == "community":
            communities = resolve("communities", self.communities)
            communities.fit(graph, generator=streams.generator("communities"))
            graph = communities.attach(graph)
        if self.node_order == "community":
            tensors["node_order"] = community_order(graph.adjacency, graph.attr("community"))
        if needed:
            tensors |= {name: graph.node_attrs[graph.target][name] for name in ("community", "community_strength")}
        for index, augmenter in enumerate(augmenters, start=1):
            augmenter.fit(graph, generator=streams.generator("fit", index))
            tensors |= {f"view{index}.{key}": value for key, value in augmenter.state().items()}
        if self.regularizer is not None:
            prepared = resolve("regularizer", self.regularizer).prepare(graph, augmenters)
            tensors |= {f"regularizer.{key}": value for key, value in prepared.items()}
        return Prepared(tensors)

    def build(self, spec: GraphSpec, prepared: Prepared) -> TwoView:
        """Makes encoder, projector and loss, and gives the augmenters their fitted state back."""
        self.augmenters_ = self._augmenters()
        for index, augmenter in enumerate(self.augmenters_, start=1):
            augmenter.load_state(_under(prepared.tensors, f"view{index}."))
        self.encoder_ = resolve("encoder", self.encoder).build(spec)
        self.projector_ = resolve("projector", self.projector).build(self.encoder_.out_channels)
        channels = projected_channels(self.projector_, self.encoder_.out_channels)
        self.loss_ = build_loss(self.loss, channels)
        self.regularizer_ = None if self.regularizer is None else resolve("regularizer", self.regularizer)
        if self.regularizer_ is not None:
            self.regularizer_.check(self.encoder_, self.augmenters_)
        self.regularizer_state_ = _under(prepared.tensors, "regularizer.")
        # Kept with the prepared tensors, not with the weights.
        self.register_buffer("node_weight_", prepared.tensors.get("community_strength"), persistent=False)
        self.register_buffer("clusters_", prepared.tensors.get("community"), persistent=False)
        self.register_buffer("node_order_", prepared.tensors.get("node_order"), persistent=False)
        if self.memory is not None:
            memory = resolve("memory", self.memory)
            memory.build(channels, spec.num_nodes[spec.target], self.clusters_, self.node_weight_)
            self.remembered_ = Remembered(memory, self.encoder_, self.projector_)
        return self

    # -- training ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, clock: Clock, streams: Streams) -> StepOutput:
        """Draws both views, encodes and projects them, and takes the loss."""
        whole = batch.graph.node_id is None
        batch = self._in_order(batch)
        counters = (clock.stage_index, clock.epoch, clock.batch, *([clock.rank] if batch.all_rows else []))
        views = self._views(batch.graph, streams, "augment", *counters)
        traced = self.regularizer_ is not None
        traces: tuple[list[LayerTrace], ...] = tuple([] for _ in views)
        z = tuple(
            self.encoder_(view, trace=trace if traced else None) for view, trace in zip(views, traces, strict=True)
        )  # each [N, d]
        subset = self._subset(batch, clock, streams)

        def contrasted(rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return self.contrasted(rows, subset, clock, streams)

        h = self._of_all(tuple(self.projector_(rows) for rows in contrasted(z)), batch, clock)  # each [n, d]
        whole_context = self.loss_context(batch, clock, streams, subset)
        context = own_anchors(whole_context, h[0], clock)
        if self.remembered_ is None:
            loss = self.loss_(h[0], h[1], context=context)
        else:
            slow = self._of_all(self.remembered_.project(views, contrasted), batch, clock)
            (nodes,) = self._of_all((self._nodes(batch.graph, subset),), batch, clock)
            loss = self.remembered_.contrast(self.loss_, h, slow, nodes, context)
        loss = one_number(loss, self.loss_)
        parts = {}
        if self.regularizer_ is not None:
            step = StepContext(
                graph=batch.graph,
                views=views,
                embeddings=z,
                projections=h,
                traces=traces,
                encoder=self.encoder_,
                index=subset if batch.all_rows else _rows_of_anchors(whole_context.anchors, subset),
                clock=clock,
                prepared=self.regularizer_state_,
                streams=streams,
            )
            value = self.regularizer_(step) / clock.world  # every process takes the whole of it
            parts = {"contrast": loss.detach(), "regularizer": value.detach()}
            loss = self.regularizer_.combine(loss, value)
        return StepOutput(loss, parts, weight=1.0 if whole else float(h[0].shape[0]))

    def contrasted(
        self, embeddings: tuple[Tensor, ...], subset: Tensor | None, clock: Clock, streams: Streams
    ) -> tuple[Tensor, ...]:
        """The rows that the projector and the loss get of each view: all ``[N, d]``, or those of the subset."""
        return embeddings if subset is None else tuple(z.index_select(0, subset) for z in embeddings)

    def loss_context(self, batch: Batch, clock: Clock, streams: Streams, subset: Tensor | None = None) -> LossContext:
        """What the loss may ask for in this step; its rows are those of the subset where there is one, ``[n]``."""
        graph, anchors = batch.graph, batch.index
        nodes = None if graph.node_id is None else graph.node_id[graph.target]
        if subset is not None:
            anchors, nodes = None, subset if nodes is None else nodes[subset]
        rows = graph.num_nodes if subset is None else subset.numel()
        if batch.all_rows is not None and nodes is not None:
            rows, (nodes,) = batch.all_rows, self._of_all((nodes,), batch, clock)
        candidates = rows if anchors is None else anchors.numel()
        if self.anchors is not None and self.anchors < candidates:
            generator = streams.generator("anchors", clock.stage_index, clock.epoch, clock.batch)
            chosen = _choose(candidates, self.anchors, generator).to(graph.device)
            anchors = chosen if anchors is None else anchors[chosen]
        weight, clusters = (
            known if known is None or nodes is None else known[nodes] for known in (self.node_weight_, self.clusters_)
        )
        return LossContext(epoch=clock.epoch, anchors=anchors, node_weight=weight, clusters=clusters)

    def after_step(self, clock: Clock) -> None:
        """Remembers the nodes of the step, where there is a memory."""
        if self.remembered_ is not None:
            self.remembered_.after_step(self.encoder_, self.projector_)

    def outputs(self, graph: Graph) -> Outputs:
        """Encoder embeddings of the unperturbed graph, without the projector, ``[N, d]``."""
        return Outputs({"embedding": self.encoder_.embed(graph)})

    @torch.no_grad()
    def two_views(self, graph: Graph, streams: Streams) -> tuple[Tensor, Tensor] | None:
        """Embeddings of two fresh views in evaluation mode, ``[N, d]`` each."""
        views = self._views(graph, streams, "diagnostics")
        return self.encoder_.embed(views[0]), self.encoder_.embed(views[1])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TwoView:
        super()._apply(fn, recurse)
        self.regularizer_state_ = {key: fn(value) for key, value in self.regularizer_state_.items()}
        return self

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _views(self, graph: Graph, streams: Streams, purpose: str, *counters: int) -> tuple[View, ...]:
        return tuple(
            augmenter(graph, generator=streams.generator(purpose, *counters, index, device=graph.device))
            for index, augmenter in enumerate(self.augmenters_)
        )

    @staticmethod
    def _of_all(rows: tuple[Tensor, ...], batch: Batch, clock: Clock) -> tuple[Tensor, ...]:
        """The rows of all processes, where each has a part of its own."""
        whole = batch.all_rows
        return rows if whole is None else tuple(gathered_rows(part, whole, clock) for part in rows)

    def _subset(self, batch: Batch, clock: Clock, streams: Streams) -> Tensor | None:
        """The nodes that the loss runs on in this step, int64 ``[n]`` ascending; ``None`` = all."""
        size, among = self.subset, batch.index
        candidates = batch.graph.num_nodes if among is None else among.numel()
        if size is None or size >= candidates:
            return among if size is not None or batch.index_only else None
        generator = streams.generator("subset", clock.stage_index, clock.epoch, clock.batch)
        chosen = _choose(candidates, size, generator).to(batch.graph.device)
        return chosen if among is None else among[chosen]

    @staticmethod
    def _nodes(graph: Graph, subset: Tensor | None) -> Tensor:
        """The nodes of the fitted graph that the loss runs on, int64 ``[n]``."""
        if graph.node_id is not None:
            nodes = graph.node_id[graph.target]
            return nodes if subset is None else nodes[subset]
        return torch.arange(graph.num_nodes, device=graph.device) if subset is None else subset

    def _in_order(self, batch: Batch) -> Batch:
        """The batch with its nodes in the order of training; a sampled part stays as it is."""
        graph, order = batch.graph, self.node_order_
        if order is None or graph.node_id is not None:
            return batch
        reordered = self._reordered.of(graph, lambda: reorder_nodes(graph, order))
        index = None if batch.index is None else inverse_order(order)[batch.index]
        return dataclasses.replace(batch, graph=reordered, index=index)

    def _augmenters(self) -> list[Compose]:
        return [Compose(self.augment[view]) for view in ("view1", "view2")]


def _rows_of_anchors(anchors: Tensor | None, subset: Tensor | None) -> Tensor | None:
    """The rows of a batch that the loss ran on: its anchors, which count inside the subset where there is one."""
    if anchors is None or subset is None:
        return subset if anchors is None else anchors
    return subset[anchors]


def _choose(candidates: int, size: int, generator: torch.Generator) -> Tensor:
    """Some of 0 to ``candidates - 1``, each as likely, int64 ``[size]`` ascending."""
    return torch.randperm(candidates, generator=generator)[:size].sort().values


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
