"""The Triton kernels on a GPU: are they right, and how fast are they? No GPU has run this yet.

python -m benchmarks.gpu                       every kernel; benchmarks/gpu_results.json gets the figures
python -m benchmarks.gpu --quick               tiny sizes: shows that all works, not how fast
python -m benchmarks.gpu --only segment_sum    cases whose name contains all of these texts
python -m benchmarks.gpu --interpret           the checks alone, at tiny sizes on the CPU, by Triton's interpreter

Each case compares value and gradients with a float64 reference in plain torch, then times forward and backward passes
by CUDA events, all sides in turn: ours; torch (the same operation with backend="torch"); textbook (dense, or gather and
scatter); scatter (torch_scatter, where it is installed). Peak memory is what a step takes over its input. TF32 is off
on every side, except in the cases named tf32 and tf32x3, where it is allowed on every side. Exit code 1: a check
failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch and triton are loaded when the environment is set
    from torch import Tensor

    from benchmarks.gpu_cases import GPUCase, Operation

FORMAT = 1
RESULTS = Path(__file__).resolve().parent / "gpu_results.json"
WARM_UPS = 3
SIDES = ("ours", "torch", "textbook", "scatter")
DEVICE = "cuda"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="cases whose name contains all of these")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; nothing is written unless --out is given")
    parser.add_argument("--interpret", action="store_true", help="checks alone, at tiny sizes, without a GPU")
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="timed steps of each side; default: 20")
    parser.add_argument("--out", type=Path, help="the file of figures; default: benchmarks/gpu_results.json")
    parser.add_argument("--force", action="store_true", help="overwrite the file of figures")
    given = parser.parse_args(arguments)
    given.command = " ".join(["python -m benchmarks.gpu", *(sys.argv[1:] if arguments is None else arguments)])
    if given.repeats < 1:
        parser.error(f"--repeats takes a whole number from 1, got {given.repeats}")
    if given.interpret:
        if given.out is not None:
            parser.error("--interpret measures nothing and writes no file; leave out --out")
        os.environ["TRITON_INTERPRET"] = "1"  # before triton is loaded
    if (reason := _cannot_run(given.interpret)) is not None:
        print(reason, file=sys.stderr)
        return 2
    given.out = None if given.interpret else given.out or (None if given.quick else RESULTS)
    if given.out is not None and given.out.exists() and not given.force:
        parser.error(f"{given.out} exists; pass --force to overwrite it, or another name as --out")

    from benchmarks.gpu_cases import all_cases

    found = all_cases(tiny=given.quick or given.interpret)
    cases = [case for case in found if all(text in case.label for text in given.only)]
    if not cases:
        parser.error(f"no case has {' and '.join(given.only)} in its name; there are: {'; '.join(_kernels(found))}")
    return run(cases, given)


def run(cases: list[GPUCase], given: argparse.Namespace) -> int:
    """Every case, then the table and what failed."""
    import torch
    from rich.console import Console

    from gcl.core.files import write_json

    device = torch.device("cpu" if given.interpret else DEVICE)
    record: dict[str, Any] = {"format": FORMAT, "command": given.command}
    record |= {"quick": given.quick, "repeats": given.repeats}
    if not given.interpret:
        record["machine"] = describe_gpu()
    rows: list[dict[str, Any]] = []
    for index, case in enumerate(cases, start=1):
        print(f"{index}/{len(cases)} {case.label}", file=sys.stderr, flush=True)
        rows.append(run_case(case, device, None if given.interpret else given.repeats))
        if given.out is not None:  # after each, for a fault on the GPU may end the whole process
            write_json(given.out, {**record, "rows": rows})
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table(rows, timed=not given.interpret))
    failed = [row for row in rows if row["failed"] is not None]
    for row in failed:
        print(f"failed: {row['label']}: {row['failed']}", file=sys.stderr)
    print(f"{len(rows) - len(failed)} of {len(rows)} checks passed: {', '.join(_kernels(cases))}")
    return 1 if failed else 0


def run_case(case: GPUCase, device: Any, repeats: int | None) -> dict[str, Any]:
    """Checks a case; times it too where ``repeats`` is given and the check passed."""
    from benchmarks.gpu_cases import ARITHMETIC

    arithmetic = ARITHMETIC[case.arithmetic]
    row: dict[str, Any] = {"label": case.label, "kernel": case.kernel, "arithmetic": case.arithmetic}
    row |= {"error": None, "limit": arithmetic.limit, "failed": None}
    with _precision(arithmetic.precision):
        try:
            operation = case.build(device)
            row["error"] = check(operation, arithmetic.limit)
            if repeats is not None:
                row |= measure(operation, repeats)
        except Exception as error:  # whatever a kernel dies of, the other cases still run
            row["failed"] = f"{type(error).__name__}: {str(error).strip() or 'without a word'}"
    return row


# -- right ------------------------------------------------------------------------------------------------------------


def check(operation: Operation, limit: float) -> float:
    """The largest error of our value and gradients.

    Raises:
        AssertionError: it is above the limit.
    """
    return difference(step(operation, "ours"), reference(operation), limit)


def difference(actual: list[Tensor], expected: list[Tensor], limit: float) -> float:
    """As ``compare`` has it; -inf (a node without neighbours) must stand in the same places."""
    import torch

    from benchmarks.case import compare

    actual, expected = list(actual), list(expected)
    for index, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        where = theirs == -torch.inf
        assert torch.equal(ours == -torch.inf, where), f"tensor {index}: -inf is not where the reference has it"
        if bool(where.any()):
            actual[index], expected[index] = ours.masked_fill(where, 0.0), theirs.masked_fill(where, 0.0)
    return compare(actual, expected, limit=limit)


def step(operation: Operation, side: str) -> list[Tensor]:
    """Values and gradients of one side."""
    import torch

    values = operation.sides[side](*operation.leaves)
    values = values if isinstance(values, tuple) else (values,)
    starts = [factor.to(value.dtype) for factor, value in zip(operation.factors, values, strict=True)]
    gradients = torch.autograd.grad(values, operation.leaves, starts)
    return [value.detach() for value in values] + list(gradients)


def reference(operation: Operation) -> list[Tensor]:
    """The same in float64, part by part."""
    import torch

    leaves = [leaf.detach().double().requires_grad_() for leaf in operation.leaves]
    values = [torch.zeros_like(factor, dtype=torch.float64) for factor in operation.factors]
    gradients: list[Tensor | None] = [None] * len(leaves)
    for which, where, function in operation.parts():
        part = function(*leaves)
        values[which][where] += part.detach()
        start = operation.factors[which].double()[where]
        for index, gradient in enumerate(torch.autograd.grad(part, leaves, start)):
            total = gradients[index]
            gradients[index] = gradient if total is None else total.add_(gradient)
    return values + [gradient for gradient in gradients if gradient is not None]


# -- fast -------------------------------------------------------------------------------------------------------------


def measure(operation: Operation, repeats: int) -> dict[str, Any]:
    """Milliseconds and MiB of each side; of a side that cannot run, why."""
    import statistics

    import torch

    torch.cuda.empty_cache()
    absent: dict[str, str] = {}
    peaks: dict[str, float] = {}
    for side in operation.sides:
        try:
            for _ in range(WARM_UPS):
                step(operation, side)
            peaks[side] = _peak(operation, side)
        except (RuntimeError, NotImplementedError) as error:  # out of memory, or a type that it does not know
            if side == "ours":
                raise
            absent[side] = "out of memory" if isinstance(error, torch.OutOfMemoryError) else str(error).split("\n")[0]
            torch.cuda.empty_cache()
    times: dict[str, list[float]] = {side: [] for side in peaks}
    for _ in range(repeats):
        for side, taken in times.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            step(operation, side)
            end.record()
            torch.cuda.synchronize()
            taken.append(start.elapsed_time(end))
    milliseconds = {side: statistics.median(taken) for side, taken in times.items()}
    ours = milliseconds["ours"]
    rate = operation.work / (ours / 1e3) / {"TFLOP/s": 1e12, "GB/s": 1e9}[operation.unit]
    return {
        "ms": milliseconds,
        "least_ms": {side: min(taken) for side, taken in times.items()},
        "ratio": {side: value / ours for side, value in milliseconds.items() if side != "ours"},
        "peak_mib": peaks,
        "rate": rate,
        "unit": operation.unit,
        "absent": absent,
    }


def _peak(operation: Operation, side: str) -> float:
    """MiB that a step has allocated at most, over what there was before."""
    import torch

    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step(operation, side)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


# -- what it ran on, and what is printed ------------------------------------------------------------------------------


def describe_gpu() -> dict[str, Any]:
    """The machine, as the other benchmarks describe it, and its GPU."""
    import subprocess

    import torch

    from benchmarks.machine import describe_machine

    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = None
    gpu = torch.cuda.get_device_properties(torch.cuda.current_device())
    return describe_machine() | {
        "gpu": gpu.name,
        "capability": [gpu.major, gpu.minor],
        "gpu_memory_gib": round(gpu.total_memory / 2**30, 1),
        "multiprocessors": gpu.multi_processor_count,
        "driver": driver,
        "cuda": torch.version.cuda,
    }


def table(rows: list[dict[str, Any]], *, timed: bool) -> Any:
    """All cases; of the others' time and memory, how many times ours they are."""
    from rich.table import Table

    made = Table("case", title="Triton kernels" + ("" if timed else ", interpreted"), title_justify="left")
    others = SIDES[1:] if timed else ()
    for name in ("error", "limit", *(("ms", *others, "rate", "MiB", *others) if timed else ())):
        made.add_column(name, justify="right")
    for row in rows:
        cells = [row["label"], "FAILED" if row["failed"] else f"{row['error']:.1e}", f"{row['limit']:.0e}"]
        if timed and "ms" in row:
            peaks = row["peak_mib"]
            cells += [f"{row['ms']['ours']:.3g}"]
            cells += [f"{row['ratio'][side]:.2f}x" if side in row["ratio"] else "" for side in others]
            cells += [f"{row['rate']:.3g} {row['unit']}", f"{peaks['ours']:.0f}"]
            cells += [f"{peaks[side] / max(peaks['ours'], 1e-3):.1f}x" if side in peaks else "" for side in others]
        made.add_row(*cells)
    return made


def _cannot_run(interpret: bool) -> str | None:
    """Why the kernels cannot run here, in one sentence."""
    import torch

    if importlib.util.find_spec("triton") is None:
        return "The kernels need the package triton; install it with `pip install torch-gcl[gpu]`."
    if interpret:
        return None
    if not torch.cuda.is_available():
        return "No GPU with CUDA is found; pass --interpret to check the kernels on the CPU, slowly and untimed."
    if os.environ.get("TRITON_INTERPRET") == "1":
        return "TRITON_INTERPRET=1 is set, which would interpret the kernels; unset it to run them on the GPU."
    return None


def _kernels(cases: list[GPUCase]) -> list[str]:
    return list(dict.fromkeys(case.kernel for case in cases))


@contextmanager
def _precision(name: str) -> Iterator[None]:
    """Of float32 products; ``highest`` keeps TF32 off (``torch.backends.cuda.matmul.allow_tf32`` follows it)."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


if __name__ == "__main__":
    sys.exit(main())
