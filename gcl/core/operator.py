"""What encoders multiply with."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Operator(Protocol):
    """A linear map on node embeddings; ``gcl.ops`` has the concrete ones (propagation, low rank)."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, columns)``."""
        ...

    def matmul(self, x: Tensor) -> Tensor:
        """The product with ``x`` of shape ``[columns, d]``; shape ``[rows, d]``."""
        ...

    def t(self) -> Operator:
        """The transpose."""
        ...

    def rows(self, index: Tensor) -> Operator:
        """The operator restricted to some rows, in the order given."""
        ...
