"""Auto-encoder, soft assignment to trained centres, and what methods of deep clustering add to them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gcl.core.adjacency import Adjacency
from gcl.core.context import Batch, Clock, Outputs, Prepared, Stage, StepOutput
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.last_result import LastResult
from gcl.core.streams import Streams
from gcl.encoders.autoencoder import AutoEncoder, feature_rows
from gcl.methods.method import Method
from gcl.ops.communities import modularity
from gcl.ops.eigengap import eigengap
from gcl.ops.kmeans import kmeans_centers
from gcl.ops.rank_rows import gathered_rows, own_rows
from gcl.ops.soft_assignment import (
    assignment_divergence,
    squared_distances,
    student_t_assignment,
    target_distribution,
)

PRETRAIN, CLUSTER = "pretrain", "cluster"


class DeepClustering(Method):
    r"""An auto-encoder is pre-trained, k-means sets the centres, and both are trained on.

    .. math:: \mathcal{L} = \beta\, \mathrm{KL}(P \,\|\, Q) + \dots, \qquad
        q_{ik} \propto (1 + \lVert z_i - \mu_k \rVert^2)^{-1}, \quad p_{ik} \propto q_{ik}^2 / \textstyle\sum_j q_{jk}

    The assignment is the largest :math:`q_{ik}`. Each epoch's assignment, before its update, is kept with two scores
    that need no label: the silhouette by centres, and the modularity on the graph.

    Args:
        num_clusters: K; ``None`` takes the eigengap of the graph and says so.
        embedding_dim: columns of the embedding.
        hidden_channels: layers of the encoder before it.
        pretrain_epochs: of the auto-encoder, 0 or more.
        pretrain_batch_size: nodes in its batches, from 1.
        pretrain_learning_rate: above 0.
        cluster_weight: :math:`\beta`, 0 or more.
        n_init: starts of the k-means that sets the centres, from 1.
        history: epochs whose assignments are kept with the weights, a byte a node and epoch (two from 257 clusters
            on); 0 = none. Later epochs are not looked back at.

    Raises:
        ConfigError: a value out of range.
    """

    kind: ClassVar[str] = "cluster"
    embedding_names: ClassVar[tuple[str, ...] | None] = ("embedding",)

    num_clusters: int | None
    embedding_dim: int
    hidden_channels: Sequence[int]
    pretrain_epochs: int
    pretrain_batch_size: int
    pretrain_learning_rate: float
    cluster_weight: float
    n_init: int
    history: int
    centers_: nn.Parameter
    placed_: Tensor
    history_: Tensor
    label_free_: Tensor

    def __init__(
        self,
        *,
        num_clusters: int | None,
        embedding_dim: int,
        hidden_channels: Sequence[int],
        pretrain_epochs: int,
        pretrain_batch_size: int,
        pretrain_learning_rate: float,
        cluster_weight: float,
        n_init: int,
        history: int,
    ):
        super().__init__()
        AutoEncoder(out_channels=embedding_dim, hidden_channels=hidden_channels)  # refuses bad widths
        for name, count, least in (
            ("num_clusters", num_clusters, 1),
            ("pretrain_epochs", pretrain_epochs, 0),
            ("pretrain_batch_size", pretrain_batch_size, 1),
            ("n_init", n_init, 1),
            ("history", history, 0),
        ):
            if name == "num_clusters" and count is None:
                continue
            if isinstance(count, bool) or not isinstance(count, int) or count < least:
                raise ConfigError(f"{name} must be a whole number from {least}, got {count!r}")
        check_weight("cluster_weight", cluster_weight)
        check_weight("pretrain_learning_rate", pretrain_learning_rate)
        if pretrain_learning_rate == 0:
            raise ConfigError("pretrain_learning_rate must be above 0; set pretrain_epochs=0 to leave pre-training out")
        self.store(
            num_clusters=num_clusters,
            embedding_dim=embedding_dim,
            hidden_channels=hidden_channels,
            pretrain_epochs=pretrain_epochs,
            pretrain_batch_size=pretrain_batch_size,
            pretrain_learning_rate=pretrain_learning_rate,
            cluster_weight=cluster_weight,
            n_init=n_init,
            history=history,
        )
        self._own = LastResult[Tensor | Adjacency]()

    def check(self, spec: GraphSpec) -> None:
        """Refuses more clusters than nodes."""
        nodes = spec.num_nodes[spec.target]
        if self.num_clusters is not None and self.num_clusters > nodes:
            raise ConfigError(f"num_clusters={self.num_clusters} clusters cannot be made of {nodes} nodes; lower it")

    def prepare(self, graph: Graph, streams: Streams) -> Prepared:
        """The number of clusters."""
        k = self.num_clusters
        if k is None:
            k = eigengap(graph.adjacency, seed=streams.seed)
            warnings.warn(
                f"num_clusters was not given; the eigengap of the graph says {k}. Set num_clusters to decide it",
                stacklevel=2,
            )
        return Prepared({"num_clusters": torch.tensor(k)})

    def build(self, spec: GraphSpec, prepared: Prepared) -> DeepClustering:
        """Makes the auto-encoder, and room for centres and history."""
        k, nodes = int(prepared.tensors["num_clusters"]), spec.num_nodes[spec.target]
        encoder = AutoEncoder(out_channels=self.embedding_dim, hidden_channels=self.hidden_channels)
        self.encoder_ = encoder.build(spec)
        self.centers_ = nn.Parameter(torch.zeros(k, self.embedding_dim))
        self.register_buffer("placed_", torch.zeros((), dtype=torch.bool))
        small = torch.uint8 if k <= 256 else torch.int16 if k <= 2**15 else torch.int32
        self.register_buffer("history_", torch.zeros(self.history, nodes, dtype=small))
        self.register_buffer("label_free_", torch.full((self.history, 2), torch.nan))
        return self

    # -- training ----------------------------------------------------------------------------------------------------

    def stages(self) -> tuple[Stage, ...]:
        """Pre-training, then the joint training from the centres of k-means."""
        pretrain = Stage(
            PRETRAIN,
            epochs=self.pretrain_epochs,
            learning_rate=self.pretrain_learning_rate,
            weight_decay=0.0,
            parameters=lambda: list(self.encoder_.parameters()),
            scheduler="none",
            select="last",
        )
        return (pretrain, Stage(CLUSTER, parameters=self.joint_parameters, init=self.place_centers))

    def joint_parameters(self) -> list[nn.Parameter]:
        """What the second stage trains: the encoder without its decoder, and the centres."""
        return [*self.encoder_.encoder_.parameters(), self.centers_]

    @torch.no_grad()
    def place_centers(self, graph: Graph, clock: Clock, streams: Streams) -> None:
        """k-means on the embeddings."""
        z = self.encoder_.embed(graph)
        generator = streams.generator("centers", clock.stage_index)
        self.centers_.copy_(kmeans_centers(z, len(self.centers_), n_init=self.n_init, generator=generator))
        self.placed_.fill_(True)

    def batches(self, graph: Graph, clock: Clock, streams: Streams) -> Iterable[Batch]:
        """Shuffled batches of nodes in pre-training, everything afterwards."""
        if clock.stage != PRETRAIN:
            return (Batch(graph),)
        generator = streams.generator("shuffle", clock.stage_index, clock.epoch)
        order = torch.randperm(graph.num_nodes, generator=generator).to(graph.device)
        return (Batch(graph, index=index) for index in order.split(self.pretrain_batch_size))

    def training_step(self, batch: Batch, clock: Clock, streams: Streams) -> StepOutput:
        """Reconstruction of a batch, or the joint loss of all nodes."""
        if clock.stage == PRETRAIN:
            assert batch.index is not None
            return StepOutput(self._reconstruction(batch.graph, batch.index, clock), weight=batch.index.numel())
        hidden = self.encoder_.hidden(self.own_features(batch.graph, clock))
        hidden[-1] = gathered_rows(hidden[-1], batch.graph.num_nodes, clock)
        squared = squared_distances(hidden[-1], self.centers_)
        q = student_t_assignment(squared)
        terms = {"divergence": self.cluster_weight * assignment_divergence(target_distribution(q), q)}
        more, assignment = self.joint_terms(hidden, q, batch.graph, clock)
        terms = {name: term / clock.world for name, term in (terms | more).items()}
        labels = assignment.detach().argmax(dim=1)
        self._remember(batch.graph, squared, labels, clock)
        sizes = labels.bincount(minlength=q.shape[1])
        parts = {name: value.detach() for name, value in terms.items()}
        counts = {"clusters": (sizes > 0).sum(), "largest_cluster": sizes.max()}
        return StepOutput(
            torch.stack(list(terms.values())).sum(),
            {**parts, **{name: count / clock.world for name, count in counts.items()}},
        )

    def joint_terms(
        self, hidden: list[Tensor], q: Tensor, graph: Graph, clock: Clock
    ) -> tuple[dict[str, Tensor], Tensor]:
        """What is added to the divergence, weighted, by name; and the assignment that counts, ``[N, K]``.

        Args:
            hidden: what the encoder's layers give, the embedding of all nodes last; of several processes each has its
                own rows of those before.
            q: soft assignment, ``[N, K]``.
            graph: the whole graph.
            clock: where training stands. The terms are divided by ``clock.world`` by the caller.
        """
        raise NotImplementedError

    def own_features(self, graph: Graph, clock: Clock) -> Tensor | Adjacency:
        """The features of this process's share of the nodes; kept for the last graph."""
        features = graph.features[graph.target]
        if clock.world == 1:
            return features

        def own() -> Tensor | Adjacency:
            nodes = own_rows(torch.arange(graph.num_nodes, device=graph.device), clock)
            return features.index_select(0, nodes) if isinstance(features, Tensor) else features.rows_of(nodes)

        return self._own.of(features, own, key=(clock.rank, clock.world))

    def _reconstruction(self, graph: Graph, nodes: Tensor, clock: Clock) -> Tensor:
        """This process's share of the mean over a batch."""
        own = own_rows(nodes, clock)
        error = self.encoder_.reconstruction_loss(feature_rows(graph.features[graph.target], own))
        return share_of_mean(error, own.numel(), nodes.numel())

    def decided(self, q: Tensor, hidden: list[Tensor], graph: Graph) -> Tensor:
        """The assignment that counts, ``[N, K]``."""
        return q

    @torch.no_grad()
    def _remember(self, graph: Graph, squared: Tensor, labels: Tensor, clock: Clock) -> None:
        """Keeps the assignment of an epoch, and its two scores without labels."""
        if clock.epoch > self.history:
            return
        self.history_[clock.epoch - 1] = labels.to(self.history_.dtype)
        scores = center_silhouette(squared, labels), modularity(graph.adjacency, labels)
        self.label_free_[clock.epoch - 1] = torch.tensor(scores, device=labels.device)

    @torch.no_grad()
    def outputs(self, graph: Graph) -> Outputs:
        """The embedding, the assignment, and the history of epochs (``epoch_assignments``, ``label_free``).

        Before the centres are placed there is an embedding alone.
        """
        hidden = self.encoder_.hidden(graph.features[graph.target])
        if not bool(self.placed_):
            return Outputs({"embedding": hidden[-1]})
        q = student_t_assignment(squared_distances(hidden[-1], self.centers_))
        q = self.decided(q, hidden, graph)
        known = ~self.label_free_[:, 1].isnan()
        extras: dict[str, Any] = {}
        if bool(known.any()) and graph.num_nodes == self.history_.shape[1]:
            extras = {"epoch_assignments": self.history_[known], "label_free": self.label_free_[known]}
        return Outputs({"embedding": hidden[-1]}, assignment=q, extras=extras)


def center_silhouette(squared: Tensor, labels: Tensor) -> float:
    r"""The silhouette with centres in place of all members, from -1 to 1: the mean of :math:`(b - a) / \max(a, b)`.

    Args:
        squared: squared distances to the centres, ``[N, K]``.
        labels: cluster of each row, ``[N]``.

    Returns:
        The score, with a the distance to the own centre and b that to the nearest other one; 0 for one cluster.
    """
    if squared.shape[1] < 2:
        return 0.0
    squared = squared.detach()
    own = squared.gather(1, labels.unsqueeze(1)).squeeze(1).sqrt()
    other = squared.scatter(1, labels.unsqueeze(1), torch.inf).amin(dim=1).sqrt()
    largest = torch.maximum(own, other)
    return float(torch.where(largest > 0, (other - own) / largest, 0.0).mean())


def share_of_mean(mean: Tensor, own: int, num_rows: int) -> Tensor:
    """What the mean over some of the rows, maybe none, is of the mean over all."""
    return mean.nan_to_num() * 0.0 if own == 0 else mean * (own / num_rows)


def check_weight(name: str, value: float) -> None:
    """Refuses anything but a finite number of at least 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf"):
        raise ConfigError(f"{name} must be a finite number of at least 0, got {value!r}")
