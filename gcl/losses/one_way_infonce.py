"""InfoNCE from one view to the other, over all rows of it or a sample."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from gcl.core.context import LossContext
from gcl.core.errors import ConfigError, DataError
from gcl.losses.blocks import cluster_sums
from gcl.losses.functional import EVERY_NODE, anchor_weights, check_temperature, unit_pair
from gcl.ops.kmeans import lloyd
from gcl.ops.product_logsumexp import product_logsumexp
from gcl.ops.unit_rows import unit_rows

TILE_MEMORY = 32 * 2**20  # bytes: half of it keeps a strip of some anchors by all keys; more brings 4 percent


class OneWayInfoNCE(nn.Module):
    r"""Rows of the first view as anchors, all rows of the second as keys: the contrastive term of recommenders.

    .. math:: \mathcal{L} = \frac1n \sum_{i} \Big( \log \sum_{j=1}^{N} e^{s_{ij}/\tau}
        - \mathrm{clip}(s_{ii}/\tau,\ -c,\ c) \Big)

    with cosine similarities :math:`s_{ij}`, or inner products where ``normalize`` is off. Exact over all keys, in
    memory linear in N; no product overflows, whatever its size. Anchors that repeat may be given once with ``counts``.

    SGL (Wu et al., SIGIR 2021, arXiv 2010.10783) normalises and does not clip; LightGCL's program (Cai et al., ICLR
    2023, arXiv 2302.08191) takes inner products and clips the positive at 5, which then has no gradient outside.

    Args:
        temperature: :math:`\tau`, above 0.
        normalize: cosine similarities; ``False`` = inner products.
        positive_clip: c, above 0; ``None`` = not clipped.
        num_clusters: so many clusters of the keys, found anew in every step by a few iterations of k-means, stand for
            all keys, each by its mean row and size: a lower bound of the exact term
            (:func:`gcl.losses.blocks.block_repulsion` with ``rows="nodes"``), in time linear in the keys. It takes no
            sampled keys. ``None`` = exact.

    Raises:
        ConfigError: a value out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    takes_keys: ClassVar[bool] = True  # reads ``LossContext.keys``
    takes_shares: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float = 0.2,
        *,
        normalize: bool = True,
        positive_clip: float | None = None,
        num_clusters: int | None = None,
    ):
        super().__init__()
        check_temperature(temperature)
        if positive_clip is not None and (
            isinstance(positive_clip, bool) or not (math.isfinite(positive_clip) and positive_clip > 0)
        ):
            raise ConfigError(f"positive_clip must be a finite number above 0 or null, got {positive_clip!r}")
        if num_clusters is not None and (
            isinstance(num_clusters, bool) or not isinstance(num_clusters, int) or num_clusters < 1
        ):
            raise ConfigError(f"num_clusters must be a whole number from 1, or null, got {num_clusters!r}")
        self.temperature = temperature
        self.normalize = normalize
        self.positive_clip = positive_clip
        self.num_clusters = num_clusters

    def forward(self, z1: Tensor, z2: Tensor | None = None, *, context: LossContext | None = None) -> Tensor:
        """The mean loss over the anchors, a scalar.

        Args:
            z1: the anchors' view, ``[N, d]``.
            z2: the keys' view, ``[N, d]``.
            context: ``anchors``, ``counts``, ``num_anchors`` and ``keys`` are read. Of sampled keys the anchor's own
                positive is counted once whether drawn or not, and the others stand for all others.

        Raises:
            ConfigError: no second view, or sampled keys beside ``num_clusters``.
            DataError: shapes that do not fit together, or anchors out of range.
        """
        context = EVERY_NODE if context is None else context
        if z2 is None or z1.shape != z2.shape:
            unit_pair(z1, z2, type(self).__name__)  # says what is wrong
        assert z2 is not None
        weights, anchors = anchor_weights(z2, context), context.anchors  # refuses anchors that z1 does not have
        return self._contrast(z1 if anchors is None else z1.index_select(0, anchors), z2, weights, context)

    def contrast(self, rows: Tensor, keys: Tensor, context: LossContext) -> Tensor:
        """The same with the rows of the anchors alone, which may be all that was computed of the first view.

        Args:
            rows: one row an anchor, ``[n, d]``.
            keys: the second view, ``[N, d]``.
            context: as above; ``anchors`` says which key is the positive of each row.

        Raises:
            ConfigError, DataError: as above.
        """
        return self._contrast(rows, keys, anchor_weights(keys, context), context)

    def _contrast(self, rows: Tensor, keys: Tensor, weights: Tensor, context: LossContext) -> Tensor:
        """The same with the weights of the anchors, ``[n]``."""
        if context.keys is not None and self.num_clusters is not None:
            raise ConfigError(
                f"{type(self).__name__} got a sample of the keys and num_clusters={self.num_clusters}, and either "
                "stands for all keys; leave one of them out"
            )
        if rows.dim() != 2 or rows.shape[1:] != keys.shape[1:] or rows.shape[0] != weights.shape[0]:
            raise DataError(
                f"the anchors must be {weights.shape[0]} rows as wide as the keys {list(keys.shape)}, got "
                f"{list(rows.shape)}; give one row an anchor"
            )
        if self.normalize:
            rows, keys = unit_rows(rows), unit_rows(keys)
        own = keys if context.anchors is None else keys.index_select(0, context.anchors)
        similarity = (rows * own).sum(dim=1) / self.temperature  # [n]
        positive = (
            similarity if self.positive_clip is None else similarity.clamp(-self.positive_clip, self.positive_clip)
        )
        if context.keys is not None:
            repulsion = torch.dot(weights, self._sampled(rows, keys, similarity, context).to(weights.dtype))
        elif self.num_clusters is not None:
            repulsion = self._by_clusters(rows, keys, weights, context)
        else:
            whole = product_logsumexp(rows, keys, temperature=self.temperature, row_weight=weights, memory=TILE_MEMORY)
            assert isinstance(whole, Tensor)
            repulsion = whole
        return repulsion - torch.dot(weights, positive.to(weights.dtype))

    def _by_clusters(self, rows: Tensor, keys: Tensor, weights: Tensor, context: LossContext) -> Tensor:
        """The weighted log-sum-exp over the means of the keys' clusters, each as often as it has members; a scalar."""
        assert self.num_clusters is not None
        labels = lloyd(keys, self.num_clusters, generator=Generator().manual_seed(context.epoch))
        sums, counts, _ = cluster_sums(keys, labels)
        value = product_logsumexp(
            rows,
            sums / counts.unsqueeze(1),
            temperature=self.temperature,
            key_bias=counts.log() * self.temperature,
            row_weight=weights,
        )
        assert isinstance(value, Tensor)
        return value

    def _sampled(self, rows: Tensor, keys: Tensor, similarity: Tensor, context: LossContext) -> Tensor:
        """The log-sum-exp of each anchor, ``[n]``: its positive, and sampled others that stand for all others."""
        # The positive is most of the sum once views are aligned; left to chance it would be there k / N of the time.
        sample, num_keys = context.keys, keys.shape[0]
        assert sample is not None
        place = torch.full((num_keys,), -1, device=keys.device)
        place[sample] = torch.arange(sample.numel(), device=keys.device)
        own = place if context.anchors is None else place[context.anchors]
        others = product_logsumexp(rows, keys.index_select(0, sample), temperature=self.temperature, exclude=own)
        assert isinstance(others, Tensor)
        left = (sample.numel() - (own >= 0).long()).clamp(min=1)
        return torch.logaddexp(others + ((num_keys - 1) / left).log().to(others.dtype), similarity)

    def extra_repr(self) -> str:
        """The arguments."""
        clusters = "" if self.num_clusters is None else f", num_clusters={self.num_clusters}"
        return (
            f"temperature={self.temperature}, normalize={self.normalize}, positive_clip={self.positive_clip}{clusters}"
        )
