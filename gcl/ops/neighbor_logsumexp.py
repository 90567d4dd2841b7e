"""Log-sum-exp over the stored entries of an adjacency: the sparse partner of ``product_logsumexp``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.core.errors import ConfigError, DataError
from gcl.ops.backend import Backend, use_triton
from gcl.ops.sparse_product import dot_arcs, sparse_product, transposed_product


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
    a, keys = a.to(dtype), keys.to(dtype)
    return _NeighborLogSumExp.apply(a, keys, _log_values(adjacency, dtype), adjacency, float(temperature), diagonal)


def _on_triton(backend: str, a: Tensor) -> bool:
    """Whether the kernel computes it; asks the kernel itself only where it could."""
    if not use_triton(backend, a):
        return False
    from gcl.ops.triton.neighbor_logsumexp import supports

    return use_triton(backend, a, supported=supports(a.shape[1]))


def _log_values(adjacency: Adjacency, dtype: torch.dtype) -> Tensor | None:
    """Log of the value of each stored arc, ``[E]``, -inf where absent; ``None`` where all are 1."""
    if adjacency.weight is None and adjacency.keep is None:
        return None
    values = adjacency.values(dtype)
    if values.numel() and bool((values.detach() < 0).any()):
        raise DataError(f"weights inside a logarithm must not be negative, got {float(values.detach().min())}")
    present = values != 0  # NaN stays, to be seen
    return torch.where(present, torch.where(present, values, 1).log(), -math.inf)  # no 0 * inf in the gradient


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
        row = adjacency.row  # [E]
        logits = dot_arcs(adjacency, a.detach(), b.detach())
        if diagonal is not None:
            logits.masked_fill_(row == adjacency.col, diagonal)
        logits /= temperature
        if log_values is not None:
            logits += log_values
        maximum = torch.full((a.shape[0],), -math.inf, dtype=a.dtype, device=a.device)
        maximum.scatter_reduce_(0, row.long(), logits, "amax")
        maximum.masked_fill_(maximum == -math.inf, 0.0)
        share = logits.sub_(maximum.index_select(0, row)).exp_()  # [E]
        total = torch.segment_reduce(share.double(), "sum", offsets=adjacency.row_ptr.long(), initial=0)
        ctx.save_for_backward(a, b, share, total)
        ctx.adjacency, ctx.temperature, ctx.diagonal = adjacency, temperature, diagonal
        return (total.log() + maximum).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        _refuse_second_derivative()
        a, b, share, total = ctx.saved_tensors
        adjacency: Adjacency = ctx.adjacency
        row = adjacency.row
        factor = torch.where(total == 0, 0.0, grad.double() / total).to(a.dtype)  # [n]
        share = share * factor.index_select(0, row)  # d loss / d logit, [E]
        grad_log_values = share if ctx.needs_input_grad[2] else None
        through = share / ctx.temperature
        if ctx.diagonal is not None:
            through = through.masked_fill(row == adjacency.col, 0.0)
        grad_a = sparse_product(adjacency, b, through) if ctx.needs_input_grad[0] else None
        grad_b = transposed_product(adjacency, a, through) if ctx.needs_input_grad[1] else None
        return grad_a, grad_b, grad_log_values, None, None, None


def _refuse_second_derivative() -> None:
    """Gradients are recorded inside ``backward`` under ``create_graph=True`` only."""
    if torch.is_grad_enabled():
        raise RuntimeError("neighbor_logsumexp has no second derivative; differentiate it without create_graph=True")
