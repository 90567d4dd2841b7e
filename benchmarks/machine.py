"""What a figure was measured on, and the physical limits of that machine, measured beside it."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gcl.ops.matmul import product_into
from gcl.report.environment import describe_environment


def describe_machine() -> dict[str, Any]:
    """Processor, caches, memory, versions, threads, date, commit and load, as JSON."""
    record = describe_environment()
    record["instructions"] = torch.backends.cpu.get_cpu_capability()
    record["caches"] = _caches()
    record["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    record["date"] = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    record["load"] = [round(value, 2) for value in os.getloadavg()]
    return record


def measure_limits(*, quick: bool, threads: int) -> dict[str, float]:
    """GFLOP/s of sgemm, GB/s of a copy, 10^9 exponentials a second in cache.

    The rate of sgemm is the best of two shapes (a tile of a loss, a cube) and two routines: ``torch.mm``, and the one
    that the package takes on this machine.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    cube, large = (512, 2**20) if quick else (4096, 2**26)
    rates = {
        f"sgemm_{name}_{shape}": _product(routine, size, inner, clock, repeats)
        for name, routine in (("torch", _torch_product), ("ours", product_into))
        for shape, size, inner, repeats in (("tile", 1024, 256, 20), ("cube", cube, cube, 3))
    }
    source, target = torch.ones(large), torch.zeros(large)
    copy = 8 * large / _best(lambda: target.copy_(source), 5, clock) / 1e9
    x, y = torch.randn(2**18), torch.empty(2**18)
    exp = x.numel() / _best(lambda: torch.exp(x, out=y), 30, clock) / 1e9
    limits = rates | {"sgemm": max(rates.values())}
    return {name: round(value, 3) for name, value in (limits | {"copy": copy, "exp": exp}).items()}


def available_bytes() -> float:
    """Memory that can be had without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _torch_product(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.mm(x, y, out=out)


def _product(
    routine: Callable[[Tensor, Tensor, Tensor], Tensor],
    size: int,
    inner: int,
    clock: Callable[[], float],
    repeats: int,
) -> float:
    # both operands by rows, as the tiles of a loss are: products of rows with rows
    a, b, out = torch.randn(size, inner), torch.randn(size, inner), torch.empty(size, size)
    return 2 * size * size * inner / _best(lambda: routine(out, a, b.t()), repeats, clock) / 1e9


def _best(step: Callable[[], Any], repeats: int, clock: Callable[[], float]) -> float:
    step()
    best = float("inf")
    for _ in range(repeats):
        start = clock()
        step()
        best = min(best, clock() - start)
    return best


def _caches() -> dict[str, str]:
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found
