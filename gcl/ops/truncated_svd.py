"""The leading singular vectors of a sparse matrix."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Generator, Tensor

from gcl.core.errors import ConfigError, unknown
from gcl.core.operator import Operator
from gcl.ops.low_rank import LowRank
from gcl.ops.propagation import Propagation

SVDMethod = Literal["exact", "randomized", "reference"]

OVERSAMPLING = 10  # columns of the sketch beyond the rank
POWER_ITERATIONS = 6
DENSE = 256  # columns up to which the dense decomposition is taken: ARPACK needs a rank below all of them


def truncated_svd(
    operator: Propagation, rank: int, *, method: SVDMethod = "exact", generator: Generator | None = None
) -> LowRank:
    r"""The factors of the best approximation of a rank, :math:`A \approx U_q \operatorname{diag}(s) V_q^\top`.

    ==============  ====================================================================================================
    ``method``      what it is
    ==============  ====================================================================================================
    ``exact``       Lanczos with restarts (ARPACK, by SciPy), to machine precision; dense where the matrix is small
    ``randomized``  a sketch of rank + 10 columns and 6 power iterations: Halko, Martinsson, Tropp, *Finding structure
                    with randomness*, SIAM Review 2011, algorithm 4.4
    ``reference``   a sketch of exactly ``rank`` columns and 2 power iterations, as LightGCL's program calls
                    ``torch.svd_lowrank``: crude, with the smallest singular values a tenth to a quarter too small
    ==============  ====================================================================================================

    Args:
        operator: A, ``[m, n]``.
        rank: q, from 1 to min(m, n).
        method: see the table.
        generator: on the operator's device; of the first vector, or the sketch. ``None`` = torch's global one.

    Returns:
        Float32 factors, singular values falling. Of each pair of vectors the entry of u of largest size is positive.

    Raises:
        ConfigError: a rank out of range, or an unknown method.
    """
    limit = min(operator.shape)
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= limit:
        raise ConfigError(
            f"the rank of a truncated SVD of a {list(operator.shape)} matrix is from 1 to {limit}, got {rank!r}"
        )
    if method not in get_args(SVDMethod):
        raise ConfigError(unknown("method of the SVD", str(method), get_args(SVDMethod)))
    if method == "exact":
        u, s, v = _exact(operator, rank, generator)
    else:
        extra, iterations = (OVERSAMPLING, POWER_ITERATIONS) if method == "randomized" else (0, 2)
        u, s, v = _sketched(operator, rank, min(rank + extra, limit), iterations, generator, operator.adjacency.device)
    largest = u.gather(0, u.abs().argmax(dim=0, keepdim=True))  # [1, q]
    sign = torch.where(largest < 0, -1.0, 1.0).to(u.dtype)
    return LowRank((u * sign).float(), s.float(), (v * sign).float())


def _exact(operator: Propagation, rank: int, generator: Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    import scipy.sparse
    from scipy.sparse.linalg import svds

    adjacency, device = operator.adjacency, operator.adjacency.device
    values, _ = operator.weights(torch.float64)
    arrays = [part.cpu().numpy() for part in (values, adjacency.col, adjacency.row_ptr)]
    matrix = scipy.sparse.csr_matrix(tuple(arrays), shape=operator.shape)
    # ARPACK may miss a repeated value: of small matrices, which tests and toys are, the dense result is certain
    if min(operator.shape) <= max(DENSE, rank):
        u, s, vt = np.linalg.svd(matrix.toarray(), full_matrices=False)
        u, s, vt = u[:, :rank], s[:rank], vt[:rank]
    else:
        start = torch.randn(min(operator.shape), generator=generator, device=device, dtype=torch.float64)
        u, s, vt = svds(matrix, k=rank, v0=start.cpu().numpy(), solver="arpack")
        order = np.argsort(-s, kind="stable")
        u, s, vt = u[:, order], s[order], vt[order]
    made = (torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in (u, s, vt.T))
    return next(made), next(made), next(made)


def _sketched(
    operator: Operator, rank: int, width: int, iterations: int, generator: Generator | None, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    num_rows, num_cols = operator.shape
    if num_rows < num_cols:  # the sketch spans the longer side
        v, s, u = _sketched(operator.t(), rank, width, iterations, generator, device)
        return u, s, v
    sketch = torch.randn(num_cols, width, generator=generator, device=device, dtype=torch.float64)
    transpose = operator.t()
    basis = _orthonormal(operator.matmul(sketch))
    for _ in range(iterations):
        basis = _orthonormal(operator.matmul(_orthonormal(transpose.matmul(basis))))
    small = transpose.matmul(basis)  # [n, width], the transpose of the projected matrix
    v, s, wt = torch.linalg.svd(small, full_matrices=False)
    u = basis @ wt.t()
    return u[:, :rank], s[:rank], v[:, :rank]


def _orthonormal(x: Tensor) -> Tensor:
    return torch.linalg.qr(x).Q
