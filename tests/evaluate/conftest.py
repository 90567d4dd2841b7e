from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gcl.data.splits import random_split


@pytest.fixture
def make_task() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """Embeddings ``[N, d]`` in noisy clouds, their classes and random 30/30/40 splits ``[N, S]``."""

    def make(
        num_nodes: int = 120,
        width: int = 8,
        num_classes: int = 3,
        num_splits: int = 3,
        noise: float = 1.0,
        seed: int = 0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        centers = torch.randn(num_classes, width, generator=generator)
        y = torch.arange(num_nodes) % num_classes
        z = centers[y] + noise * torch.randn(num_nodes, width, generator=generator)
        splits = torch.stack([random_split(num_nodes, s, 0.3, 0.3) for s in range(num_splits)], dim=1)
        return z, y, splits

    return make
