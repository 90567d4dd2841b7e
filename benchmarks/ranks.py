"""One process against several, at the same settings and with one thread each: time of a step, and what they agree on.

    python -m benchmarks.ranks [--processes 1 2] [--nodes 10000] [--pairs 10000000] [--seconds 120]

trains GRACE on a synthetic graph with all pairs for a few epochs, and LightGCL with 1,024 anchors on synthetic
interactions for some time, by turns, each number of processes three times. Times count only where nothing else runs,
and where there are as many cores as processes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.graphs import community_graph
from benchmarks.large_interactions import write
from gcl.core.adjacency import Adjacency
from gcl.core.graph import Graph
from gcl.core.streams import Streams
from gcl.data.load import load_dataset
from gcl.methods.grace import GRACE
from gcl.methods.lightgcl import LightGCL
from gcl.methods.method import Method
from gcl.train.checkpoint import CheckpointStore
from gcl.train.interruption import OutOfTime, stop_after
from gcl.train.trainer import Trainer

ROUNDS, EPOCHS = 3, 4


def main() -> None:
    """Runs both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=120.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    grace(given.processes, given.nodes)
    lightgcl(given.processes, given.pairs, given.seconds)


def grace(processes: Sequence[int], nodes: int) -> None:
    """Seconds an epoch, the first left out."""
    x = torch.randn(nodes, 64, generator=torch.Generator().manual_seed(0))
    graph = Graph.homogeneous(x, Adjacency.from_edge_index(community_graph(nodes, 5 * nodes), (nodes, nodes)))
    seconds: dict[int, list[float]] = {count: [] for count in processes}
    losses: dict[int, float] = {}
    for _ in range(ROUNDS):
        for count in processes:
            with tempfile.TemporaryDirectory() as folder:
                trainer = Trainer(epochs=EPOCHS, devices=count, device="cpu")
                trainer.fit(ready(GRACE(), graph), graph, streams=Streams(0), run_dir=Path(folder), progress=False)
                lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            records = [json.loads(line) for line in lines]
            seconds[count] += [record["timing"]["seconds"] for record in records[1:]]
            losses[count] = records[-1]["loss"]
    base = statistics.median(seconds[processes[0]])
    for count in processes:
        median = statistics.median(seconds[count])
        print(
            f"GRACE, {nodes:,} nodes, all pairs, {count} processes: {median:.3f} s an epoch ({base / median:.2f} times "
            f"as fast), loss {losses[count]:.6f}",
            flush=True,
        )


def lightgcl(processes: Sequence[int], pairs: int, seconds: float) -> None:
    """Steps of 4,096 triples done in a time that includes sending the data and the triples of the epoch."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "interactions.csv"
        write(path, pairs, 200_000, 100_000)
        graph = load_dataset(path, kind="rec").graph.for_training()
        print(f"LightGCL, {graph.adjacency.num_arcs:,} interactions", flush=True)
        for count in processes:
            method = ready(LightGCL(anchors=1024, batch_size=4096), graph)
            folder = Path(place) / f"{count}"
            trainer = Trainer(epochs=1, devices=count, device="cpu")
            with contextlib.suppress(OutOfTime), stop_after(math.inf, training=seconds):
                trainer.fit(method, graph, streams=Streams(0), run_dir=folder, progress=False)
            state = CheckpointStore(folder / "checkpoint").load().state
            total, weight = state.sums["loss"]
            print(
                f"LightGCL, {count} processes: {state.clock.step} steps in {state.elapsed:.0f} s, mean loss "
                f"{total / weight:.6f}",
                flush=True,
            )


def ready(method: Method, graph: Graph) -> Method:
    """Prepared and built."""
    streams = Streams(0)
    prepared = method.prepare(graph, streams)
    with streams.scope("init"):
        return method.build(graph.spec, prepared)


if __name__ == "__main__":
    main()
