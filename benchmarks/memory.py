"""Peak memory of one side of one case, in a process that did nothing else.

    python -m benchmarks.memory FAMILY CASE SIDE OPTIONS

prints MiB of the largest resident set during one step over that just before it. Everything that is loaded once
(imports, thread pools, buffers of libraries) is warmed up by a tiny step before.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.case import Options

ROOT = Path(__file__).resolve().parents[1]


def peak_in_fresh_process(family: str, index: int, side: str, options: Options) -> float | None:
    """MiB, or ``None`` where this system cannot tell (no ``/proc``)."""
    command = [sys.executable, "-m", "benchmarks.memory", family, str(index), side]
    done = subprocess.run(
        [*command, json.dumps(dataclasses.asdict(options))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"memory of {family} {index} {side}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(family: str, index: int, side: str, options: Options) -> float | None:
    import torch

    from benchmarks.families import load_family

    torch.set_num_threads(options.threads)
    case = load_family(family).cases(options)[index]
    small = getattr(case.build(**case.small), side)
    if small is not None:
        small()
    step = getattr(case.build(**case.arguments), side)
    del small
    gc.collect()
    if not _reset_peak():
        return None
    before = _status("VmRSS")
    result = step()
    peak = _status("VmHWM")
    del result
    return round((peak - before) / 1024, 1)


def _reset_peak() -> bool:
    """Gives freed heap back to the system and makes the high-water mark the present size."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return False
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> int:
    """KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    given = json.loads(sys.argv[4])
    given["sizes"] = None if given["sizes"] is None else tuple(given["sizes"])
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3], Options(**given))))
