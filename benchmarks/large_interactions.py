"""Ten million interactions from a text file to figures, stage by stage, with time and peak memory.

    python -m benchmarks.large_interactions [--pairs 10000000] [--users 200000] [--items 100000]

writes a csv of that many synthetic interactions, reads and splits it, trains LightGCL for some steps with 1,024 anchors
(after its SVD), and ranks all items for a sample of users. Memory is the largest resident set of the process so far.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from gcl.core.context import Clock
from gcl.core.streams import Streams
from gcl.data.load import load_dataset
from gcl.evaluate.ranking import Ranking
from gcl.methods.lightgcl import LightGCL


def main() -> None:
    """Runs all stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "interactions.csv"
        write(path, given.pairs, given.users, given.items)
        run(path, given.steps)


def write(path: Path, pairs: int, users: int, items: int) -> None:
    """Heavy-tailed users and items, some pairs twice."""
    draw = np.random.default_rng(0)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("user,item\n")
        for start in range(0, pairs, 1_000_000):
            count = min(1_000_000, pairs - start)
            user = (users * draw.random(count) ** 1.7).astype(np.int64)
            item = (items * draw.random(count) ** 2.2).astype(np.int64)
            np.savetxt(stream, np.stack([user, item], 1), fmt="%d", delimiter=",")


def run(path: Path, steps: int) -> None:
    """Loads, prepares, trains and ranks."""
    started = time.perf_counter()

    def say(stage: str) -> None:
        nonlocal started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{stage:<52} {time.perf_counter() - started:7.1f} s, peak {peak:.2f} GiB", flush=True)
        started = time.perf_counter()

    data = load_dataset(path, kind="rec")
    graph = data.graph
    say(f"read and split: {graph.adjacency.num_arcs:,} for training")
    ranking = Ranking(k=[20], max_users=2000)
    training, held = ranking.split(graph, seed=0)
    method, streams, clock = LightGCL(anchors=1024), Streams(0), Clock(epoch=1)
    prepared = method.prepare(training, streams)
    say("exact SVD of rank 5")
    with streams.scope("init"):
        method.build(training.spec, prepared)
    batches = iter(method.batches(training, clock, streams))
    for index in range(steps):
        batch = next(batches)
        method.zero_grad()
        method.training_step(batch, Clock(epoch=1, batch=index), streams).loss.backward()
    say(f"triples of an epoch and {steps} steps")
    report = ranking.evaluate(method.outputs(training), held, seed=0)
    say(f"all items ranked for {report.n:,} users")


if __name__ == "__main__":
    main()
