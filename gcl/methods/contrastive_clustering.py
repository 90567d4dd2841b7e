"""Deep clustering with a contrastive loss of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch.nn.functional as F
from torch import Tensor, nn

from gcl.core.adjacency import Adjacency
from gcl.core.context import Clock, LossContext, Prepared
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.resolve import Slot, resolve
from gcl.core.streams import Streams
from gcl.encoders.autoencoder import feature_rows
from gcl.methods.deep_clustering import DeepClustering, check_weight, share_of_mean
from gcl.methods.method import needs_of, one_number
from gcl.ops.rank_rows import own_rows
from gcl.ops.transition_weights import Hops, check_hops, check_num_walks, transition_weights, walk_weights

PROVIDED = ("positives", "clusters", "assignment")


class ContrastiveClustering(DeepClustering):
    r"""Deep clustering with a contrastive loss of neighbours on one view.

    .. math:: \mathcal{L} = \beta\, \mathrm{KL}(P \,\|\, Q) + \alpha\, \mathcal{L}_{\text{contrast}}(Z; \Gamma)
        + \lambda\, \mathrm{MSE}(\hat X, X)

    Args:
        contrast_weight: :math:`\alpha`, 0 or more.
        contrast: a loss specification; any loss of one view (its class says ``views = 1``) that needs ``positives``,
            and ``clusters`` or ``assignment`` if it likes.
        order: R, hops of the positives, from 1.
        hops: ``cumulative`` or ``power``, see :func:`gcl.ops.transition_weights.transition_weights`.
        top: positives kept of each node, the largest; ``None`` = all.
        num_walks: estimate the weights of the positives by so many random walks from each node
            (:func:`gcl.ops.transition_weights.walk_weights`), where there are too many of them; ``None`` = exact.
        reconstruction_weight: :math:`\lambda`, 0 or more.
        all others: see :class:`~gcl.methods.deep_clustering.DeepClustering`.

    Raises:
        ConfigError: a value out of range, or a loss that needs something else.
    """

    contrast_weight: float
    contrast: Any
    order: int
    hops: Hops
    top: int | None
    num_walks: int | None
    reconstruction_weight: float

    def __init__(
        self,
        *,
        num_clusters: int | None,
        contrast_weight: float,
        contrast: Annotated[Any, Slot("loss")],
        order: int,
        hops: Hops,
        top: int | None,
        num_walks: int | None,
        reconstruction_weight: float,
        cluster_weight: float,
        embedding_dim: int,
        hidden_channels: Sequence[int],
        pretrain_epochs: int,
        pretrain_batch_size: int,
        pretrain_learning_rate: float,
        n_init: int,
        history: int,
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
        check_hops(order, hops, top)
        if num_walks is not None:
            check_num_walks(num_walks)
            if top is not None:
                raise ConfigError(
                    "top keeps the largest of the exact weights, which num_walks estimates; give one of them"
                )
        check_weight("contrast_weight", contrast_weight)
        check_weight("reconstruction_weight", reconstruction_weight)
        self.store(
            contrast_weight=contrast_weight,
            contrast=contrast,
            order=order,
            hops=hops,
            top=top,
            num_walks=num_walks,
            reconstruction_weight=reconstruction_weight,
        )

    def check_shares(self, parts: bool = False) -> None:
        """Each process encodes its share of the nodes; what costs little, of all of them, each takes whole."""

    def check(self, spec: GraphSpec) -> None:
        """Refuses a loss that needs what is not provided."""
        super().check(spec)
        self._made_loss()

    def _made_loss(self) -> Any:
        loss: Any = resolve("loss", self.contrast)
        missing = sorted(set(needs_of(loss)) - set(PROVIDED))
        reason = ""
        if missing:
            reason = f"needs {', '.join(missing)}"
        elif "positives" not in needs_of(loss):
            reason = "takes no positives"
        elif getattr(loss, "views", 2) != 1:
            reason = "does not say views = 1 and so contrasts two"
        if reason:
            raise ConfigError(
                f"loss {type(loss).__name__} {reason}; {type(self).__name__} contrasts neighbours on one view: "
                "choose pamc or neighbor_contrast"
            )
        return loss

    def prepare(self, graph: Graph, streams: Streams) -> Prepared:
        """The number of clusters and, where they are contrasted, the weights of the positives."""
        prepared = super().prepare(graph, streams)
        if not self.contrast_weight:
            return prepared
        if self.num_walks is None:
            gamma = transition_weights(graph.adjacency, self.order, hops=self.hops, top=self.top)
        else:
            walks = streams.generator("positives")
            gamma = walk_weights(graph.adjacency, self.order, num_walks=self.num_walks, hops=self.hops, generator=walks)
        assert gamma.weight is not None
        tensors = {"positives": gamma.edge_index(), "positives_weight": gamma.weight}
        return Prepared({**prepared.tensors, **tensors})

    def build(self, spec: GraphSpec, prepared: Prepared) -> ContrastiveClustering:
        """Makes the modules and lays out the positives."""
        super().build(spec, prepared)
        self.contrast_ = self._made_loss()
        nodes, tensors = spec.num_nodes[spec.target], prepared.tensors
        self.positives_: Adjacency | None = None
        if self.contrast_weight:
            self.positives_ = Adjacency.from_edge_index(
                tensors["positives"], (nodes, nodes), tensors["positives_weight"]
            )
        return self

    def joint_parameters(self) -> list[nn.Parameter]:
        """With the decoder where reconstruction counts."""
        decoder = list(self.encoder_.decoder_.parameters()) if self.reconstruction_weight else []
        return [*super().joint_parameters(), *decoder]

    def joint_terms(
        self, hidden: list[Tensor], q: Tensor, graph: Graph, clock: Clock
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The contrastive loss, and the reconstruction."""
        z = hidden[-1]
        terms = {}
        if self.positives_ is not None:
            if self.positives_.device != z.device:
                self.positives_ = self.positives_.to(z.device)
            fixed = q.detach()
            context = LossContext(positives=self.positives_, clusters=fixed.argmax(dim=1), assignment=fixed)
            terms["contrast"] = self.contrast_weight * one_number(self.contrast_(z, context=context), self.contrast_)
        if self.reconstruction_weight:
            x = feature_rows(self.own_features(graph, clock))
            error = share_of_mean(F.mse_loss(self.encoder_.decode(own_rows(z, clock)), x), len(x), len(z))
            terms["reconstruction"] = self.reconstruction_weight * clock.world * error
        return terms, q
