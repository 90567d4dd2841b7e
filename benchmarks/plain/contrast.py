"""All-pairs losses with N x N matrices, each computed once and kept for autograd."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def grace_loss(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """GRACE's objective, both directions."""
    return (0.5 * (_one_way(z1, z2, temperature) + _one_way(z2, z1, temperature))).mean()


def _one_way(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    a, b = F.normalize(a), F.normalize(b)
    intra, inter = torch.exp(a @ a.T / temperature), torch.exp(a @ b.T / temperature)
    return -torch.log(inter.diag() / (intra.sum(1) + inter.sum(1) - intra.diag()))


def team_up_loss(z1: Tensor, z2: Tensor, strength: Tensor, gamma: float, temperature: float) -> Tensor:
    """CSGCL's Team-up: the strengths of both ends are added to every similarity."""
    bias = gamma * (strength.unsqueeze(1) + strength.unsqueeze(0))  # [N, N]

    def one_way(a: Tensor, b: Tensor) -> Tensor:
        a, b = F.normalize(a), F.normalize(b)
        intra, inter = torch.exp((a @ a.T + bias) / temperature), torch.exp((a @ b.T + bias) / temperature)
        return -torch.log(inter.diag() / (intra.sum(1) + inter.sum(1) - intra.diag()))

    return (0.5 * (one_way(z1, z2) + one_way(z2, z1))).mean()


def cluster_weighted_loss(a: Tensor, b: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """MEOW's contrast: a negative counts once for each clustering (column of labels) that separates the pair."""
    similarity = a @ b.T / temperature
    weight = torch.zeros_like(similarity)
    for clustering in labels.T:
        weight += clustering.unsqueeze(1) != clustering.unsqueeze(0)
    return -(similarity.diag() - torch.log((weight * torch.exp(similarity)).sum(1))).mean()


def network_weighted_loss(
    a: Tensor, b: Tensor, G1: Tensor, g1: Tensor, g2: Tensor, g0: Tensor, temperature: float
) -> Tensor:
    """AdaMEOW's contrast: a network of the sum of both ends weighs each pair; its hidden layer is [N, N, h]."""
    similarity, log_sum = network_weighted_sums(a, b, G1, g1, g2, g0, temperature)
    return -(similarity.diag() - log_sum).mean()


def network_weighted_sums(
    a: Tensor, b: Tensor, G1: Tensor, g1: Tensor, g2: Tensor, g0: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The similarities [n, N] of rows ``a``, and their denominators' logarithms."""
    similarity = a @ b.T / temperature
    hidden = torch.tanh((a @ G1.T).unsqueeze(1) + (b @ G1.T + g1).unsqueeze(0))  # [n, N, h]
    weight = torch.sigmoid(hidden @ g2 + g0)
    return similarity, torch.log((weight * torch.exp(similarity)).sum(1))
