"""What the kernels take of a GPU, found by compiling them without one.

python -m gcl.ops.triton.resources                    every kernel for sm_80 and sm_90, as a table
python -m gcl.ops.triton.resources --only segment_sum /d128 --arch 90 --json
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARCHITECTURES = (80, 90)
SHARED_LIMIT = {80: 163 * 1024, 90: 227 * 1024}  # bytes that one program may have
MODULES = ("meta_node_sum", "neighbor_logsumexp", "product_logsumexp", "segment_sum", "sparse_product")


@dataclass(frozen=True)
class Case:
    """One specialisation of a kernel, as a launch would ask for it.

    Args:
        name: ``operation/kernel/options``.
        kernel: what ``@triton.jit`` made.
        signature: Triton's type of each argument by name, ``constexpr`` where it is a constant.
        constexprs: the constants by name.
        num_warps: warps of a program.
        num_stages: loads in flight in a loop.
        plain: whether training runs it much, so that it must not spill registers.
    """

    name: str
    kernel: Any
    signature: dict[str, str]
    constexprs: dict[str, Any]
    num_warps: int
    num_stages: int
    plain: bool = True


@dataclass(frozen=True)
class Resources:
    """What a compiled case takes.

    Args:
        name: of the case.
        arch: compute capability, 80 or 90.
        shared_bytes: shared memory of one program.
        registers: of one thread.
        stack_bytes: local memory of one thread, where spilled registers and arrays with a computed index live.
        spill_bytes: bytes stored and loaded again for want of registers, over the code of one thread.
        plain: of the case.
    """

    name: str
    arch: int
    shared_bytes: int
    registers: int
    stack_bytes: int
    spill_bytes: int
    plain: bool

    @property
    def fits(self) -> bool:
        """Whether the GPU can run it at all."""
        return self.shared_bytes <= SHARED_LIMIT[self.arch]

    @property
    def good(self) -> bool:
        """Whether it fits and, if plain, spills nothing."""
        return self.fits and not (self.plain and self.spill_bytes)


def compile_case(case: Case, arch: int) -> Resources:
    """Compiles a case for a compute capability; no GPU is needed.

    Pointers are taken to be aligned to 16 bytes, as those of whole tensors are. Shared memory is Triton's own figure
    (the binary's does not count what is asked for at launch); registers and stack are read from the binary. Spills are
    known to the assembler only, which is asked again where there is a stack.

    Raises:
        RuntimeError: under Triton's interpreter, which compiles nothing; a Triton before 3.3.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if not isinstance(case.kernel, triton.JITFunction):
        raise RuntimeError("kernels are compiled only where TRITON_INTERPRET is not set; unset it and start again")
    aligned = {
        (position,): [["tt.divisibility", 16]]
        for position, name in enumerate(case.kernel.arg_names)
        if case.signature[name].startswith("*")
    }
    if "constexprs" not in inspect.signature(ASTSource).parameters:
        raise RuntimeError(f"resources are measured with Triton 3.3 or newer, this is {triton.__version__}")
    source = ASTSource(case.kernel, signature=case.signature, constexprs=case.constexprs, attrs=aligned)
    options = {"num_warps": case.num_warps, "num_stages": case.num_stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    usage = _binary_usage(compiled.asm["cubin"])
    return Resources(
        name=case.name,
        arch=arch,
        shared_bytes=compiled.metadata.shared,
        registers=usage["REG"],
        stack_bytes=usage["STACK"],
        spill_bytes=_spill_bytes(compiled.asm["ptx"], arch) if usage["STACK"] else 0,
        plain=case.plain,
    )


def all_cases(only: Iterable[str] = ()) -> list[Case]:
    """The cases of every kernel whose name contains every text of ``only``."""
    found = []
    for name in MODULES:
        module = importlib.import_module(f"gcl.ops.triton.{name}")
        found += [case for case in module.cases() if all(text in case.name for text in only)]
    return found


def measure(cases: Iterable[Case], architectures: Iterable[int] = ARCHITECTURES) -> Iterator[Resources]:
    """Compiles each case for each architecture."""
    architectures = tuple(architectures)
    for case in cases:
        for arch in architectures:
            yield compile_case(case, arch)


def _binary_usage(binary: bytes) -> dict[str, int]:
    """Registers and bytes of stack of the one kernel in a binary."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        text = _run_tool("cuobjdump", "-res-usage", file.name).stdout
    return {key: int(value) for key, value in re.findall(r"\b(REG|STACK):(\d+)", text)}


def _spill_bytes(assembly: str, arch: int) -> int:
    """Bytes of spills as the assembler counts them, with the options that Triton gives it."""
    target = f"--gpu-name=sm_{arch}{'a' if arch >= 90 else ''}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.ptx")
        path.write_text(assembly)
        for assembler in sorted(_tools().glob("ptxas*"), reverse=True):  # there may be several; the newest reads all
            options = ["-v", "-lineinfo", "--regAllocOptLevel=2", target, "-o", str(Path(folder, "cubin"))]
            done = subprocess.run([str(assembler), *options, str(path)], capture_output=True, text=True)
            if not done.returncode:
                return sum(int(count) for count in re.findall(r"(\d+) bytes spill", done.stderr))
    raise RuntimeError("no ptxas of the installed triton assembles what it compiles; install another version of triton")


def _run_tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_tools() / name, *arguments], capture_output=True, text=True, check=True)


def _tools() -> Path:
    """NVIDIA's programs, which come with triton."""
    import triton

    return Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 where a case does not fit or a plain one spills."""
    parser = argparse.ArgumentParser(
        prog="python -m gcl.ops.triton.resources",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="cases whose name contains all of these")
    parser.add_argument("--arch", type=int, nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--json", action="store_true", help="one JSON list on standard output")
    given = parser.parse_args(arguments)
    cases = all_cases(given.only)
    if not cases:
        parser.error(f"no case has {' and '.join(given.only)} in its name")
    found = []
    if not given.json:
        print(f"{'sm':>3} {'shared KiB':>10} {'registers':>9} {'stack':>6} {'spills':>6}  case")
    for resources in measure(cases, given.arch):
        found.append(resources)
        if not given.json:
            note = "" if resources.good else "  <- does not fit" if not resources.fits else "  <- spills"
            print(
                f"{resources.arch:>3} {resources.shared_bytes / 1024:>10.1f} {resources.registers:>9} "
                f"{resources.stack_bytes:>6} {resources.spill_bytes:>6}  {resources.name}{note}",
                flush=True,
            )
    if given.json:
        json.dump([dataclasses.asdict(resources) | {"good": resources.good} for resources in found], sys.stdout)
        print()
    return 0 if all(resources.good for resources in found) else 1


if __name__ == "__main__":
    sys.exit(main())
