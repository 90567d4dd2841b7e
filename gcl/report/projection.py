"""Embeddings in the plane."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

ProjectionName = Literal["tsne", "pca", "none"]


def project(z: Tensor, kind: ProjectionName) -> np.ndarray:
    """Unit rows of embeddings in the plane, the same every time.

    Args:
        z: ``[n, d]``.
        kind: ``tsne`` (van der Maaten and Hinton, JMLR 2008; scikit-learn's) or ``pca``.

    Returns:
        ``[n, 2]``.
    """
    rows = F.normalize(torch.nan_to_num(z.float()), dim=1).numpy()
    if len(rows) < 2:
        return np.zeros((len(rows), 2))
    with threadpool_limits(1):  # sums in one order
        if kind == "tsne" and len(rows) > 3:
            perplexity = min(30.0, (len(rows) - 1) / 3)
            start = "pca" if min(rows.shape) > 1 else "random"
            flat: np.ndarray = TSNE(perplexity=perplexity, init=start, random_state=0).fit_transform(rows)
            return flat
        size = min(2, *rows.shape)
        flat = PCA(size, random_state=0).fit_transform(rows)
    return np.pad(flat, ((0, 0), (0, 2 - size)))
