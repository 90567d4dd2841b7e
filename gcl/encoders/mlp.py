"""Multilayer perceptron on the features alone."""

from __future__ import annotations

from torch import Tensor

from gcl.core.context import LayerTrace
from gcl.core.graph_spec import GraphSpec
from gcl.core.view import View
from gcl.encoders.activation import ActivationName, check_activation
from gcl.encoders.affine_stack import AffineStack
from gcl.encoders.encoder import Encoder, check_count, check_dropout, in_channels_of


class MLP(Encoder):
    r"""The GCN without its graph: :math:`H_{k+1} = \varphi(H_k W_k + b_k)`. Edges have no effect.

    Args:
        out_channels: columns of the embedding, at least 1.
        hidden_channels: columns between the layers; ``None`` = twice ``out_channels``.
        num_layers: at least 1.
        activation: after every layer, the last included; ``prelu`` is one learnable slope for all layers.
        dropout: probability that an entry between two layers is zeroed in training, drawn from torch's global
            generator.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        *,
        out_channels: int = 128,
        hidden_channels: int | None = None,
        num_layers: int = 2,
        activation: ActivationName = "relu",
        dropout: float = 0.0,
    ):
        super().__init__()
        check_count("out_channels", out_channels)
        check_count("hidden_channels", hidden_channels, optional=True)
        check_count("num_layers", num_layers)
        check_activation(activation)
        check_dropout(dropout)
        self.out_channels = out_channels
        self.hidden_channels = hidden_channels
        self.num_layers = num_layers
        self.activation: ActivationName = activation
        self.dropout = dropout

    def build(self, spec: GraphSpec) -> MLP:
        """Makes the parameters for the target type's features: Glorot-uniform weights, zero biases."""
        hidden = 2 * self.out_channels if self.hidden_channels is None else self.hidden_channels
        widths = [in_channels_of(spec), *[hidden] * (self.num_layers - 1), self.out_channels]
        self.layers_ = AffineStack(widths, activation=self.activation, dropout=self.dropout)
        return self

    def forward(self, view: View, *, trace: list[LayerTrace] | None = None) -> Tensor:
        """Embeddings of a view's features, ``[N, out_channels]``; ``trace`` as in :class:`~gcl.encoders.gcn.GCN`."""
        self._require_built("layers_")
        return self.layers_(view, None, trace)
