"""k-means for the parts of training that need it."""

from __future__ import annotations

import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Generator, Tensor

from gcl.core.errors import ConfigError, DataError
from gcl.ops.meta_nodes import meta_node_sum

BLOCK = 2**22  # distances that exist at a time


@torch.no_grad()
def lloyd(x: Tensor, k: int, *, iterations: int = 5, generator: Generator | None = None) -> Tensor:
    """Clusters of the rows by a few of Lloyd's iterations from k random rows, on the device of ``x``.

    Rough and fast, O(N k d) an iteration: for clusters that are made anew in every step. What people are shown comes
    from scikit-learn (:func:`gcl.evaluate.clustering.kmeans_assign`). An empty cluster keeps its centre.

    Args:
        x: ``[N, d]``, finite.
        k: clusters, from 1; all rows apart where there are no more than k.
        iterations: from 1.
        generator: on the CPU; ``None`` = torch's global one.

    Returns:
        int64 ``[N]``, from 0 to k - 1; some may not occur.

    Raises:
        ConfigError: k or iterations below 1.
        DataError: ``x`` is no matrix.
    """
    for name, value in (("k", k), ("iterations", iterations)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name} must be a whole number from 1, got {value!r}")
    if x.dim() != 2:
        raise DataError(f"x must be a matrix [N, d], got {list(x.shape)}")
    num_rows = x.shape[0]
    if num_rows <= k:
        return torch.arange(num_rows, device=x.device)
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    centres = x[torch.randperm(num_rows, generator=generator)[:k].to(x.device)]
    labels = _nearest(x, centres)
    for _ in range(iterations - 1):
        total = meta_node_sum(x, labels, k)
        count = labels.bincount(minlength=k).unsqueeze(1)
        centres = torch.where(count > 0, total / count.clamp(min=1), centres)
        labels = _nearest(x, centres)
    return labels


def _nearest(x: Tensor, centres: Tensor) -> Tensor:
    half = centres.square().sum(dim=1) / 2  # |x - c|^2 / 2, less what is the same for all c
    size = max(1, BLOCK // len(centres))
    return torch.cat([(half - part @ centres.t()).argmin(dim=1) for part in x.split(size)])


def kmeans_centers(x: Tensor, k: int, *, n_init: int, generator: Generator | None = None) -> Tensor:
    """Centres of scikit-learn's k-means from k-means++ starts, on one thread, ``[k, d]`` like ``x``.

    Args:
        x: ``[N, d]``, finite.
        k: from 1 to N.
        n_init: starts, of which the best is kept.
        generator: on the CPU; ``None`` = torch's global one.

    Raises:
        ConfigError: k out of range.
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= x.shape[0]:
        raise ConfigError(f"k must be a whole number from 1 to {x.shape[0]} for {x.shape[0]} rows, got {k!r}")
    seed = int(torch.randint(2**31, (), generator=generator))
    with threadpool_limits(1):
        model = KMeans(k, n_init=n_init, random_state=seed).fit(x.detach().cpu().numpy())
    return torch.from_numpy(model.cluster_centers_).to(x)
