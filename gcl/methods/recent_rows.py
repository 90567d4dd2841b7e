"""A memory of the nodes that training met last."""

from __future__ import annotations

import torch
from torch import Tensor

from gcl.core.context import MoreKeys
from gcl.core.errors import ConfigError
from gcl.methods.memory import Memory
from gcl.ops.unit_rows import unit_rows


class RecentRows(Memory):
    """The projections of both views of the nodes that were met last, as they were then.

    He, Fan, Wu, Xie, Girshick: *Momentum Contrast*, CVPR 2020, arXiv 1911.05722.

    Args:
        size: nodes, from 1; at most as many as the graph has. A step costs as many products more.
        momentum: see :class:`~gcl.methods.memory.Memory`.

    Raises:
        ConfigError: a number out of range.
    """

    rows_: Tensor
    nodes_: Tensor
    next_: Tensor
    node_weight_: Tensor | None

    def __init__(self, *, size: int = 16384, momentum: float = 0.95):
        super().__init__(momentum=momentum)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"the size of the memory must be a whole number from 1, got {size!r}")
        self.size = size

    def build(self, channels: int, num_nodes: int, clusters: Tensor | None, node_weight: Tensor | None) -> RecentRows:
        """Makes room; see :class:`~gcl.methods.memory.Memory`."""
        room = min(self.size, num_nodes)
        self.register_buffer("rows_", torch.zeros(2, room, channels))
        self.register_buffer("nodes_", torch.full((room,), -1))  # -1: nothing yet
        self.register_buffer("next_", torch.zeros((), dtype=torch.int64))
        self.register_buffer("node_weight_", node_weight, persistent=False)
        return self

    def keys(self, nodes: Tensor) -> MoreKeys | None:
        """The rows of other nodes than these, int64 ``[n]``; ``None`` where there are none."""
        known = (self.nodes_ >= 0) & ~torch.isin(self.nodes_, nodes)
        if not bool(known.any()):
            return None
        weight = None if self.node_weight_ is None else self.node_weight_[self.nodes_[known]]
        return MoreKeys((self.rows_[0, known], self.rows_[1, known]), node_weight=weight)

    @torch.no_grad()
    def put(self, nodes: Tensor, rows: tuple[Tensor, Tensor]) -> None:
        """Remembers nodes in place of the oldest; see :class:`~gcl.methods.memory.Memory`."""
        room = self.nodes_.numel()
        nodes = nodes[-room:]  # of more than there is room for, the last
        place = (self.next_ + torch.arange(nodes.numel(), device=nodes.device)) % room
        self.nodes_[torch.isin(self.nodes_, nodes)] = -1  # each node once
        self.nodes_[place] = nodes
        for view, values in enumerate(rows):
            self.rows_[view, place] = unit_rows(values[-room:]).to(self.rows_.dtype)
        self.next_.copy_((self.next_ + nodes.numel()) % room)
