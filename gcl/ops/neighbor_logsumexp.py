"""Log-sum-exp over the stored entries of an adjacency: the sparse partner of ``product_logsumexp``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.ops.backend import Backend, use_triton
from gcl.ops.csr import CSR
from gcl.ops.sparse_product import sparse_product

EVERY_ARC = slice(None)
PIECE = 2**17  # arcs


def neighbor_logsumexp(
    a: Tensor,
    b: Tensor | None,
    adjacency: Adjacency,
    *,
    temperature: float = 1.0,
    diagonal: float | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Log-sum-exp of the products of each row with its neighbours, in one pass over CSR; no E × d tensor exists.

    .. math:: \mathrm{lse}_i = \log \sum_{j \in N(i)} w_{ij} \exp(a_i \cdot b_j / \tau)

    Dropped arcs and arcs of weight 0 are absent; a row without any gives ``-inf`` and a zero gradient. Gradients flow
    to ``a``, ``b`` and the adjacency's weights. Half-precision input is computed and returned in float32.

    Args:
        a: ``[n, d]``.
        b: ``[m, d]``; ``None``: ``a``.
        adjacency: ``[n, m]``; its values (weight times keep) are ``w``, not negative.
        temperature: τ > 0.
        diagonal: replaces the product of the entries (i, i), in place of :math:`a_i \cdot b_i` (PamC: 0).
        backend: ``torch``, ``triton``, or ``auto``: triton on CUDA where it is installed.

    Returns:
        ``[n]``.

    Raises:
        ConfigError: a temperature or diagonal that is not a number to compute with, or a backend that cannot do it.
        DataError: shapes that do not fit, or a negative weight.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ConfigError(f"temperature must be a positive finite number, got {temperature}")
    if diagonal is not None and not math.isfinite(diagonal):
        raise ConfigError(f"diagonal must be a finite number or None, got {diagonal}")
    for name, matrix in (("a", a), ("b", b)):
        if matrix is not None and (matrix.dim() != 2 or not matrix.is_floating_point()):
            raise DataError(f"{name} must be a matrix of real numbers, got {matrix.dtype} {list(matrix.shape)}")
    keys = a if b is None else b
    if a.shape[1] != keys.shape[1]:
        raise DataError(f"a and b must have the same width, got {a.shape[1]} and {keys.shape[1]}")
    if adjacency.shape != (a.shape[0], keys.shape[0]):
        raise DataError(
            f"adjacency has shape {list(adjacency.shape)}, but a has {a.shape[0]} rows and b has {keys.shape[0]}"
        )
    dtype = torch.promote_types(torch.promote_types(a.dtype, keys.dtype), torch.float32)
    if _on_triton(backend, a):
        from gcl.ops.triton.neighbor_logsumexp import neighbor_logsumexp_triton

        keep = adjacency.keep if adjacency.weight is None else None  # else the weight's logarithm says it
        log_values = None if adjacency.weight is None else _log_values(adjacency, dtype)
        return neighbor_logsumexp_triton(
            a, keys, adjacency, log_values, keep=keep, temperature=float(temperature), diagonal=diagonal
        )
    learned = adjacency.weight is not None and adjacency.weight.requires_grad
    log_values = _log_values(adjacency, dtype) if learned else None  # else made piece by piece
    return _NeighborLogSumExp.apply(a.to(dtype), keys.to(dtype), log_values, adjacency, float(temperature), diagonal)


def _on_triton(backend: str, a: Tensor) -> bool:
    """Whether the kernel computes it; asks the kernel itself only where it could."""
    if not use_triton(backend, a):
        return False
    from gcl.ops.triton.neighbor_logsumexp import supports

    return use_triton(backend, a, supported=supports(a.shape[1]))


def _log_values(adjacency: Adjacency, dtype: torch.dtype, arcs: slice = EVERY_ARC) -> Tensor | None:
    """Log of the value of each stored arc, ``[E]`` or some of them, -inf where absent; ``None`` where all are 1."""
    weight, keep = adjacency.weight, adjacency.keep
    if weight is None and keep is None:
        return None
    if weight is None:
        assert keep is not None
        return torch.zeros(keep[arcs].shape, dtype=dtype, device=keep.device).masked_fill_(~keep[arcs], -math.inf)
    values = weight[arcs].to(dtype)
    if values.numel() and bool((values.detach() < 0).any()):
        raise DataError(f"weights inside a logarithm must not be negative, got {float(values.detach().min())}")
    present = values != 0  # NaN stays, to be seen
    if keep is not None:
        present = present & keep[arcs]
    return torch.where(present, torch.where(present, values, 1).log(), -math.inf)  # no 0 * inf in the gradient


def _pieces(adjacency: Adjacency, *, transposed: bool = False) -> list[tuple[slice, slice]]:
    """Rows and arcs of pieces that stay in a cache; one piece on a GPU. Made once a structure."""
    key = "column_pieces" if transposed else "row_pieces"
    if key not in adjacency.derived:
        pointer = (adjacency.t_row_ptr if transposed else adjacency.row_ptr).cpu().long()
        rows, arcs = pointer.numel() - 1, adjacency.num_arcs
        steps = [0, arcs] if adjacency.device.type != "cpu" else [*range(0, arcs, PIECE), arcs]
        bounds = torch.searchsorted(pointer, torch.tensor(steps)).clamp(max=rows).tolist()
        bounds = sorted({0, *bounds, rows})
        ends = pointer[bounds].tolist()
        adjacency.derived[key] = [
            (slice(*bounds[at : at + 2]), slice(*ends[at : at + 2])) for at in range(len(bounds) - 1)
        ]
    made: list[tuple[slice, slice]] = adjacency.derived[key]
    return made


def _transposed_product(adjacency: Adjacency, x: Tensor, values: Tensor) -> Tensor:
    """The product of the transpose with ``x``, ``[m, d]``, without all values in its order at once."""
    out = x.new_empty(adjacency.shape[1], x.shape[1])
    for rows, arcs in _pieces(adjacency, transposed=True):
        pointer = adjacency.t_row_ptr[rows.start : rows.stop + 1] - arcs.start
        part = values.index_select(0, adjacency.t_perm[arcs])
        shape = (rows.stop - rows.start, adjacency.shape[0])
        out[rows] = CSR(pointer, adjacency.t_col[arcs], part, shape).matmul(x)
    return out


def _dots(pointer: Tensor, col: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Products of some rows with their neighbours, one an arc."""
    zeros = CSR(pointer, col, a.new_zeros(col.numel()), (a.shape[0], b.shape[0]))
    if 0 in (a.shape[1], col.numel()):
        return zeros.values
    with torch.autocast(a.device.type, enabled=False):
        return torch.sparse.sampled_addmm(zeros.tensor(), a.contiguous(), b.contiguous().t(), beta=0.0).values()


class _NeighborLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        b: Tensor,
        log_values: Tensor | None,
        adjacency: Adjacency,
        temperature: float,
        diagonal: float | None,
    ) -> Tensor:
        share = torch.empty(adjacency.num_arcs, dtype=a.dtype, device=a.device)
        total = torch.zeros(a.shape[0], dtype=torch.float64, device=a.device)
        maximum = torch.full((a.shape[0],), -math.inf, dtype=a.dtype, device=a.device)
        for rows, arcs in _pieces(adjacency):
            pointer = adjacency.row_ptr[rows.start : rows.stop + 1] - arcs.start
            col = adjacency.col[arcs]
            row = adjacency.row[arcs]
            logits = _dots(pointer, col, a.detach()[rows], b.detach())
            if diagonal is not None:
                logits.masked_fill_(row == col, diagonal)
            logits /= temperature
            logs = _log_values(adjacency, a.dtype, arcs) if log_values is None else log_values[arcs]
            if logs is not None:
                logits += logs
            local = row - rows.start
            top = maximum[rows].scatter_reduce_(0, local.long(), logits, "amax")
            top = torch.where(top == -math.inf, 0.0, top)
            maximum[rows] = top
            torch.exp(logits.sub_(top.index_select(0, local)), out=share[arcs])
            offsets = pointer.long()
            total[rows] = torch.segment_reduce(share[arcs].double(), "sum", offsets=offsets, initial=0)
        ctx.save_for_backward(a, b, share, total)
        ctx.adjacency, ctx.temperature, ctx.diagonal = adjacency, temperature, diagonal
        return (total.log() + maximum).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        _refuse_second_derivative()
        a, b, share, total = ctx.saved_tensors
        adjacency: Adjacency = ctx.adjacency
        factor = torch.where(total == 0, 0.0, grad.double() / total).to(a.dtype)  # [n]
        through = torch.empty_like(share)  # d loss / d logit, over the temperature, [E]
        grad_log_values = torch.empty_like(share) if ctx.needs_input_grad[2] else None
        for _, arcs in _pieces(adjacency):
            row = adjacency.row[arcs]
            part = torch.mul(share[arcs], factor.index_select(0, row), out=through[arcs])
            if grad_log_values is not None:
                grad_log_values[arcs] = part
            part /= ctx.temperature
            if ctx.diagonal is not None:
                part.masked_fill_(row == adjacency.col[arcs], 0.0)
        grad_a = sparse_product(adjacency, b, through) if ctx.needs_input_grad[0] else None
        grad_b = _transposed_product(adjacency, a, through) if ctx.needs_input_grad[1] else None
        return grad_a, grad_b, grad_log_values, None, None, None


def _refuse_second_derivative() -> None:
    """Gradients are recorded inside ``backward`` under ``create_graph=True`` only."""
    if torch.is_grad_enabled():
        raise RuntimeError("neighbor_logsumexp has no second derivative; differentiate it without create_graph=True")
