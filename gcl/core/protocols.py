"""The contracts between layers that may not import one another."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Generator, Tensor

from gcl.core.context import AffineLayer, LayerTrace, LossContext, Outputs
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.report import Report
from gcl.core.view import View


@runtime_checkable
class Augmenter(Protocol):
    """Draws one view of a graph. ``fit`` computes what it needs once; fitted attributes end in ``_``."""

    def fit(self, graph: Graph, *, generator: Generator | None = None) -> Any: ...

    def __call__(self, view: Any, *, generator: Generator | None = None) -> Any: ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: dict[str, Tensor]) -> Any: ...


@runtime_checkable
class DropsEdges(Protocol):
    """An augmenter that deletes edges and can say how likely."""

    def edge_drop_prob(self, graph: Graph) -> Tensor:
        """Probability that each stored arc is dropped, ``[arcs]``."""
        ...


class EncoderProtocol(Protocol):
    """A module from a view to embeddings."""

    out_channels: int

    def build(self, spec: GraphSpec) -> Any: ...

    def __call__(self, view: View, *, trace: list[LayerTrace] | None = None) -> Tensor: ...


@runtime_checkable
class Boundable(Protocol):
    """An encoder whose layers can be bounded."""

    def affine_layers(self) -> list[AffineLayer]: ...


class LossProtocol(Protocol):
    """A contrastive objective of one or two sets of embeddings."""

    needs: tuple[str, ...]

    def __call__(self, z1: Tensor, z2: Tensor | None = None, *, context: LossContext | None = None) -> Tensor: ...


class Evaluator(Protocol):
    """A protocol in two phases, so that what is held out is absent from training, not merely unused."""

    def split(self, graph: Graph, *, seed: int) -> tuple[Graph, Any]: ...

    def validate(self, outputs: Outputs, held: Any) -> dict[str, float]: ...

    def evaluate(self, outputs: Outputs, held: Any, *, seed: int) -> Report: ...
