# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""The two kernels behind :mod:`gcl.ops.triton.product_logsumexp`: sums over tiles of logits, and their gradients.

A program owns a block of rows and walks over blocks of columns (its keys). Logits are in units of log 2, so that the
hardware's ``exp2`` and ``log2`` serve; ``-inf`` stands for an absent pair. Rows and columns change roles
(``SWAPPED``) where the sum goes over the rows of each key: bias and exclusion then belong to the other side.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _block(matrix, first, bound, start, D: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):
    """Addresses and mask of ``BLOCK`` rows from ``first`` on, columns from ``start`` on, of a ``[bound, D]`` matrix."""
    row = tl.arange(0, BLOCK)
    column = start + tl.arange(0, BLOCK_D)
    base = matrix + tl.cast(first, tl.int64) * D  # 64 bits here only: an offset inside a block fits into 32
    mask = (first + row < bound)[:, None]
    if D % BLOCK_D != 0:
        mask = mask & (column < D)[None, :]
    return base + (row[:, None] * D + column[None, :]), mask


@triton.jit
def _load_block(matrix, first, bound, start, D: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):
    """A block of a contiguous matrix; 0 outside."""
    address, mask = _block(matrix, first, bound, start, D, BLOCK, BLOCK_D)
    return tl.load(address, mask=mask, other=0.0)


@triton.jit
def _add_block(matrix, value, first, bound, start, D: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):
    """Atomic counterpart of ``_load_block``; where only one program adds to an address the sum is repeatable."""
    address, mask = _block(matrix, first, bound, start, D, BLOCK, BLOCK_D)
    tl.atomic_add(address, value, mask=mask, sem="relaxed")


@triton.jit
def _products(
    a, b, row, col, n, m,
    D: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Products of a block of rows with a block of columns, in steps of ``BLOCK_D`` along the width."""
    product = tl.zeros((BLOCK_ROWS, BLOCK_COLS), tl.float32)
    for start in range(0, D, BLOCK_D):
        left = _load_block(a, row, n, start, D, BLOCK_ROWS, BLOCK_D)  # [R, BD]
        right = _load_block(b, col, m, start, D, BLOCK_COLS, BLOCK_D)  # [C, BD]
        product = tl.dot(left, tl.trans(right), product, input_precision=PRECISION)
    return product


@triton.jit
def _logits(
    product, rows, cols, n, m, scale, bias, exclude, row_labels, col_labels, num_clusterings,
    SWAPPED: tl.constexpr, SYMMETRIC: tl.constexpr,
):  # fmt: skip
    """Turns products into logits: scale, bias, weights, exclusion, borders, and no pair below the diagonal twice."""
    logit = product * scale
    present = (rows < n)[:, None] & (cols < m)[None, :]
    if SYMMETRIC:
        present = present & (cols[None, :] >= rows[:, None])
    if bias is not None:
        if SWAPPED:
            logit += tl.load(bias + rows, mask=rows < n, other=0.0)[:, None]
        else:
            logit += tl.load(bias + cols, mask=cols < m, other=0.0)[None, :]
    if exclude is not None:
        if SWAPPED:
            present = present & (tl.load(exclude + cols, mask=cols < m, other=-1)[None, :] != rows[:, None])
        else:
            present = present & (tl.load(exclude + rows, mask=rows < n, other=-1)[:, None] != cols[None, :])
    if row_labels is not None:
        count = tl.zeros_like(product)
        for clustering in tl.range(num_clusterings, num_stages=1):
            start = tl.cast(clustering, tl.int64)
            row_label = tl.load(row_labels + start * n + rows, mask=rows < n, other=0)
            col_label = tl.load(col_labels + start * m + cols, mask=cols < m, other=0)
            count += tl.where(row_label[:, None] != col_label[None, :], 1.0, 0.0)
        present = present & (count > 0)
        logit += tl.log2(tl.maximum(count, 1.0))
    return tl.where(present, logit, float("-inf"))


@triton.jit
def _log2_or_empty(total, maximum):
    """Log-sum-exp of a finished sum, to base e: ``-inf`` where nothing was summed."""
    log = (tl.log2(tl.where(total == 0, 1.0, total)) + maximum) * 0.6931471805599453  # log 2
    return tl.where(total == 0, float("-inf"), log)


@triton.jit
def sum_kernel(
    a, b, bias, exclude, row_labels, col_labels, row_out, col_out,
    n, m, num_clusterings, first_block, tiles_per_split, scale,
    D: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr, BLOCK_D: tl.constexpr,
    SWAPPED: tl.constexpr, SYMMETRIC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp of rows, with a running maximum, and, where ``col_out`` is given, of the columns of each row block.

    Grid (row blocks, splits of the columns). ``row_out`` is ``[splits, n]``, ``col_out`` ``[row blocks, m]``: the
    caller merges along the first axis. ``SYMMETRIC``: only pairs (i, j >= i), and columns without the diagonal.
    """
    block = first_block + tl.program_id(0)
    row = block * BLOCK_ROWS
    rows = row + tl.arange(0, BLOCK_ROWS)
    first = tl.program_id(1) * tiles_per_split
    stop = tl.minimum(first + tiles_per_split, tl.cdiv(m, BLOCK_COLS))
    if SYMMETRIC:
        first = tl.maximum(first, row // BLOCK_COLS)
    WHOLE: tl.constexpr = BLOCK_D >= D  # the row block stays on the chip
    if WHOLE:
        left = _load_block(a, row, n, 0, D, BLOCK_ROWS, BLOCK_D)
    maximum = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_ROWS,), tl.float32)
    for tile in range(first, stop):
        col = tile * BLOCK_COLS
        cols = col + tl.arange(0, BLOCK_COLS)
        if WHOLE:
            right = _load_block(b, col, m, 0, D, BLOCK_COLS, BLOCK_D)
            product = tl.dot(left, tl.trans(right), input_precision=PRECISION)
        else:
            product = _products(a, b, row, col, n, m, D, BLOCK_ROWS, BLOCK_COLS, BLOCK_D, PRECISION)
        logit = _logits(
            product, rows, cols, n, m, scale, bias, exclude, row_labels, col_labels, num_clusterings, SWAPPED, SYMMETRIC
        )
        higher = tl.maximum(maximum, tl.max(logit, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher)  # no -inf minus -inf
        total = total * tl.exp2(maximum - base) + tl.sum(tl.exp2(logit - base[:, None]), 1)
        maximum = higher
        if col_out is not None:
            if SYMMETRIC:
                logit = tl.where(cols[None, :] > rows[:, None], logit, float("-inf"))
            col_maximum = tl.max(logit, 0)
            base = tl.where(col_maximum == float("-inf"), 0.0, col_maximum)
            col_total = tl.sum(tl.exp2(logit - base[None, :]), 0)
            address = col_out + tl.program_id(0).to(tl.int64) * m + cols
            tl.store(address, _log2_or_empty(col_total, base), mask=cols < m)
    address = row_out + tl.program_id(1).to(tl.int64) * n + rows
    tl.store(address, _log2_or_empty(total, maximum), mask=rows < n)


@triton.jit
def gradient_kernel(
    a, b, bias, exclude, row_labels, col_labels, row_lse, row_grad, col_lse, col_grad, a_out, b_out, bias_out,
    n, m, num_clusterings, tiles_per_split, scale,
    D: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr, BLOCK_D: tl.constexpr,
    SWAPPED: tl.constexpr, SYMMETRIC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    r"""Adds the gradients of all pairs: each logit is computed once and serves every output that is given.

    .. math:: G_{ij} = e^{s_{ij} - r_i} \rho_i + e^{s_{ij} - c_j} \kappa_j, \quad dA = G B, \quad dB = G^\top A

    with r, c the log-sum-exp of rows and columns (to base 2; ``+inf`` = empty) and ρ, κ their gradients. Grid (row
    blocks, splits of the columns).
    """
    block = tl.program_id(0)
    row = block * BLOCK_ROWS
    rows = row + tl.arange(0, BLOCK_ROWS)
    first = tl.program_id(1) * tiles_per_split
    stop = tl.minimum(first + tiles_per_split, tl.cdiv(m, BLOCK_COLS))
    if SYMMETRIC:
        first = tl.maximum(first, row // BLOCK_COLS)
    if row_lse is not None:
        row_base = tl.load(row_lse + rows, mask=rows < n, other=float("inf"))
        row_factor = tl.load(row_grad + rows, mask=rows < n, other=0.0)
    WHOLE: tl.constexpr = BLOCK_D >= D  # the row block and its gradient stay on the chip
    if WHOLE:
        left = _load_block(a, row, n, 0, D, BLOCK_ROWS, BLOCK_D)
        if a_out is not None:
            a_sum = tl.zeros((BLOCK_ROWS, BLOCK_D), tl.float32)
    if bias_out is not None and SWAPPED:
        bias_sum = tl.zeros((BLOCK_ROWS,), tl.float32)
    for tile in range(first, stop):
        col = tile * BLOCK_COLS
        cols = col + tl.arange(0, BLOCK_COLS)
        if WHOLE:
            right = _load_block(b, col, m, 0, D, BLOCK_COLS, BLOCK_D)
            product = tl.dot(left, tl.trans(right), input_precision=PRECISION)
        else:
            product = _products(a, b, row, col, n, m, D, BLOCK_ROWS, BLOCK_COLS, BLOCK_D, PRECISION)
        logit = _logits(
            product, rows, cols, n, m, scale, bias, exclude, row_labels, col_labels, num_clusterings, SWAPPED, SYMMETRIC
        )
        share = tl.zeros((BLOCK_ROWS, BLOCK_COLS), tl.float32)
        if row_lse is not None:
            share += tl.exp2(logit - row_base[:, None]) * row_factor[:, None]
        if col_lse is not None:
            col_base = tl.load(col_lse + cols, mask=cols < m, other=float("inf"))
            col_factor = tl.load(col_grad + cols, mask=cols < m, other=0.0)
            if SYMMETRIC:
                logit = tl.where(cols[None, :] > rows[:, None], logit, float("-inf"))
            share += tl.exp2(logit - col_base[None, :]) * col_factor[None, :]
        if bias_out is not None:
            if SWAPPED:
                bias_sum += tl.sum(share, 1)
            else:
                tl.atomic_add(bias_out + cols, tl.sum(share, 0), mask=cols < m, sem="relaxed")
        share = share.to(a.dtype.element_ty)  # as the operands: nothing but bfloat16 is rounded
        if WHOLE:
            if a_out is not None:
                a_sum = tl.dot(share, right, a_sum, input_precision=PRECISION)
            if b_out is not None:
                part = tl.dot(tl.trans(share), left, input_precision=PRECISION)
                _add_block(b_out, part, col, m, 0, D, BLOCK_COLS, BLOCK_D)
        else:
            for start in range(0, D, BLOCK_D):
                if a_out is not None:
                    right = _load_block(b, col, m, start, D, BLOCK_COLS, BLOCK_D)
                    part = tl.dot(share, right, input_precision=PRECISION)
                    _add_block(a_out, part, row, n, start, D, BLOCK_ROWS, BLOCK_D)
                if b_out is not None:
                    left = _load_block(a, row, n, start, D, BLOCK_ROWS, BLOCK_D)
                    part = tl.dot(tl.trans(share), left, input_precision=PRECISION)
                    _add_block(b_out, part, col, m, start, D, BLOCK_COLS, BLOCK_D)
    if WHOLE and a_out is not None:
        _add_block(a_out, a_sum, row, n, 0, D, BLOCK_ROWS, BLOCK_D)
    if bias_out is not None and SWAPPED:
        tl.atomic_add(bias_out + rows, bias_sum, mask=rows < n, sem="relaxed")
