"""LightGCL's step, its sampling and its evaluation as the released program writes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


def normalised(users: Tensor, items: Tensor, shape: tuple[int, int]) -> Tensor:
    """The interactions over the roots of both degrees, a sparse COO matrix."""
    d_user = torch.bincount(users, minlength=shape[0]).float()
    d_item = torch.bincount(items, minlength=shape[1]).float()
    values = (d_user[users] * d_item[items]).rsqrt()
    return torch.sparse_coo_tensor(torch.stack([users, items]), values, shape).coalesce()


def step(
    matrix: Tensor,
    factors: tuple[Tensor, Tensor, Tensor],
    user_table: Tensor,
    item_table: Tensor,
    batch: tuple[Tensor, Tensor, Tensor],
    *,
    num_layers: int,
    temperature: float,
    contrast_weight: float,
    l2: float,
    anchors: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The loss of a batch, with dense logits of its nodes against all users and all items."""
    u, s, v = factors
    users, positives, negatives = batch
    x, y, low_x, low_y = [user_table], [item_table], [user_table], [item_table]
    for layer in range(num_layers):
        x.append(torch.sparse.mm(matrix, y[layer]))
        y.append(torch.sparse.mm(matrix.transpose(0, 1), x[layer]))
        low_x.append((u * s) @ (v.T @ y[layer]))
        low_y.append((v * s) @ (u.T @ x[layer]))
    z_user, z_item, g_user, g_item = sum(x), sum(y), sum(low_x), sum(low_y)
    nodes = (users, torch.cat([positives, negatives])) if anchors is None else anchors
    contrast = 0.0
    for z, g, ids in ((z_user, g_user, nodes[0]), (z_item, g_item, nodes[1])):
        repulsion = torch.log(torch.exp(g[ids] @ z.T / temperature).sum(1) + 1e-8).mean()
        attraction = torch.clamp((g[ids] * z[ids]).sum(1) / temperature, -5.0, 5.0).mean()
        contrast = contrast + repulsion - attraction
    positive = (z_user[users] * z_item[positives]).sum(1)
    negative = (z_user[users] * z_item[negatives]).sum(1)
    ranking = -(positive - negative).sigmoid().log().mean()
    penalty = user_table.norm(2).square() + item_table.norm(2).square()
    return ranking + contrast_weight * contrast + l2 * penalty


def sample_negatives(rows: np.ndarray, taken: Any, num_items: int, seed: int = 0) -> np.ndarray:
    """One negative for each interaction, drawn again while the user has it; ``taken`` is a dictionary of keys."""
    draw = np.random.RandomState(seed)
    negatives = np.zeros(len(rows), dtype=np.int64)
    for index in range(len(rows)):
        user = rows[index]
        while True:
            item = draw.randint(num_items)
            if (user, item) not in taken:
                break
        negatives[index] = item
    return negatives


def evaluate(
    user_table: Tensor, item_table: Tensor, train: sp.csr_matrix, test: list[list[int]], k: int = 20, block: int = 256
) -> tuple[float, float]:
    """Recall and NDCG at k: dense scores, a full sort, and loops over users."""
    recall, ndcg, count = 0.0, 0.0, 0
    for start in range(0, len(test), block):
        ids = np.arange(start, min(start + block, len(test)))
        mask = torch.from_numpy(train[ids].toarray()).float()
        scores = user_table[ids] @ item_table.T * (1 - mask) - 1e8 * mask
        ranked = scores.argsort(descending=True)[:, :k].numpy()
        for row, user in enumerate(ids):
            wanted = test[user]
            if not wanted:
                continue
            found, gain = 0, 0.0
            for item in wanted:
                if item in ranked[row]:
                    found += 1
                    gain += 1 / math.log2(int(np.where(ranked[row] == item)[0][0]) + 2)
            best = sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))
            recall, ndcg, count = recall + found / len(wanted), ndcg + gain / best, count + 1
    return recall / count, ndcg / count
