"""The activations that encoders and projectors share."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcl.core.errors import ConfigError, unknown

ActivationName = Literal["relu", "prelu", "rrelu", "elu", "tanh", "none"]

RRELU_SLOPE = (1 / 8 + 1 / 3) / 2  # mean of torch's bounds: what F.rrelu applies outside training


class Activation(nn.Module):
    r"""An activation by name; all but ``elu`` and ``tanh`` are x above 0 and :math:`\alpha x` below.

    =========  ==========================================================================================
    ``relu``   :math:`\alpha = 0`
    ``prelu``  one learnable :math:`\alpha`, initially 0.25
    ``rrelu``  :math:`\alpha = 11/48`, the mean slope of the randomised ReLU; nothing is drawn
    ``elu``    :math:`e^x - 1` below 0
    ``tanh``   the hyperbolic tangent
    ``none``   :math:`\alpha = 1`, the identity
    =========  ==========================================================================================

    Args:
        name: one of the above.

    Raises:
        ConfigError: an unknown name.
    """

    def __init__(self, name: ActivationName = "relu"):
        super().__init__()
        check_activation(name)
        self.name = name
        if name == "prelu":
            self.slope_ = nn.Parameter(torch.full((1,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """Applies it entry by entry."""
        if self.name == "relu":
            return F.relu(x)
        if self.name == "prelu":
            return F.prelu(x, self.slope_)
        if self.name == "rrelu":
            return F.leaky_relu(x, RRELU_SLOPE)
        if self.name == "elu":
            return F.elu(x)
        return torch.tanh(x) if self.name == "tanh" else x

    @property
    def negative_slope(self) -> Tensor | float:
        """The slope below 0; the learnable tensor ``[1]`` for ``prelu``.

        Raises:
            ConfigError: ``elu`` or ``tanh``, which have no single slope.
        """
        if self.name == "prelu":
            return self.slope_
        slopes = {"relu": 0.0, "rrelu": RRELU_SLOPE, "none": 1.0}
        if self.name not in slopes:
            raise ConfigError(
                f"activation {self.name!r} is not linear below 0, so its layers have no slope; "
                f"use relu, prelu, rrelu or none"
            )
        return slopes[self.name]

    def extra_repr(self) -> str:
        """The name."""
        return self.name


def check_activation(name: str) -> None:
    """Refuses an unknown name."""
    if name not in get_args(ActivationName):
        raise ConfigError(unknown("activation", str(name), get_args(ActivationName)))
