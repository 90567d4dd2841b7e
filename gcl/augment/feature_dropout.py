"""Dropout of single feature entries."""

from __future__ import annotations

import dataclasses

import torch
from torch import Generator, Tensor

from gcl.augment.augmenter import Augmenter, check_probability
from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.view import View


class FeatureDropout(Augmenter):
    r"""Sets single feature entries to zero, each node's apart.

    .. math:: \tilde X_{vf} = \frac{X_{vf}\,(1 - B_{vf})}{1 - p}, \qquad B_{vf} \sim \mathrm{Bernoulli}(p)

    You et al., *Graph Contrastive Learning with Augmentations*, NeurIPS 2020, arXiv 2010.13902 (attribute masking).
    Entries that are 0 already take no draw. Node types with features are taken in order.

    Args:
        drop_prob: p, from 0 to 1.
        rescale: divide the others by 1 - p, as dropout does, so that the mean stays.

    Raises:
        ConfigError: ``drop_prob`` is not a probability.
        DataError: the graph has no features (when called).
    """

    keeps_edges = True

    def __init__(self, drop_prob: float = 0.3, *, rescale: bool = True):
        check_probability("drop_prob", drop_prob)
        self.drop_prob = drop_prob
        self.rescale = rescale

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view with entries zeroed."""
        if not view.graph.features:
            raise DataError("FeatureDropout needs node features, and this graph has none; leave it out")
        changed = dict(view.feature_values)
        for kind, matrix in view.graph.features.items():
            values = changed.get(kind)
            if isinstance(matrix, Adjacency):
                changed[kind] = self._dropped(matrix.values() if values is None else values, generator)
            else:
                changed[kind] = self._dropped(matrix if values is None else values, generator)
        return dataclasses.replace(view, feature_values=changed)

    def _dropped(self, values: Tensor, generator: Generator | None) -> Tensor:
        # drawn for entries other than 0 alone: a dense and a sparse matrix of the same numbers give the same view
        entry = values.flatten().nonzero().squeeze(1)  # row by row
        keep = torch.rand(entry.numel(), generator=generator, device=values.device) >= self.drop_prob
        scale = 1 / (1 - self.drop_prob) if self.rescale and self.drop_prob < 1 else 1.0
        kept = entry[keep]
        found = torch.zeros_like(values).flatten()
        found[kept] = values.flatten()[kept] * scale
        return found.view_as(values)
