"""Heads between the encoder and the loss; downstream tasks do not see them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gcl.core.errors import NotFittedError
from gcl.encoders.activation import Activation, ActivationName, check_activation
from gcl.encoders.encoder import check_count
from gcl.ops.matmul import linear


class MLPProjector(nn.Module):
    r"""Two linear layers, :math:`h = \varphi(z W_1 + b_1) W_2 + b_2`, initialised as torch's ``Linear`` is.

    The projector of SimCLR (arXiv 2002.05709) in GRACE's form (arXiv 2006.04131).

    Args:
        hidden_channels: columns between the layers; ``None`` = as many as the input.
        activation: between the layers.
        out_channels: columns of the output; ``None`` = as many as the input.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        *,
        hidden_channels: int | None = None,
        activation: ActivationName = "elu",
        out_channels: int | None = None,
    ):
        super().__init__()
        check_count("hidden_channels", hidden_channels, optional=True)
        check_activation(activation)
        check_count("out_channels", out_channels, optional=True)
        self.hidden_channels = hidden_channels
        self.activation = activation
        self.out_channels = out_channels

    def build(self, in_channels: int) -> MLPProjector:
        """Makes the layers for embeddings ``[N, in_channels]``."""
        check_count("in_channels", in_channels)
        hidden = in_channels if self.hidden_channels is None else self.hidden_channels
        out = in_channels if self.out_channels is None else self.out_channels
        self.layers_ = nn.Sequential(
            nn.Linear(in_channels, hidden), Activation(self.activation), nn.Linear(hidden, out)
        )
        return self

    def forward(self, z: Tensor) -> Tensor:
        """The projection of each row, ``[N, out]``."""
        if not hasattr(self, "layers_"):
            raise NotFittedError("MLPProjector has no parameters yet; call build(in_channels) before using it")
        first, activation, last = self.layers_
        return _apply(last, activation(_apply(first, z)))


def _apply(layer: Any, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias)


class LinearProjector(nn.Module):
    r"""One linear layer and an activation, :math:`h = \varphi(z W + b)`, initialised as torch's ``Linear`` is.

    Args:
        activation: after the layer; ``tanh`` in MEOW (SDM 2023).
        out_channels: columns of the output; ``None`` = as many as the input.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(self, *, activation: ActivationName = "tanh", out_channels: int | None = None):
        super().__init__()
        check_activation(activation)
        check_count("out_channels", out_channels, optional=True)
        self.activation = activation
        self.out_channels = out_channels

    def build(self, in_channels: int) -> LinearProjector:
        """Makes the layer for embeddings ``[N, in_channels]``."""
        check_count("in_channels", in_channels)
        self.layer_ = nn.Linear(in_channels, self.out_channels or in_channels)
        self.activation_ = Activation(self.activation)
        return self

    def forward(self, z: Tensor) -> Tensor:
        """The projection of each row, ``[N, out]``."""
        if not hasattr(self, "layer_"):
            raise NotFittedError("LinearProjector has no parameters yet; call build(in_channels) before using it")
        projected: Tensor = self.activation_(_apply(self.layer_, z))
        return projected


class IdentityProjector(nn.Module):
    """No projector: the loss sees the embeddings themselves."""

    def build(self, in_channels: int) -> IdentityProjector:
        """Nothing to make."""
        return self

    def forward(self, z: Tensor) -> Tensor:
        """The embeddings as they are, ``[N, d]``."""
        return z
