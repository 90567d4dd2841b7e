"""Negatives by cluster: one key, or one row and one key, in place of all nodes of a cluster."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from gcl.core.errors import ConfigError, DataError, unknown
from gcl.losses.functional import check_scale
from gcl.ops.meta_nodes import meta_node_sum
from gcl.ops.product_logsumexp import product_logsumexp
from gcl.ops.unit_rows import unit_rows

OwnCluster = Literal["keep", "drop"]
Rows = Literal["nodes", "clusters"]


def meta_node_repulsion(z: Tensor, clusters: Tensor, *, scale: float) -> Tensor:
    r"""PamC's negative term: the meta-nodes against each other.

    .. math:: \frac{1}{K'} \sum_a \log\Big( 1 + \sum_{b \ne a} e^{\tau \cos(s_a, s_b)} \Big), \qquad
        s_k = \sum_{i: c_i = k} z_i

    over the K' clusters that are not empty. One of them alone gives 0. A direction rather than a value: the block bound
    (:func:`block_repulsion`) is near the value of all pairs. Kulatilleke et al., arXiv 2209.14067.

    Args:
        z: embeddings as they are, ``[N, d]``.
        clusters: cluster of each node, integers of any values, ``[N]``; or memberships ``[N, K]`` of 0 or more, with
            which the sums are weighted. Neither gets a gradient.
        scale: :math:`\tau`, above 0; it multiplies.

    Returns:
        A scalar.

    Raises:
        ConfigError: a scale out of range.
        DataError: shapes or types that do not fit.
    """
    check_scale(scale)
    sums, _, _ = cluster_sums(z, clusters)
    unit = unit_rows(sums)  # [K', d]
    similarity = (unit @ unit.t()).fill_diagonal_(0.0)
    return (scale * similarity).logsumexp(dim=1).mean()


def block_repulsion(
    h: Tensor,
    clusters: Tensor,
    *,
    scale: float,
    rows: Rows = "clusters",
    own_cluster: OwnCluster = "keep",
    second_order: bool = False,
    row_weight: Tensor | None = None,
) -> Tensor:
    r"""A lower bound of the negative term over all pairs, from the clusters' sizes and mean rows.

    .. math:: F = \sum_i r_i \log \sum_j e^{\tau h_i \cdot h_j} \;\ge\;
        \sum_i r_i \log \sum_b n_b\, e^{\tau h_i \cdot \bar h_b} \;\ge\;
        \sum_a r_a \log \sum_b n_b\, e^{\tau \bar h_a \cdot \bar h_b}

    by Jensen's inequality, once over the keys of a block and once over the anchors of a block; the first bound is
    ``rows="nodes"`` in O(N K d), the second ``rows="clusters"`` in O(N d + K² d). Both are equalities where the rows of
    each cluster coincide, and where each node is a cluster. The key j = i counts, by :math:`e^{\tau h_i \cdot h_i}`.

    ``second_order`` adds, in ``clusters`` form, what the curvature leaves out (then no bound any more): the factor
    :math:`1 + \tfrac{\tau^2}{2} \bar h_a^\top \Sigma_b \bar h_a` to each term, and
    :math:`\tfrac{\tau^2}{2} \mathrm{tr}(\Sigma_a \mathrm{Cov}_{\omega_a}(\bar h))` to each row, with the covariances
    :math:`\Sigma` inside the clusters and :math:`\omega_a` the shares of the terms. O(N d² + K² d²).

    ``own_cluster="drop"`` leaves the pairs inside a cluster out and counts 1 for the node itself, as PamC does.

    Args:
        h: rows, usually of length 1, ``[N, d]``.
        clusters: cluster of each node, integers of any values, ``[N]``, without gradient.
        scale: :math:`\tau`, above 0; one over a temperature.
        rows: ``nodes`` or ``clusters``.
        own_cluster: ``keep`` or ``drop``.
        second_order: see above; with ``rows="clusters"`` only.
        row_weight: r, ``[N]``; ``None`` = 1 / N.

    Returns:
        A scalar.

    Raises:
        ConfigError: an unknown word, a scale out of range, or ``second_order`` with ``rows="nodes"``.
        DataError: shapes that do not fit.
    """
    check_scale(scale)
    for name, word, words in (("rows", rows, get_args(Rows)), ("own_cluster", own_cluster, get_args(OwnCluster))):
        if word not in words:
            raise ConfigError(unknown(name, str(word), words))
    if second_order and rows == "nodes":
        raise ConfigError("second_order belongs to rows='clusters'; leave one of the two out")
    if clusters.dim() != 1:
        raise DataError(f"blocks need one cluster a node, [{h.shape[0]}], got {list(clusters.shape)}")
    sums, counts, code = cluster_sums(h, clusters)
    means = sums / counts.unsqueeze(1)  # [K', d]
    weight = counts.new_full(h.shape[:1], 1 / h.shape[0]) if row_weight is None else row_weight.to(counts.dtype)
    if rows == "nodes":
        value = product_logsumexp(
            h,
            means,
            temperature=1 / scale,
            key_bias=counts.log() / scale,
            exclude=code if own_cluster == "drop" else None,
            row_weight=weight if own_cluster == "keep" else None,
        )
        assert isinstance(value, Tensor)
        return value if own_cluster == "keep" else weight @ torch.nn.functional.softplus(value)
    share = torch.zeros_like(counts).index_add_(0, code, weight)  # [K'], how much each cluster counts as a row
    logits = scale * means @ means.t() + counts.log()  # [a, b]
    spread = _covariances(h, code, means) if second_order else None
    if spread is not None:
        inside = torch.einsum("ad,bde,ae->ab", means, spread, means).clamp(min=0)
        logits = logits + (0.5 * scale**2 * inside).log1p()
    if own_cluster == "drop":
        logits = logits.masked_fill(torch.eye(len(counts), dtype=torch.bool, device=h.device), 0.0)
    value = logits.logsumexp(dim=1)
    if spread is not None:
        omega = (logits - value.unsqueeze(1)).exp()  # [a, b]
        keys = means if own_cluster == "keep" else None
        value = value + 0.5 * scale**2 * _curvature(omega, means, spread, keys)
    return share @ value


def cluster_sums(z: Tensor, clusters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of the rows of each cluster that is not empty ``[K', d]``, sizes ``[K']``, and new numbers ``[N]``.

    With memberships ``[N, K]`` the sums and sizes are weighted, and the numbers are those of the largest membership.

    Raises:
        DataError: shapes or types that do not fit.
    """
    if clusters.shape[:1] != z.shape[:1] or clusters.dim() not in (1, 2):
        raise DataError(f"clusters must be [{z.shape[0]}] or [{z.shape[0]}, K], got {list(clusters.shape)}")
    dtype = torch.promote_types(z.dtype, torch.float32)
    if clusters.dim() == 2:
        if not clusters.is_floating_point():
            raise DataError(f"memberships [N, K] must be real numbers, got {clusters.dtype}")
        share = clusters.detach().to(dtype)
        size = share.sum(dim=0)
        share, size = share[:, size > 0], size[size > 0]
        return share.t() @ z.to(dtype), size, share.argmax(dim=1)
    if clusters.is_floating_point() or clusters.dtype == torch.bool:
        raise DataError(f"clusters must be integers, got {clusters.dtype}")
    _, code, counts = clusters.unique(return_inverse=True, return_counts=True)
    return meta_node_sum(z.to(dtype), code, counts.numel()), counts.to(dtype), code


def _covariances(h: Tensor, code: Tensor, means: Tensor) -> Tensor:
    """Covariance of the rows of each cluster, ``[K', d, d]``."""
    order = code.argsort(stable=True)
    parts = h[order].split(code.bincount(minlength=len(means)).tolist())
    return torch.stack([(part - mean).t() @ (part - mean) / len(part) for part, mean in zip(parts, means, strict=True)])


def _curvature(omega: Tensor, means: Tensor, spread: Tensor, keys: Tensor | None) -> Tensor:
    """Trace of the covariance of each cluster with that of the keys under its shares, ``[a]``.

    Args:
        omega: shares, ``[a, b]``, rows sum to 1.
        means, spread: of the clusters.
        keys: what the shares are of; ``None`` = the means, but 0 for the own cluster, whose term is constant.
    """
    inside = torch.einsum("bd,ade,be->ab", means, spread, means)  # m_b' S_a m_b
    if keys is None:
        eye = torch.eye(len(means), dtype=torch.bool, device=means.device)
        inside, omega = inside.masked_fill(eye, 0.0), omega.masked_fill(eye, 0.0)
    centre = omega @ means  # [a, d]
    return (omega * inside).sum(dim=1) - torch.einsum("ad,ade,ae->a", centre, spread, centre)
