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
    met_: Tensor
    step_: Tensor
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
        self.register_buffer("met_", torch.full((room,), -1))  # in which step
        self.register_buffer("step_", torch.zeros((), dtype=torch.int64))
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
        """Remembers nodes in place of those met longest ago; see :class:`~gcl.methods.memory.Memory`.

        Of more nodes than there is room for, evenly spaced ones are taken.
        """
        room, count = self.nodes_.numel(), nodes.numel()
        if count > room:
            chosen = torch.arange(room, device=nodes.device) * count // room
            nodes, rows = nodes[chosen], (rows[0][chosen], rows[1][chosen])
        self.met_[torch.isin(self.nodes_, nodes)] = -1  # their old rows are the first to go
        place = self.met_.argsort(stable=True)[: nodes.numel()]
        self.nodes_[torch.isin(self.nodes_, nodes)] = -1
        self.nodes_[place] = nodes
        for view, values in enumerate(rows):
            self.rows_[view, place] = unit_rows(values).to(self.rows_.dtype)
        self.met_[place] = self.step_
        self.step_ += 1
