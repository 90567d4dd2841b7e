"""Exact nearest neighbours in blocks."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from gcl.core.errors import ConfigError, DataError, unknown
from gcl.ops.largest import largest

Metric = Literal["euclidean", "cosine", "dot"]

BLOCK_BYTES = 64 * 2**20
BYTES_PER_PAIR = 48  # scores in float64, their working copies and masks
PAIR_BYTES = 8 * 2**20  # gathered rows when pairs are compared one by one


def nearest_neighbors(
    x: Tensor, k: int, *, metric: Metric = "euclidean", include_self: bool = False, block: int | None = None
) -> tuple[Tensor, Tensor]:
    r"""The k nearest rows of every row, exact, nearest first; equally near rows are ordered by index, smallest first.

    ==============  ============================================
    ``euclidean``   distance :math:`\|x_i - x_j\|`
    ``cosine``      similarity :math:`x_i \cdot x_j / (\|x_i\| \|x_j\|)`, 0 for a zero row
    ``dot``         similarity :math:`x_i \cdot x_j`
    ==============  ============================================

    Scores are float64. Matrix products compare a block of rows with all; where ``x`` holds integers or multiples of a
    small power of two (counts, pixels / 16) they are exact, and ties are real ties. Elsewhere they only choose
    candidates, with a margin above their rounding error, and the candidates are compared pair by pair: the answer
    depends neither on the block nor on cancellation in :math:`\|x\|^2 + \|y\|^2 - 2 x \cdot y`.

    Args:
        x: finite, ``[N, d]``.
        k: neighbours a row, from 1 to N - 1 (to N with ``include_self``).
        metric: see the table.
        include_self: whether a row may be its own neighbour (it then competes like any other).
        block: rows compared at once; ``None`` keeps the working memory near 64 MiB.

    Returns:
        Indices, int64 ``[N, k]``, and distances or similarities, ``[N, k]`` in the dtype of ``x`` (integers: float64).

    Raises:
        ConfigError: an unknown metric, or k out of range.
        DataError: ``x`` is not a finite matrix.
    """
    if metric not in get_args(Metric):
        raise ConfigError(unknown("metric", str(metric), get_args(Metric)))
    if x.dim() != 2 or x.is_complex() or not bool(torch.isfinite(x).all()):
        raise DataError(f"x must be a finite matrix [N, d], got {x.dtype} {list(x.shape)}; remove NaN and infinity")
    num_rows = x.shape[0]
    most = num_rows if include_self else num_rows - 1
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= most:
        raise ConfigError(f"k must be an integer from 1 to {most} for {num_rows} rows, got {k!r}")
    if block is None:
        block = max(1, BLOCK_BYTES // (BYTES_PER_PAIR * num_rows))
    data = x.detach().double().contiguous()
    squares = data.square().sum(1)  # [N]
    exact = _products_are_exact(data, squares)
    index = torch.empty(num_rows, k, dtype=torch.int64, device=x.device)
    value = torch.empty(num_rows, k, dtype=x.dtype if x.is_floating_point() else torch.float64, device=x.device)
    for start in range(0, num_rows, block):
        rows = torch.arange(start, min(start + block, num_rows), device=x.device)
        score = _score(data[rows] @ data.t(), squares[rows].unsqueeze(1), squares, metric)  # [b, N], larger = nearer
        if not include_self:
            score[torch.arange(rows.numel(), device=x.device), rows] = -torch.inf
        if not exact:
            score = _refine(score, data, squares, rows, k, metric)
        nearest, score_of_nearest = largest(score, k)
        index[rows] = nearest
        value[rows] = _to_value(score_of_nearest, squares[rows], squares[nearest], metric).to(value.dtype)
    return index, value


def _score(product: Tensor, row_squares: Tensor, col_squares: Tensor, metric: Metric) -> Tensor:
    """What rows are ranked by, larger = nearer; a monotone function of the metric inside a row."""
    if metric == "euclidean":
        return product.mul_(2).sub_(row_squares).sub_(col_squares)  # - squared distance
    if metric == "cosine":
        # cos |cos| times |x_i|^2: the quotient of two whole numbers for integer data, so that equal angles are equal.
        return product.mul_(product.abs()).div_(torch.where(col_squares > 0, col_squares, 1.0))
    return product


def _to_value(score: Tensor, row_squares: Tensor, col_squares: Tensor, metric: Metric) -> Tensor:
    """The distance or similarity behind a score, ``[b, k]``."""
    if metric == "euclidean":
        return score.clamp(max=0).abs_().sqrt_()
    if metric == "cosine":
        length = torch.where(row_squares > 0, row_squares, 1.0).unsqueeze(1)
        return (score.abs() / length).sqrt_().clamp_(max=1).copysign(score)
    return score


def _products_are_exact(data: Tensor, squares: Tensor) -> bool:
    """Whether all products of rows are free of rounding: small multiples of a power of two."""
    for shift in (0, 4, 8, 16):
        scaled = data * 2.0**shift
        if torch.equal(scaled, scaled.round()):
            return 4 * float(squares.max()) * 4.0**shift < 2.0**53
    return False


def _refine(score: Tensor, data: Tensor, squares: Tensor, rows: Tensor, k: int, metric: Metric) -> Tensor:
    """Scores computed pair by pair for all that may be among the k nearest, and -inf elsewhere."""
    unit = (data.shape[1] + 8) * torch.finfo(torch.float64).eps
    own = squares[rows]
    error = unit * _magnitude(own.unsqueeze(1), squares, metric)
    sure = (score - error).topk(k, dim=1).values[:, -1:]  # k rows score at least this much
    row, col = (score + error >= sure).nonzero().unbind(1)
    refined = torch.full_like(score, -torch.inf)
    size = max(1, PAIR_BYTES // (8 * max(data.shape[1], 1)))
    for r, c in zip(row.split(size), col.split(size), strict=True):
        a, b = data[rows[r]], data[c]
        if metric == "euclidean":
            refined[r, c] = (a - b).square_().sum(1).neg_()
        else:
            refined[r, c] = _score((a * b).sum(1), own[r], squares[c], metric)
    return refined


def _magnitude(row_squares: Tensor, col_squares: Tensor, metric: Metric) -> Tensor:
    """The size of the terms in a score, which its rounding error is proportional to; broadcasts to ``[b, N]``."""
    if metric == "euclidean":
        return 4 * (row_squares + col_squares)
    return 4 * row_squares if metric == "cosine" else row_squares.sqrt() * col_squares.sqrt()
