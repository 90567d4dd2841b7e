"""What embeddings look like, without labels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gcl.core.errors import ConfigError, DataError
from gcl.evaluate.embeddings import as_embeddings
from gcl.ops.product_logsumexp import product_logsumexp

MOST_ROWS = 20_000  # whose pairs are compared by default


def alignment(z1: Tensor, z2: Tensor, alpha: float = 2.0) -> float:
    r"""Mean distance of the two views of a node on the unit sphere; 0 is best.

    .. math:: \frac1N \sum_i \lVert \hat z^1_i - \hat z^2_i \rVert_2^\alpha

    Wang and Isola: *Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere*, ICML 2020, arXiv 2005.10242.

    Args:
        z1, z2: ``[N, d]``; rows are scaled to unit length here.
        alpha: the power, positive.

    Raises:
        DataError: other shapes, or values that are not finite.
        ConfigError: ``alpha`` not positive.
    """
    _check_positive("alpha", alpha)
    a, b = _unit(z1), _unit(z2)
    if a.shape != b.shape:
        raise DataError(f"two views must have the same shape, got {list(a.shape)} and {list(b.shape)}")
    return float((a - b).norm(dim=1).pow(alpha).mean())


def uniformity(z: Tensor, t: float = 2.0) -> float:
    r"""How evenly rows spread over the unit sphere; the lower the more even, 0 where all coincide.

    .. math:: \log \frac{1}{N (N - 1)} \sum_{i \ne j} e^{-t \lVert \hat z_i - \hat z_j \rVert_2^2}

    Over all pairs, tile by tile. Wang and Isola, ICML 2020, arXiv 2005.10242.

    Args:
        z: ``[N, d]``, N at least 2; rows are scaled to unit length here.
        t: the bandwidth, positive.

    Raises:
        DataError: another shape, or values that are not finite.
        ConfigError: ``t`` not positive.
    """
    _check_positive("t", t)
    points = _unit(z)
    count = points.shape[0]
    if count < 2:
        raise DataError(f"uniformity compares pairs and needs at least 2 rows, got {count}")
    with torch.no_grad():
        # -t |a - b|^2 = 2t a.b - t |a|^2 - t |b|^2, and lengths are 1 except for rows of zeros
        square = points.square().sum(dim=1)  # [N]
        # without a bias the products are symmetric: half the work
        bias = None if bool((square > 0.5).all()) else -square / 2
        rows = product_logsumexp(points, temperature=1 / (2 * t), key_bias=bias)  # [N]
        assert isinstance(rows, Tensor)
        rows = rows - (2 * t if bias is None else t * square)
    return float(torch.logsumexp(rows, 0)) - math.log(count) - math.log(count - 1)


def effective_rank(z: Tensor) -> float:
    r"""How many directions embeddings use: 1 to min(N, d), and 0 for the zero matrix.

    .. math:: \exp\Big(-\sum_k p_k \log p_k\Big), \qquad p_k = \sigma_k / \sum_l \sigma_l

    with the singular values :math:`\sigma` of the matrix. Roy and Vetterli: *The effective rank: a measure of effective
    dimensionality*, EUSIPCO 2007.

    Args:
        z: ``[N, d]``, used as it is.

    Raises:
        DataError: another shape, or values that are not finite.
    """
    singular = torch.linalg.svdvals(as_embeddings(z).double())
    total = singular.sum()
    if total == 0:
        return 0.0
    share = singular / total
    return float(torch.special.entr(share).sum().exp())


def diagnostics(z: Tensor, z_views: tuple[Tensor, Tensor] | None = None) -> dict[str, float]:
    """The measures above with the mean length of a row; ``alignment`` where the embeddings of two views are given.

    Of more than 20,000 rows, ``uniformity`` is of 20,000 evenly spaced ones: over all pairs of a million it would take
    an hour.

    Args:
        z: embeddings of the clean graph, ``[N, d]``.
        z_views: embeddings of two views, each ``[N, d]``.
    """
    measures = {
        "effective_rank": effective_rank(z),
        "mean_norm": float(as_embeddings(z).double().norm(dim=1).mean()),
    }
    if z.shape[0] > 1:
        spaced = torch.arange(min(z.shape[0], MOST_ROWS)) * z.shape[0] // min(z.shape[0], MOST_ROWS)
        measures["uniformity"] = uniformity(z if z.shape[0] <= MOST_ROWS else z[spaced])
    if z_views is not None:
        measures["alignment"] = alignment(*z_views)
    return measures


def _unit(z: Tensor) -> Tensor:
    return F.normalize(as_embeddings(z).double(), dim=1)


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name} must be a positive number, got {value}")
