"""What all encoders share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gcl.core.context import LayerTrace
from gcl.core.errors import ConfigError, DataError, NotFittedError
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.view import View


class Encoder(nn.Module):
    """A module from a view to embeddings.

    The constructor stores its arguments unchanged; :meth:`build` makes the parameters, in attributes that end in ``_``.
    """

    out_channels: int

    def build(self, spec: GraphSpec) -> Encoder:
        """Makes the parameters. Draws initial weights from torch's global generator, which the caller seeds."""
        raise NotImplementedError

    def forward(self, view: View, *, trace: list[LayerTrace] | None = None) -> Tensor:
        """Embeddings of the target nodes, ``[N, out_channels]``."""
        raise NotImplementedError

    @torch.no_grad()
    def embed(self, graph: Graph | View) -> Tensor:
        """Embeddings of an unperturbed graph in evaluation mode without gradient, ``[N, out_channels]``.

        Every submodule gets back the mode that it was in.
        """
        modes = {module: module.training for module in self.modules()}
        try:
            self.eval()
            return self(View.of(graph))
        finally:
            for module, mode in modes.items():
                module.training = mode

    def _require_built(self, attribute: str) -> None:
        if not hasattr(self, attribute):
            name = type(self).__name__
            raise NotFittedError(f"{name} has no parameters yet; call build(graph.spec) before using it")


def in_channels_of(spec: GraphSpec) -> int:
    """Feature columns of the target type.

    Raises:
        DataError: the type has no features.
    """
    if spec.target not in spec.in_channels:
        raise DataError(
            f"nodes of type {spec.target!r} have no features; give features or use an encoder with embeddings"
        )
    return spec.in_channels[spec.target]


def check_count(name: str, value: int | None, *, optional: bool = False) -> None:
    """Refuses anything but a whole number from 1 (or ``None`` where that is allowed)."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number of at least 1, got {value!r}")


def check_dropout(value: float) -> None:
    """Refuses anything but a probability below 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(f"dropout must be a number of at least 0 and below 1, got {value!r}")
