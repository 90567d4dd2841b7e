"""InfoNCE whose negatives count by how many clusterings separate them from the anchor (MEOW)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor, nn

from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError, NotFittedError, unknown
from gcl.losses.functional import EVERY_NODE, anchor_weights, check_temperature, pair_attraction, unit_pair
from gcl.ops.inner_product_kmeans import Clustering, inner_product_kmeans
from gcl.ops.meta_nodes import meta_node_sum
from gcl.ops.pair_weight import cluster_ids
from gcl.ops.product_logsumexp import product_logsumexp
from gcl.ops.segment import segment_sum
from gcl.ops.unit_rows import unit_rows

Concentration = Literal["similarity", "distance"]
SMOOTHING = 5  # added to the size of a cluster inside the logarithm


class WeightedInfoNCE(nn.Module):
    r"""Negatives weighted by clusterings of several granularities, and the prototypes of these.

    .. math:: \mathcal{L} = -\frac1n \sum_i \Big[ S_{ii} - \log \sum_j \gamma_{ij} e^{S_{ij}} \Big]
        + \lambda \mathcal{L}_{\text{proto}}, \qquad
        S_{ij} = \hat h^1_i \cdot \hat h^2_j / \tau, \quad \gamma_{ij} = \sum_g 1[a_g(i) \ne a_g(j)]

    Anchors are the first view, keys the second, which the clusters :math:`a_g` are of, too; no gradient goes to them.
    A pair that shares its cluster in every clustering, probably a false negative, is left out; so is the positive, and
    the loss may be negative. Without any separated pair there is no negative term. The second term is
    :func:`prototype_contrast`.

    Memory is linear in the nodes. Yu and Li: *Heterogeneous Graph Contrastive Learning with Meta-path Contexts and
    Weighted Negative Samples*, SDM 2023 (its program where the text is silent).

    Args:
        temperature: :math:`\tau`, above 0.
        num_clusters: of each clustering, which is made anew in every step by
            :func:`~gcl.ops.inner_product_kmeans.inner_product_kmeans`; ``None`` takes the clusters of the context,
            which two-view methods fill with communities of the graph.
        prototype_weight: :math:`\lambda`, 0 or more; 0 leaves the prototypes out.
        concentration: ``similarity``, or ``distance`` as in PCL; see :func:`concentrations`.
        iterations, restarts: of the k-means, from 1.
        warm_start: begin from the centres of the step before, with one start; the first step begins at random. Needs
            :meth:`build`.
        symmetric: the mean of both directions, the second with clusters of the first view.

    Raises:
        ConfigError: a value out of range.
    """

    needs: tuple[str, ...] = ("clusters",)  # of an object: nothing where it makes its own
    takes_shares: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float = 0.5,
        *,
        num_clusters: Sequence[int] | None = (100, 300),
        prototype_weight: float = 1.0,
        concentration: Concentration = "similarity",
        iterations: int = 20,
        restarts: int = 5,
        warm_start: bool = False,
        symmetric: bool = False,
    ):
        super().__init__()
        check_temperature(temperature)
        if concentration not in get_args(Concentration):
            raise ConfigError(unknown("concentration", str(concentration), get_args(Concentration)))
        if num_clusters is not None and (not isinstance(num_clusters, list | tuple) or not num_clusters):
            raise ConfigError(f"num_clusters must be a list of whole numbers, or null, got {num_clusters!r}")
        counts = [("num_clusters", k) for k in num_clusters or ()]
        for name, value in [*counts, ("iterations", iterations), ("restarts", restarts)]:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be whole numbers from 1, got {value!r}")
        number = isinstance(prototype_weight, int | float) and not isinstance(prototype_weight, bool)
        if not number or not 0 <= prototype_weight < float("inf"):
            raise ConfigError(f"prototype_weight must be a finite number of at least 0, got {prototype_weight!r}")
        if warm_start and num_clusters is None:
            raise ConfigError("warm_start is about the k-means of num_clusters; leave it out or give num_clusters")
        if num_clusters is not None:
            self.needs = ()
        self.temperature = temperature
        self.num_clusters = num_clusters
        self.prototype_weight = prototype_weight
        self.concentration: Concentration = concentration
        self.iterations = iterations
        self.restarts = restarts
        self.warm_start = warm_start
        self.symmetric = symmetric

    def build(self, channels: int) -> WeightedInfoNCE:
        """Makes room for the centres of ``warm_start``, of embeddings ``[N, channels]``."""
        if self.warm_start:
            for direction in range(2 if self.symmetric else 1):
                for g, k in enumerate(self.num_clusters or ()):
                    self.register_buffer(f"centers_{direction}_{g}", torch.zeros(k, channels))
        return self

    def check_nodes(self, num_nodes: int) -> None:
        """Refuses more clusters than nodes.

        Raises:
            ConfigError: there are more.
        """
        most = max(self.num_clusters or (0,))
        if most > num_nodes:
            raise ConfigError(f"num_clusters={most} clusters cannot be made of {num_nodes} nodes; lower it")

    def forward(self, z1: Tensor, z2: Tensor | None = None, *, context: LossContext | None = None) -> Tensor:
        """The mean loss over the anchors, a scalar.

        Args:
            z1: projections of the first view, the anchors, ``[N, d]``; rows are normalised here.
            z2: those of the second view, the keys, ``[N, d]``.
            context: ``clusters``, int ``[N]`` or ``[N, G]``, unless ``num_clusters`` is given; ``anchors``, ``counts``
                and ``num_anchors``.

        Raises:
            ConfigError: no second view, no clusters, or more clusters than nodes.
            DataError: shapes that do not fit together.
            NotFittedError: ``warm_start``, and :meth:`build` was not called.
        """
        total = torch.stack(list(self.terms(z1, z2, context=context).values()))
        return total.sum()

    def terms(self, z1: Tensor, z2: Tensor | None = None, *, context: LossContext | None = None) -> dict[str, Tensor]:
        """The two terms apart, ``contrast`` and ``prototypes``, the latter weighted; see :meth:`forward`."""
        context = EVERY_NODE if context is None else context
        h1, h2 = unit_pair(z1, z2, type(self).__name__)
        forth = self._one_way(h1, h2, context, 0)
        if not self.symmetric:
            return forth
        back = self._one_way(h2, h1, context, 1)
        return {name: (forth[name] + back[name]) / 2 for name in forth}

    def _one_way(self, h: Tensor, keys: Tensor, context: LossContext, direction: int) -> dict[str, Tensor]:
        clusterings = self._clusterings(keys.detach(), context, direction)
        labels = torch.stack([clustering.labels for clustering in clusterings], dim=1)  # [N, G]
        terms = {"contrast": weighted_contrast(h, keys, labels, temperature=self.temperature, context=context)}
        if self.prototype_weight:
            value = prototype_contrast(
                h, clusterings, temperature=self.temperature, concentration=self.concentration, context=context
            )
            terms["prototypes"] = self.prototype_weight * value
        return terms

    def _clusterings(self, keys: Tensor, context: LossContext, direction: int) -> list[Clustering]:
        if self.num_clusters is None:
            return _given(keys, context.clusters)
        self.check_nodes(len(keys))
        made = []
        for g, k in enumerate(self.num_clusters):
            kept = getattr(self, f"centers_{direction}_{g}", None)
            if self.warm_start and kept is None:
                raise NotFittedError(
                    "WeightedInfoNCE keeps centres for warm_start; call build(channels) before using it"
                )
            warm = kept is not None and bool(kept.any())
            clustering = inner_product_kmeans(
                keys,
                k,
                iterations=self.iterations,
                restarts=self.restarts if kept is None else 1,
                centers=kept if warm else None,
                generator=Generator().manual_seed(g),  # the same first rows in every step, as the program's
            )
            if kept is not None:
                kept.copy_(clustering.centers)
            made.append(clustering)
        return made

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"temperature={self.temperature}, num_clusters={self.num_clusters}, "
            f"prototype_weight={self.prototype_weight}, concentration={self.concentration!r}, "
            f"iterations={self.iterations}, restarts={self.restarts}, warm_start={self.warm_start}, "
            f"symmetric={self.symmetric}"
        )


def weighted_contrast(
    h1: Tensor, h2: Tensor, labels: Tensor, *, temperature: float, context: LossContext = EVERY_NODE
) -> Tensor:
    r""":math:`-\frac1n \sum_i [S_{ii} - \log \sum_j \gamma_{ij} e^{S_{ij}}]`, a scalar; see :class:`WeightedInfoNCE`.

    Args:
        h1: unit rows of the anchors' view, ``[N, d]``.
        h2: those of the keys', ``[N, d]``.
        labels: clusters, int ``[N, G]``.
        temperature: :math:`\tau`, above 0.
        context: anchors and their counts.
    """
    positive = pair_attraction(h1, h2, temperature=temperature, context=context)
    if bool((labels == labels[:1]).all()):  # no pair is separated; else every node has one that is
        return positive
    weights, anchors = anchor_weights(h1, context), context.anchors
    rows = h1 if anchors is None else h1[anchors]
    negative = product_logsumexp(
        rows,
        h2,
        temperature=temperature,
        pair_weight=cluster_ids(labels if anchors is None else labels[anchors], labels),
        row_weight=weights,
    )
    assert isinstance(negative, Tensor)
    return positive + negative


def prototype_contrast(
    h: Tensor,
    clusterings: Sequence[Clustering],
    *,
    temperature: float,
    concentration: Concentration = "similarity",
    context: LossContext = EVERY_NODE,
) -> Tensor:
    r"""Each anchor against the prototypes of the clusters, unit vectors along their centres.

    .. math:: -\frac{1}{nG} \sum_g \sum_i \Big[ \frac{\hat h_i \cdot \mu_{g,a_g(i)}}{\phi_{g,a_g(i)}}
        - \log \Big( \frac{N}{k_g} \sum_c e^{\hat h_i \cdot \mu_{g,c} / \phi_{g,c}} \Big) \Big]

    with the temperatures :math:`\phi` of :func:`concentrations`. The factor :math:`N / k_g` has no gradient; it is the
    program's. After PCL (Li et al., ICLR 2021). No gradient goes to the prototypes.

    Args:
        h: unit rows, ``[N, d]``.
        clusterings: of the same nodes.
        temperature: the mean of :math:`\phi`, above 0.
        concentration: see :func:`concentrations`.
        context: anchors and their counts.

    Returns:
        A scalar.
    """
    weights, anchors = anchor_weights(h, context), context.anchors
    rows = h if anchors is None else h[anchors]
    terms = []
    for clustering in clusterings:
        phi = concentrations(clustering, temperature=temperature, concentration=concentration)
        keys = unit_rows(clustering.centers) / phi.unsqueeze(1)  # [k, d]
        own = clustering.labels if anchors is None else clustering.labels[anchors]
        similarity = (rows.to(weights.dtype) * keys[own]).sum(dim=1)
        everything = product_logsumexp(rows, keys.to(rows.dtype), row_weight=weights)
        assert isinstance(everything, Tensor)
        constant = weights.sum() * math.log(len(h) / len(keys))
        terms.append(everything + constant - weights @ similarity)
    return torch.stack(terms).mean()


def concentrations(
    clustering: Clustering, *, temperature: float, concentration: Concentration = "similarity"
) -> Tensor:
    r"""A temperature for each cluster, with mean :math:`\tau`, ``[k]``.

    .. math:: \phi_c = \tau \frac{r_c}{\mathrm{mean}(r)}, \qquad
        r_c = \frac{1}{N_c \log(N_c + 5)} \sum_{i \in c} \sqrt{v_i}

    with the product :math:`v_i` of a row with its centre, floored at 0; ``distance`` takes the distance
    :math:`\sqrt{1 - 2 v_i + \lVert m_c \rVert^2}` in place of its root, as PCL does. A cluster of one row or none,
    or of equal rows with ``distance``, gets the largest r; all are clipped to their 10th and 90th percentile. Roots of
    similarities are all near 1, so that with ``similarity`` the size decides.

    Args:
        clustering: k clusters.
        temperature: :math:`\tau`, above 0.
        concentration: ``similarity`` or ``distance``.
    """
    labels, centers, value = clustering
    k = len(centers)
    if concentration == "similarity":
        spread = value.clamp(min=0).sqrt()
    else:
        square = 1 - 2 * value + centers.square().sum(dim=1)[labels]
        spread = torch.where(square > 8 * torch.finfo(square.dtype).eps, square, 0.0).sqrt()  # what is less is rounding
    size = labels.bincount(minlength=k).to(spread)
    raw = segment_sum(spread, labels, k) / size.clamp(min=1) / (size + SMOOTHING).log()
    known = (size > 1) & (raw > 0)
    if not bool(known.any()):
        return torch.full_like(raw, temperature)
    raw = torch.where(known, raw, raw[known].max())
    low, high = raw.quantile(torch.tensor([0.1, 0.9], dtype=raw.dtype, device=raw.device))
    raw = raw.clamp(low, high)
    return temperature * raw / raw.mean()


def _given(keys: Tensor, clusters: Tensor | None) -> list[Clustering]:
    """Clusterings from the labels of the context."""
    if clusters is None:
        raise ConfigError(
            "WeightedInfoNCE needs clusters in its context; give LossContext(clusters=...) or num_clusters"
        )
    if clusters.shape[:1] != keys.shape[:1] or clusters.dim() not in (1, 2) or clusters.is_floating_point():
        raise DataError(
            f"clusters must be integers [{len(keys)}] or [{len(keys)}, G], got {clusters.dtype} {list(clusters.shape)}"
        )
    made = []
    for column in (clusters if clusters.dim() == 2 else clusters.unsqueeze(1)).unbind(dim=1):
        _, labels, size = column.unique(return_inverse=True, return_counts=True)
        rows = keys.to(torch.promote_types(keys.dtype, torch.float32))
        centers = meta_node_sum(rows, labels, len(size)) / size.unsqueeze(1)
        made.append(Clustering(labels, centers, (rows * centers[labels]).sum(dim=1)))
    return made
