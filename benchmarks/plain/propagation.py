"""A GCN step by gather and scatter on an edge list."""

from __future__ import annotations

import torch
from torch import Tensor


def gcn_propagate(x: Tensor, edge_index: Tensor) -> Tensor:
    """Self-loops, both degrees' roots, messages [E, d], and their sum at the targets."""
    num_nodes = x.shape[0]
    loops = torch.arange(num_nodes)
    source, target = torch.cat([edge_index[0], loops]), torch.cat([edge_index[1], loops])
    degree = torch.zeros(num_nodes).index_add_(0, target, torch.ones(target.numel()))
    root = degree.pow(-0.5)
    weight = root[source] * root[target]
    messages = x[source] * weight.unsqueeze(1)
    return torch.zeros_like(x).index_add_(0, target, messages)
