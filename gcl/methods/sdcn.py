"""SDCN: an auto-encoder and a GCN that take part in each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from gcl.core.adjacency import Adjacency
from gcl.core.context import Clock, Prepared
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.last_result import LastResult
from gcl.encoders.autoencoder import feature_rows
from gcl.encoders.encoder import in_channels_of
from gcl.methods.deep_clustering import DeepClustering, check_weight
from gcl.ops.feature_product import feature_product
from gcl.ops.soft_assignment import assignment_divergence, target_distribution
from gcl.ops.sparse_product import sparse_product
from gcl.ops.transition_weights import transition_weights


class SDCN(DeepClustering):
    r"""A GCN whose layers are mixed half and half with those of the auto-encoder; both are pulled to one target.

    .. math:: G^1 = \mathrm{ReLU}(T X W_1), \quad G^l = \mathrm{ReLU}\big(T \tfrac{G^{l-1} + H^{l-1}}{2} W_l\big), \quad
        \hat Z = \mathrm{softmax}\big(T \tfrac{G^4 + Z}{2} W_5\big)

        \mathcal{L} = \mathrm{MSE}(\hat X, X) + \beta\, \mathrm{KL}(P \,\|\, Q) + \gamma\, \mathrm{KL}(P \,\|\, \hat Z)

    with :math:`T = \tilde D^{-1}(A + I)`. The assignment is the largest :math:`\hat Z`. Bo, Wang, Shi, Zhu, Lu, Cui:
    *Structural Deep Clustering Network*, WWW 2020, arXiv 2002.01633.

    Args:
        graph_weight: :math:`\gamma`, 0 or more.
        all others: see :class:`~gcl.methods.deep_clustering.DeepClustering`.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        *,
        num_clusters: int | None = None,
        cluster_weight: float = 0.1,
        graph_weight: float = 0.01,
        embedding_dim: int = 10,
        hidden_channels: Sequence[int] = (500, 500, 2000),
        pretrain_epochs: int = 30,
        pretrain_batch_size: int = 256,
        pretrain_learning_rate: float = 1e-3,
        n_init: int = 20,
        history: int = 200,
    ):
        super().__init__(
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
        check_weight("graph_weight", graph_weight)
        self.store(graph_weight=graph_weight)
        self._known = LastResult[Adjacency]()

    graph_weight: float

    def build(self, spec: GraphSpec, prepared: Prepared) -> SDCN:
        """Makes the modules; the GCN has no biases and Glorot-uniform weights."""
        super().build(spec, prepared)
        widths = [in_channels_of(spec), *self.hidden_channels, self.embedding_dim, len(self.centers_)]
        shapes = zip(widths[1:], widths, strict=False)  # [out, in]
        self.graph_weights_ = nn.ParameterList(
            [nn.init.xavier_uniform_(self.centers_.detach().new_empty(shape)) for shape in shapes]
        )
        return self

    def joint_parameters(self) -> list[nn.Parameter]:
        """The auto-encoder, the GCN and the centres."""
        return [*self.encoder_.parameters(), *self.graph_weights_, self.centers_]

    def decided(self, q: Tensor, hidden: list[Tensor], graph: Graph) -> Tensor:
        """What the GCN says."""
        return self._graph_assignment(hidden, graph).softmax(dim=1)

    def joint_terms(
        self, hidden: list[Tensor], q: Tensor, graph: Graph, clock: Clock
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Reconstruction, and the divergence of the GCN's assignment from the target."""
        error = F.mse_loss(self.encoder_.decode(hidden[-1]), feature_rows(graph.features[graph.target]))
        assigned = self._graph_assignment(hidden, graph).softmax(dim=1)
        divergence = assignment_divergence(target_distribution(q), assigned)
        return {"reconstruction": error, "graph_divergence": self.graph_weight * divergence}, assigned

    def _transition(self, adjacency: Adjacency) -> Adjacency:
        """T of a graph; that of the last one is kept."""
        return self._known.of(adjacency, lambda: transition_weights(adjacency, 1).to(adjacency.device))

    def _graph_assignment(self, hidden: list[Tensor], graph: Graph) -> Tensor:
        """Logits of the GCN, ``[N, K]``."""
        transition = self._transition(graph.adjacency)
        x, last = graph.features[graph.target], len(self.graph_weights_) - 1
        state: Tensor | None = None
        for index, weight in enumerate(self.graph_weights_):
            product = feature_product(x if state is None else (state + hidden[index - 1]) / 2, weight)
            state = sparse_product(transition, product)
            state = state if index == last else state.relu()
        assert state is not None
        return state
