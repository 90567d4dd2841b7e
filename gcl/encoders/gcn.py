"""Graph convolutional network."""

from __future__ import annotations

from torch import Tensor

from gcl.core.context import AffineLayer, LayerTrace
from gcl.core.graph_spec import GraphSpec
from gcl.core.view import View
from gcl.encoders.activation import ActivationName, check_activation
from gcl.encoders.affine_stack import AffineStack
from gcl.encoders.encoder import Encoder, check_count, check_dropout, in_channels_of
from gcl.ops.propagation import Propagation


class GCN(Encoder):
    r"""Graph convolutions with the activation after every layer, the last included.

    .. math:: H_{k+1} = \varphi(\hat A H_k W_k + b_k), \qquad
        \hat A_{ij} = \tilde d_i^{-1/2}\,(A + I)_{ij}\,\tilde d_j^{-1/2}

    with :math:`\tilde d_i` = 1 + the in-degree of i in the view. Every node has exactly one self-loop of weight 1;
    those stored in the data are ignored. Layers: F -> hidden -> ... -> hidden -> out.

    Kipf and Welling: *Semi-Supervised Classification with Graph Convolutional Networks*, ICLR 2017, arXiv 1609.02907,
    in the form of GRACE and its successors.

    Args:
        out_channels: columns of the embedding, at least 1.
        hidden_channels: columns between the layers; ``None`` = twice ``out_channels``.
        num_layers: at least 1.
        activation: ``prelu`` is *one* learnable slope shared by all layers; ``rrelu`` is a fixed slope of 11/48.
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

    def build(self, spec: GraphSpec) -> GCN:
        """Makes the parameters for the target type's features: Glorot-uniform weights, zero biases."""
        hidden = 2 * self.out_channels if self.hidden_channels is None else self.hidden_channels
        widths = [in_channels_of(spec), *[hidden] * (self.num_layers - 1), self.out_channels]
        self.layers_ = AffineStack(widths, activation=self.activation, dropout=self.dropout)
        return self

    def forward(self, view: View, *, trace: list[LayerTrace] | None = None) -> Tensor:
        """Embeddings of a view, ``[N, out_channels]``.

        Args:
            view: a view with one relation and features, dense or sparse.
            trace: gets the input and the pre-activation of each layer; the first input is ``view.features()``, without
                the column mask.
        """
        self._require_built("layers_")
        return self.layers_(view, Propagation(view.relation(), normalize="gcn"), trace)

    def affine_layers(self) -> list[AffineLayer]:
        """Weight ``[in, out]``, bias and slope of each layer, with gradient.

        Raises:
            ConfigError: the activation is ``elu``, which is not linear below 0.
        """
        self._require_built("layers_")
        return self.layers_.affine_layers()
