"""Speed and memory against plain references, in one run.

python -m benchmarks                           every family; results.json gets their records
python -m benchmarks loss propagation          some, the others' records stay
python -m benchmarks loss --sizes 1000 2000    at other numbers of nodes
python -m benchmarks --quick                   tiny sizes: shows that all works, not how fast
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.families import FAMILIES


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(FAMILIES)}; default: all")
    parser.add_argument(
        "--sizes", nargs="+", type=int, metavar="N", help="numbers of nodes in place of the families' own"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch; with more than one, wall time decides")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; nothing is written unless --out is given")
    parser.add_argument("--all", action="store_true", help="also plain sides that take very long or much memory")
    parser.add_argument("--out", type=Path, help="the file of records; default: benchmarks/results.json")
    parser.add_argument("--list", action="store_true", help="say what there is and stop")
    given = parser.parse_args()
    wrong = [name for name in given.families if name not in FAMILIES]
    if wrong:
        parser.error(f"unknown family {wrong[0]!r}; choose from {', '.join(FAMILIES)}")
    if given.threads < 1 or any(size < 1 for size in given.sizes or ()):
        parser.error("--threads and --sizes take whole numbers from 1")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before NumPy and torch are loaded
        os.environ[name] = str(given.threads)
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # for both sides, as the command gcl sets it
    run(given)


def run(given: argparse.Namespace) -> None:
    import torch
    from rich.console import Console

    from benchmarks.case import Options
    from benchmarks.document import terminal_tables
    from benchmarks.families import load_family
    from benchmarks.results import RESULTS, merge_results
    from benchmarks.runner import run_family

    options = Options(given.quick, given.all, given.threads, tuple(given.sizes) if given.sizes else None)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    if given.list:
        for name in FAMILIES:
            family = load_family(name)
            console.print(f"[bold]{name}[/bold]: {family.TITLE}")
            for case in family.cases(options):
                console.print(f"  {case.label}", highlight=False)
        return
    torch.set_num_threads(given.threads)
    out = given.out or (None if given.quick else RESULTS)
    for name in given.families or FAMILIES:
        record = run_family(name, options, lambda text: print(text, file=sys.stderr, flush=True))
        for table in terminal_tables(record):
            console.print(table)
        if out is not None:
            merge_results({name: record}, out)


if __name__ == "__main__":
    main()
