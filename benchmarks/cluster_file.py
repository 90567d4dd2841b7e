"""``gcl cluster`` on a file of a million embeddings, beside scikit-learn's k-means in a script of one's own.

    python -m benchmarks.cluster_file [--rows 1000000] [--columns 64] [--k 10] [--seeds 1]

writes rows around ``k`` centres, with labels, and gives wall seconds and peak memory of each process, and the accuracy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SCRIPT = """
import sys, numpy as np
from sklearn.cluster import {name}
from sklearn.preprocessing import normalize
z = normalize(np.load(sys.argv[1]))
print({name}(int(sys.argv[2]), n_init=10, random_state=0).fit(z).inertia_)
"""


def main() -> None:
    """Writes the file and runs each side once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("rows", 1_000_000), ("columns", 64), ("k", 10), ("seeds", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, labels = Path(folder) / "z.npy", Path(folder) / "y.npy"
        random = np.random.default_rng(0)
        y = random.integers(0, given.k, given.rows)
        centers = random.standard_normal((given.k, given.columns))
        z = np.empty((given.rows, given.columns), np.float32)
        for start in range(0, given.rows, 1 << 17):
            part = slice(start, start + (1 << 17))
            z[part] = centers[y[part]] + 1.5 * random.standard_normal((len(y[part]), given.columns))
        np.save(file, z)
        np.save(labels, y)
        del z
        words = [sys.executable, "-m", "gcl", "cluster", str(file), "--k", str(given.k), "--seeds", str(given.seeds)]
        out, *cost = measured([*words, "--labels", str(labels), "--json"])
        accuracy = 100 * json.loads(out)["metrics"]["accuracy"]["mean"]
        said(f"gcl cluster, {given.seeds} seed(s), scored, accuracy {accuracy:.2f}", *cost)
        for name in ("MiniBatchKMeans", "KMeans"):
            script = [sys.executable, "-c", SCRIPT.format(name=name), str(file), str(given.k)]
            said(f"scikit-learn's {name}, 10 starts, nothing scored", *measured(script)[1:])


def measured(command: list[str]) -> tuple[str, float, float]:
    """Output, wall seconds and peak GiB of a process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command[:6])} failed")
    return out, time.perf_counter() - started, usage.ru_maxrss / 2**20


def said(what: str, seconds: float, memory: float) -> None:
    """One line."""
    print(f"{what}: {seconds:.1f} s, {memory:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
