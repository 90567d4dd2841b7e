"""The Triton twin of :func:`gcl.ops.product_logsumexp.product_logsumexp`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import triton
from torch import Tensor

from gcl.ops.pair_weight import PairWeight
from gcl.ops.triton.product_logsumexp_blocks import Blocks, Tiling, block_sizes, cases
from gcl.ops.triton.product_logsumexp_kernels import gradient_kernel, sum_kernel

__all__ = ["cases", "product_logsumexp_triton", "supports"]

MAX_WIDTH = 1024  # wider rows are not tested
COLUMN_BYTES = 64 * 2**20  # for the sums of the columns of row blocks that wait to be merged
LOG2_E = math.log2(math.e)

Reduce = Literal["rows", "columns", "both"]


def supports(pair_weight: PairWeight | None, dtype: torch.dtype, d: int) -> bool:
    """Whether the kernels can do this: no weight or :func:`~gcl.ops.pair_weight.cluster_ids`, no float64."""
    known = pair_weight is None or pair_weight.key == "cluster_ids"
    return known and dtype in (torch.float32, torch.bfloat16, torch.float16) and 0 < d <= MAX_WIDTH


def product_logsumexp_triton(
    a: Tensor,
    b: Tensor | None = None,
    *,
    temperature: float = 1.0,
    key_bias: Tensor | None = None,
    exclude: Tensor | None = None,
    pair_weight: PairWeight | None = None,
    row_weight: Tensor | None = None,
    reduce: Reduce = "rows",
    symmetric: bool = False,
    _blocks: Blocks | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Log-sum-exp of all products of rows of ``a`` with rows of ``b``, one pass over tiles each way.

    .. math:: \mathrm{lse}_i = \log \sum_j w_{ij} \exp\big((a_i \cdot b_j + c_j) / \tau\big)

    Arguments and results are those of the CPU operation, which has checked them. Floating-point operations: 2nmd
    forward, 6nmd backward (a tile of logits is made again, once for both gradients), half of that where ``symmetric``:
    then only pairs on and above the diagonal are visited, and each serves two rows. With deterministic algorithms
    switched on the backward pass makes the logits once for either gradient instead of adding atomically: 8nmd.
    No tile goes to memory: beside inputs and gradients there are a few floats a row, and at most ``COLUMN_BYTES`` of
    column sums where rows and columns are both wanted. Each tile reads its rows of ``b`` (and of ``a`` where these
    do not stay on the chip) and adds to the gradient of ``b``, mostly in the L2 cache.

    Products of float32 follow ``torch.get_float32_matmul_precision()``; bfloat16 stays bfloat16, and float16 is
    computed as TF32, which holds it exactly. Sums are float32, as is the result.

    Args:
        a: ``[n, d]``.
        b: ``[m, d]``; ``None``: the keys are ``a``.
        temperature: τ > 0.
        key_bias: ``c``, ``[m]``.
        exclude: int64 ``[n]``, the key that each row leaves out, -1 = none; no default here.
        pair_weight: ``None`` or cluster ids.
        row_weight: ``[n]``: the result is the scalar sum of weighted rows, its gradient is made in the forward pass.
        reduce: sum over the keys of each row, over the rows of each key, or both.
        symmetric: promises that there are no keys and no bias, and that weight and exclusion are mutual.
    """
    dtype, precision = _arithmetic(a, a if b is None else b)
    labels: tuple[Tensor | None, Tensor | None] = (None, None)
    if pair_weight is not None:
        labels = (pair_weight.row[0].t().contiguous(), pair_weight.col[0].t().contiguous())  # [G, n], [G, m]
    problem = _Problem(
        temperature=float(temperature),
        exclude=None if exclude is None else exclude.to(torch.int32).contiguous(),
        labels=labels,
        symmetric=symmetric,
        precision=precision,
        blocks=_blocks or block_sizes(a.shape[1], precision, dtype),
        dtype=dtype,
        grad=torch.is_grad_enabled(),
    )
    keys = None if symmetric else a if b is None else b
    if row_weight is not None:
        return _WeightedLogSumExp.apply(row_weight.float(), problem, a, keys, key_bias)
    if symmetric:  # the columns of a symmetric problem are its rows
        lse = _LogSumExp.apply("rows", problem, a, None, None)
        return (lse, lse) if reduce == "both" else lse
    return _LogSumExp.apply(reduce, problem, a, keys, key_bias)


def _arithmetic(a: Tensor, b: Tensor) -> tuple[torch.dtype, str]:
    """The type of the operands, and what ``tl.dot`` calls the precision of their products."""
    dtype = torch.promote_types(a.dtype, b.dtype)
    if dtype == torch.bfloat16 and a.is_cuda:  # the interpreter takes its bits for integers
        return dtype, "tf32"
    if torch.version.hip is not None:
        return torch.float32, "ieee"
    if torch.float32 not in (a.dtype, b.dtype):  # TF32 holds them exactly
        return torch.float32, "tf32"
    return torch.float32, {"highest": "ieee", "high": "tf32x3", "medium": "tf32"}[torch.get_float32_matmul_precision()]


# -- launches ---------------------------------------------------------------------------------------------------------


def _num_programs(device: torch.device) -> int:
    """Programs that keep the device busy to the end: four for each multiprocessor."""
    if device.type != "cuda":
        return 4
    return 4 * torch.cuda.get_device_properties(device).multi_processor_count


@dataclass(frozen=True)
class _Side:
    """What the gradient needs to know about rows or columns."""

    lse: Tensor  # [n], natural
    grad: Tensor  # [n], gradient of the loss by lse

    def to_kernel(self, temperature: float) -> tuple[Tensor, Tensor]:
        """The log-sum-exp to base 2, +inf where empty, and the gradient by a product."""
        empty = self.lse == -math.inf
        lse = torch.where(empty, math.inf, self.lse * LOG2_E)
        return lse, torch.where(empty, 0.0, self.grad.float() / temperature)


@dataclass(frozen=True)
class _Problem:
    """Everything but the tensors that may need a gradient."""

    temperature: float
    exclude: Tensor | None  # [n], int32
    labels: tuple[Tensor | None, Tensor | None]  # [G, n], [G, m]
    symmetric: bool
    precision: str
    blocks: Blocks
    dtype: torch.dtype
    grad: bool  # whether a backward pass may come

    def sums(
        self, a: Tensor, b: Tensor | None, bias: Tensor | None, reduce: Reduce
    ) -> tuple[Tensor | None, Tensor | None]:
        """Log-sum-exp of rows and of columns, ``None`` where not asked for."""
        a, b = self._operands(a, b)
        bias = self._scaled_bias(bias)
        if self.symmetric:
            return torch.logaddexp(*self._launch_sums(a, a, None, swapped=False, columns=True)), None
        if reduce == "columns":
            return None, self._launch_sums(b, a, bias, swapped=True, columns=False)[0]
        rows, cols = self._launch_sums(a, b, bias, swapped=False, columns=reduce == "both")
        return rows, cols if reduce == "both" else None

    def gradients(
        self,
        a: Tensor,
        b: Tensor | None,
        bias: Tensor | None,
        rows: _Side | None,
        cols: _Side | None,
        needs: tuple[bool, ...],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of a, b and bias, in float32 (autograd casts them), ``None`` where not needed."""
        a_out, b_out, bias_out = (
            torch.zeros(tensor.shape, dtype=torch.float32, device=a.device) if need and tensor is not None else None
            for need, tensor in zip(needs, (a, b, bias), strict=True)
        )
        a, b = self._operands(a, b)
        bias = self._scaled_bias(bias)
        row_side, col_side = (None if side is None else side.to_kernel(self.temperature) for side in (rows, cols))
        deterministic = torch.are_deterministic_algorithms_enabled()
        if self.symmetric:
            # one triangle, where a pair adds to two rows; or else all pairs, with each row added to by its own program
            outputs = (a_out, None if deterministic else a_out, None)
            self._launch_gradients(a, a, None, (row_side, row_side), outputs, triangle=not deterministic)
        elif deterministic:
            if a_out is not None:
                self._launch_gradients(a, b, bias, (row_side, col_side), (a_out, None, None))
            if b_out is not None or bias_out is not None:
                self._launch_gradients(b, a, bias, (col_side, row_side), (b_out, None, bias_out), swapped=True)
        else:
            self._launch_gradients(a, b, bias, (row_side, col_side), (a_out, b_out, bias_out))
        return a_out, b_out, bias_out

    def _operands(self, a: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor]:
        a = a.detach().to(self.dtype).contiguous()
        return a, a if b is None else b.detach().to(self.dtype).contiguous()

    def _scaled_bias(self, bias: Tensor | None) -> Tensor | None:
        return None if bias is None else (bias.detach().float() * (LOG2_E / self.temperature)).contiguous()

    def _arguments(self, a: Tensor, b: Tensor, bias: Tensor | None, tiling: Tiling, swapped: bool) -> dict[str, Any]:
        """What both kernels are given, by name."""
        row_labels, col_labels = self.labels[::-1] if swapped else self.labels
        return {
            "a": a,
            "b": b,
            "bias": bias,
            "exclude": self.exclude,
            "row_labels": row_labels,
            "col_labels": col_labels,
            "n": a.shape[0],
            "m": b.shape[0],
            "num_clusterings": 0 if row_labels is None else row_labels.shape[0],
            "scale": LOG2_E / self.temperature,
            "D": a.shape[1],
            "BLOCK_ROWS": tiling.rows,
            "BLOCK_COLS": tiling.cols,
            "BLOCK_D": tiling.width,
            "SWAPPED": swapped,
            "PRECISION": self.precision,
            "num_warps": tiling.num_warps,
            "num_stages": tiling.num_stages,
        }

    def _launch_sums(
        self, a: Tensor, b: Tensor, bias: Tensor | None, *, swapped: bool, columns: bool
    ) -> tuple[Tensor, Tensor]:
        """Log-sum-exp of rows and, if wanted, of columns; parts of either are merged here, in a fixed order."""
        n, m, tiling = a.shape[0], b.shape[0], self.blocks.sums
        num_blocks, num_tiles = triton.cdiv(n, tiling.rows), triton.cdiv(m, tiling.cols)
        group = max(1, num_blocks)  # row blocks of one launch
        if columns:
            group = max(1, min(group, COLUMN_BYTES // (4 * max(m, 1))))
        tiles = _tiles_per_split(group, num_tiles, a.device)
        splits = max(1, triton.cdiv(num_tiles, tiles))
        row_parts = a.new_full((splits, n), -math.inf, dtype=torch.float32)
        cols = a.new_full((m,), -math.inf, dtype=torch.float32)
        for first in range(0, num_blocks, group):
            size = min(group, num_blocks - first)
            col_parts = a.new_full((size, m), -math.inf, dtype=torch.float32) if columns else None
            sum_kernel[(size, splits)](
                row_out=row_parts,
                col_out=col_parts,
                first_block=first,
                tiles_per_split=tiles,
                SYMMETRIC=self.symmetric,
                **self._arguments(a, b, bias, tiling, swapped),
            )
            if col_parts is not None:
                cols = torch.logaddexp(cols, col_parts.logsumexp(0))
        return (row_parts[0] if splits == 1 else row_parts.logsumexp(0)), cols

    def _launch_gradients(
        self,
        a: Tensor,
        b: Tensor,
        bias: Tensor | None,
        sides: Sequence[tuple[Tensor, Tensor] | None],
        outputs: tuple[Tensor | None, Tensor | None, Tensor | None],
        *,
        swapped: bool = False,
        triangle: bool = False,
    ) -> None:
        """Adds to the outputs (gradients of a, b and bias)."""
        if all(output is None for output in outputs) or 0 in (a.shape[0], b.shape[0]):
            return
        tiling = self.blocks.gradients
        num_blocks, num_tiles = triton.cdiv(a.shape[0], tiling.rows), triton.cdiv(b.shape[0], tiling.cols)
        tiles = num_tiles  # one program a row, so that nothing depends on the order of programs
        if not torch.are_deterministic_algorithms_enabled():
            tiles = _tiles_per_split(num_blocks, num_tiles, a.device)
        (row_lse, row_grad), (col_lse, col_grad) = ((None, None) if side is None else side for side in sides)
        gradient_kernel[(num_blocks, triton.cdiv(num_tiles, tiles))](
            row_lse=row_lse,
            row_grad=row_grad,
            col_lse=col_lse,
            col_grad=col_grad,
            a_out=outputs[0],
            b_out=outputs[1],
            bias_out=outputs[2],
            tiles_per_split=tiles,
            SYMMETRIC=triangle,
            **self._arguments(a, b, bias, tiling, swapped),
        )


def _tiles_per_split(num_blocks: int, num_tiles: int, device: torch.device) -> int:
    """Column tiles for one program, so that all programs together keep the device busy."""
    splits = max(1, min(num_tiles, _num_programs(device) // max(num_blocks, 1)))
    return max(1, triton.cdiv(num_tiles, splits))


# -- autograd ---------------------------------------------------------------------------------------------------------


class _LogSumExp(torch.autograd.Function):
    """The vectors."""

    @staticmethod
    def forward(ctx: Any, reduce: Reduce, problem: _Problem, a: Tensor, b: Tensor | None, bias: Tensor | None) -> Any:
        rows, cols = problem.sums(a, b, bias, reduce)
        if problem.grad and any(ctx.needs_input_grad):
            ctx.set_materialize_grads(False)
            ctx.reduce, ctx.problem = reduce, problem
            ctx.save_for_backward(a, b, bias, rows, cols)
        if reduce == "both":
            return rows, cols
        return cols if rows is None else rows

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        _refuse_second_derivative()
        a, b, bias, rows, cols = ctx.saved_tensors
        row_grad = grads[0] if ctx.reduce != "columns" else None
        col_grad = grads[-1] if ctx.reduce != "rows" else None
        row_side = None if row_grad is None else _Side(rows, row_grad)
        col_side = None if col_grad is None else _Side(cols, col_grad)
        if row_side is None and col_side is None:
            return (None,) * 5
        return None, None, *ctx.problem.gradients(a, b, bias, row_side, col_side, ctx.needs_input_grad[2:])


class _WeightedLogSumExp(torch.autograd.Function):
    """The scalar. Its gradient is made in the forward pass, so that the inputs need not be kept."""

    @staticmethod
    def forward(
        ctx: Any, row_weight: Tensor, problem: _Problem, a: Tensor, b: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        lse = problem.sums(a, b, bias, "rows")[0]
        assert lse is not None
        needs = tuple(need and problem.grad for need in ctx.needs_input_grad)
        grads: tuple[Tensor | None, ...] = (None, None, None)
        if any(needs[2:]):
            grads = problem.gradients(a, b, bias, _Side(lse, row_weight.detach()), None, needs[2:])
        lse_grad = lse.masked_fill(lse == -math.inf, 0.0) if needs[0] else None
        ctx.save_for_backward(lse_grad, *grads)
        weight = row_weight.double()
        return torch.where(weight == 0, 0.0, weight * lse).sum().float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        _refuse_second_derivative()
        row_weight, *rest = (None if saved is None else saved * grad.to(saved.dtype) for saved in ctx.saved_tensors)
        return row_weight, None, *rest


def _refuse_second_derivative() -> None:
    """Gradients are recorded inside ``backward`` under ``create_graph=True`` only."""
    if torch.is_grad_enabled():
        raise RuntimeError("product_logsumexp has no second derivative; differentiate it without create_graph=True")
