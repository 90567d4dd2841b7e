"""What encoders multiply with."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class LinearMap(Protocol):
    """A linear map on node embeddings, forwards; gradients go through the product."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, columns)``."""
        ...

    def matmul(self, x: Tensor) -> Tensor:
        """The product with ``x`` of shape ``[columns, d]``; shape ``[rows, d]``."""
        ...


@runtime_checkable
class Operator(LinearMap, Protocol):
    """A linear map that also has a transpose and parts; ``gcl.ops`` has some (propagation, low rank)."""

    def t(self) -> Operator:
        """The transpose."""
        ...

    def rows(self, index: Tensor) -> Operator:
        """The operator restricted to some rows, in the order given."""
        ...
