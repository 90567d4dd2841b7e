"""An auto-encoder of the features."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcl.core.adjacency import Adjacency
from gcl.core.context import LayerTrace
from gcl.core.errors import ConfigError, DataError
from gcl.core.graph_spec import GraphSpec
from gcl.core.view import View
from gcl.encoders.encoder import Encoder, check_count, in_channels_of
from gcl.ops.feature_product import feature_product


class AutoEncoder(Encoder):
    r"""Linear layers with ReLU between them, and their mirror image back to the features. Edges have no effect.

    Bo et al.: *Structural Deep Clustering Network*, WWW 2020, arXiv 2002.01633, with its widths; also the encoder of
    SCGC and PamC. Layers start as :class:`torch.nn.Linear` does.

    Args:
        out_channels: columns of the embedding, from 1.
        hidden_channels: columns of the layers before it.

    Raises:
        ConfigError: a width below 1.
    """

    def __init__(self, *, out_channels: int = 10, hidden_channels: Sequence[int] = (500, 500, 2000)):
        super().__init__()
        check_count("out_channels", out_channels)
        if isinstance(hidden_channels, str) or not isinstance(hidden_channels, Sequence):
            raise ConfigError(f"hidden_channels must list the columns of each layer, got {hidden_channels!r}")
        for width in hidden_channels:
            check_count("hidden_channels", width)
        self.out_channels = out_channels
        self.hidden_channels = hidden_channels

    def build(self, spec: GraphSpec) -> AutoEncoder:
        """Makes both halves."""
        widths = [in_channels_of(spec), *self.hidden_channels, self.out_channels]
        self.encoder_ = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))
        self.decoder_ = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths[::-1]))
        return self

    def forward(self, view: View, *, trace: list[LayerTrace] | None = None) -> Tensor:
        """Embeddings of a view's features, ``[N, out_channels]``; there is no ``trace``."""
        features = view.features()
        if isinstance(features, Adjacency) and not view.feature_mask:
            return self.hidden(features)[-1]
        return self.hidden(view.x)[-1]

    def hidden(self, x: Tensor | Adjacency) -> list[Tensor]:
        """What every layer of the encoder gives, the embedding last; of dense or sparse features ``[N, F]``."""
        self._require_built("encoder_")
        found: list[Tensor] = []
        last = len(self.encoder_) - 1
        for index, layer in enumerate(self.encoder_):
            assert isinstance(layer, nn.Linear)
            if index == 0 and x.shape[1] != layer.in_features:
                raise DataError(
                    f"the encoder was built for {layer.in_features} feature columns and got {x.shape[1]}; "
                    "build it again with this graph's spec"
                )
            given = found[-1] if found else x
            found.append(_layer(layer, given))
            if index < last:
                found[-1] = found[-1].relu()
        return found

    def decode(self, z: Tensor) -> Tensor:
        """Features from embeddings, ``[N, F]``."""
        last = len(self.decoder_) - 1
        for index, layer in enumerate(self.decoder_):
            z = _layer(layer, z)
            z = z if index == last else z.relu()
        return z

    def reconstruction_loss(self, x: Tensor) -> Tensor:
        """Mean squared error over all entries of dense features ``[n, F]``."""
        return F.mse_loss(self.decode(self.hidden(x)[-1]), x)


def _layer(layer: nn.Module, x: Tensor | Adjacency) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return feature_product(x, layer.weight, layer.bias)


def feature_rows(features: Tensor | Adjacency, index: Tensor | None = None) -> Tensor:
    """Some rows of dense or sparse features, dense, ``[n, F]``; sparse ones in torch's default type.

    Args:
        features: ``[N, F]``.
        index: int64 ``[n]``; ``None`` = all.
    """
    if isinstance(features, Tensor):
        return features if index is None else features.index_select(0, index)
    values = features.values(torch.get_default_dtype())
    index = torch.arange(features.shape[0], device=values.device) if index is None else index
    row, place = features.entries_of(index)
    dense = values.new_zeros(index.numel(), features.shape[1])
    dense[row, features.col[place].long()] = values[place]
    return dense
