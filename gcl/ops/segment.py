"""Sums, means, maxima and softmax over segments of the first axis."""

from __future__ import annotations

import functools
from typing import Any, Literal

import torch
from torch import Tensor

from gcl.core.errors import ConfigError, DataError, MissingDependencyError, unknown
from gcl.ops.backend import use_triton

Backend = Literal["auto", "torch", "scatter", "triton"]
BACKENDS = ("auto", "torch", "scatter", "triton")


def segment_sum(
    values: Tensor,
    index: Tensor | None = None,
    num_segments: int | None = None,
    *,
    row_ptr: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Sum of each segment, :math:`y_s = \sum_{e: \mathrm{index}_e = s} v_e`; 0 for an empty one.

    Segments are given by ``index`` and ``num_segments``, or by ``row_ptr`` alone.

    Args:
        values: ``[E]`` or ``[E, d]``.
        index: segment of each value, integers from 0 to ``num_segments - 1``, in any order, ``[E]``.
        num_segments: number of segments, empty ones included.
        row_ptr: in place of both, CSR pointer, ``[num_segments + 1]``: segment s is
            ``values[row_ptr[s]:row_ptr[s + 1]]``.
        backend: ``torch``; ``scatter`` (torch_scatter); ``triton`` (sums of segments that ``row_ptr`` gives; torch does
            the rest); or ``auto``: on CUDA triton for these, torch_scatter for others, each where it is installed.

    Returns:
        ``[num_segments]`` or ``[num_segments, d]``.

    Raises:
        DataError: shapes that do not fit, or both or none of ``index`` and ``row_ptr``.
        ConfigError: an unknown backend, or ``triton`` where it cannot be used.
        MissingDependencyError: ``scatter`` without torch_scatter, ``triton`` without triton.
    """
    if row_ptr is not None and _on_triton(backend, values):
        from gcl.ops.triton.segment_sum import segment_sum_triton

        _check_pointer(values, row_ptr, index, num_segments)
        return segment_sum_triton(values, row_ptr)
    if row_ptr is not None and values.dtype == torch.float32 and values.device.type == "cpu" and backend != "scatter":
        _check_pointer(values, row_ptr, index, num_segments)
        return _PointerSum.apply(values, row_ptr)
    index, num_segments = _segments(values, index, num_segments, row_ptr)
    scatter, wide = _torch_scatter(backend, values), _widened(values)
    if scatter is not None:
        total = scatter.scatter_sum(wide, index.long(), dim=0, dim_size=num_segments)
    else:
        total = wide.new_zeros(num_segments, *wide.shape[1:]).index_add_(0, index, wide)
    return total.to(values.dtype)


def segment_mean(
    values: Tensor,
    index: Tensor | None = None,
    num_segments: int | None = None,
    *,
    row_ptr: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Mean of each segment; 0 for an empty one. Arguments as in :func:`segment_sum`."""
    index, num_segments = _segments(values, index, num_segments, row_ptr)
    total = segment_sum(_widened(values), index, num_segments, backend=backend)
    count = torch.bincount(index, minlength=num_segments).clamp_(min=1)
    mean = total / count.reshape(-1, *[1] * (values.dim() - 1)).to(total.dtype)
    return mean.to(values.dtype) if values.is_floating_point() else mean


def segment_max(
    values: Tensor,
    index: Tensor | None = None,
    num_segments: int | None = None,
    *,
    row_ptr: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Maximum of each segment; :math:`-\infty` with zero gradient for an empty one.

    Where several values share the maximum, torch splits the gradient evenly among them and torch_scatter gives it to
    one of them. Values must be floating point; other arguments as in :func:`segment_sum`.
    """
    index, num_segments = _segments(values, index, num_segments, row_ptr)
    _check_floating(values)
    index = index.long()
    scatter = _torch_scatter(backend, values)
    if scatter is not None:
        top, argmax = scatter.scatter_max(values, index, dim=0, dim_size=num_segments)
        return top.masked_fill(argmax == values.shape[0], -torch.inf)  # torch_scatter fills empty segments with 0
    top = values.new_full((num_segments, *values.shape[1:]), -torch.inf)
    return top.scatter_reduce(0, _expand(index, values), values, "amax")


def segment_softmax(
    values: Tensor,
    index: Tensor | None = None,
    num_segments: int | None = None,
    *,
    row_ptr: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Softmax inside each segment, :math:`p_e = \exp(v_e) / \sum_{e': s(e') = s(e)} \exp(v_{e'})`, column by column.

    Shifted by the segment's maximum, so large values do not overflow. A value of :math:`-\infty` gets 0, also where all
    of its segment are. Values must be floating point; other arguments as in :func:`segment_sum`.

    Returns:
        The shape of ``values``.
    """
    index, num_segments = _segments(values, index, num_segments, row_ptr)
    _check_floating(values)
    wide = _widened(values)
    with torch.no_grad():  # the shift cancels, in the gradient too
        top = segment_max(wide, index, num_segments, backend=backend)
        top = top.masked_fill(top == -torch.inf, 0.0)
    powers = (wide - top.index_select(0, index)).exp()
    total = segment_sum(powers, index, num_segments, backend=backend)
    total = torch.where(total == 0, 1.0, total)
    return (powers / total.index_select(0, index)).to(values.dtype)


class _PointerSum(torch.autograd.Function):
    """Sums of float32 rows that lie one after the other: bags of rows, whose kernel fetches ahead."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, row_ptr: Tensor) -> Tensor:
        ctx.save_for_backward(row_ptr)
        ctx.num_values = values.shape[0]
        num_segments = row_ptr.numel() - 1
        if 0 in (num_segments, values.numel()):
            return values.new_zeros(num_segments, *values.shape[1:])
        columns = values.detach().reshape(values.shape[0], -1).contiguous()
        every = torch.arange(values.shape[0], dtype=row_ptr.dtype)
        with torch.autocast("cpu", enabled=False):
            total = torch.embedding_bag(columns, every, row_ptr, False, 0, False, None, True)[0]
        return total.reshape(num_segments, *values.shape[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (row_ptr,) = ctx.saved_tensors
        return torch.repeat_interleave(grad, row_ptr.diff(), dim=0, output_size=ctx.num_values), None


def _segments(
    values: Tensor, index: Tensor | None, num_segments: int | None, row_ptr: Tensor | None
) -> tuple[Tensor, int]:
    """Checks shapes and turns a row pointer into an index."""
    if values.dim() not in (1, 2):
        raise DataError(f"values must have shape [E] or [E, d], got {list(values.shape)}")
    if row_ptr is not None:
        _check_pointer(values, row_ptr, index, num_segments)
        num_segments = row_ptr.numel() - 1
        segment = torch.arange(num_segments, device=row_ptr.device)
        return torch.repeat_interleave(segment, row_ptr.diff(), output_size=values.shape[0]), num_segments
    if index is None or num_segments is None:
        raise DataError("segments need index and num_segments, or row_ptr")
    if index.dtype not in (torch.int32, torch.int64) or index.shape != values.shape[:1]:
        raise DataError(
            f"index must hold one integer a value, shape [{values.shape[0]}], got {index.dtype} {list(index.shape)}"
        )
    return index, num_segments


def _check_pointer(values: Tensor, row_ptr: Tensor, index: Tensor | None, num_segments: int | None) -> None:
    if values.dim() not in (1, 2):
        raise DataError(f"values must have shape [E] or [E, d], got {list(values.shape)}")
    if index is not None or num_segments is not None:
        raise DataError("give segments by index and num_segments or by row_ptr, not by both")
    if row_ptr.numel() < 1 or int(row_ptr[0]) != 0 or int(row_ptr[-1]) != values.shape[0]:
        raise DataError(f"row_ptr must run from 0 to the number of values, {values.shape[0]}")
    if bool((row_ptr.diff() < 0).any()):
        raise DataError("row_ptr must not decrease; it says where each segment starts and the one before it ends")


def _on_triton(backend: str, values: Tensor) -> bool:
    return backend in ("auto", "triton") and use_triton(backend, values, supported=values.is_floating_point())


def _check_floating(values: Tensor) -> None:
    if not values.is_floating_point():
        raise DataError(f"values must be floating point, got {values.dtype}")


def _expand(index: Tensor, values: Tensor) -> Tensor:
    """The index repeated over the columns of values."""
    return index if values.dim() == 1 else index.unsqueeze(1).expand_as(values)


def _widened(values: Tensor) -> Tensor:
    """Half precision as float32, so that sums do not round or overflow on the way; others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _torch_scatter(backend: str, values: Tensor) -> Any | None:
    """The module torch_scatter if it is to be used, else ``None``."""
    if backend not in BACKENDS:
        raise ConfigError(unknown("segment backend", backend, BACKENDS))
    if backend in ("torch", "triton") or (backend == "auto" and not values.is_cuda):
        return None
    module = _import_torch_scatter()
    if module is None and backend == "scatter":
        raise MissingDependencyError(
            "backend='scatter' needs torch_scatter; install it with `pip install torch-gcl[scatter]` or use 'torch'"
        )
    return module


@functools.cache
def _import_torch_scatter() -> Any | None:
    try:
        import torch_scatter
    except ImportError:
        return None
    return torch_scatter
