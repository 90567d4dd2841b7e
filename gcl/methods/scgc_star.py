"""SCGC*: neighbours over several hops against all nodes, without a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from gcl.core.resolve import Slot
from gcl.methods.contrastive_clustering import ContrastiveClustering
from gcl.ops.transition_weights import Hops

LOSS = {"name": "neighbor_contrast", "scale": 0.25}


class SCGCStar(ContrastiveClustering):
    r"""SCGC*: soft assignment, and neighbours by cumulated transition probabilities against all nodes.

    .. math:: \mathcal{L} = \beta\, \mathrm{KL}(P \,\|\, Q) + \alpha\, \mathcal{L}_{\text{exact}}, \qquad
        \Gamma = T + T^2 + \dots + T^R

    Kulatilleke, Portmann, Chandra, arXiv 2204.12656, there "influence augmented contrastive". The defaults are the
    authors' for USPS.

    Args:
        all others: see :class:`~gcl.methods.contrastive_clustering.ContrastiveClustering`.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        *,
        num_clusters: int | None = None,
        contrast_weight: float = 4.0,
        contrast: Annotated[Any, Slot("loss")] = LOSS,
        order: int = 4,
        hops: Hops = "cumulative",
        top: int | None = None,
        num_walks: int | None = None,
        reconstruction_weight: float = 0.0,
        cluster_weight: float = 0.1,
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
