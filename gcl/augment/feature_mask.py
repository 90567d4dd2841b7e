"""Uniform attribute masking."""

from __future__ import annotations

import torch
from torch import Generator

from gcl.augment.augmenter import Augmenter, check_probability
from gcl.core.errors import DataError
from gcl.core.view import View


class FeatureMask(Augmenter):
    r"""Sets whole feature columns to zero, the same for all nodes.

    .. math:: \tilde X_{vf} = X_{vf}\,(1 - B_f), \qquad B_f \sim \mathrm{Bernoulli}(p)

    GRACE: Zhu et al., *Deep Graph Contrastive Representation Learning*, arXiv 2006.04131. Kept columns are not
    rescaled. Node types with features are taken in order.

    Args:
        drop_prob: p, from 0 to 1.

    Raises:
        ConfigError: ``drop_prob`` is not a probability.
        DataError: the graph has no features (when called).
    """

    keeps_edges = True

    def __init__(self, drop_prob: float = 0.3):
        check_probability("drop_prob", drop_prob)
        self.drop_prob = drop_prob

    def augment(self, view: View, generator: Generator | None) -> View:
        """The view with columns masked."""
        if not view.graph.features:
            raise DataError("FeatureMask needs node features, and this graph has none; leave it out")
        for kind, matrix in view.graph.features.items():
            u = torch.rand(matrix.shape[1], generator=generator, device=view.device)  # [F]
            view = view.mask_columns(u >= self.drop_prob, kind)
        return view
