"""Recommenders with a contrastive term over users and over items."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from gcl.core.context import Batch, Clock, LossContext, Prepared
from gcl.core.errors import ConfigError, unknown
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.resolve import Slot, resolve
from gcl.core.streams import Streams
from gcl.methods.method import (
    build_loss,
    check_loss,
    check_loss_shares,
    is_bounded,
    needs_of,
    one_number,
    own_anchors,
)
from gcl.methods.recommender import Init, Recommender, Sampling, check_count, check_weight
from gcl.ops.bipartite import joined_graph
from gcl.ops.rank_rows import own_rows

Negatives = Literal["all", "batch", "sampled"]

STRENGTH = "community_strength"
SIDES = ("user", "item")


class ContrastiveRecommender(Recommender):
    r"""Adds to the ranking loss a contrastive loss of two views of the batch's users, and of its items.

    .. math:: \mathcal{L} = \mathcal{L}_{\text{rank}} + \lambda (\mathcal{L}_{\text{user}} + \mathcal{L}_{\text{item}})
        + w\, \mathcal{L}_{2}

    Args:
        embedding_dim, num_layers, batch_size, l2, sampling, init: see :class:`~gcl.methods.recommender.Recommender`.
        contrast_weight: :math:`\lambda`, 0 or more.
        contrast: a loss specification; any loss of two views.
        communities: how communities of the user-item graph are found, for losses and augmenters that need them.
        negatives: the keys: ``all`` users (items), those of the ``batch``, or a fresh ``sampled`` set of them.
        num_sampled: keys of each side, for ``sampled``; their sum is scaled up to stand for all.
        anchors: how many of a batch's users, and of its items, to contrast, a fresh uniform subset; ``None`` = all.

    Raises:
        ConfigError: a value out of range, or a loss that needs what a recommender does not provide.
    """

    provides: ClassVar[tuple[str, ...]] = ("epoch", "anchors", "counts", "node_weight")
    counts_repeats: ClassVar[bool] = True  # whether a node that is in a batch twice counts twice

    contrast_weight: float
    contrast: Any
    communities: Any
    negatives: Negatives
    num_sampled: int
    anchors: int | None
    node_weight_: Tensor | None

    def __init__(
        self,
        *,
        embedding_dim: int,
        num_layers: int,
        batch_size: int,
        l2: float,
        sampling: Sampling,
        init: Init,
        contrast_weight: float,
        contrast: Annotated[Any, Slot("loss")],
        communities: Annotated[Any, Slot("communities")],
        negatives: Negatives,
        num_sampled: int,
        anchors: int | None,
    ):
        super().__init__(
            embedding_dim=embedding_dim,
            num_layers=num_layers,
            batch_size=batch_size,
            l2=l2,
            sampling=sampling,
            init=init,
        )
        check_weight("contrast_weight", contrast_weight)
        if negatives not in get_args(Negatives):
            raise ConfigError(unknown("negatives", str(negatives), get_args(Negatives)))
        check_count("num_sampled", num_sampled, 1)
        if anchors is not None:
            check_count("anchors", anchors, 1)
        self.store(
            contrast_weight=contrast_weight,
            contrast=contrast,
            communities=communities,
            negatives=negatives,
            num_sampled=num_sampled,
            anchors=anchors,
        )

    def check(self, spec: GraphSpec) -> None:
        """Refuses another graph, and a loss that needs what is not provided."""
        super().check(spec)
        if not self.contrast_weight:
            return
        rows = [*spec.num_nodes.values(), *([self.batch_size] if self.negatives == "batch" else [])]
        check_loss(self, self.contrast, self.provides, min(rows))
        loss = resolve("loss", self.contrast)
        if self.negatives == "sampled" and not getattr(loss, "takes_keys", False):
            raise ConfigError(
                f"loss {type(loss).__name__} does not take sampled keys; use negatives=all or batch, or one_way_infonce"
            )
        if self.negatives == "sampled" and getattr(loss, "num_clusters", None) is not None:
            raise ConfigError(
                f"num_clusters={loss.num_clusters} makes clusters of all keys and negatives=sampled draws some; use "
                "one of the two"
            )

    @property
    def bounded_loss(self) -> bool:
        """Whether a lower loss is a better one."""
        return not self.contrast_weight or is_bounded(self.contrast)

    def check_shares(self, parts: bool = False) -> None:
        """Each process propagates the whole, and takes its share of the contrastive loss's anchors."""
        if not self.contrast_weight:
            super().check_shares(parts)
        check_loss_shares(self, self.contrast)

    # -- before training ---------------------------------------------------------------------------------------------

    def prepare(self, graph: Graph, streams: Streams) -> Prepared:
        """Communities of the user-item graph, where a part needs them."""
        tensors: dict[str, Tensor] = {}
        if self.contrast_weight and "node_weight" in needs_of(resolve("loss", self.contrast)):
            tensors[STRENGTH] = self.with_communities(joined_graph(graph), streams).node_attrs["node"][STRENGTH]
        return Prepared(tensors)

    def with_communities(self, joined: Graph, streams: Streams) -> Graph:
        """The joined graph with its communities and their strength as node attributes."""
        found = resolve("communities", self.communities)
        found.fit(joined, generator=streams.generator("communities"))
        attached: Graph = found.attach(joined)
        return attached

    def build(self, spec: GraphSpec, prepared: Prepared) -> ContrastiveRecommender:
        """Makes the embeddings, and a loss for each side, which may keep something of its nodes."""
        super().build(spec, prepared)
        self.contrast_ = nn.ModuleList(build_loss(self.contrast, self.embedding_dim) for _ in SIDES)
        self.register_buffer("node_weight_", prepared.tensors.get(STRENGTH), persistent=False)
        return self

    # -- the contrastive term ----------------------------------------------------------------------------------------

    def batch_anchors(self, batch: Batch, clock: Clock, streams: Streams) -> tuple[tuple[Tensor, Tensor | None], ...]:
        """Users, and items, that are contrasted: each node once, int64 ``[n]``, and how often it counts, ``[n]``."""
        lists, merged = self.contrasted_nodes(batch), []
        for side, nodes in enumerate(lists):
            if self.anchors is not None and self.anchors < nodes.numel():
                counters = (clock.stage_index, clock.epoch, clock.batch, side)
                generator = streams.generator("anchors", *counters)
                nodes = nodes[torch.randperm(nodes.numel(), generator=generator)[: self.anchors].to(nodes.device)]
            unique, counts = nodes.unique(return_counts=True)
            merged.append((unique, counts if self.counts_repeats else None))
        return tuple(merged)

    def contrasted_nodes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch's users and items, numbered on their own side, with repeats: the items are those taken."""
        assert batch.index is not None
        assert batch.positives is not None
        return batch.index, batch.positives

    def contrast_views(
        self, first: Tensor, second: Tensor, batch: Batch, clock: Clock, streams: Streams
    ) -> dict[str, Tensor]:
        """The loss of users, and of items, between two views ``[m + n, d]`` of all of them."""
        terms, parts = {}, list(zip(self.sides(first), self.sides(second), strict=True))
        for side, (nodes, counts) in enumerate(self.batch_anchors(batch, clock, streams)):
            terms[SIDES[side]] = self.contrast_side(side, *parts[side], nodes, counts, clock, streams)
        return terms

    def contrast_side(
        self,
        side: int,
        first: Tensor,
        second: Tensor,
        nodes: Tensor,
        counts: Tensor | None,
        clock: Clock,
        streams: Streams,
    ) -> Tensor:
        """The loss of one side.

        Args:
            side: 0 for users, 1 for items.
            first: the anchors' view, ``[N, d]``; or only its rows of this process's share of ``nodes``, where the loss
                takes that.
            second: the keys' view, ``[N, d]``.
            nodes: the anchors, int64 ``[n]``, each once.
            counts: how often each counts; ``None`` = once.
            clock, streams: where training stands.
        """
        loss: Any = self.contrast_[side]
        own = own_rows(nodes, clock)
        alone = first.shape[0] == own.numel() and first.shape[0] != second.shape[0]
        weight, keys, anchors = self._weight_of(side), None, nodes
        if self.negatives == "batch":
            anchors = torch.arange(nodes.numel(), device=nodes.device)
            if not alone:
                first = first.index_select(0, nodes)
            elif clock.world > 1:  # rows that are not this process's are no anchors
                first = first.new_zeros(nodes.numel(), first.shape[1]).index_copy(0, own_rows(anchors, clock), first)
            second = second.index_select(0, nodes)
            weight = None if weight is None else weight[nodes]
            alone = False
        elif self.negatives == "sampled" and self.num_sampled < second.shape[0]:
            generator = streams.generator("keys", clock.stage_index, clock.epoch, clock.batch, side)
            keys = torch.randperm(second.shape[0], generator=generator)[: self.num_sampled].to(nodes.device)
        context = LossContext(epoch=clock.epoch, anchors=anchors, counts=counts, keys=keys, node_weight=weight)
        context = own_anchors(context, second, clock)
        if alone:
            term: Tensor = loss.contrast(first, second, context)
            return term
        return one_number(loss(first, second, context=context), loss)

    def _weight_of(self, side: int) -> Tensor | None:
        weight = self.node_weight_
        if weight is None:
            return None
        return weight[: self.num_users_] if side == 0 else weight[self.num_users_ :]

    def with_contrast(
        self, loss: Tensor, parts: dict[str, Tensor], terms: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The whole loss, and its parts by name."""
        named = {f"contrast_{side}": term.detach() for side, term in terms.items()}
        return loss + self.contrast_weight * sum(terms.values()), {**parts, **named}
