"""LightGCL."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import torch
from torch import Tensor

from gcl.core.context import Batch, Clock, Prepared, StepOutput
from gcl.core.errors import ConfigError, unknown
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.resolve import Slot
from gcl.core.streams import Streams
from gcl.methods.contrastive_recommender import SIDES, ContrastiveRecommender, Negatives
from gcl.methods.recommender import Init, Sampling, check_count
from gcl.ops.low_rank import LowRank
from gcl.ops.polynomial import polynomial
from gcl.ops.propagation import Propagation
from gcl.ops.rank_rows import own_rows
from gcl.ops.squared_norm import squared_norm
from gcl.ops.truncated_svd import SVDMethod, truncated_svd

ViewName = Literal["svd", "self"]

INNER_PRODUCTS = {"name": "one_way_infonce", "temperature": 0.2, "normalize": False, "positive_clip": 5.0}


class LightGCL(ContrastiveRecommender):
    r"""Contrasts the graph with its own low-rank form: propagation over a truncated SVD is the second view.

    .. math:: Z = \sum_{l=0}^{L} \tilde A^l E, \qquad
        \hat Z = E + \tilde A_q \sum_{l=0}^{L-1} \tilde A^l E, \qquad N_q = U_q \operatorname{diag}(s) V_q^\top

    The anchors are the batch's rows of :math:`\hat Z`, users and items taken *and* not taken, the keys all rows of Z on
    their side, the similarity the inner product. This is the released program; ``lightgcl_paper`` is the one whose
    figures the paper prints. The penalty is :math:`\lVert E \rVert_F^2` over all rows in every step.

    Cai, Huang, Xia, Ren: *LightGCL: Simple Yet Effective Graph Contrastive Learning for Recommendation*, ICLR 2023,
    arXiv 2302.08191. The published weight and temperature belong to large sparse sets: on small dense ones they ruin
    the ranking, and weights around 0.01 serve better.

    Args:
        embedding_dim, num_layers, batch_size, sampling, init: see :class:`~gcl.methods.recommender.Recommender`.
        l2: weight of :math:`\lVert E \rVert_F^2`, over the whole table.
        contrast_weight, contrast, communities, negatives, num_sampled, anchors: see
            :class:`~gcl.methods.contrastive_recommender.ContrastiveRecommender`.
        view: ``svd``, or ``self``, which contrasts Z with itself: the ablation that tells what the SVD brings.
        rank: q, from 1.
        svd: how it is found, see :func:`gcl.ops.truncated_svd.truncated_svd`; ``reference`` repeats the program's.
        edge_dropout: share of the entries of :math:`\tilde A` that are dropped anew in every product, the rest scaled
            up, from 0 and below 1.

    Raises:
        ConfigError: a value out of range.
    """

    view: ViewName
    rank: int
    svd: SVDMethod
    edge_dropout: float
    svd_u_: Tensor | None
    svd_s_: Tensor | None
    svd_v_: Tensor | None

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        num_layers: int = 2,
        batch_size: int = 4096,
        l2: float = 1e-7,
        sampling: Sampling = "edge",
        init: Init = "xavier",
        contrast_weight: float = 0.2,
        contrast: Annotated[Any, Slot("loss")] = INNER_PRODUCTS,
        communities: Annotated[Any, Slot("communities")] = "communities",
        negatives: Negatives = "all",
        num_sampled: int = 4096,
        anchors: int | None = None,
        view: ViewName = "svd",
        rank: int = 5,
        svd: SVDMethod = "exact",
        edge_dropout: float = 0.0,
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
        for name, word, words in (("view", view, get_args(ViewName)), ("svd", svd, get_args(SVDMethod))):
            if word not in words:
                raise ConfigError(unknown(name, str(word), words))
        check_count("rank", rank, 1)
        if isinstance(edge_dropout, bool) or not 0 <= edge_dropout < 1:
            raise ConfigError(f"edge_dropout must be from 0 and below 1, got {edge_dropout!r}")
        self.store(view=view, rank=rank, svd=svd, edge_dropout=edge_dropout)

    def coefficients(self) -> list[float]:
        """1 for every layer: a sum, not a mean."""
        return [1.0] * (self.num_layers + 1)

    def check(self, spec: GraphSpec) -> None:
        """Refuses another graph, and a rank above that of the interactions."""
        super().check(spec)
        if self.view == "svd" and self.rank > min(spec.num_nodes.values()):
            raise ConfigError(
                f"rank {self.rank} is above the number of users or items ({min(spec.num_nodes.values())}); lower it"
            )

    def prepare(self, graph: Graph, streams: Streams) -> Prepared:
        """The factors of the normalised interactions."""
        tensors = dict(super().prepare(graph, streams).tensors)
        if self.view == "svd":
            interactions = Propagation(graph.adjacency.with_weight(None), normalize="symmetric")
            factors = truncated_svd(
                interactions, self.rank, method=self.svd, generator=streams.generator("svd", device=graph.device)
            )
            tensors |= {"svd_u": factors.u, "svd_s": factors.s, "svd_v": factors.v}
        return Prepared(tensors)

    def build(self, spec: GraphSpec, prepared: Prepared) -> LightGCL:
        """Makes the embeddings and takes the factors."""
        super().build(spec, prepared)
        for name in ("svd_u", "svd_s", "svd_v"):
            self.register_buffer(f"{name}_", prepared.tensors.get(name), persistent=False)
        return self

    def training_step(self, batch: Batch, clock: Clock, streams: Streams) -> StepOutput:
        """Ranking, contrast and penalty of a batch of triples."""
        earlier, z = self.encode(batch.graph, clock, streams)
        loss, parts = self.ranking_terms(z, batch, clock)
        if self.contrast_weight:
            terms, lower, whole = {}, self.sides(earlier), self.sides(z)
            for side, (nodes, counts) in enumerate(self.batch_anchors(batch, clock, streams)):
                other, keys = lower[1 - side], whole[side]
                anchors = keys
                if self.view == "svd":
                    rows = (
                        own_rows(nodes, clock) if self.takes_rows else torch.arange(keys.shape[0], device=keys.device)
                    )
                    anchors = self.second_view(side, other, rows)
                terms[SIDES[side]] = self.contrast_side(side, anchors, keys, nodes, counts, clock, streams)
            loss, parts = self.with_contrast(loss, parts, terms)
        return StepOutput(loss, parts, weight=self.triples(batch)[0].numel())

    def encode(self, graph: Graph, clock: Clock, streams: Streams) -> tuple[Tensor, Tensor]:
        r"""The sum of all layers but the last, which the second view is made of, and Z; both ``[m + n, d]``."""
        operator, table = self.operator(graph), self.embedding_
        if not self.num_layers:
            return torch.zeros_like(table), table
        if not self.edge_dropout:
            lower = polynomial(operator, table, [1.0] * self.num_layers, symmetric=True)
            return lower, operator.matmul(lower).add_(table)
        earlier: Tensor = table
        layer: Tensor = table
        for index in range(self.num_layers):
            counters = (clock.stage_index, clock.epoch, clock.batch, index)
            generator = streams.generator("dropout", *counters, device=table.device)
            layer = operator.thinned(self.edge_dropout, generator).matmul(layer)
            if index < self.num_layers - 1:
                earlier = earlier + layer
        return earlier, earlier + layer

    @property
    def takes_rows(self) -> bool:
        """Whether the loss can do with the anchors' rows of the first view alone."""
        return self.negatives == "batch" or hasattr(self.contrast_[0], "contrast")

    def second_view(self, side: int, other: Tensor, nodes: Tensor) -> Tensor:
        r"""Rows of :math:`\hat Z` alone, ``[n, d]``: no other row is computed.

        Args:
            side: 0 for users, 1 for items.
            other: the sum of the layers but the last on the other side, ``[N, d]``.
            nodes: int64 ``[n]``.
        """
        assert self.svd_u_ is not None
        assert self.svd_s_ is not None
        assert self.svd_v_ is not None
        factors = LowRank(self.svd_u_, self.svd_s_, self.svd_v_)
        factors = factors if side == 0 else factors.t()
        start = self.embedding_.index_select(0, nodes if side == 0 else nodes + self.num_users_)
        return start + factors.rows(nodes).matmul(other) if self.num_layers else start

    def contrasted_nodes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Users, and items taken and not taken, with repeats."""
        users, positives = super().contrasted_nodes(batch)
        assert batch.negatives is not None
        return users, torch.cat([positives, batch.negatives])

    def penalty(self, triples: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        r""":math:`\lVert E \rVert_F^2` over the whole table."""
        return squared_norm(self.embedding_)
