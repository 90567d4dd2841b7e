"""k-means that assigns by the largest inner product, as MEOW's prototypes are made."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from gcl.core.errors import ConfigError, DataError
from gcl.ops.matmul import linear
from gcl.ops.meta_nodes import meta_node_sum

BLOCK = 2**20  # products that exist at a time; they stay in a cache
NUDGE = 1 / 1024  # by which the two halves of a split cluster differ


class Clustering(NamedTuple):
    """Clusters of rows.

    Args:
        labels: cluster of each row, int64 ``[N]``.
        centers: mean of the rows of each cluster, not normalised, ``[k, d]``.
        similarity: product of each row with its centre, ``[N]``.
    """

    labels: Tensor
    centers: Tensor
    similarity: Tensor


@torch.no_grad()
def inner_product_kmeans(
    x: Tensor,
    k: int,
    *,
    iterations: int = 20,
    restarts: int = 5,
    centers: Tensor | None = None,
    generator: Generator | None = None,
) -> Clustering:
    r"""Lloyd's iterations with :math:`a(i) = \arg\max_c x_i \cdot m_c` and :math:`m_c` the mean of the cluster's rows.

    Each start is from k distinct random rows; that of the largest sum of products is kept. A cluster that runs empty
    takes over half of another one, picked with a probability proportional to its size less one: both get its centre,
    times :math:`1 \pm 1/1024` with signs that alternate over the columns. That is what the faiss library does with an
    inner product, by which MEOW (Yu and Li, SDM 2023) clusters. Centres of tighter clusters are longer and attract
    more.

    Args:
        x: finite, usually unit rows, ``[N, d]``.
        k: clusters, from 1 to N.
        iterations: of each start, from 1.
        restarts: starts, from 1; one where ``centers`` are given.
        centers: ``[k, d]`` to begin from.
        generator: on the CPU; ``None`` = torch's global one.

    Raises:
        ConfigError: a number out of range.
        DataError: shapes that do not fit.
    """
    if x.dim() != 2:
        raise DataError(f"x must be a matrix [N, d], got {list(x.shape)}")
    for name, number, most in (("k", k, x.shape[0]), ("iterations", iterations, None), ("restarts", restarts, None)):
        if (
            isinstance(number, bool)
            or not isinstance(number, int)
            or number < 1
            or (most is not None and number > most)
        ):
            upper = "" if most is None else f" to {most} for {most} rows"
            raise ConfigError(f"{name} must be a whole number from 1{upper}, got {number!r}")
    if centers is not None and centers.shape != (k, x.shape[1]):
        raise DataError(f"centers must be [{k}, {x.shape[1]}], got {list(centers.shape)}")
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    best: tuple[float, Tensor, Tensor, Tensor] | None = None
    for _ in range(1 if centers is not None else restarts):
        start = (
            x[torch.randperm(x.shape[0], generator=generator)[:k].to(x.device)] if centers is None else centers.to(x)
        )
        before: Tensor | None = None
        for _ in range(iterations):
            labels, _ = _assign(x, start)
            if before is not None and torch.equal(labels, before) and int(labels.bincount(minlength=k).min()):
                break  # the same centres would come of it again
            before = labels
            start = _update(x, labels, start, generator)
        labels, value = _assign(x, start)
        total = float(value.sum(dtype=torch.float64))
        if best is None or total > best[0]:
            best = total, labels, start, value
    assert best is not None
    return Clustering(best[1], best[2], best[3])


def _assign(x: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    parts = [linear(part, centers).max(dim=1) for part in x.split(max(1, BLOCK // len(centers)))]
    return torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts])


def _update(x: Tensor, labels: Tensor, centers: Tensor, generator: Generator | None) -> Tensor:
    k = len(centers)
    size = labels.bincount(minlength=k)
    centers = meta_node_sum(x, labels, k) / size.clamp(min=1).unsqueeze(1)
    empty = (size == 0).nonzero().squeeze(1).tolist()
    sign = torch.where(torch.arange(x.shape[1], device=x.device) % 2 == 0, NUDGE, -NUDGE)
    for cluster in empty:
        share = (size - 1).clamp(min=0).double().cpu()
        if float(share.sum()) == 0:  # every other one has a single row
            break
        donor = int(torch.multinomial(share, 1, generator=generator))
        centers[cluster] = centers[donor] * (1 + sign)
        centers[donor] = centers[donor] * (1 - sign)
        size[cluster] = size[donor] // 2
        size[donor] -= size[cluster]
    return centers
