"""The highest memory use of a run."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from pathlib import Path

import torch


def peak_memory_bytes(device: torch.device | str = "cpu") -> int | None:
    """Peak memory in bytes, measured as :func:`memory_method` says; ``None`` where the system does not tell."""
    method = memory_method(device)
    if method == "cuda_max_memory_allocated":
        return int(torch.cuda.max_memory_allocated(device))
    if method == "vm_hwm":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if method == "none":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_method(device: torch.device | str = "cpu") -> str:
    """Which figure :func:`peak_memory_bytes` is.

    - ``cuda_max_memory_allocated``: tensors on that GPU since the last reset (training resets at its start).
    - ``vm_hwm``: resident set of this process since the last reset, where the system allows one, else since it started.
      On Linux it is preferred to ``ru_maxrss``, which a process inherits from the one that launched it.
    - ``ru_maxrss``: that of this process since it started, by ``getrusage``.
    - ``none``: neither is there.
    """
    if torch.device(device).type == "cuda":
        return "cuda_max_memory_allocated"
    status = Path("/proc/self/status")
    if status.exists() and "VmHWM:" in status.read_text():
        return "vm_hwm"
    try:
        import resource  # noqa: F401
    except ImportError:  # Windows
        return "none"
    return "ru_maxrss"


def reset_peak_memory(device: torch.device | str) -> None:
    """Starts a new measurement, on a GPU and on Linux; elsewhere the old one goes on."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif memory_method(device) == "vm_hwm":
        gc.collect()  # what a cycle holds of the run before
        with contextlib.suppress(OSError, AttributeError):  # glibc alone keeps what was freed, and gives it back so
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):  # a kernel or container without it
            Path("/proc/self/clear_refs").write_text("5")
