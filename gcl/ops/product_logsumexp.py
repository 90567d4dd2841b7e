"""The one primitive of every all-pairs loss."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from gcl.core.errors import ConfigError, DataError
from gcl.ops.backend import Backend, use_triton
from gcl.ops.pair_sums import Sums
from gcl.ops.pair_tiles import Grid
from gcl.ops.pair_weight import PairWeight
from gcl.ops.pairs import NO_SHIFT_BELOW, Pairs, largest_logit


def product_logsumexp(
    a: Tensor,
    b: Tensor | None = None,
    *,
    temperature: float = 1.0,
    key_bias: Tensor | None = None,
    exclude: Tensor | None = None,
    pair_weight: PairWeight | None = None,
    row_weight: Tensor | None = None,
    reduce: Literal["rows", "columns", "both"] = "rows",
    memory: int = 256 * 2**20,
    backend: Backend = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Log-sum-exp of all products of rows of ``a`` with rows of ``b``, tile by tile; no n × m tensor exists.

    .. math:: \mathrm{lse}_i = \log \sum_j w_{ij} \exp\big((a_i \cdot b_j + c_j) / \tau\big)

    Nothing is normalised inside. A row without any key gives ``-inf`` and a zero gradient. Half-precision input is
    computed and returned in float32. Each tile of a symmetric problem is computed once: ``b`` left out, excluded pairs
    excluded in both orders, weights mutual, and a bias only with ``reduce="rows"`` and logits below 70.

    Args:
        a: ``[n, d]``.
        b: keys ``[m, d]``; ``None``: the keys are ``a``.
        temperature: τ > 0.
        key_bias: ``c``, ``[m]``, added to the products before the division by τ.
        exclude: integers ``[n]``, the key that each row leaves out, -1 = none. Without ``b`` it defaults to the row
            itself.
        pair_weight: ``w`` as a function evaluated inside each tile; ``None`` = 1.
        row_weight: ``[n]``; when given, the result is the scalar :math:`\sum_i r_i \mathrm{lse}_i` and its gradient is
            made in the forward pass, which saves one of four products. A row of weight 0 counts as absent, and the
            gradient of the weight of an empty row is 0.
        reduce: sum over the keys of each row, over the rows of each key (``columns``), or both.
        memory: bytes for tiles. Tiles are kept for the backward pass if they fit, else computed again.
        backend: ``auto`` (Triton on a GPU where it is installed and knows the pair weight), ``torch`` or ``triton``.
            The kernel needs no memory for tiles.

    Returns:
        ``[n]`` for ``rows``, ``[m]`` for ``columns``, both as a tuple for ``both``; a scalar with ``row_weight``.

    Raises:
        ConfigError: a temperature, memory, backend, ``reduce`` or combination that cannot be; ``backend="triton"`` off
            a GPU.
        DataError: tensors whose shapes or types do not fit.
        MissingDependencyError: ``backend="triton"`` where it is not installed.
    """
    _check_options(temperature, row_weight, reduce, memory)
    _check_tensors(a, b, key_bias, exclude, pair_weight, row_weight)
    n, m = a.shape[0], (a if b is None else b).shape[0]
    if exclude is not None:
        exclude = exclude.long()
    elif b is None:
        exclude = torch.arange(n, device=a.device)

    if _on_triton(backend, a, pair_weight):
        from gcl.ops.triton.product_logsumexp import product_logsumexp_triton

        mutual = b is None and key_bias is None and (pair_weight is None or pair_weight.mutual) and _is_mutual(exclude)
        return product_logsumexp_triton(
            a,
            b,
            temperature=float(temperature),
            key_bias=key_bias,
            exclude=exclude,
            pair_weight=pair_weight,
            row_weight=row_weight,
            reduce=reduce,
            symmetric=mutual,
        )

    dtype = torch.promote_types(torch.promote_types(a.dtype, (a if b is None else b).dtype), torch.float32)
    a = a.to(dtype).contiguous()
    b = None if b is None else b.to(dtype).contiguous()
    key_bias = None if key_bias is None else key_bias.to(dtype)
    keys = a if b is None else b
    # a NaN goes the careful way too
    shifted = not largest_logit(a, keys, key_bias, pair_weight, temperature) <= NO_SHIFT_BELOW[dtype]
    symmetric = (
        b is None
        and (key_bias is None or (reduce == "rows" and not shifted))  # as a factor of the keys it leaves tiles alone
        and (pair_weight is None or pair_weight.mutual)
        and _is_mutual(exclude)
    )
    scratch = 0 if pair_weight is None else pair_weight.scratch
    in_strips = row_weight is not None and not symmetric
    grid = Grid.of(n, m, symmetric=symmetric, in_strips=in_strips, memory=memory, scratch=scratch, like=a)
    pairs = Pairs(
        a,
        keys,
        key_bias,
        exclude,
        pair_weight,
        float(temperature),
        symmetric,
        memory,
        grid,
        torch.is_grad_enabled(),
        shifted,
    )
    # a symmetric problem has one input in two roles; otherwise autograd adds the gradients of the two
    inputs = (pairs, a, None if symmetric else keys, key_bias, *pairs.sides())
    if row_weight is not None:
        return _WeightedLogSumExp.apply(row_weight.to(dtype), *inputs)
    if symmetric:  # the columns of a symmetric problem are its rows
        lse = _LogSumExp.apply("rows", *inputs)
        return (lse, lse) if reduce == "both" else lse
    return _LogSumExp.apply(reduce, *inputs)


# -- checks -----------------------------------------------------------------------------------------------------------


def _check_options(temperature: float, row_weight: Tensor | None, reduce: str, memory: int) -> None:
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ConfigError(f"temperature must be a positive finite number, got {temperature}")
    if reduce not in ("rows", "columns", "both"):
        raise ConfigError(f"reduce must be 'rows', 'columns' or 'both', got {reduce!r}")
    if row_weight is not None and reduce != "rows":
        raise ConfigError(f"row_weight weighs rows and needs reduce='rows', got reduce={reduce!r}")
    if memory <= 0:
        raise ConfigError(f"memory must be a positive number of bytes, got {memory}")


def _check_tensors(
    a: Tensor,
    b: Tensor | None,
    key_bias: Tensor | None,
    exclude: Tensor | None,
    pair_weight: PairWeight | None,
    row_weight: Tensor | None,
) -> None:
    for name, matrix in (("a", a), ("b", b)):
        if matrix is not None and (matrix.dim() != 2 or not matrix.is_floating_point()):
            raise DataError(f"{name} must be a matrix of real numbers, got {matrix.dtype} {list(matrix.shape)}")
    if b is not None and a.shape[1] != b.shape[1]:
        raise DataError(f"a and b must have the same width, got {a.shape[1]} and {b.shape[1]}")
    n, m = a.shape[0], (a if b is None else b).shape[0]
    for name, vector, size in (("key_bias", key_bias, m), ("exclude", exclude, n), ("row_weight", row_weight, n)):
        if vector is not None and vector.shape != (size,):
            raise DataError(f"{name} must have shape [{size}], got {list(vector.shape)}")
    if exclude is not None:
        if exclude.is_floating_point() or exclude.dtype == torch.bool:
            raise DataError(f"exclude must hold key indices as integers, -1 for none, got {exclude.dtype}")
        if n and (int(exclude.min()) < -1 or int(exclude.max()) >= m):
            raise DataError(
                f"exclude must lie from -1 (none) to {m - 1} for {m} keys, got values from {int(exclude.min())} to "
                f"{int(exclude.max())}"
            )
    if pair_weight is not None:
        for name, tensors, size in (("row", pair_weight.row, n), ("col", pair_weight.col, m)):
            for tensor in tensors:
                if tensor.dim() == 0 or tensor.shape[0] != size:
                    raise DataError(
                        f"every pair_weight.{name} tensor must have {size} entries along its first dimension, "
                        f"got shape {list(tensor.shape)}"
                    )


def _on_triton(backend: str, a: Tensor, pair_weight: PairWeight | None) -> bool:
    """Whether the kernel computes it; asks the kernel itself only where it could."""
    if not use_triton(backend, a):
        return False
    from gcl.ops.triton.product_logsumexp import supports

    return use_triton(backend, a, supported=supports(pair_weight, a.dtype, a.shape[1]))


def _is_mutual(exclude: Tensor | None) -> bool:
    """Whether the excluded pairs form a symmetric set."""
    if exclude is None:
        return True
    rows = (exclude >= 0).nonzero().squeeze(1)
    return torch.equal(exclude[exclude[rows]], rows)


# -- autograd ---------------------------------------------------------------------------------------------------------


class _LogSumExp(torch.autograd.Function):
    """The vectors. Tiles are kept for the backward pass or made again there."""

    @staticmethod
    def forward(
        ctx: Any, reduce: str, pairs: Pairs, a: Tensor, b: Tensor | None, bias: Tensor | None, *sides: Tensor
    ) -> Any:
        pairs = pairs.with_tensors(a, b, bias, sides)
        rows = pairs.new_sums(a.shape[0]) if reduce != "columns" else None
        cols = rows if pairs.symmetric else pairs.new_sums(pairs.b.shape[0]) if reduce != "rows" else None
        tiles = pairs.grid.tiles()
        needed = pairs.grad and any(ctx.needs_input_grad)
        with torch.autocast(a.device.type, enabled=False):
            kept = pairs.sum_up(tiles, rows, cols, keep=needed and pairs.keeps(tiles))
        if needed:
            ctx.set_materialize_grads(False)
            ctx.reduce, ctx.pairs = reduce, pairs.without_tensors()
            stats = [
                None if sums is None else part
                for sums in (rows, cols)
                for part in ((None, None) if sums is None else (sums.total, sums.maximum))
            ]
            ctx.save_for_backward(a, b, bias, kept, *stats, *sides)
        values = [sums.log().to(a.dtype) for sums in ((rows,) if pairs.symmetric else (rows, cols)) if sums is not None]
        return tuple(values) if len(values) > 1 else values[0]

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor | None) -> tuple[Any, ...]:
        _refuse_second_derivative()
        a, b, bias, kept, row_total, row_maximum, col_total, col_maximum, *sides = ctx.saved_tensors
        pairs = ctx.pairs.with_tensors(a, b, bias, sides)
        grads = pairs.new_grads(ctx.needs_input_grad[2:])
        row_grad = outputs[0] if ctx.reduce != "columns" else None
        col_grad = row_grad if pairs.symmetric else outputs[-1] if ctx.reduce != "rows" else None
        rows = None if row_grad is None else (Sums(row_total, row_maximum), row_grad)
        cols = None if col_grad is None else (Sums(col_total, col_maximum), col_grad)
        if rows is not None or cols is not None:
            with torch.autocast(a.device.type, enabled=False):
                pairs.differentiate(pairs.grid.tiles(), rows, cols, grads, kept)
        return None, None, grads.a, None if pairs.symmetric else grads.of_keys, grads.bias, *grads.sides


class _WeightedLogSumExp(torch.autograd.Function):
    """The scalar. Its gradient is made in the forward pass, while the tiles of a row are at hand."""

    @staticmethod
    def forward(
        ctx: Any,
        row_weight: Tensor,
        pairs: Pairs,
        a: Tensor,
        b: Tensor | None,
        bias: Tensor | None,
        *sides: Tensor,
    ) -> Tensor:
        pairs = pairs.with_tensors(a, b, bias, sides)
        rows = pairs.new_sums(a.shape[0])
        cols = rows if pairs.symmetric else None
        needs = [need and pairs.grad for need in ctx.needs_input_grad]
        grads = pairs.new_grads(needs[2:])
        needed = any(needs[2:])
        # rows of a rectangle end with their strip; those of a symmetric problem end with the last tile
        grid = pairs.grid
        groups = [grid.tiles()] if pairs.symmetric else [grid.strip(index) for index in range(len(grid.rows))]
        with torch.autocast(a.device.type, enabled=False):
            for tiles in groups:
                kept = pairs.sum_up(tiles, rows, cols, keep=needed and pairs.keeps(tiles))
                if needed:
                    side = (rows, row_weight)
                    pairs.differentiate(tiles, side, side if pairs.symmetric else None, grads, kept)
        lse = rows.log()
        lse_grad = lse.masked_fill(rows.total == 0, 0.0).to(a.dtype) if needs[0] else None
        ctx.save_for_backward(lse_grad, grads.a, None if pairs.symmetric else grads.of_keys, grads.bias, *grads.sides)
        weight = row_weight.double()
        return torch.where(weight == 0, 0.0, weight * lse).sum().to(a.dtype)

    @staticmethod
    def backward(ctx: Any, output: Tensor) -> tuple[Any, ...]:
        _refuse_second_derivative()
        row_weight, *rest = ctx.saved_tensors
        if output.is_cuda or float(output) != 1.0:  # most often it is 1, and a copy of each gradient is spared
            row_weight, *rest = (None if grad is None else grad * output for grad in ctx.saved_tensors)
        return row_weight, None, *rest


def _refuse_second_derivative() -> None:
    """Gradients are recorded inside ``backward`` under ``create_graph=True`` only."""
    if torch.is_grad_enabled():
        raise RuntimeError("product_logsumexp has no second derivative; differentiate it without create_graph=True")
