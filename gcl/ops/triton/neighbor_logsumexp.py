# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""The Triton twin of :func:`gcl.ops.neighbor_logsumexp.neighbor_logsumexp`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gcl.core.adjacency import Adjacency
from gcl.ops.triton.rows import TRITON_TYPE, RowTiling, accumulator, interpretable, longest_first, row_tiling

if TYPE_CHECKING:
    from gcl.ops.triton.resources import Case

MAX_WIDTH = 2048  # rows that a program holds on the chip as a whole


@triton.jit
def _logits(
    own, others, other, arcs, place, row, inside, keep, log_values, inverse_temperature, diagonal, columns,
    D: tl.constexpr, ACC: tl.constexpr, HAS_DIAGONAL: tl.constexpr,
):  # fmt: skip
    """Logits of a block of arcs of one row, -inf where absent; the rows of the others; and where the product counts."""
    present = inside
    if keep is not None:
        present = present & (tl.load(keep + place, mask=inside, other=0) != 0)
    if log_values is not None:
        log_value = tl.load(log_values + place, mask=inside, other=float("-inf")).to(ACC)
        present = present & (log_value != float("-inf"))
    rows = tl.load(
        others + other.to(tl.int64)[:, None] * D + columns[None, :],
        mask=present[:, None] & (columns < D)[None, :],
        other=0.0,
    ).to(ACC)
    logit = tl.sum(own[None, :] * rows, 1)
    counts = present
    if HAS_DIAGONAL:
        logit = tl.where(other == row, tl.full((1,), diagonal, ACC), logit)
        counts = counts & (other != row)
    logit = logit * tl.full((1,), inverse_temperature, ACC)
    if log_values is not None:
        logit += log_value
    return tl.where(present, logit, float("-inf")), rows, counts


@triton.jit
def logsumexp_kernel(
    row_ptr, col, order, keep, log_values, a, b, out, inverse_temperature: tl.float64, diagonal: tl.float64,
    D: tl.constexpr, ACC: tl.constexpr, HAS_DIAGONAL: tl.constexpr, BLOCK_ARCS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp of one row in one pass: every place in a block of arcs has its own running maximum. Grid (rows,)."""
    row = tl.load(order + tl.program_id(0))
    columns = tl.arange(0, BLOCK_D)
    start = tl.load(row_ptr + row).to(tl.int64)
    stop = tl.load(row_ptr + row + 1).to(tl.int64)
    own = tl.load(a + tl.cast(row, tl.int64) * D + columns, mask=columns < D, other=0.0).to(ACC)
    maximum = tl.full((BLOCK_ARCS,), float("-inf"), ACC)
    total = tl.zeros((BLOCK_ARCS,), ACC)
    for first in range(start, stop, BLOCK_ARCS):
        arcs = first + tl.arange(0, BLOCK_ARCS)
        inside = arcs < stop
        other = tl.load(col + arcs, mask=inside, other=0)
        logit, _, _ = _logits(
            own, b, other, arcs, arcs, row, inside, keep, log_values, inverse_temperature, diagonal, columns,
            D, ACC, HAS_DIAGONAL,
        )  # fmt: skip
        higher = tl.where(logit > maximum, logit, maximum)  # NaN goes into the sum
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(maximum - shift) + tl.exp(logit - shift)
        maximum = higher
    top = tl.max(maximum, 0)
    shift = tl.where(top == float("-inf"), 0.0, top)
    sum_ = tl.sum(total * tl.exp(maximum - shift), 0)
    log = tl.log(tl.where(sum_ == 0, 1.0, sum_)) + shift
    tl.store(out + row, tl.where(sum_ == 0, float("-inf"), log))


@triton.jit
def gradient_kernel(
    row_ptr, col, perm, order, keep, log_values, own_rows, other_rows, lse, factor, grad, grad_log_values,
    inverse_temperature: tl.float64, diagonal: tl.float64,
    D: tl.constexpr, ACC: tl.constexpr, HAS_DIAGONAL: tl.constexpr, TRANSPOSED: tl.constexpr,
    BLOCK_ARCS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Gradient of one row of a, or (``TRANSPOSED``) of b, whose products are made again from the rows that it needs.

    ``lse`` and ``factor`` (the upstream gradient) belong to the rows of a. Grid (rows,).
    """
    row = tl.load(order + tl.program_id(0))
    columns = tl.arange(0, BLOCK_D)
    start = tl.load(row_ptr + row).to(tl.int64)
    stop = tl.load(row_ptr + row + 1).to(tl.int64)
    base = tl.cast(row, tl.int64) * D + columns
    own = tl.load(own_rows + base, mask=columns < D, other=0.0).to(ACC)
    total = tl.zeros((BLOCK_ARCS, BLOCK_D), ACC)
    for first in range(start, stop, BLOCK_ARCS):
        arcs = first + tl.arange(0, BLOCK_ARCS)
        inside = arcs < stop
        other = tl.load(col + arcs, mask=inside, other=0)
        place = arcs
        if perm is not None:
            place = tl.load(perm + arcs, mask=inside, other=0).to(tl.int64)
        logit, rows, counts = _logits(
            own, other_rows, other, arcs, place, row, inside, keep, log_values, inverse_temperature, diagonal, columns,
            D, ACC, HAS_DIAGONAL,
        )  # fmt: skip
        if TRANSPOSED:
            level = tl.load(lse + other, mask=inside, other=0.0)
            scale = tl.load(factor + other, mask=inside, other=0.0)
        else:
            level = tl.load(lse + row)
            scale = tl.load(factor + row)
        share = tl.where(logit == float("-inf"), 0.0, tl.exp(logit - level) * scale)
        if grad_log_values is not None:
            tl.store(grad_log_values + place, share, mask=inside)
        if grad is not None:
            total += tl.where(counts, share * tl.full((1,), inverse_temperature, ACC), 0.0)[:, None] * rows
    if grad is not None:
        tl.store(grad + base, tl.sum(total, 0), mask=columns < D)


def supports(d: int) -> bool:
    """Whether the kernels hold rows of this width."""
    return d <= MAX_WIDTH


def neighbor_logsumexp_triton(
    a: Tensor,
    b: Tensor,
    adjacency: Adjacency,
    log_values: Tensor | None = None,
    *,
    keep: Tensor | None = None,
    temperature: float = 1.0,
    diagonal: float | None = None,
) -> Tensor:
    r"""Log-sum-exp of the products of each row with its neighbours; one program a row, no atomics.

    .. math:: \mathrm{lse}_i = \log \sum_{j \in N(i)} w_{ij} \exp(a_i \cdot b_j / \tau)

    Arguments and results are those of the CPU operation, which has checked them. Each of the three passes (value,
    gradient of ``a``, gradient of ``b``) reads E d numbers, those of dropped arcs left out, and keeps none: products
    are made again while the row that a gradient needs is on the chip. Half precision is computed and returned in
    float32. Sums are repeatable.

    Args:
        a: ``[n, d]``.
        b: ``[m, d]``.
        adjacency: the structure, ``[n, m]``; its weights and mask are not looked at.
        log_values: log of ``w``, ``[E]``, -inf = absent; ``None`` = 0.
        keep: boolean ``[E]``, False = absent; ``None`` = all present.
        temperature: τ > 0.
        diagonal: in place of the product of an entry (i, i).
    """
    lse: Tensor = _NeighborLogSumExp.apply(a, b, log_values, adjacency, keep, temperature, diagonal)
    return lse


class _NeighborLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        b: Tensor,
        log_values: Tensor | None,
        adjacency: Adjacency,
        keep: Tensor | None,
        temperature: float,
        diagonal: float | None,
    ) -> Tensor:
        dtype = accumulator(torch.promote_types(a.dtype, b.dtype))
        lse = torch.full((a.shape[0],), -torch.inf, dtype=dtype, device=a.device)
        ctx.save_for_backward(a, b, log_values, keep, lse)
        ctx.adjacency, ctx.options = adjacency, _options(a, dtype, temperature, diagonal)
        if 0 not in (a.shape[0], adjacency.num_arcs):
            logsumexp_kernel[(a.shape[0],)](
                adjacency.row_ptr, adjacency.col, longest_first(adjacency), keep, _contiguous(log_values),
                interpretable(a.detach()), interpretable(b.detach()), lse, **ctx.options,
            )  # fmt: skip
        return lse

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        _refuse_second_derivative()
        a, b, log_values, keep, lse = ctx.saved_tensors
        adjacency: Adjacency = ctx.adjacency
        outputs = [
            None if not need else torch.zeros(shape, dtype=lse.dtype, device=a.device)
            for need, shape in zip(ctx.needs_input_grad, (a.shape, b.shape, (adjacency.num_arcs,)), strict=False)
        ]
        of_a, of_b, of_values = outputs
        if adjacency.num_arcs:
            a, b, log_values = interpretable(a), interpretable(b), _contiguous(log_values)
            side = {"keep": keep, "log_values": log_values, "lse": lse, "factor": grad.to(lse.dtype).contiguous()}
            if of_a is not None or of_values is not None:
                gradient_kernel[(a.shape[0],)](
                    adjacency.row_ptr, adjacency.col, None, longest_first(adjacency),
                    own_rows=a, other_rows=b, grad=of_a, grad_log_values=of_values, TRANSPOSED=False,
                    **side, **ctx.options,
                )  # fmt: skip
            if of_b is not None:
                gradient_kernel[(b.shape[0],)](
                    adjacency.t_row_ptr, adjacency.t_col, adjacency.t_perm, longest_first(adjacency, transposed=True),
                    own_rows=b, other_rows=a, grad=of_b, grad_log_values=None, TRANSPOSED=True,
                    **side, **ctx.options,
                )  # fmt: skip
        return of_a, of_b, of_values, None, None, None, None


def _options(a: Tensor, dtype: torch.dtype, temperature: float, diagonal: float | None) -> dict[str, Any]:
    """What all launches are given, by name."""
    tiling = _tiling(a.shape[1])
    return {
        "inverse_temperature": 1.0 / temperature,
        "diagonal": 0.0 if diagonal is None else float(diagonal),
        "D": a.shape[1],
        "ACC": TRITON_TYPE[dtype],
        "HAS_DIAGONAL": diagonal is not None,
        "BLOCK_ARCS": tiling.arcs,
        "BLOCK_D": tiling.width,
        "num_warps": tiling.num_warps,
        "num_stages": tiling.num_stages,
    }


def _tiling(d: int) -> RowTiling:
    return row_tiling(d, whole=True)


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().contiguous()


def _refuse_second_derivative() -> None:
    """Gradients are recorded inside ``backward`` under ``create_graph=True`` only."""
    if torch.is_grad_enabled():
        raise RuntimeError("neighbor_logsumexp has no second derivative; differentiate it without create_graph=True")


def cases() -> list[Case]:
    """What to compile ahead of time."""
    return [
        case
        for dtype in ("fp32", "bf16", "fp64")
        for d in (16, 128, 256, 500, MAX_WIDTH)
        for case in _cases(dtype, d)
        if (dtype, d) != ("fp64", MAX_WIDTH)
    ]


def _cases(dtype: str, d: int) -> list[Case]:
    from gcl.ops.triton.resources import Case

    tiling, acc = _tiling(d), "fp64" if dtype == "fp64" else "fp32"
    types = dict.fromkeys(("row_ptr", "col", "perm", "order"), "*i32") | {"keep": "*i1"}
    types |= dict.fromkeys(("a", "b", "own_rows", "other_rows"), f"*{dtype}")
    types |= dict.fromkeys(("inverse_temperature", "diagonal"), "fp64")
    found = []
    for kernel, form, absent in (
        (logsumexp_kernel, "plain", ("keep", "log_values")),
        (logsumexp_kernel, "weights-and-mask", ()),
        (gradient_kernel, "plain-rows", ("perm", "keep", "log_values", "grad_log_values")),
        (gradient_kernel, "plain-columns", ("keep", "log_values", "grad_log_values")),
        (gradient_kernel, "weights-and-mask", ()),
    ):
        constexprs: dict[str, Any] = dict.fromkeys(absent)
        constexprs |= {"D": d, "ACC": getattr(tl, acc.replace("fp", "float")), "HAS_DIAGONAL": True}
        constexprs |= {"BLOCK_ARCS": tiling.arcs, "BLOCK_D": tiling.width, "TRANSPOSED": form == "plain-columns"}
        constexprs = {name: value for name, value in constexprs.items() if name in kernel.arg_names}
        signature = {
            name: "constexpr" if name in constexprs else types.get(name, f"*{acc}") for name in kernel.arg_names
        }
        name = f"neighbor_logsumexp/{kernel.__name__}/{dtype}/d{d}/{form}"
        found.append(Case(name, kernel, signature, constexprs, tiling.num_warps, tiling.num_stages))
    return found
