"""Dense products in float32, by the fastest routine that the processor has for them.

Torch multiplies float32 matrices on a CPU by MKL, which leaves up to half of an AMD core with AVX-512 unused. oneDNN,
which torch carries too, compiles its kernels for the processor it meets. Both are plain float32. On an
Intel core MKL is the faster one.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 2**21  # multiplications from which the call of oneDNN, some microseconds, does not count


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.t() + bias``, as :func:`torch.nn.functional.linear`, differentiable any number of times.

    Args:
        x: ``[N, i]``.
        weight: ``[o, i]``.
        bias: ``[o]``.

    Returns:
        ``[N, o]``.
    """
    if torch.is_autocast_enabled(x.device.type) or x.dim() != 2 or not _by_onednn(x, weight):
        return F.linear(x, weight, bias)
    result: Tensor = _Linear.apply(x, weight, bias)
    return result


def product_into(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Writes ``x @ y`` into ``out`` ``[n, m]``, without gradients; ``x`` ``[n, k]``, ``y`` ``[k, m]``."""
    if _by_onednn(x, y.t()):
        return out.copy_(_onednn(x, y.t()))
    return torch.mm(x, y, out=out)


def exp2_product_into(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Writes 2 to the power of ``x @ y`` into ``out``; see :func:`product_into`."""
    if _by_onednn(x, y.t()):
        return torch.exp2(_onednn(x, y.t()), out=out)
    return torch.mm(x, y, out=out).exp2_()


def add_product(out: Tensor, x: Tensor, y: Tensor, alpha: float = 1.0) -> Tensor:
    """Adds ``alpha * x @ y`` to ``out``; see :func:`product_into`."""
    if _by_onednn(x, y.t()):
        return out.add_(_onednn(x, y.t()), alpha=alpha)
    return out.addmm_(x, y, alpha=alpha)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        product = _onednn(x, weight)
        return product if bias is None else product.add_(bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        return (
            _product(grad, weight) if need_x else None,
            _product(grad.t(), x) if need_weight else None,
            grad.sum(0) if need_bias else None,
        )


def _product(x: Tensor, y: Tensor) -> Tensor:
    # under create_graph the gradient is itself differentiated, by autograd
    if torch.is_grad_enabled() or not _by_onednn(x, y.t()):
        return x @ y
    return _onednn(x, y.t())


def _onednn(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.t()``. Any other layout than these sends oneDNN to its reference loops."""
    x, weight = (part if _is_packed(part) else part.contiguous() for part in (x, weight))
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return result


def _is_packed(matrix: Tensor) -> bool:
    """Whether it is contiguous, or the transpose of a matrix that is."""
    return matrix.is_contiguous() or matrix.t().is_contiguous()


def _by_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.shape[0] * x.shape[1] * weight.shape[0] >= SMALLEST
        and _has_onednn()
    )


@functools.cache
def _has_onednn() -> bool:
    """Whether oneDNN is there and has vectors that MKL may not use; the same answer on a machine every time."""
    return (
        not _is_intel()
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _is_intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:  # no Linux; Windows names the vendor here
        return "GenuineIntel" in platform.processor()
