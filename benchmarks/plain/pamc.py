"""PamC and its exact loss as their formulas are printed: gathers, scatters, dense similarities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attraction(z: Tensor, row: Tensor, col: Tensor, weight: Tensor, scale: float) -> Tensor:
    """Gathers both ends of every stored pair, and scatters the exponentials to the rows."""
    similarity = F.cosine_similarity(z[row], z[col])
    similarity = torch.where(row == col, 0.0, similarity)
    rho = torch.zeros(z.shape[0]).scatter_add(0, row, weight * torch.exp(scale * similarity))
    return -torch.log(rho + 1e-10).mean()


def meta_nodes(z: Tensor, labels: Tensor, num_clusters: int, scale: float) -> Tensor:
    """One-hot memberships times embeddings, N × K × h numbers, summed over the nodes."""
    members = F.one_hot(labels, num_clusters).to(z.dtype)
    sums = (members.unsqueeze(2) * z.unsqueeze(1)).sum(dim=0)
    unit = F.normalize(sums, dim=1)
    similarity = (unit @ unit.t()) * (1 - torch.eye(num_clusters))
    return torch.log(torch.exp(scale * similarity).sum(dim=1) + 1e-10).mean()


def all_pairs(z: Tensor, scale: float) -> Tensor:
    """The dense matrix of similarities."""
    unit = F.normalize(z, dim=1)
    similarity = (unit @ unit.t()) * (1 - torch.eye(z.shape[0]))
    return torch.log(torch.exp(scale * similarity).sum(dim=1)).mean()
