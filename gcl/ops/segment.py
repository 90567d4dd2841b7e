"""Sums, means, maxima and softmax over segments of the first axis."""

from __future__ import annotations

import functools
from typing import Any, Literal

import torch
from torch import Tensor

from gcl.core.errors import ConfigError, DataError, MissingDependencyError, unknown

Backend = Literal["auto", "torch", "scatter"]


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
        backend: ``torch``, ``scatter`` (torch_scatter), or ``auto``: torch_scatter on CUDA where it is installed.

    Returns:
        ``[num_segments]`` or ``[num_segments, d]``.

    Raises:
        DataError: shapes that do not fit, or both or none of ``index`` and ``row_ptr``.
        MissingDependencyError: ``backend="scatter"`` without torch_scatter.
    """
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


def _segments(
    values: Tensor, index: Tensor | None, num_segments: int | None, row_ptr: Tensor | None
) -> tuple[Tensor, int]:
    """Checks shapes and turns a row pointer into an index."""
    if values.dim() not in (1, 2):
        raise DataError(f"values must have shape [E] or [E, d], got {list(values.shape)}")
    if row_ptr is not None:
        if index is not None or num_segments is not None:
            raise DataError("give segments by index and num_segments or by row_ptr, not by both")
        num_segments = row_ptr.numel() - 1
        if num_segments < 0 or int(row_ptr[0]) != 0 or int(row_ptr[-1]) != values.shape[0]:
            raise DataError(f"row_ptr must run from 0 to the number of values, {values.shape[0]}")
        segment = torch.arange(num_segments, device=row_ptr.device)
        return torch.repeat_interleave(segment, row_ptr.diff(), output_size=values.shape[0]), num_segments
    if index is None or num_segments is None:
        raise DataError("segments need index and num_segments, or row_ptr")
    if index.dtype not in (torch.int32, torch.int64) or index.shape != values.shape[:1]:
        raise DataError(
            f"index must hold one integer a value, shape [{values.shape[0]}], got {index.dtype} {list(index.shape)}"
        )
    return index, num_segments


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
    if backend not in ("auto", "torch", "scatter"):
        raise ConfigError(unknown("segment backend", backend, ("auto", "torch", "scatter")))
    if backend == "torch" or (backend == "auto" and not values.is_cuda):
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
