"""A GRACE training step: PyG's GCNConv on an edge list, dense features, dense losses, torch's global generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GCNConv
from torch_geometric.utils import dropout_edge

from benchmarks.plain.contrast import grace_loss


class PlainGRACE(nn.Module):
    def __init__(self, num_features: int, width: int, temperature: float, views: tuple[tuple[float, float], ...]):
        super().__init__()
        self.first, self.second = GCNConv(num_features, 2 * width), GCNConv(2 * width, width)
        self.head1, self.head2 = nn.Linear(width, width), nn.Linear(width, width)
        self.temperature, self.views = temperature, views
        self.optimizer = torch.optim.Adam(self.parameters(), lr=5e-4, weight_decay=1e-5)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        z = F.relu(self.second(F.relu(self.first(x, edge_index)), edge_index))
        return self.head2(F.elu(self.head1(z)))

    def loss(self, views: list[tuple[Tensor, Tensor]]) -> Tensor:
        h1, h2 = (self(*view) for view in views)
        return grace_loss(h1, h2, self.temperature)

    def draw(self, x: Tensor, edge_index: Tensor) -> list[tuple[Tensor, Tensor]]:
        drawn = []
        for edge_drop, feature_drop in self.views:
            masked = torch.rand(x.shape[1]) < feature_drop
            view = x.clone()
            view[:, masked] = 0
            drawn.append((view, dropout_edge(edge_index, p=edge_drop)[0]))
        return drawn

    def step(self, x: Tensor, edge_index: Tensor) -> None:
        self.optimizer.zero_grad()
        self.loss(self.draw(x, edge_index)).backward()
        self.optimizer.step()
