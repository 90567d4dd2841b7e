"""The base of every augmenter."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch
from torch import Generator, Tensor

from gcl.augment.pyg_data import graph_of, is_pyg_data, update_data
from gcl.core.errors import CheckpointError, ConfigError, DataError, NotFittedError
from gcl.core.graph import Graph
from gcl.core.view import View

Self = TypeVar("Self", bound="Augmenter")


class Augmenter:
    """Draws one random view of a graph; subclasses write :meth:`augment`, and :meth:`fit_graph` where they need it.

    A constructor stores its arguments unchanged under their own names. What ``fit`` computes is a tensor whose name
    ends in ``_`` and is listed in ``fitted``. Per-arc tensors are indexed by ``Adjacency.arc_ids()`` and per-node ones
    by ``Graph.node_id``, so that what was fitted on the whole graph serves its parts and masked views.

    ``fit`` and a call take a ``Graph``, a ``View`` or PyG data. A call gives a ``View``, and ``Data`` for ``Data``, so
    that an augmenter works inside ``torch_geometric.transforms.Compose``.
    """

    needs: tuple[str, ...] = ()  # what must be on the graph, or is computed in fit otherwise
    fitted: ClassVar[tuple[str, ...]] = ()  # names of the tensors that fit makes
    keeps_edges: bool = False  # known to leave every edge in place
    adds_edges: bool = False  # may give edges that the graph does not have
    replaces_edges: bool = False  # gives edges of the fitted graph, whatever the view has, so that it must be first
    drops_all: bool = False  # known to drop every edge of any graph

    def fit(self: Self, graph: Graph | View | Any, *, generator: Generator | None = None) -> Self:
        """Computes once what drawing needs; many augmenters need nothing.

        Args:
            graph: a graph, a view or PyG data.
            generator: source of randomness; ``None`` = torch's global one.
        """
        self.fit_graph(graph_of(graph), generator)
        return self

    def __call__(self, view: Graph | View | Any, *, generator: Generator | None = None) -> Any:
        """Draws one view.

        Args:
            view: a graph, an earlier view or PyG ``Data``.
            generator: source of randomness on the view's device; ``None`` = torch's global one.

        Returns:
            A ``View``; ``Data`` for ``Data``.

        Raises:
            NotFittedError: ``fit`` was needed and not called.
            ConfigError: ``augment`` returned something else.
        """
        if isinstance(view, Graph | View):
            return self._drawn(View.of(view), generator)
        if is_pyg_data(view):
            return update_data(view, self._drawn(View.of(graph_of(view)), generator))
        raise DataError(f"{type(self).__name__} takes a Graph, a View or PyG Data, got {type(view).__name__}")

    def _drawn(self, view: View, generator: Generator | None) -> View:
        drawn = self.augment(view, generator)
        if not isinstance(drawn, View):
            raise ConfigError(f"{type(self).__name__}.augment returned {type(drawn).__name__}; return a View")
        return drawn

    def fit_graph(self, graph: Graph, generator: Generator | None) -> None:
        """Makes the fitted tensors; nothing by default."""

    def augment(self, view: View, generator: Generator | None) -> View:
        """One random view of ``view``."""
        raise NotImplementedError

    def state(self) -> dict[str, Tensor]:
        """The fitted tensors by name, without the underscore at the end.

        Raises:
            NotFittedError: ``fit`` was needed and not called.
        """
        self.check_fitted()
        return {name.rstrip("_"): getattr(self, name) for name in self.fitted}

    def load_state(self: Self, state: Mapping[str, Tensor]) -> Self:
        """Takes the tensors of :meth:`state` in place of a ``fit``.

        Raises:
            CheckpointError: a tensor is missing or unknown.
        """
        expected = {name.rstrip("_") for name in self.fitted}
        if set(state) != expected:
            raise CheckpointError(
                f"the state of {type(self).__name__} must have {sorted(expected)}, got {sorted(state)}; "
                f"it was saved by another augmenter"
            )
        for name in self.fitted:
            setattr(self, name, state[name.rstrip("_")])
        return self

    def check_fitted(self) -> None:
        """Raises ``NotFittedError`` where a fitted tensor is missing."""
        if not all(hasattr(self, name) for name in self.fitted):
            raise NotFittedError(f"{type(self).__name__} is not fitted; call fit(graph) first")

    def fitted_on(self, name: str, device: torch.device) -> Tensor:
        """A fitted tensor on a device; it stays there for the next call."""
        self.check_fitted()
        value: Tensor = getattr(self, name)
        if value.device != device:
            value = value.to(device)
            setattr(self, name, value)
        return value

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def check_probability(name: str, value: Any) -> None:
    """Refuses what is not a finite number from 0 to 1.

    Raises:
        ConfigError: with the argument's name and the value.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= 1:
        raise ConfigError(f"{name} must be a number from 0 to 1, got {value!r}")
