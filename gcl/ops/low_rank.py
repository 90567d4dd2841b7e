"""A matrix of low rank, in factors."""

from __future__ import annotations

import torch
from torch import Tensor

from gcl.core.errors import DataError


class LowRank:
    r"""The operator :math:`U \operatorname{diag}(s) V^\top`, never multiplied out.

    Args:
        u: ``[rows, r]``.
        s: ``[r]``.
        v: ``[cols, r]``.

    Raises:
        DataError: shapes that do not fit together.
    """

    def __init__(self, u: Tensor, s: Tensor, v: Tensor):
        rank = s.numel()
        if s.dim() != 1 or u.dim() != 2 or v.dim() != 2 or u.shape[1] != rank or v.shape[1] != rank:
            raise DataError(
                f"u, s and v must have shapes [rows, r], [r] and [cols, r], "
                f"got {list(u.shape)}, {list(s.shape)} and {list(v.shape)}"
            )
        self.u, self.s, self.v = u, s, v

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, columns)``."""
        return self.u.shape[0], self.v.shape[0]

    def matmul(self, x: Tensor) -> Tensor:
        """The product with ``x`` of shape ``[cols, d]``, through the r columns; shape ``[rows, d]``."""
        if x.dim() != 2 or x.shape[0] != self.shape[1]:
            raise DataError(f"x must have shape [{self.shape[1]}, d], got {list(x.shape)}")
        u, s, v = (factor.to(x.dtype) for factor in (self.u, self.s, self.v))
        return u @ (s.unsqueeze(1) * (v.t() @ x))

    def t(self) -> LowRank:
        """The transpose."""
        return LowRank(self.v, self.s, self.u)

    def rows(self, index: Tensor) -> LowRank:
        """The operator restricted to some rows, in the order given."""
        return LowRank(self.u[index], self.s, self.v)

    def dense(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Dense copy, for tests and tiny operators only."""
        return self.matmul(torch.eye(self.shape[1], dtype=dtype, device=self.v.device))
