"""What recommenders share: one embedding a user and item, triples, and a ranking loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from gcl.core.context import Batch, Clock, Outputs, Prepared, StepOutput
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.streams import Streams
from gcl.losses.bpr import bpr_loss
from gcl.methods.method import Method
from gcl.ops.bipartite import joined_graph
from gcl.ops.negative_sampling import sample_negatives
from gcl.ops.polynomial import polynomial
from gcl.ops.propagation import Propagation

Sampling = Literal["edge", "user"]
Init = Literal["normal", "xavier"]

NORMAL_STD = 0.1


class Recommender(Method):
    r"""Scores an item for a user by the inner product of their embeddings, propagated over the interactions.

    .. math:: Z = \sum_{l=0}^{L} c_l\, \tilde A^l E, \qquad
        \tilde A = \begin{pmatrix} 0 & N \\ N^\top & 0 \end{pmatrix}, \quad N_{ui} = \frac{R_{ui}}{\sqrt{d_u d_i}},
        \qquad \mathrm{score}(u, i) = z_u \cdot z_i

    The embeddings E are the only parameters; degrees are those of the training interactions. A step takes a batch of
    triples (user, item taken, item not taken) with the loss of BPR.

    Subclasses say what the coefficients are (:meth:`coefficients`), and override :meth:`training_step` where there is
    more than the ranking loss.

    Args:
        embedding_dim: d, from 1.
        num_layers: L, from 0.
        batch_size: triples in a step, from 1.
        l2: w of the penalty :math:`w \frac{1}{2B} \sum_b (\lVert e_u \rVert^2 + \lVert e_{i^+} \rVert^2
            + \lVert e_{i^-} \rVert^2)` on the rows of a batch, 0 or more.
        sampling: ``edge``: every training interaction once an epoch; ``user``: as many triples, each of a uniform user
            and one of its items.
        init: ``normal`` with deviation 0.1, or ``xavier`` uniform, users and items each by their own number of rows.

    Raises:
        ConfigError: a value out of range.
        DataError: a graph that is not users and items.
    """

    kind: ClassVar[str] = "rec"
    embedding_names: ClassVar[tuple[str, ...] | None] = ("user", "item")
    needs_features: ClassVar[bool] = False

    embedding_dim: int
    num_layers: int
    batch_size: int
    l2: float
    sampling: Sampling
    init: Init

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        num_layers: int = 3,
        batch_size: int = 2048,
        l2: float = 1e-4,
        sampling: Sampling = "edge",
        init: Init = "xavier",
    ):
        super().__init__()
        for name, value, least in (("embedding_dim", embedding_dim, 1), ("num_layers", num_layers, 0)):
            check_count(name, value, least)
        check_count("batch_size", batch_size, 1)
        check_weight("l2", l2)
        for name, word, words in (("sampling", sampling, get_args(Sampling)), ("init", init, get_args(Init))):
            if word not in words:
                raise ConfigError(unknown(name, str(word), words))
        self.store(
            embedding_dim=embedding_dim,
            num_layers=num_layers,
            batch_size=batch_size,
            l2=l2,
            sampling=sampling,
            init=init,
        )

    def check(self, spec: GraphSpec) -> None:
        """Refuses a graph that is not users and items with one relation between them."""
        if len(spec.num_nodes) != 2 or list(spec.relations.values()) != [(self._item(spec), spec.target)]:
            raise DataError(
                f"{type(self).__name__} needs users, items and their interactions, got node types "
                f"{sorted(spec.num_nodes)} and relations {sorted(spec.relations)}; `gcl data list --kind rec` shows "
                "such sets"
            )

    def coefficients(self) -> list[float]:
        """The weights of the layers, one for each of 0 to L."""
        return [1 / (self.num_layers + 1)] * (self.num_layers + 1)

    # -- before training ---------------------------------------------------------------------------------------------

    def build(self, spec: GraphSpec, prepared: Prepared) -> Recommender:
        """Makes the embeddings."""
        self.check(spec)
        self.num_users_, num_items = spec.num_nodes[spec.target], spec.num_nodes[self._item(spec)]
        table = torch.empty(self.num_users_ + num_items, self.embedding_dim)
        for rows in (table[: self.num_users_], table[self.num_users_ :]):
            if self.init == "normal":
                nn.init.normal_(rows, std=NORMAL_STD)
            else:
                nn.init.xavier_uniform_(rows)
        self.embedding_ = nn.Parameter(table)  # [m + n, d], users first
        return self

    # -- training ----------------------------------------------------------------------------------------------------

    def batches(self, graph: Graph, clock: Clock, streams: Streams) -> Iterator[Batch]:
        """The epoch's triples, drawn at once: ``index`` are users, ``positives`` and ``negatives`` items."""
        generator = streams.generator("triples", clock.stage_index, clock.epoch, device=graph.device)
        users, positives = self._pairs(graph, generator)
        negatives = sample_negatives(graph.adjacency, users, generator=generator)
        if self.sampling == "edge":  # negatives first: they are then the same whatever the order
            order = torch.randperm(users.numel(), generator=generator, device=graph.device)
            users, positives, negatives = users[order], positives[order], negatives[order]
        there = negatives >= 0  # a user who took every item has nothing to rank
        if not bool(there.all()):
            users, positives, negatives = users[there], positives[there], negatives[there]
        for start in range(0, users.numel(), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield Batch(graph, users[part], positives[part], negatives[part])

    def _pairs(self, graph: Graph, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        adjacency = graph.adjacency
        if self.sampling == "edge":
            return adjacency.row.long(), adjacency.col.long()
        degree = adjacency.row_ptr.diff().long()
        active = (degree > 0).nonzero().squeeze(1)
        drawn = torch.rand(2, adjacency.num_arcs, generator=generator, device=graph.device, dtype=torch.float64)
        users = active[(drawn[0] * active.numel()).long().clamp(max=active.numel() - 1)]
        rank = torch.minimum((drawn[1] * degree[users]).long(), degree[users] - 1)
        return users, adjacency.col[adjacency.row_ptr[users].long() + rank].long()

    def training_step(self, batch: Batch, clock: Clock, streams: Streams) -> StepOutput:
        """The ranking loss of a batch of triples and the penalty on its rows."""
        z = self.propagated(self.operator(batch.graph))
        loss, parts = self.ranking_terms(z, batch, clock)
        return StepOutput(loss, parts, weight=self.triples(batch)[0].numel())

    def ranking_terms(self, z: Tensor, batch: Batch, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        """Ranking loss plus penalty, and both by name; of several processes each takes an equal part of both.

        Args:
            z: embeddings of users and items, ``[m + n, d]``.
            batch: its triples.
            clock: its ``world``.
        """
        triples = self.triples(batch)
        rows = z.index_select(0, torch.cat(triples)).chunk(3)  # one gradient of all rows, not three
        ranking = bpr_loss(*rows) / clock.world
        parts = {"ranking": ranking.detach()}
        if not self.l2:
            return ranking, parts
        penalty = self.penalty(triples) / clock.world
        return ranking + self.l2 * penalty, {**parts, "penalty": penalty.detach()}

    def penalty(self, triples: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """What ``l2`` multiplies, a scalar."""
        rows = self.embedding_.index_select(0, torch.cat(triples))
        return rows.square().sum() / (2 * triples[0].numel())

    def triples(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of users, items taken and items not taken in the table of all embeddings, ``[B]`` each."""
        assert batch.index is not None
        assert batch.positives is not None
        assert batch.negatives is not None
        return batch.index, batch.positives + self.num_users_, batch.negatives + self.num_users_

    def sides(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of users ``[m, d]`` and of items ``[n, d]``; to be called once for a tensor, see ``split``."""
        # one backward pass puts both gradients side by side, where each slice would pad its own to the whole
        users, items = z.split([self.num_users_, z.shape[0] - self.num_users_])
        return users, items

    # -- embeddings --------------------------------------------------------------------------------------------------

    def operator(self, graph: Graph) -> Propagation:
        r""":math:`\tilde A` of the interactions, ``[m + n, m + n]``; laid out once."""
        return Propagation(joined_graph(graph).adjacency, normalize="symmetric")

    def propagated(self, operator: Propagation) -> Tensor:
        """The embeddings that are scored, ``[m + n, d]``, users first."""
        return polynomial(operator, self.embedding_, self.coefficients(), symmetric=True)

    @torch.no_grad()
    def outputs(self, graph: Graph) -> Outputs:
        """Embeddings ``user`` ``[m, d]`` and ``item`` ``[n, d]``, whose inner products are the scores.

        Raises:
            DataError: a graph of other users and items than those of training.
        """
        known = (self.num_users_, self.embedding_.shape[0] - self.num_users_)
        if graph.adjacency.shape != known:
            raise DataError(
                f"{type(self).__name__} learnt embeddings of {known[0]} users and {known[1]} items and has none for "
                f"the {graph.adjacency.shape[0]} and {graph.adjacency.shape[1]} of this graph; train on it"
            )
        users, items = self.sides(self.propagated(self.operator(graph)))
        return Outputs({"user": users, "item": items})

    @staticmethod
    def _item(spec: GraphSpec) -> str:
        return next((kind for kind in spec.num_nodes if kind != spec.target), "")


def check_count(name: str, value: int, least: int) -> None:
    """Refuses what is not a whole number of at least some size."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number from {least}, got {value!r}")


def check_weight(name: str, value: float) -> None:
    """Refuses what is not a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} must be a finite number of at least 0, got {value!r}")
