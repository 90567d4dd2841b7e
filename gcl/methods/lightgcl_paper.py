"""LightGCL as its paper's figures were made."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcl.core.context import Batch, Clock, Prepared, StepOutput
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.streams import Streams
from gcl.methods.recommender import Init, Recommender, check_count, check_weight
from gcl.ops.low_rank import LowRank
from gcl.ops.negative_sampling import sample_negatives
from gcl.ops.product_logsumexp import product_logsumexp
from gcl.ops.propagation import Propagation
from gcl.ops.truncated_svd import SVDMethod, truncated_svd

SLOPE = 0.5  # of LeakyReLU
MARGIN = 1.0


class LightGCLPaper(Recommender):
    r"""The program that LightGCL's paper was written with; the released one (``lightgcl``) is another method.

    .. math:: Z_U^l = \varphi(p(N) E_I^{l-1}), \quad
        G_U^l = \varphi(U_q \operatorname{diag}(s) V_q^\top E_I^{l-1}), \quad E_U^l = Z_U^l + E_U^{l-1}

    and the same for items, with LeakyReLU of slope 0.5, fresh edge dropout p in every product, and factors of the *raw*
    interactions. Embeddings are the sum of all layers. The loss of a batch of users is the hinge of its pairs over the
    batch size plus, in each layer, the cross entropy of the normalised rows of Z against those of G times a learned
    matrix, over the batch's own nodes, summed over anchors of which each is left out with probability one half.

    Cai, Huang, Xia, Ren, ICLR 2023, arXiv 2302.08191; the penalty is the optimiser's ``trainer.weight_decay``. The
    program adds 1e-8 inside two logarithms; that is left out here.

    Args:
        embedding_dim, num_layers, init: see :class:`~gcl.methods.recommender.Recommender`.
        batch_size: users in a step, from 1.
        users_per_epoch: how many users an epoch draws at most, without replacement.
        pairs_per_user: how many of a user's items, and as many that it did not take, a step has at most.
        contrast_weight: of the sum over anchors and layers, 0 or more.
        temperature: above 0.
        rank: q, from 1.
        svd: see :func:`gcl.ops.truncated_svd.truncated_svd`; the program's is ``reference``.
        edge_dropout: from 0 and below 1.
        anchor_dropout: probability with which an anchor is left out, from 0 and below 1.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 32,
        num_layers: int = 2,
        batch_size: int = 256,
        init: Init = "xavier",
        users_per_epoch: int = 30_000,
        pairs_per_user: int = 40,
        contrast_weight: float = 1e-7,
        temperature: float = 0.5,
        rank: int = 5,
        svd: SVDMethod = "reference",
        edge_dropout: float = 0.25,
        anchor_dropout: float = 0.5,
    ):
        super().__init__(
            embedding_dim=embedding_dim,
            num_layers=num_layers,
            batch_size=batch_size,
            l2=0.0,
            sampling="user",
            init=init,
        )
        for name, value in (("users_per_epoch", users_per_epoch), ("pairs_per_user", pairs_per_user), ("rank", rank)):
            check_count(name, value, 1)
        check_weight("contrast_weight", contrast_weight)
        if isinstance(temperature, bool) or not (math.isfinite(temperature) and temperature > 0):
            raise ConfigError(f"temperature must be a finite number above 0, got {temperature!r}")
        for name, share in (("edge_dropout", edge_dropout), ("anchor_dropout", anchor_dropout)):
            if isinstance(share, bool) or not 0 <= share < 1:
                raise ConfigError(f"{name} must be from 0 and below 1, got {share!r}")
        self.store(
            users_per_epoch=users_per_epoch,
            pairs_per_user=pairs_per_user,
            contrast_weight=contrast_weight,
            temperature=temperature,
            rank=rank,
            svd=svd,
            edge_dropout=edge_dropout,
            anchor_dropout=anchor_dropout,
        )

    users_per_epoch: int
    pairs_per_user: int
    contrast_weight: float
    temperature: float
    rank: int
    svd: SVDMethod
    edge_dropout: float
    anchor_dropout: float
    svd_u_: Tensor
    svd_s_: Tensor
    svd_v_: Tensor

    # -- before training ---------------------------------------------------------------------------------------------

    def prepare(self, graph: Graph, streams: Streams) -> Prepared:
        """The factors of the raw interactions."""
        interactions = Propagation(graph.adjacency.with_weight(None), normalize="none")
        generator = streams.generator("svd", device=graph.device)
        factors = truncated_svd(interactions, self.rank, method=self.svd, generator=generator)
        return Prepared({"svd_u": factors.u, "svd_s": factors.s, "svd_v": factors.v})

    def build(self, spec: GraphSpec, prepared: Prepared) -> LightGCLPaper:
        """Makes the embeddings and the matrices of the contrast."""
        super().build(spec, prepared)
        for name in ("svd_u", "svd_s", "svd_v"):
            self.register_buffer(f"{name}_", prepared.tensors[name], persistent=False)
        matrices = torch.empty(self.num_layers, self.embedding_dim, self.embedding_dim)
        for matrix in matrices:
            nn.init.xavier_uniform_(matrix)
        self.contrast_matrix_ = nn.Parameter(matrices)  # [L, d, d]
        return self

    # -- training ----------------------------------------------------------------------------------------------------

    def batches(self, graph: Graph, clock: Clock, streams: Streams) -> Iterator[Batch]:
        """Batches of users with their pairs."""
        generator = streams.generator("triples", clock.stage_index, clock.epoch, device=graph.device)
        adjacency = graph.adjacency
        degree = adjacency.row_ptr.diff().long()
        # each user's items in a random order, of which the first are taken
        keys = torch.rand(adjacency.num_arcs, generator=generator, device=graph.device)
        order = keys.argsort()
        order = order[adjacency.row.long()[order].argsort(stable=True)]
        chosen = (degree > 0).nonzero().squeeze(1)
        chosen = chosen[torch.randperm(chosen.numel(), generator=generator, device=graph.device)][
            : self.users_per_epoch
        ]
        for users in chosen.split(self.batch_size):
            counts = degree[users].clamp(max=self.pairs_per_user)
            repeated = users.repeat_interleave(counts)
            offset = torch.arange(repeated.numel(), device=graph.device) - (
                counts.cumsum(0) - counts
            ).repeat_interleave(counts)
            positives = adjacency.col[order[adjacency.row_ptr.long()[repeated] + offset]].long()
            negatives = sample_negatives(adjacency, repeated, generator=generator)
            there = negatives >= 0
            if bool(there.any()):
                yield Batch(graph, repeated[there], positives[there], negatives[there])

    def training_step(self, batch: Batch, clock: Clock, streams: Streams) -> StepOutput:
        """Hinge and contrast of a batch of users."""
        nodes = self._nodes(batch)
        table: Tensor = self.embedding_
        counters = (clock.stage_index, clock.epoch, clock.batch)
        layers = self._layers(self.operator(batch.graph), counters, streams)
        z = table + sum(layer for layer, _ in layers)
        users, positives, negatives = (z.index_select(0, rows) for rows in self.triples(batch))
        hinge = (MARGIN - (users * (positives - negatives)).sum(dim=1)).clamp(min=0).sum() / self.batch_size
        parts = {"ranking": hinge.detach()}
        if not self.contrast_weight:
            return StepOutput(hinge, parts)
        before, total = table, hinge.new_zeros(())
        for index, (layer, message) in enumerate(layers):
            for side, rows in enumerate(nodes):
                generator = streams.generator("anchors", *counters, index, side)
                keep = torch.rand(rows.numel(), generator=generator) >= self.anchor_dropout
                second = self._low_rank(before, side, rows)
                total = total + self._cross_entropy(message.index_select(0, rows), second, index, keep.to(rows.device))
            before = layer
        return StepOutput(hinge + self.contrast_weight * total, {**parts, "contrast": total.detach()})

    def _nodes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch's users, and its items taken or not, each once, as rows of the whole table."""
        users, positives, negatives = self.triples(batch)
        return users.unique(), torch.cat([positives, negatives]).unique()

    def _layers(
        self, operator: Propagation, counters: tuple[int, ...], streams: Streams
    ) -> list[tuple[Tensor, Tensor]]:
        """E and Z of layers 1 to L, each ``[m + n, d]``."""
        made: list[tuple[Tensor, Tensor]] = []
        layer: Tensor = self.embedding_
        for index in range(self.num_layers):
            thinned = operator if counters == () else self._thinned(operator, (*counters, index), streams)
            message = F.leaky_relu(thinned.matmul(layer), SLOPE)
            layer = message + layer
            made.append((layer, message))
        return made

    def _thinned(self, operator: Propagation, counters: tuple[int, ...], streams: Streams) -> Propagation:
        if not self.edge_dropout:
            return operator
        generator = streams.generator("dropout", *counters, device=operator.adjacency.device)
        return operator.thinned(self.edge_dropout, generator)

    def _low_rank(self, before: Tensor, side: int, rows: Tensor) -> Tensor:
        """Rows of G, ``[n, d]``, from the layer before."""
        factors = LowRank(self.svd_u_, self.svd_s_, self.svd_v_)
        if side == 0:
            return F.leaky_relu(factors.rows(rows).matmul(before[self.num_users_ :]), SLOPE)
        return F.leaky_relu(factors.t().rows(rows - self.num_users_).matmul(before[: self.num_users_]), SLOPE)

    def _cross_entropy(self, graph_rows: Tensor, low_rank_rows: Tensor, layer: int, keep: Tensor) -> Tensor:
        anchors, keys = F.normalize(graph_rows, dim=1), F.normalize(low_rank_rows, dim=1) @ self.contrast_matrix_[layer]
        if not bool(keep.any()):
            return anchors.new_zeros(())
        chosen = anchors[keep]
        positive = (chosen * keys[keep]).sum() / self.temperature
        weight = torch.ones(chosen.shape[0], dtype=chosen.dtype, device=chosen.device)
        repulsion = product_logsumexp(chosen, keys, temperature=self.temperature, row_weight=weight)
        assert isinstance(repulsion, Tensor)
        return repulsion - positive

    def propagated(self, operator: Propagation) -> Tensor:
        """The sum of the layers, without dropout, ``[m + n, d]``."""
        layers = self._layers(operator, (), Streams(0))
        return self.embedding_ + sum(layer for layer, _ in layers)
