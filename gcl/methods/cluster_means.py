"""A memory of the means of clusters."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gcl.core.context import MoreKeys
from gcl.methods.memory import Memory
from gcl.ops.meta_nodes import meta_node_sum
from gcl.ops.unit_rows import unit_rows


class ClusterMeans(Memory):
    r"""The mean projection of each community of the whole graph, for its nodes that are not in the step.

    It is a key that counts as often as there are such nodes. Were it their mean as they are now, it would be a lower
    bound of their sum (Jensen's inequality, see :func:`gcl.losses.blocks.block_repulsion`); it is that of the whole
    community as it was met last: a mean moves by the share of the community's nodes that a step has. A step costs as
    many products more as there are communities.

    Args:
        momentum: see :class:`~gcl.methods.memory.Memory`.

    Raises:
        ConfigError: a momentum out of range.
    """

    needs_clusters: ClassVar[bool] = True

    means_: Tensor
    seen_: Tensor
    clusters_: Tensor
    sizes_: Tensor
    node_weight_: Tensor | None

    def __init__(self, *, momentum: float = 0.95):
        super().__init__(momentum=momentum)

    def build(self, channels: int, num_nodes: int, clusters: Tensor | None, node_weight: Tensor | None) -> ClusterMeans:
        """Makes room; see :class:`~gcl.methods.memory.Memory`. A community has the mean weight of its nodes."""
        assert clusters is not None
        sizes = torch.bincount(clusters)
        self.register_buffer("means_", torch.zeros(2, sizes.numel(), channels))
        self.register_buffer("seen_", torch.zeros_like(sizes))  # nodes that a mean is of, at most all of the cluster
        self.register_buffer("clusters_", clusters, persistent=False)
        self.register_buffer("sizes_", sizes, persistent=False)
        weight = None
        if node_weight is not None:
            weight = torch.zeros(sizes.numel()).index_add_(0, clusters, node_weight.float()) / sizes.clamp_min(1)
        self.register_buffer("node_weight_", weight, persistent=False)
        return self

    def keys(self, nodes: Tensor) -> MoreKeys | None:
        """The means of the communities for all nodes but these, int64 ``[n]``; ``None`` where nothing is known."""
        counts = self.sizes_ - torch.bincount(self.clusters_[nodes], minlength=self.sizes_.numel())
        known = (self.seen_ > 0) & (counts > 0)
        if not bool(known.any()):
            return None
        weight = None if self.node_weight_ is None else self.node_weight_[known]
        return MoreKeys((self.means_[0, known], self.means_[1, known]), counts[known], weight)

    @torch.no_grad()
    def put(self, nodes: Tensor, rows: tuple[Tensor, Tensor]) -> None:
        """Moves the means towards those of the nodes; see :class:`~gcl.methods.memory.Memory`."""
        own, size = self.clusters_[nodes], self.sizes_.numel()
        met = torch.bincount(own, minlength=size)
        seen = (self.seen_ + met).minimum(self.sizes_)
        share = (met / seen.clamp_min(1)).unsqueeze(1)
        for view, values in enumerate(rows):
            mean = meta_node_sum(unit_rows(values).to(self.means_.dtype), own, size) / met.clamp_min(1).unsqueeze(1)
            self.means_[view] += share * (mean - self.means_[view])
        self.seen_.copy_(seen)
