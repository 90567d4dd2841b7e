"""PyG models as encoders."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gcl.core.context import LayerTrace
from gcl.core.errors import ConfigError, unknown
from gcl.core.graph_spec import GraphSpec
from gcl.core.view import View
from gcl.encoders.encoder import Encoder, check_count, check_dropout, in_channels_of


class PyGEncoder(Encoder):
    """A module that takes ``(x, edge_index[, edge_weight])``, given or made by name from ``torch_geometric.nn.models``.

    It gets a view's features (dense, every mask applied) and its kept arcs, and their weights where the view has some
    and the module's ``forward`` takes ``edge_weight``; a module that does not take weights is not given them.

    Args:
        module: a module to wrap; :func:`as_encoder` is the shorter way. It is used itself, not copied. ``None`` = make
            one from ``model``.
        model: a class of ``torch_geometric.nn.models``: GCN, GraphSAGE, GIN, GAT, ... Needed where ``module`` is
            ``None``.
        hidden_channels: columns between the model's layers; ``None`` = twice ``out_channels``.
        out_channels: columns of the embedding; for a given module it says what that module returns.
        num_layers: layers of the model, at least 1.
        dropout: the model's dropout.
        activation: the model's activation by PyG's name; PyG applies none after the last layer.
        options: further arguments of the model, such as ``{"norm": "batch_norm", "jk": "cat"}``.

    Raises:
        ConfigError: neither or both of ``module`` and ``model``, or a value out of range.
    """

    module: nn.Module | None

    def __init__(
        self,
        module: nn.Module | None = None,
        *,
        model: str | None = None,
        hidden_channels: int | None = None,
        out_channels: int = 128,
        num_layers: int = 2,
        dropout: float = 0.0,
        activation: str | None = "relu",
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        if (module is None) == (model is None):
            raise ConfigError(
                "PyGEncoder needs either a module or the name of a PyG model, not both; give model='GraphSAGE' or so"
            )
        check_count("hidden_channels", hidden_channels, optional=True)
        check_count("out_channels", out_channels)
        check_count("num_layers", num_layers)
        check_dropout(dropout)
        object.__setattr__(self, "module", module)  # stored, not registered: the submodule is module_
        self.model = model
        self.hidden_channels = hidden_channels
        self.out_channels = out_channels
        self.num_layers = num_layers
        self.dropout = dropout
        self.activation = activation
        self.options = options
        if module is not None:
            if getattr(module, "out_channels", out_channels) != out_channels:
                raise ConfigError(
                    f"the module returns {module.out_channels} columns and out_channels is {out_channels}; "
                    f"use as_encoder(module)"
                )
            self.module_ = module  # has its parameters already

    def build(self, spec: GraphSpec) -> PyGEncoder:
        """Makes the model for the target type's features; a given module is left as it is."""
        if self.model is not None:
            hidden = 2 * self.out_channels if self.hidden_channels is None else self.hidden_channels
            cls: Any = _find_model(self.model)
            try:
                self.module_ = cls(
                    in_channels_of(spec),
                    hidden,
                    self.num_layers,
                    self.out_channels,
                    dropout=self.dropout,
                    act=self.activation,
                    **(self.options or {}),
                )
            except (TypeError, ValueError) as error:
                raise ConfigError(f"PyG model {self.model!r} refuses its arguments: {error}") from error
        return self

    def forward(self, view: View, *, trace: list[LayerTrace] | None = None) -> Tensor:
        """Embeddings of a view, ``[N, out_channels]``. ``trace`` stays empty: the layers are not ours to read."""
        self._require_built("module_")
        weight = view.edge_weight
        if weight is not None and "edge_weight" in inspect.signature(self.module_.forward).parameters:
            return self.module_(view.x, view.edge_index, edge_weight=weight)
        return self.module_(view.x, view.edge_index)


def as_encoder(module: nn.Module, *, out_channels: int | None = None) -> PyGEncoder:
    """Wraps a module that takes ``(x, edge_index[, edge_weight])``, such as any model of PyG.

    Args:
        module: the module; used itself, not copied.
        out_channels: columns that it returns; ``None`` = its own attribute ``out_channels``.

    Raises:
        ConfigError: the module has no such attribute and none is given.
    """
    width = getattr(module, "out_channels", None) if out_channels is None else out_channels
    if width is None:
        raise ConfigError(f"{type(module).__name__} does not say how many columns it returns; give out_channels")
    return PyGEncoder(module, out_channels=width)


def _find_model(name: str) -> type:
    from torch_geometric.nn import models  # here, as it takes a second
    from torch_geometric.nn.models.basic_gnn import BasicGNN

    known = {
        key: value
        for key, value in vars(models).items()
        if inspect.isclass(value) and issubclass(value, BasicGNN) and value is not BasicGNN
    }
    if name not in known:
        raise ConfigError(unknown("PyG model", name, known))
    return known[name]
