"""InfoNCE with a cluster in place of its nodes among the negatives."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor

from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError, unknown
from gcl.losses.blocks import OwnCluster, Rows, block_repulsion, meta_node_repulsion
from gcl.losses.functional import anchor_weights
from gcl.losses.pair_loss import PairLoss
from gcl.ops.kmeans import lloyd

Proxy = Literal["blocks", "meta_nodes"]


class BlockInfoNCE(PairLoss):
    r"""InfoNCE whose negative term costs O(N K d) or less: K clusters stand for the nodes of both views.

    .. math:: \mathcal{L} = -\frac1N \sum_i \frac{a_{ii}}{\tau} + \mathcal{R}(\hat h^1, \hat h^2)

    with ``proxy="blocks"`` the lower bound :func:`~gcl.losses.blocks.block_repulsion` of the term over all pairs of
    :class:`~gcl.losses.infonce.InfoNCE` (its own key among them), and with ``meta_nodes`` the term of PamC,
    :func:`~gcl.losses.blocks.meta_node_repulsion` (Kulatilleke et al., arXiv 2209.14067). The two views of a node are
    in one cluster. The negative term of ``meta_nodes`` knows no anchors.

    Args:
        temperature: :math:`\tau`, above 0.
        proxy: ``blocks`` or ``meta_nodes``.
        num_clusters: k-means with so many clusters is run on the mean rows of both views in every step; ``None`` takes
            ``clusters`` of the context (int ``[N]``), which methods fill with communities of the graph.
            The k-means starts from the context's ``epoch``.
        rows: ``nodes`` or ``clusters``, what the anchors of ``blocks`` are.
        own_cluster: ``keep``, or ``drop``, which leaves the pairs inside a cluster out of ``blocks``.
        second_order: the correction of ``blocks`` with ``rows="clusters"``.

    Raises:
        ConfigError: a value out of range, or options that do not go together.
    """

    needs: tuple[str, ...] = ("clusters",)  # of an object: nothing where it makes its own
    takes_shares: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float = 0.5,
        *,
        proxy: Proxy = "blocks",
        num_clusters: int | None = None,
        rows: Rows = "nodes",
        own_cluster: OwnCluster = "keep",
        second_order: bool = False,
    ):
        super().__init__(temperature)
        for name, word, words in (
            ("proxy", proxy, get_args(Proxy)),
            ("rows", rows, get_args(Rows)),
            ("own_cluster", own_cluster, get_args(OwnCluster)),
        ):
            if word not in words:
                raise ConfigError(unknown(name, str(word), words))
        if num_clusters is not None and (
            isinstance(num_clusters, bool) or not isinstance(num_clusters, int) or num_clusters < 1
        ):
            raise ConfigError(f"num_clusters must be a whole number from 1, or null, got {num_clusters!r}")
        if proxy == "meta_nodes" and (rows, own_cluster, second_order) != ("nodes", "keep", False):
            raise ConfigError("rows, own_cluster and second_order belong to proxy='blocks'; leave them out")
        if second_order and rows == "nodes":
            raise ConfigError("second_order belongs to rows='clusters'; set both")
        if num_clusters is not None:
            self.needs = ()
        self.proxy = proxy
        self.num_clusters = num_clusters
        self.rows = rows
        self.own_cluster = own_cluster
        self.second_order = second_order

    def negative_term(self, h1: Tensor, h2: Tensor, context: LossContext) -> Tensor:
        """The proxy of the term over all pairs of both views, a scalar; of unit rows ``[N, d]``."""
        clusters, rows = self._clusters(h1, h2, context).repeat(2), torch.cat([h1, h2])
        weights = anchor_weights(h1, context)  # sum to 1, or to this process's share of the anchors
        if self.proxy == "meta_nodes":
            return meta_node_repulsion(rows, clusters, scale=1 / self.temperature) * weights.sum()
        if context.anchors is not None:
            weights = weights.new_zeros(h1.shape[0]).index_add_(0, context.anchors, weights)
        return block_repulsion(
            rows,
            clusters,
            scale=1 / self.temperature,
            rows=self.rows,
            own_cluster=self.own_cluster,
            second_order=self.second_order,
            row_weight=weights.repeat(2) / 2,
        )

    def _clusters(self, h1: Tensor, h2: Tensor, context: LossContext) -> Tensor:
        """Cluster of each node, ``[N]``."""
        if self.num_clusters is not None:
            middle = (h1.detach() + h2.detach()) / 2
            return lloyd(middle, self.num_clusters, generator=Generator().manual_seed(context.epoch))
        clusters = context.clusters
        if clusters is None:
            raise ConfigError(
                "BlockInfoNCE needs clusters in its context; give LossContext(clusters=...) or num_clusters"
            )
        if clusters.shape != h1.shape[:1]:
            raise DataError(f"clusters must have one entry a node, [{h1.shape[0]}], got {list(clusters.shape)}")
        return clusters

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"temperature={self.temperature}, proxy={self.proxy!r}, num_clusters={self.num_clusters}, "
            f"rows={self.rows!r}, own_cluster={self.own_cluster!r}, second_order={self.second_order}"
        )
