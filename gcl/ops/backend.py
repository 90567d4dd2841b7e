"""The one place that decides between an operation in plain torch and its Triton twin."""

from __future__ import annotations

import functools
import importlib.util
import os
from typing import Literal

from torch import Tensor

from gcl.core.errors import ConfigError, MissingDependencyError, unknown

Backend = Literal["auto", "torch", "triton"]


def use_triton(backend: str, tensor: Tensor, *, supported: bool = True) -> bool:
    """Whether a Triton kernel is to be used.

    Args:
        backend: ``torch``: never. ``auto``: on CUDA where triton is installed and the kernel supports the options.
            ``triton``: always, on CUDA, or on the CPU where Triton's interpreter is switched on
            (``TRITON_INTERPRET=1`` in the environment before the first use).
        tensor: an operand, for its device.
        supported: whether the kernel can do what was asked.

    Raises:
        ConfigError: an unknown backend; ``triton`` for tensors or options that it cannot do.
        MissingDependencyError: ``triton`` where it is not installed.
    """
    if backend not in ("auto", "torch", "triton"):
        raise ConfigError(unknown("backend", str(backend), ("auto", "torch", "triton")))
    if backend == "torch" or (backend == "auto" and not tensor.is_cuda):
        return False
    if backend == "auto":
        return supported and _has_triton()
    if not _has_triton():
        raise MissingDependencyError(
            "backend='triton' needs the package triton; install it with `pip install torch-gcl[gpu]`, or use 'auto'"
        )
    if not tensor.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise ConfigError(
            f"backend='triton' needs tensors on a GPU, got {tensor.device}; move them, or use backend='auto'"
        )
    if not supported:
        raise ConfigError("the Triton kernel cannot do what was asked for; use backend='auto' or 'torch'")
    return True


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None
