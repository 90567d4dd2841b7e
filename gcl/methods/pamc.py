"""PamC: meta-nodes as negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from gcl.core.resolve import Slot
from gcl.methods.contrastive_clustering import ContrastiveClustering
from gcl.ops.transition_weights import Hops

LOSS = {"name": "pamc", "scale": 0.5}


class PamC(ContrastiveClustering):
    r"""PamC: neighbours by cumulated transition probabilities as positives, meta-nodes of the clusters as negatives.

    .. math:: \mathcal{L} = \beta\, \mathrm{KL}(P \,\|\, Q) + \alpha\, (\mathcal{L}_{\text{pos}}
        + \mathcal{L}_{\text{neg}}), \qquad \Gamma = T + T^2 + \dots + T^R

    A step costs O(N) beside the stored positives. Kulatilleke, Portmann, Chandra: *Efficient block contrastive learning
    via parameter-free meta-node approximation*, arXiv 2209.14067. The defaults are the authors' for USPS; they do not
    carry over to other graphs: lower the learning rate first. ``contrast={"weights": "size"}`` takes the block bound of
    the exact negatives in place of the published proxy.

    Args:
        all others: see :class:`~gcl.methods.contrastive_clustering.ContrastiveClustering`.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        *,
        num_clusters: int | None = None,
        contrast_weight: float = 2.0,
        contrast: Annotated[Any, Slot("loss")] = LOSS,
        order: int = 4,
        hops: Hops = "cumulative",
        top: int | None = None,
        num_walks: int | None = None,
        reconstruction_weight: float = 0.0,
        cluster_weight: float = 2.0,
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
            contrast_weight=contrast_weight,
            contrast=contrast,
            order=order,
            hops=hops,
            top=top,
            num_walks=num_walks,
            reconstruction_weight=reconstruction_weight,
            cluster_weight=cluster_weight,
            embedding_dim=embedding_dim,
            hidden_channels=hidden_channels,
            pretrain_epochs=pretrain_epochs,
            pretrain_batch_size=pretrain_batch_size,
            pretrain_learning_rate=pretrain_learning_rate,
            n_init=n_init,
            history=history,
        )
