"""Node features from whatever holds them, checked once."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import DataError
from gcl.core.graph import Graph

# Below this share of non-zero entries a CSR matrix is faster and smaller than a dense one (measured).
SPARSE_BELOW = 0.04
BLOCK = 2**20  # entries at a time
LARGE = 30.0  # times the median size of a column: then it is all that counts


def as_features(x: Any, *, sparse: bool | None = None) -> Tensor | Adjacency:
    """Checked features: CSR where few entries are non-zero, else dense float32.

    Args:
        x: ``[N, F]`` torch or NumPy array, nested list, SciPy sparse matrix, or an :class:`Adjacency` of nodes by
            columns. Numbers of any real type.
        sparse: ``True`` or ``False`` to force the form; ``None`` chooses by density.

    Raises:
        DataError: not two-dimensional, not numbers, no columns, or a value that is not finite.
    """
    if _is_scipy(x):
        return _from_scipy(x, sparse)
    if isinstance(x, Adjacency):
        _refuse_non_finite(x.values(), lambda at: (int(x.row[at]), int(x.col[at])))
        return x.to_dense(torch.float32) if sparse is False else x
    dense = _dense(x)
    if sparse is None:
        sparse = int(torch.count_nonzero(dense)) < SPARSE_BELOW * dense.numel()
    return _to_adjacency(dense) if sparse else dense


def require_features(graph: Graph) -> None:
    """Refuses a graph whose target nodes have no features, before an encoder meets it.

    Raises:
        DataError: there are none.
    """
    if graph.target not in graph.features:
        raise DataError(
            "the graph has no node features and an encoder needs them; add a features file, or in Python pass "
            "gcl.load_dataset(graph, features=X), with scipy.sparse.eye(num_nodes) for X if there are none"
        )


def warn_of_scales(graph: Graph) -> None:
    """Warns of features of which one column outweighs the others: its values that are not 0 are much larger.

    Without a scale that they share, an encoder of random weights sees only the largest.
    """
    x = graph.features.get(graph.target)
    if x is None or x.shape[0] < 2 or x.shape[1] < 2:
        return
    size = _sizes(x)
    typical, at = float(size[size > 0].median()) if bool((size > 0).any()) else 0.0, int(size.argmax())
    if float(size[at]) > LARGE * typical:
        warnings.warn(
            f"column {at} of the features (from 0) has values of about {float(size[at]):.3g}, most others of "
            f"{typical:.3g}; it outweighs them, so bring the columns to one scale first, for instance each minus its "
            "mean over its standard deviation",
            stacklevel=2,
        )


def _sizes(x: Tensor | Adjacency) -> Tensor:
    """Root of the mean square of the values other than 0 of each column, float64 ``[F]``."""
    square = torch.zeros(x.shape[1], dtype=torch.float64)
    count = torch.zeros_like(square)
    if isinstance(x, Adjacency):
        column, values = x.col.long(), x.values().double()
        square.index_add_(0, column, values.square())
        count.index_add_(0, column, (values != 0).double())
    else:
        for rows in x.split(max(BLOCK // x.shape[1], 1)):
            square += rows.double().square().sum(dim=0)
            count += torch.count_nonzero(rows, dim=0)
    return (square / count.clamp_min(1)).sqrt()


def _is_scipy(x: Any) -> bool:
    return type(x).__module__.startswith("scipy.sparse")


def _from_scipy(matrix: Any, sparse: bool | None) -> Tensor | Adjacency:
    matrix = matrix.tocsr(copy=True)
    if matrix.dtype.kind not in "biuf":
        raise DataError(f"features must be real numbers, got {matrix.dtype}")
    _check_shape(matrix.shape)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    if sparse is None:
        sparse = matrix.nnz < SPARSE_BELOW * matrix.shape[0] * matrix.shape[1]
    row = torch.from_numpy(np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)))
    col = torch.from_numpy(matrix.indices.astype(np.int64))
    value = torch.from_numpy(_to_float32(matrix.data))
    _refuse_non_finite(value, lambda at: (int(row[at]), int(col[at])))
    if not sparse:
        dense = torch.zeros(matrix.shape, dtype=torch.float32)
        dense[row, col] = value
        return dense
    return Adjacency.from_edge_index(torch.stack([col, row]), matrix.shape, value)


def _dense(x: Any) -> Tensor:
    if isinstance(x, Tensor):
        if x.is_complex():
            raise DataError(f"features must be real numbers, got {x.dtype}")
        dense = x.detach().to_dense() if x.layout != torch.strided else x.detach()
        dense = dense.to(torch.float32)
    else:
        try:
            array = np.asarray(x)
        except ValueError:
            raise DataError("features must be a rectangular table [N, F]; its rows have different lengths") from None
        if array.dtype.kind not in "biuf":
            raise DataError(f"features must be real numbers, got {array.dtype}; encode categories as numbers first")
        dense = torch.from_numpy(_to_float32(array))
    _check_shape(tuple(dense.shape))
    _refuse_non_finite(dense.reshape(-1), lambda at: divmod(at, dense.shape[1]))
    return dense


def _to_float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # an overflow becomes inf and is refused with its place
        return np.ascontiguousarray(array.astype(np.float32))


def _to_adjacency(dense: Tensor) -> Adjacency:
    row, col = dense.nonzero(as_tuple=True)
    return Adjacency.from_edge_index(torch.stack([col, row]), (dense.shape[0], dense.shape[1]), dense[row, col])


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
        raise DataError(f"features must have shape [N, F], got {list(shape)}; reshape a single column to [N, 1]")
    if shape[1] == 0:
        raise DataError("features have no columns; leave them out or give at least one")


def _refuse_non_finite(values: Tensor, place: Any) -> None:
    bad = (~torch.isfinite(values)).nonzero().squeeze(1)
    if bad.numel():
        row, col = place(int(bad[0]))
        raise DataError(
            f"features hold {bad.numel()} values that are not finite in float32, the first {float(values[bad[0]])} in "
            f"row {row}, column {col}; replace them or drop the column"
        )
