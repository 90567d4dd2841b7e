"""Functions that treat every row alone, a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

# Entries of the widest matrix in one piece on a CPU: a chain of small operations then stays in the cache.
PIECE = 2**16

RowFunction = Callable[..., tuple[Tensor, ...]]


def rowwise(
    function: RowFunction, rows: Sequence[Tensor], shared: Sequence[Tensor] = (), *, piece: int | None = None
) -> tuple[Tensor, ...]:
    """Calls a function of rows piece by piece; its intermediates are computed again in the backward pass, not kept.

    Args:
        function: takes pieces of ``rows`` and then ``shared`` whole, and gives a tuple of tensors with as many rows.
            Differentiable by autograd; row i of what it gives depends on row i of what it takes alone.
        rows: tensors ``[N, ...]``; gradients flow to those that require one.
        shared: tensors that every row needs, such as a bias; gradients flow to them too. Other tensors that the
            function holds get none.
        piece: rows at a time; by default as many as fit the cache on a CPU, and all on a GPU.

    Returns:
        What the function gives for all rows. It can be differentiated once.
    """
    if piece is None:
        piece = min(piece_of(part) for part in rows)
    result: tuple[Tensor, ...] = _Rowwise.apply(function, piece, len(rows), *rows, *shared)
    return result


def piece_of(matrix: Tensor) -> int:
    """Rows of a matrix that make one piece."""
    if matrix.device.type != "cpu":
        return max(matrix.shape[0], 1)
    return max(1, PIECE // max(matrix[:1].numel(), 1))


def rows_at_a_time(matrix: Tensor) -> Iterator[slice]:
    """The pieces of a matrix, as slices of its rows."""
    piece = piece_of(matrix)
    for start in range(0, matrix.shape[0], piece):
        yield slice(start, min(start + piece, matrix.shape[0]))


class _Rowwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: RowFunction, piece: int, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.function, ctx.piece, ctx.count = function, piece, count
        ctx.save_for_backward(*tensors)
        rows, shared = tensors[:count], tensors[count:]
        size = rows[0].shape[0]
        if size <= piece:
            return tuple(part.clone() for part in function(*rows, *shared))
        whole: list[Tensor] = []
        for start in range(0, size, piece):
            parts = function(*(tensor[start : start + piece] for tensor in rows), *shared)
            whole = whole or [part.new_empty(size, *part.shape[1:]) for part in parts]
            for target, part in zip(whole, parts, strict=True):
                target[start : start + piece] = part
        return tuple(whole)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors, needed, count = ctx.saved_tensors, ctx.needs_input_grad[3:], ctx.count
        # Rows are written piece by piece, shared ones added up.
        totals = [
            (torch.empty_like(tensor) if at < count else torch.zeros_like(tensor)) if needed[at] else None
            for at, tensor in enumerate(tensors)
        ]
        for start in range(0, tensors[0].shape[0], ctx.piece):
            here = slice(start, start + ctx.piece)
            pieces = [
                (tensor[here] if at < count else tensor).detach().requires_grad_(needed[at])
                for at, tensor in enumerate(tensors)
            ]
            with torch.enable_grad():
                parts = ctx.function(*pieces)
            wanted = [part for part, need in zip(pieces, needed, strict=True) if need]
            outputs = [(part, grad[here]) for part, grad in zip(parts, grads, strict=True) if part.requires_grad]
            parts, slopes = zip(*outputs, strict=True)
            found = iter(torch.autograd.grad(parts, wanted, slopes, allow_unused=True))
            for at, total in enumerate(totals):
                if total is None:
                    continue
                value = next(found)
                if at >= count and value is not None:
                    total += value
                elif at < count:
                    total[here] = 0.0 if value is None else value
        return None, None, None, *totals
