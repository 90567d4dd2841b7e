"""The Triton kernels on a GPU: builds them, checks each against float64, then times it against torch and torch_scatter.

python -m benchmarks.gpu                             everything; writes benchmarks/gpu_results.json
python -m benchmarks.gpu --only sparse_product       cases whose name contains all of these
python -m benchmarks.gpu --interpret                 checks alone, at tiny sizes, without a GPU
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gpu_cases import GPUCase

RESULTS = Path(__file__).resolve().parent / "gpu_results.json"
SIDES = ("triton", "torch", "textbook", "torch_scatter")


def main(arguments: list[str] | None = None) -> int:
    """The command: 0, 1 where a check failed, 2 where it cannot run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="cases whose name contains all of these")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that all works, not how fast")
    parser.add_argument("--interpret", action="store_true", help="check at tiny sizes by Triton's interpreter")
    parser.add_argument("--repeats", type=int, default=20, help="how often each side is timed")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file of records [benchmarks/gpu_results.json]")
    parser.add_argument("--force", action="store_true", help="replace that file where it exists")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error("--repeats takes a whole number from 1")
    if given.interpret:
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
    elif os.environ.pop("TRITON_INTERPRET", "0") == "1":
        print("TRITON_INTERPRET is set and is taken back: kernels are compiled here", file=sys.stderr)
    if importlib.util.find_spec("triton") is None:
        return _refuse("triton is not installed; pip install torch-gcl[gpu]")

    import torch

    from benchmarks.gpu_cases import all_cases

    if not given.interpret and not torch.cuda.is_available():
        return _refuse(
            "no CUDA device was found; run this on a machine with a GPU, or check the kernels with --interpret"
        )
    cases = [case for case in all_cases(quick=given.quick) if all(text in case.label for text in given.only)]
    if not cases:
        return _refuse(f"no case has {' and '.join(given.only)} in its name")
    if given.interpret:
        return _finish([_checked(case, "cpu") for case in cases])
    if given.out.exists() and not given.force:
        return _refuse(f"{given.out} exists; give another --out, or --force to replace it")
    torch.backends.cuda.matmul.allow_tf32 = False  # float32 means float32 on every side
    records = []
    for case in cases:
        records.append(_checked(case, "cuda"))
        if records[-1]["failed"] is None:
            records[-1] |= _guarded(lambda case=case: _timed(case, given.repeats))
    from gcl.core.files import write_json

    write_json(given.out, {"format": 1, "quick": given.quick, **_machine(), "cases": records})
    _print_table(records)
    print(f"written to {given.out}")
    return _finish(records)


def _checked(case: GPUCase, device: str) -> dict[str, Any]:
    """Values and gradients against the textbook form in float64, at a size where that one is quick."""
    print(case.label, file=sys.stderr, flush=True)
    return {"kernel": case.kernel, "label": case.label, "failed": None} | _guarded(lambda: check(case, device))


def check(case: GPUCase, device: str) -> dict[str, Any]:
    """The largest error of a case.

    Raises:
        AssertionError: it is above the case's limit, or something is not finite.
    """
    import torch

    from benchmarks.case import compare

    work = case.build(device, **case.small)
    ours = [part.double() for part in work.ours("triton")]
    return {"error": compare(ours, work.plain(torch.float64), limit=work.limit), "limit": work.limit}


def _guarded(step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the step returns, or why it failed, so that the other cases still run."""
    try:
        return step()
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def _timed(case: GPUCase, repeats: int) -> dict[str, Any]:
    """Median milliseconds and peak memory of each side, in turn; a side that does not fit is left out."""
    import torch

    from benchmarks.case import compare

    work = case.build("cuda", **case.arguments)
    dtype = case.arguments["dtype"]
    steps: dict[str, Callable[[], Any]] = {
        "triton": lambda: work.ours("triton"),
        "torch": lambda: work.ours("torch"),
        "textbook": lambda: work.plain(dtype),
    }
    if work.scatter is not None and importlib.util.find_spec("torch_scatter") is not None:
        steps["torch_scatter"] = work.scatter
    peaks: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for name, step in list(steps.items()):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        try:
            for _ in range(3):  # builds, and fills caches
                step()
        except torch.cuda.OutOfMemoryError:
            left_out[name] = "out of memory"
            del steps[name]
        else:
            peaks[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
    error = None
    if "textbook" in steps:  # at this size, in the textbook form's own precision
        reference = work.plain(torch.float32)
        error = compare([part.float() for part in work.ours("triton")], reference, limit=max(work.limit, 1e-3))
        del reference
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            step()
            stop.record()
            stop.synchronize()
            times[name].append(start.elapsed_time(stop))
    medians = {name: statistics.median(values) for name, values in times.items()}
    rate = work.amount / (medians["triton"] / 1e3) / (1e12 if work.unit == "TFLOP/s" else 1e9)
    return {
        "milliseconds": medians,
        "least_milliseconds": {name: min(values) for name, values in times.items()},
        "peak_mib": peaks,
        "left_out": left_out,
        "ratio": {name: medians[name] / medians["triton"] for name in medians if name != "triton"},
        "rate": rate,
        "unit": work.unit,
        "error_at_size": error,
        "repeats": repeats,
    }


def _machine() -> dict[str, Any]:
    import torch

    from benchmarks.machine import describe_machine

    properties = torch.cuda.get_device_properties(0)
    return {
        "command": "python -m benchmarks.gpu " + " ".join(sys.argv[1:]),
        "device": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "machine": describe_machine(),
    }


def _print_table(records: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("case", *(f"{name}, ms" for name in SIDES), "rate", "MiB", "error", title="Triton kernels")
    for record in records:
        table.add_row(record["label"], *_cells(record))
    (Console() if sys.stdout.isatty() else Console(width=200)).print(table)


def _cells(record: Mapping[str, Any]) -> list[str]:
    if "milliseconds" not in record:
        return ["failed", *[""] * (len(SIDES) + 2)]
    times = [f"{record['milliseconds'][name]:.3g}" if name in record["milliseconds"] else "" for name in SIDES]
    rate, peak = f"{record['rate']:.3g} {record['unit']}", f"{record['peak_mib'].get('triton', 0):.0f}"
    return [*times, rate, peak, f"{record['error']:.1e}"]


def _finish(records: list[dict[str, Any]]) -> int:
    failed = [record for record in records if record["failed"] is not None]
    for record in failed:
        print(f"FAILED {record['label']}: {record['failed']}", file=sys.stderr)
    worst = max((record["error"] for record in records if "error" in record), default=None)
    said = "" if worst is None else f"; the largest error is {worst:.1e} of the largest entry"
    print(f"{len(records) - len(failed)} of {len(records)} cases agree with float64{said}")
    return 1 if failed else 0


def _refuse(reason: str) -> int:
    print(f"benchmarks.gpu: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
